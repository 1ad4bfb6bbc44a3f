package engine

import "github.com/keyreeve/keyreeve/core"

// initUsageLimits sets the remaining count of new Usage Limits to their total,
// whatever the client wrote there (KMIP 1.4 §3.21).
func initUsageLimits(as core.Attributes) core.Attributes {
	i := as.Find(core.AttributeName{Tag: core.TagUsageLimits})
	if i < 0 {
		return as
	}
	return as.Replace(i, unused(as[i].Value))
}

// unused returns Usage Limits of which nothing has been drawn.
func unused(limits core.Value) core.Value {
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

// untouched refuses to change or delete Usage Limits that have been drawn upon
// (KMIP 1.4 §3.21): who has used them up could go on without end.
func untouched(v core.Value) error {
	if u := core.UsageLimitsOf(v); u.Count != u.Total {
		return core.Errorf(core.PermissionDenied, "the Usage Limits have been drawn upon and cannot be changed any more")
	}
	return nil
}

// correctUsageLimits is Modify Attribute of Usage Limits: allowed until the
// first unit has been used, and the count follows the total.
func correctUsageLimits(old, new core.Value) (core.Value, error) {
	return unused(new), untouched(old)
}

// consume takes what one protecting use of n bytes costs from the object's
// Usage Limits, durably, before the use; without limits it does nothing. A
// stream is one use, and as many bytes as its parts have. Draws on one object
// take turns here, so that only another node's is met as a conflict.
func (k *call) consume(o *core.ManagedObject, n int, s *stream) error {
	if !limited(o, s) {
		return nil
	}
	turn := &k.engine.objects.shard(o.ID).drawing
	turn.Lock()
	defer turn.Unlock()
	for try := 1; ; try++ {
		now, err := k.load(o.ID)
		if err != nil {
			return err
		}
		if err := now.CheckUse(true, k.now); err != nil || !limited(now, s) {
			return err
		}
		next, err := drawn(now, int64(n))
		if err != nil {
			return err
		}
		if err = k.ports.Store.Commit(k.ctx, core.ChangeOf(core.UpdateObject{Object: next})); err == nil {
			k.engine.objects.put(next)
			k.undoable(now, next)
			return nil
		}
		k.engine.objects.drop(o.Tenant, o.ID)
		if !startOver(err, try) {
			return err
		}
	}
}

// limited reports whether a use has to be paid for: a later part of a stream
// only where bytes are counted.
func limited(o *core.ManagedObject, s *stream) bool {
	v, ok := o.Attributes.Get(core.TagUsageLimits)
	return ok && (s == nil || !s.again || core.UsageLimitsOf(v).Unit == core.UsageLimitsUnitByte)
}

// drawn is o after a use.
func drawn(o *core.ManagedObject, bytes int64) (*core.ManagedObject, error) {
	v, _ := o.Attributes.Get(core.TagUsageLimits)
	u, cost := core.UsageLimitsOf(v), int64(1)
	if u.Unit == core.UsageLimitsUnitByte {
		cost = bytes
	}
	if cost > u.Count {
		return nil, core.Errorf(core.UsageLimitExceeded, "the Usage Limits of object %s leave %d, and this use needs %d", o.ID, u.Count, cost)
	}
	u.Count -= cost
	next := successor(o)
	next.Version++
	next.Attributes = o.Attributes.Set(core.TagUsageLimits, u.Value())
	return next, nil
}
