package rules

import "github.com/keyreeve/keyreeve/core"

// InitUsageLimits sets the Usage Limits Count of new Usage Limits to their total. The
// count that the client gave is ignored (KMIP 1.4 §3.21).
func InitUsageLimits(as core.Attributes) core.Attributes {
	i := as.Find(core.AttributeName{Tag: core.TagUsageLimits})
	if i < 0 {
		return as
	}
	return as.Replace(i, unusedLimits(as[i].Value))
}

// unusedLimits returns Usage Limits whose count is their total.
func unusedLimits(limits core.Value) core.Value {
	u := core.UsageLimitsOf(limits)
	u.Count = u.Total
	return u.Value()
}

// checkUsageLimits refuses limits without a total or a known unit.
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

// RequireUnusedLimits refuses Usage Limits that have been drawn upon: they may not be
// changed or deleted, or a client could use the key without end (KMIP 1.4 §3.21).
func RequireUnusedLimits(v core.Value) error {
	if u := core.UsageLimitsOf(v); u.Count != u.Total {
		return core.Errorf(core.PermissionDenied, "the Usage Limits have been drawn upon and cannot be changed any more")
	}
	return nil
}

// ReplaceUsageLimits returns the new Usage Limits, with the count set to the total.
// It refuses if the old ones have been drawn upon.
func ReplaceUsageLimits(old, new core.Value) (core.Value, error) {
	return unusedLimits(new), RequireUnusedLimits(old)
}
