package engine

import (
	"context"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// undoSeconds is how long a destroyed token object certainly still exists: until then
// no reconciler has begun to remove it, not even on a node whose clock is ahead.
const undoSeconds = IntentAgeSeconds / 2

// UndoBatch undoes a batch in one transaction: new objects are deleted, and changed
// objects get their old state back (KMIP 1.4 §6.13, Batch Error Continuation Option
// Undo). If an object was changed by another caller in between, it fails with Conflict
// and undoes nothing.
func (e *Engine) UndoBatch(ctx context.Context, c *core.Caller, u *core.Undo) error {
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
			ch.Add(core.DeleteObject{Object: now}, core.AddUsage{Tenant: now.Tenant, Usage: core.Usage{}.Sub(usageOf(now))})
			if now.Material.Mode == core.ModeResident {
				tokens = append(tokens, core.TokenObject{Tenant: now.Tenant, ID: id, CKAID: now.Material.CKAID})
				ch.Add(core.BeginIntent{Intent: e.NewIntent(core.IntentDestroyObject, now.Tenant, id, now.Material.CKAID, e.Ports.Clock.Now())})
			}
			continue
		}
		if was.Material.CKAID != nil && e.Ports.Clock.Now()-now.Attributes.Num(core.TagDestroyDate) >= undoSeconds && now.Material.CKAID == nil {
			late = core.Errorf(core.IllegalOperation, "object %s was destroyed more than %d seconds ago, and its key may be gone from the HSM", id, undoSeconds)
		}
		if was.Material.CKAID != nil && now.Material.CKAID == nil {
			ch.Add(core.FinishIntent{ID: IntentID(was.Material.CKAID)}) // the token object will not be destroyed
		}
		back := withUsesOf(was, now)
		back.Version = now.Version + 1
		addUpdate(&ch, now, back)
	}
	return e.takeBack(ctx, c, &ch, tokens, late)
}

// FinishBatch ends a batch that will not be undone. It removes the token objects of the
// objects that the batch has destroyed, which were kept for Undo.
func (e *Engine) FinishBatch(ctx context.Context, u *core.Undo) {
	for _, s := range u.Steps {
		if s.Before != nil && s.Before.Material.CKAID != nil && s.After.Material.CKAID == nil {
			e.FinishDestroy(ctx, core.TokenObject{Tenant: s.Before.Tenant, ID: s.Before.ID, CKAID: s.Before.Material.CKAID})
		}
	}
}

// takeBack commits the reverse change with its record, then removes the token objects
// of the deleted objects. If err is not nil, it only records that error.
func (e *Engine) takeBack(ctx context.Context, c *core.Caller, ch *core.Change, tokens []core.TokenObject, err error) error {
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
