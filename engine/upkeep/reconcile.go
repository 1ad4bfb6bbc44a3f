package upkeep

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Reconciled has the counts of one run of the reconciler: intents that it closed, token
// objects of this process that it removed, and orphans, which it does not touch.
type Reconciled struct{ Finished, Removed, Orphans int }

// Reconcile finishes the intents that operations of this process left open, and closes
// intents of other processes that are certainly finished. It destroys no token object
// on the evidence of a row alone (docs/decisions/0020). atStart is true if no operation
// can be under way, so that the age of an intent does not matter.
func (v *Verbs) Reconcile(ctx context.Context, atStart bool) (Reconciled, error) {
	var n Reconciled
	err := errors.Join(v.settleOwn(ctx, &n), v.closeFinished(ctx, atStart && !v.engine.Ports.Store.Shared(), &n))
	if atStart && (err == nil || core.CodeOf(err) == core.Tampered) {
		err = errors.Join(err, v.countOrphans(ctx, &n))
	}
	v.engine.NoteTampered(err)
	return n, err
}

// Bounds of one run.
const (
	settleChunk = 200 // intents that are closed in one commit
	maxAway     = 3   // intents of a chunk that may find the token unavailable; the others then wait for the next run
)

// settleOwn finishes this process's intents whose operation has ended. It lists the
// token's objects only once: thousands of creations may fail while the token is
// unavailable, and each listing takes time for every object in the token.
func (v *Verbs) settleOwn(ctx context.Context, n *Reconciled) error {
	due := v.engine.Intents.Due(v.engine.Ports.Clock.Mono())
	if len(due) == 0 {
		return nil
	}
	for chunk := range slices.Chunk(due, settleChunk) {
		if err := v.takeOver(ctx, chunk); err != nil {
			return err
		}
	}
	held, err := v.heldObjects(ctx)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(due, settleChunk) {
		var ch core.Change
		var failed error
		for i, away := 0, 0; i < len(chunk) && away < maxAway; i++ {
			done, err := v.settleIntent(ctx, &chunk[i], held, n)
			if done {
				ch.Add(core.FinishIntent{ID: chunk[i].ID}, v.settledRecord(&chunk[i].Intent))
			}
			failed = errors.Join(failed, err)
			if err != nil && core.CodeOf(err) == core.TokenUnavailable {
				away++
			}
		}
		if err := v.closeCounted(ctx, &ch, n); err != nil || failed != nil {
			return errors.Join(failed, err)
		}
	}
	return nil
}

// takeOver replaces the intents of creations by intents with new IDs. A creation that was
// only slow then fails to finish its intent, and does not acknowledge a key that is
// being removed.
func (v *Verbs) takeOver(ctx context.Context, due []engine.OwnIntent) error {
	var ch core.Change
	for i := range due {
		if due[i].Kind == core.IntentCreateObject {
			ch.Add(core.FinishIntent{ID: due[i].ID})
			due[i].ID, due[i].Kind = engine.RandomHex(), core.IntentDestroyObject
			ch.Add(core.BeginIntent{Intent: due[i].Intent})
		}
	}
	if len(ch.Writes) == 0 {
		return nil
	}
	v.engine.Intents.Begin(&ch, v.engine.Ports.Clock.Mono()-engine.IntentAgeSeconds*1e6, true)
	if err := v.engine.Ports.Store.Commit(ctx, &ch); err != nil {
		return err
	}
	v.engine.Intents.Finish(&ch)
	return nil
}

// heldObjects returns the CKA_IDs of all objects in the token.
func (v *Verbs) heldObjects(ctx context.Context) (map[string]bool, error) {
	have, err := v.engine.Ports.HSM.Objects(ctx)
	held := make(map[string]bool, len(have))
	for _, o := range have {
		held[string(o.CKAID)] = true
	}
	return held, err
}

