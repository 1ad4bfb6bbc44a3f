package engine

import "github.com/keyreeve/keyreeve/core"

// Consume takes what one protecting use of n bytes costs from the object's
// Usage Limits, durably, before the use; without limits it does nothing. A
// stream is one use, and as many bytes as its parts have. Draws on one object
// take turns here, so that only another node's is met as a conflict.
func (k *Call) Consume(o *core.ManagedObject, n int, s *Stream) error {
	if !mustCount(o, s) {
		return nil
	}
	turn := &k.Engine.objects.shardOf(o.ID).drawing
	turn.Lock()
	defer turn.Unlock()
	for try := 1; ; try++ {
		now, err := k.Load(o.ID)
		if err != nil {
			return err
		}
		if err := now.CheckUse(true, k.Now); err != nil || !mustCount(now, s) {
			return err
		}
		next, err := withDraw(now, int64(n))
		if err != nil {
			return err
		}
		if err = k.Ports.Store.Commit(k.Ctx, core.ChangeOf(core.UpdateObject{Object: next})); err == nil {
			k.Engine.objects.putStored(next)
			k.NoteUndo(now, next)
			return nil
		}
		k.Engine.objects.forget(o.Tenant, o.ID)
		if !shouldStartOver(err, try) {
			return err
		}
	}
}

// mustCount reports whether a use has to be paid for: a later part of a stream
// only where bytes are counted.
func mustCount(o *core.ManagedObject, s *Stream) bool {
	v, ok := o.Attributes.Get(core.TagUsageLimits)
	return ok && (s == nil || !s.IsLaterPart || core.UsageLimitsOf(v).Unit == core.UsageLimitsUnitByte)
}

// withDraw is o after a use.
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
	next.Version++
	next.Attributes = o.Attributes.Set(core.TagUsageLimits, u.Value())
	return next, nil
}
