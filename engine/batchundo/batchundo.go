// Package batchundo takes a batch of operations back (KMIP 1.4 §6.13, Batch Error Continuation
// Option Undo), or ends it. It relies on package engine for the record and the change. Start
// at [Undo].
package batchundo

import (
	"context"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Seconds is how long a destroyed token object certainly still exists: until then
// no reconciler has begun to remove it, not even on a node whose clock is ahead.
const Seconds = engine.IntentAgeSeconds / 2

// Undo undoes a batch in one transaction: new objects are deleted, and changed
// objects get their old state back (KMIP 1.4 §6.13, Batch Error Continuation Option
// Undo). If an object was changed by another caller in between, it fails with Conflict
// and undoes nothing.
func Undo(ctx context.Context, e *engine.Engine, c *core.Caller, u *core.Undo) error {
	var ch core.Change
	last := map[string]*core.ManagedObject{}  // as stored now
	first := map[string]*core.ManagedObject{} // before the batch; nil: did not exist
	var order []string
	for _, s := range u.Steps {
		id := s.After.ID
		if _, seen := last[id]; !seen {
			order, first[id] = append(order, id), s.Before
		}
		last[id] = s.After
	}
	slices.Reverse(order)
	var tokens []core.TokenObject
	var late error
	for _, id := range order {
		now, was := last[id], first[id]
		if was == nil {
			ch.Add(core.DeleteObject{Object: now}, core.AddUsage{Tenant: now.Tenant, Usage: core.Usage{}.Sub(engine.UsageOf(now))})
			if now.Material.Mode == core.ModeResident {
				tokens = append(tokens, core.TokenObject{Tenant: now.Tenant, ID: id, CKAID: now.Material.CKAID})
				ch.Add(core.BeginIntent{Intent: e.NewIntent(core.IntentDestroyObject, now.Tenant, id, now.Material.CKAID, e.Ports.Clock.Now())})
			}
			continue
		}
		if was.Material.CKAID != nil && e.Ports.Clock.Now()-now.Attributes.Num(core.TagDestroyDate) >= Seconds && now.Material.CKAID == nil {
			late = core.Errorf(core.IllegalOperation, "object %s was destroyed more than %d seconds ago, and its key may be gone from the HSM", id, Seconds)
		}
		if was.Material.CKAID != nil && now.Material.CKAID == nil {
			ch.Add(core.FinishIntent{ID: engine.IntentID(was.Material.CKAID)}) // the token object will not be destroyed
		}
		back := withUsesOf(was, now)
		back.Version = now.Version + 1
		engine.AddUpdate(&ch, now, back)
	}
	return takeBack(ctx, e, c, &ch, tokens, late)
}

// Finish ends a batch that will not be undone. It removes the token objects of the
// objects that the batch has destroyed, which were kept for Undo.
func Finish(ctx context.Context, e *engine.Engine, u *core.Undo) {
	for _, s := range u.Steps {
		if s.Before != nil && s.Before.Material.CKAID != nil && s.After.Material.CKAID == nil {
			e.FinishDestroy(ctx, core.TokenObject{Tenant: s.Before.Tenant, ID: s.Before.ID, CKAID: s.Before.Material.CKAID})
		}
	}
}

// takeBack commits the reverse change with its record, then removes the token objects
// of the deleted objects. If err is not nil, it only records that error.
func takeBack(ctx context.Context, e *engine.Engine, c *core.Caller, ch *core.Change, tokens []core.TokenObject, err error) error {
	plain := *c
	plain.Undo = nil
	k := e.Begin(ctx, &plain, core.ActionUndo)
	deleted := core.WritesOf[core.DeleteObject](ch)
	k.Record.Detail = strconv.Itoa(len(deleted)) + " objects taken back, " + strconv.Itoa(len(core.WritesOf[core.UpdateObject](ch))) + " restored"
	if err != nil {
		return k.End(err)
	}
	if err = k.Commit(ch); err == nil {
		for _, w := range deleted {
			e.Ports.HSM.Forget(w.Object.Tenant, w.Object.ID)
		}
		for _, t := range tokens {
			e.FinishDestroy(ctx, t)
		}
	}
	return k.End(err)
}

// withUsesOf returns the successor of an object as it was before a batch, with the uses that the
// batch has counted. Undo gives no use back: the answer of an undone item keeps its payload.
func withUsesOf(was, now *core.ManagedObject) *core.ManagedObject {
	back := was.Successor()
	if limits, ok := was.Attributes.Get(core.TagUsageLimits); ok {
		back.Attributes = back.Attributes.Set(core.TagUsageLimits, withoutUsesOf(now, core.UsageLimitsOf(limits)).Value())
	}
	for _, name := range append([]core.AttributeName{core.UsesAttribute}, core.CipherAttributes...) {
		counts := now.Attributes.All(name)
		if len(counts) == 0 {
			continue
		}
		back.Attributes = back.Attributes.Without(name)
		for _, count := range counts {
			back.Attributes = back.Attributes.Add(count)
		}
	}
	return back
}

// withoutUsesOf returns Usage Limits as they were before a batch, less what the batch has used of
// the object. Limits that the batch has changed count from their total: only unused ones can be
// changed.
func withoutUsesOf(now *core.ManagedObject, limits core.UsageLimits) core.UsageLimits {
	value, ok := now.Attributes.Get(core.TagUsageLimits)
	if !ok {
		return limits
	}
	left, from := core.UsageLimitsOf(value), limits.Count
	if left.Total != limits.Total || left.Unit != limits.Unit {
		from = left.Total
	}
	limits.Count = max(0, limits.Count-max(0, from-left.Count))
	return limits
}