// settleIntent handles one intent of this process and reports whether it can be closed.
// The sealed row decides: a token object that it names stays. The token object of an
// acknowledged creation is removed only if the row says that it was destroyed.
func (v *Verbs) settleIntent(ctx context.Context, i *engine.OwnIntent, held map[string]bool, n *Reconciled) (bool, error) {
	o, err := v.engine.Ports.Store.Object(ctx, i.Tenant, i.Object)
	switch {
	case err == nil && bytes.Equal(o.Material.CKAID, i.CKAID):
		return true, nil
	case err == nil && o.StateAt(v.engine.Ports.Clock.Now()).Gone(), err != nil && core.CodeOf(err) == core.ItemNotFound && i.Unacknowledged:
	default:
		return false, err
	}
	if i.Unacknowledged && !i.DestroyFailed && !held[string(i.CKAID)] {
		return true, nil // the token never made it
	}
	if err := v.engine.Ports.HSM.DestroyObject(ctx, engine.TokenObjectOf(&i.Intent)); err != nil {
		v.engine.Intents.NoteFailed(i.ID)
		return false, err
	}
	n.Removed++
	return true, nil
}

// closeFinished closes intents of other processes if their object is not in the token,
// or if a row names it. The others stay open for an operator to check.
func (v *Verbs) closeFinished(ctx context.Context, anyAge bool, n *Reconciled) error {
	intents, tampered, err := v.engine.Ports.Store.Intents(ctx)
	if err != nil {
		return err
	}
	return errors.Join(v.closeSound(ctx, intents, anyAge, n), tamperedIntents(tampered))
}

// tamperedIntents returns the error about rows of intents that were changed behind the
// server; nil if there are none.
func tamperedIntents(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return core.Errorf(core.Tampered, "%d database rows of intents, that of %s first, were changed outside keyreeve and are not used. See keyreeve hsm orphans list, and find out who can write the database", len(ids), core.ClientText(ids[0]))
}

// closeSound does the work of closeFinished for the rows that are as the server wrote
// them. anyAge closes young intents too.
func (v *Verbs) closeSound(ctx context.Context, intents []core.Intent, anyAge bool, n *Reconciled) error {
	due := slices.DeleteFunc(intents, func(i core.Intent) bool {
		return i.Process == v.engine.Intents.Process || (!anyAge && v.engine.Ports.Clock.Now()-i.Time < engine.IntentAgeSeconds)
	})
	if len(due) == 0 {
		v.engine.Intents.SetForeign(0)
		return nil
	}
	held, err := v.heldObjects(ctx)
	if err != nil {
		return err
	}
	others := 0
	for chunk := range slices.Chunk(due, settleChunk) {
		var ch core.Change
		for i := range chunk {
			if held[string(chunk[i].CKAID)] && !v.isNamed(ctx, &chunk[i]) {
				others++
				continue
			}
			ch.Add(core.FinishIntent{ID: chunk[i].ID}, v.settledRecord(&chunk[i]))
		}
		if err := v.closeCounted(ctx, &ch, n); err != nil {
			return err
		}
	}
	v.engine.Intents.SetForeign(others)
	return nil
}

// isNamed reports whether the row of an object names the token object of an intent. The row
// of a destroyed object names none, unless it can be restored.
func (v *Verbs) isNamed(ctx context.Context, i *core.Intent) bool {
	o, err := v.engine.Ports.Store.Object(ctx, i.Tenant, i.Object)
	return err == nil && bytes.Equal(o.Material.CKAID, i.CKAID)
}

// closeCounted closes intents and counts them.
func (v *Verbs) closeCounted(ctx context.Context, ch *core.Change, n *Reconciled) error {
	err := v.engine.CloseIntents(ctx, ch)
	if err == nil {
		n.Finished += len(core.WritesOf[core.FinishIntent](ch))
	}
	return err
}

// settledRecord returns the record of an intent that is closed.
func (v *Verbs) settledRecord(i *core.Intent) core.AppendEntry {
	return v.engine.Ports.RecordWrite(&core.Record{Time: v.engine.Ports.Clock.NowMicro(), Tenant: i.Tenant, Principal: "keyreeve", Door: core.DoorClock,
		Action: core.ActionReconcile, Object: i.Object, Outcome: core.Allowed, ExecutedIn: "token", Detail: string(i.Kind)})
}

// countOrphans counts and logs the token objects that no row names. Most likely the
// database does not belong to this token, or was restored from an old backup. Then they
// are the only copy of keys in use.
func (v *Verbs) countOrphans(ctx context.Context, n *Reconciled) error {
	orphans, err := v.Orphans(ctx)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if o.InToken {
			v.engine.Ports.Log.Warn("token object that no row names", "token_object", o.TokenObject, "tenant", o.Tenant, "object", o.ID, "why", o.Why)
			n.Orphans++
		}
	}
	return nil
}
