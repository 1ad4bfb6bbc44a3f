package rules

import "github.com/keyreeve/keyreeve/core"

// InitUsageLimits sets the remaining count of new Usage Limits to their total,
// whatever the client wrote there (KMIP 1.4 §3.21).
func InitUsageLimits(as core.Attributes) core.Attributes {
	i := as.Find(core.AttributeName{Tag: core.TagUsageLimits})
	if i < 0 {
		return as
	}
	return as.Replace(i, unusedLimits(as[i].Value))
}

// unusedLimits returns Usage Limits of which nothing has been drawn.
func unusedLimits(limits core.Value) core.Value {
	u := core.UsageLimitsOf(limits)
	u.Count = u.Total
	return u.Value()
}

// checkUsageLimits refuses limits that say nothing.
func checkUsageLimits(v core.Value) error {
	total := v.Field(core.TagUsageLimitsTotal)
	switch u := core.UsageLimitsOf(v).Unit; {
	case total.Kind != core.KindLongInteger || total.Num < 0:
		return core.Errorf(core.InvalidField, "Usage Limits need a Usage Limits Total that is not negative")
	case u != core.UsageLimitsUnitByte && u != core.UsageLimitsUnitObject:
		return core.Errorf(core.InvalidField, "the Usage Limits Unit is neither Byte nor Object")
	}
	return nil
}

// RequireUnused refuses to change or delete Usage Limits that have been drawn upon
// (KMIP 1.4 §3.21): who has used them up could go on without end.
func RequireUnused(v core.Value) error {
	if u := core.UsageLimitsOf(v); u.Count != u.Total {
		return core.Errorf(core.PermissionDenied, "the Usage Limits have been drawn upon and cannot be changed any more")
	}
	return nil
}

// CorrectUsageLimits is Modify Attribute of Usage Limits: allowed until the
// first unit has been used, and the count follows the total.
func CorrectUsageLimits(old, new core.Value) (core.Value, error) {
	return unusedLimits(new), RequireUnused(old)
}
