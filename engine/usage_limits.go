package engine

import "github.com/keyreeve/keyreeve/core"

// Consume subtracts the cost of one protecting use of n bytes from the Usage Limits of
// an object, durably, before the use (KMIP 1.4 §3.21). Without limits it does nothing.
// A stream counts as one use, and as the bytes of all its parts. If too little is left,
// it fails with UsageLimitExceeded.
func (k *Call) Consume(o *core.ManagedObject, n int, s *Stream) error {
	if !mustCount(o, s) {
		return nil
	}
	_, err := CountUse(k, o.ID, func(now *core.ManagedObject) (*core.ManagedObject, error) {
		if err := now.CheckUse(true, k.Now); err != nil || !mustCount(now, s) {
			return now, err
		}
		return withDraw(now, int64(n))
	})
	return err
}

// CountUse stores the successor of an object that count makes, unless it is the object itself,
// and returns what is stored. Callers take turns for one object, so that only other nodes cause
// conflicts; then count is called again.
func CountUse(k *Call, id string, count func(now *core.ManagedObject) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	turn := &k.Engine.objects.shardOf(id).usageTurn
	turn.Lock()
	defer turn.Unlock()
	for try := 1; ; try++ {
		now, err := k.LoadObject(id)
		if err != nil {
			return nil, err
		}
		next, err := count(now)
		if err != nil || next == now {
			return next, err
		}
		next.Version = now.Version + 1
		ch := core.ChangeOf(core.UpdateObject{Object: next})
		if grown := UsageOf(next).Sub(UsageOf(now)); grown != (core.Usage{}) {
			ch.Add(core.AddUsage{Tenant: next.Tenant, Usage: grown})
		}
		err = k.Ports.Store.Commit(k.Ctx, ch)
		if err == nil {
			k.Engine.objects.putStored(next)
			k.NoteUndo(now, next)
			return next, nil
		}
		k.Engine.objects.forget(now.Tenant, now.ID)
		if !shouldStartOver(err, try) {
			return nil, err
		}
	}
}

// mustCount reports whether a use counts: a later part of a stream counts only if the
// unit is Byte.
func mustCount(o *core.ManagedObject, s *Stream) bool {
	v, ok := o.Attributes.Get(core.TagUsageLimits)
	return ok && (s == nil || !s.IsLaterPart || core.UsageLimitsOf(v).Unit == core.UsageLimitsUnitByte)
}

// withDraw returns the successor of o after a use of so many bytes.
func withDraw(o *core.ManagedObject, bytes int64) (*core.ManagedObject, error) {
	v, _ := o.Attributes.Get(core.TagUsageLimits)
	u, cost := core.UsageLimitsOf(v), int64(1)
	if u.Unit == core.UsageLimitsUnitByte {
		cost = bytes
	}
	if cost > u.Count {
		return nil, core.Errorf(core.UsageLimitExceeded, "the Usage Limits of object %s leave %d, and this use needs %d", o.ID, u.Count, cost)
	}
	u.Count -= cost
	next := o.Successor()
	next.Attributes = o.Attributes.Set(core.TagUsageLimits, u.Value())
	return next, nil
}
