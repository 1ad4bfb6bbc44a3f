package engine

import "github.com/keyreeve/keyreeve/core"

// initUsageLimits sets the remaining count of new Usage Limits to their total,
// whatever the client wrote there (KMIP 1.4 §3.21).
func initUsageLimits(as core.Attributes) core.Attributes {
	i := as.Find(core.AttributeName{Tag: core.TagUsageLimits})
	if i < 0 {
		return as
	}
	v := as[i].Value
	return as.Replace(i, usageLimits(v.Field(core.TagUsageLimitsTotal).Num, v.Field(core.TagUsageLimitsTotal).Num, v.Field(core.TagUsageLimitsUnit)))
}

func usageLimits(total, count int64, unit core.Value) core.Value {
	return core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(total)},
		core.Field{Tag: core.TagUsageLimitsCount, Value: core.Long(count)},
		core.Field{Tag: core.TagUsageLimitsUnit, Value: unit})
}

// correctUsageLimits is Modify Attribute of Usage Limits: allowed until the
// first unit has been used, and the count follows the total.
func correctUsageLimits(old, new core.Value) (core.Value, error) {
	if old.Field(core.TagUsageLimitsCount).Num != old.Field(core.TagUsageLimitsTotal).Num {
		return old, core.Errorf(core.PermissionDenied, "the Usage Limits have been drawn upon and cannot be changed any more")
	}
	total := new.Field(core.TagUsageLimitsTotal).Num
	return usageLimits(total, total, new.Field(core.TagUsageLimitsUnit)), nil
}

// consume takes what one protecting use of n bytes costs from the object's
// Usage Limits, durably, before the use; without limits it does nothing. A
// stream is one use, and as many bytes as its parts have.
func (k *call) consume(o *core.ManagedObject, n int, s *stream) error {
	for try := 1; ; try++ {
		v, ok := o.Attributes.Get(core.TagUsageLimits)
		if !ok || (s != nil && s.again && core.UsageLimitsUnit(v.Field(core.TagUsageLimitsUnit).Uint()) != core.UsageLimitsUnitByte) {
			return nil
		}
		next, err := k.drawn(o, v, int64(n))
		if err != nil {
			return err
		}
		err = k.Store.Commit(k.ctx, &core.Change{Update: []*core.ManagedObject{next}})
		if err == nil {
			k.objects.put(next)
			k.undoable(o, next)
			return nil
		}
		k.objects.drop(o.Tenant, o.ID)
		if core.CodeOf(err) != core.Conflict || try == maxChangeTries {
			return err
		}
		if o, err = k.load(o.ID); err != nil {
			return err
		}
		if err := o.CheckUse(true, k.now); err != nil {
			return err
		}
	}
}

func (k *call) drawn(o *core.ManagedObject, v core.Value, bytes int64) (*core.ManagedObject, error) {
	unit, cost := v.Field(core.TagUsageLimitsUnit), int64(1)
	if core.UsageLimitsUnit(unit.Uint()) == core.UsageLimitsUnitByte {
		cost = bytes
	}
	left := v.Field(core.TagUsageLimitsCount).Num
	if cost > left {
		return nil, core.Errorf(core.UsageLimitExceeded, "the Usage Limits of object %s leave %d, and this use needs %d", o.ID, left, cost)
	}
	next := successor(o)
	next.Version++
	next.Attributes = o.Attributes.Set(core.TagUsageLimits, usageLimits(v.Field(core.TagUsageLimitsTotal).Num, left-cost, unit))
	return next, nil
}
