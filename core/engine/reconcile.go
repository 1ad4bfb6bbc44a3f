package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Reconciled counts what a run of the reconciler did: intents that it closed,
// token objects of this process that it removed, and token objects that no row
// names, which it leaves alone.
type Reconciled struct{ Finished, Removed, Orphans int }

// Reconcile finishes what operations of this process left behind, and closes
// intents of other processes that are provably finished. It destroys no token
// object because a row says so: see docs/decisions/0020.
// atStart says that no operation can be under way, so that age does not matter.
func (e *Engine) Reconcile(ctx context.Context, atStart bool) (Reconciled, error) {
	var n Reconciled
	err := errors.Join(e.settleOwn(ctx, &n), e.closeFinished(ctx, atStart && !e.ports.Store.Shared(), &n))
	if atStart && (err == nil || core.CodeOf(err) == core.Tampered) {
		err = errors.Join(err, e.countOrphans(ctx, &n))
	}
	e.noteTampered(err)
	return n, err
}

// settleChunk is how many intents are closed in one commit, maxAway how many may
// find the token away before the rest waits for the next run.
const (
	settleChunk = 200
	maxAway     = 3
)

// settleOwn ends this process's intents whose operation is over. The token is
// asked once what it holds: while it is away thousands of creations may fail, and
// each question takes as long as the token has objects.
func (e *Engine) settleOwn(ctx context.Context, n *Reconciled) error {
	due := e.own.due(e.ports.Clock.Mono())
	if len(due) == 0 {
		return nil
	}
	for chunk := range slices.Chunk(due, settleChunk) {
		if err := e.takeOver(ctx, chunk); err != nil {
			return err
		}
	}
	held, err := e.heldObjects(ctx)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(due, settleChunk) {
		var ch core.Change
		var failed error
		for i, away := 0, 0; i < len(chunk) && away < maxAway; i++ {
			done, err := e.settle(ctx, &chunk[i], held, n)
			if done {
				ch.Add(core.FinishIntent{ID: chunk[i].ID}, e.settled(&chunk[i].Intent))
			}
			failed = errors.Join(failed, err)
			if err != nil && core.CodeOf(err) == core.TokenUnavailable {
				away++
			}
		}
		if err := e.closeIntents(ctx, &ch, n); err != nil || failed != nil {
			return errors.Join(failed, err)
		}
	}
	return nil
}

// takeOver gives the intents of creations another id: a creation that was only
// slow then finds its intent gone, and does not acknowledge a key whose removal
// has begun.
func (e *Engine) takeOver(ctx context.Context, due []ownIntent) error {
	var ch core.Change
	for i := range due {
		if due[i].Kind == core.IntentCreateObject {
			ch.Add(core.FinishIntent{ID: due[i].ID})
			due[i].ID, due[i].Kind = randomHex(), core.IntentDestroyObject
			ch.Add(core.BeginIntent{Intent: due[i].Intent})
		}
	}
	if len(ch.Writes) == 0 {
		return nil
	}
	e.own.begin(&ch, e.ports.Clock.Mono()-intentAgeSeconds*1e6, true)
	if err := e.ports.Store.Commit(ctx, &ch); err != nil {
		return err
	}
	e.own.finish(&ch)
	return nil
}

// heldObjects lists what the token holds, by CKA_ID.
func (e *Engine) heldObjects(ctx context.Context) (map[string]bool, error) {
	have, err := e.ports.HSM.Objects(ctx)
	held := make(map[string]bool, len(have))
	for _, o := range have {
		held[string(o.CKAID)] = true
	}
	return held, err
}

// settle ends one intent of this process and reports whether it can be closed.
// The sealed row has the last word: an object that it names stays, and one that
// was acknowledged goes only if the row says that it was destroyed.
func (e *Engine) settle(ctx context.Context, i *ownIntent, held map[string]bool, n *Reconciled) (bool, error) {
	o, err := e.ports.Store.Object(ctx, i.Tenant, i.Object)
	switch {
	case err == nil && bytes.Equal(o.Material.CKAID, i.CKAID):
		return true, nil
	case err == nil && o.StateAt(e.ports.Clock.Now()).Gone(), err != nil && core.CodeOf(err) == core.ItemNotFound && i.birth:
	default:
		return false, err
	}
	if i.birth && !i.failed && !held[string(i.CKAID)] {
		return true, nil // the token never made it
	}
	if err := e.ports.HSM.DestroyObject(ctx, tokenObject(&i.Intent)); err != nil {
		e.own.fail(i.ID)
		return false, err
	}
	n.Removed++
	return true, nil
}

// closeFinished closes the intents that other processes left, if the token does
// not hold their object any more, or if a row names it. The others stay open, for
// an operator to look at.
func (e *Engine) closeFinished(ctx context.Context, anyAge bool, n *Reconciled) error {
	intents, tampered, err := e.ports.Store.Intents(ctx)
	if err != nil {
		return err
	}
	return errors.Join(e.closeSound(ctx, intents, anyAge, n), tamperedIntents(tampered))
}

// tamperedIntents is the error about rows of intents that were changed; nil if
// there is none.
func tamperedIntents(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return core.Errorf(core.Tampered, "%d database rows of intents, that of %s first, are not as keyreeve wrote them; they are not used. See keyreeve hsm orphans list, and find out who can write the database", len(ids), printable(ids[0]))
}

func (e *Engine) closeSound(ctx context.Context, intents []core.Intent, anyAge bool, n *Reconciled) error {
	due := slices.DeleteFunc(intents, func(i core.Intent) bool {
		return i.Process == e.own.process || (!anyAge && e.ports.Clock.Now()-i.Time < intentAgeSeconds)
	})
	if len(due) == 0 {
		e.own.setOthers(0)
		return nil
	}
	held, err := e.heldObjects(ctx)
	if err != nil {
		return err
	}
	others := 0
	for chunk := range slices.Chunk(due, settleChunk) {
		var ch core.Change
		for i := range chunk {
			if held[string(chunk[i].CKAID)] && !e.named(ctx, &chunk[i]) {
				others++
				continue
			}
			ch.Add(core.FinishIntent{ID: chunk[i].ID}, e.settled(&chunk[i]))
		}
		if err := e.closeIntents(ctx, &ch, n); err != nil {
			return err
		}
	}
	e.own.setOthers(others)
	return nil
}

// named reports whether a row of an object that lives names the token object.
func (e *Engine) named(ctx context.Context, i *core.Intent) bool {
	o, err := e.ports.Store.Object(ctx, i.Tenant, i.Object)
	return err == nil && bytes.Equal(o.Material.CKAID, i.CKAID) && !o.StateAt(e.ports.Clock.Now()).Gone()
}

func (e *Engine) closeIntents(ctx context.Context, ch *core.Change, n *Reconciled) error {
	if len(ch.Writes) == 0 {
		return nil
	}
	if err := e.ports.Store.Commit(ctx, ch); err != nil {
		return err
	}
	e.own.finish(ch)
	n.Finished += len(core.WritesOf[core.FinishIntent](ch))
	return nil
}

func (e *Engine) settled(i *core.Intent) core.AppendEntry {
	return e.recordOf(&core.Record{Time: e.ports.Clock.NowMicro(), Tenant: i.Tenant, Principal: "keyreeve", Door: core.DoorClock,
		Action: core.ActionReconcile, Object: i.Object, Outcome: core.Allowed, Where: "token", Detail: string(i.Kind)})
}

// countOrphans counts and logs the token objects of ours that nothing explains:
// most likely the database is not the one that belongs to this token, or was
// restored from an old backup, and then they are the only copy of somebody's keys.
func (e *Engine) countOrphans(ctx context.Context, n *Reconciled) error {
	orphans, err := e.Orphans(ctx)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if o.InToken {
			e.ports.Log.Warn("token object that no row names", "token_object", o.TokenObject, "tenant", o.Tenant, "object", o.ID, "why", o.Why)
			n.Orphans++
		}
	}
	return nil
}

// finishDestroy removes the token object of this process's intent and closes the
// intent. If that fails now, the intent stays and the reconciler tries again: the
// row, which decides whether the key can be used, is destroyed already.
func (e *Engine) finishDestroy(ctx context.Context, o core.TokenObject) {
	ctx = context.WithoutCancel(ctx)
	id := tokenIntent(o.CKAID)
	if !e.own.has(id) {
		return
	}
	err := e.ports.HSM.DestroyObject(ctx, o)
	if err == nil {
		err = e.closeIntents(ctx, core.ChangeOf(core.FinishIntent{ID: id}), &Reconciled{})
	}
	if err != nil {
		e.own.fail(id)
		e.ports.Log.Error("destroy token object", "token_object", hex.EncodeToString(o.CKAID), "object", o.ID, "error", err)
	}
}
