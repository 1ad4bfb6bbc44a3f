package engine

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// Kinds of intents.
const (
	intentCreate  = "create-token-object"
	intentDestroy = "destroy-token-object"
)

// intentAgeSeconds is how old an intent must be before the reconciler takes its
// operation for dead; no operation runs that long.
const intentAgeSeconds = 120

// tokenIntent is the id of the one intent that a token object can have.
func tokenIntent(token []byte) string { return hex.EncodeToString(token) }

func itoa(n int) string { return strconv.Itoa(n) }

// Reconciled counts what a run of the reconciler did.
// Orphans are token objects that nothing explains; they are left alone.
type Reconciled struct{ Finished, Removed, Orphans int }

// Reconcile brings token and database together after a crash: an intent whose
// operation died is closed, and the token object that it was for is removed if
// no row names it.
// atStart says that no operation can be under way, so that age does not matter.
func (e *Engine) Reconcile(ctx context.Context, atStart bool) (Reconciled, error) {
	var n Reconciled
	intents, err := e.Store.Intents(ctx)
	if err != nil {
		return n, err
	}
	atStart = atStart && !e.Store.Shared()
	for _, i := range intents {
		if !atStart && e.Clock.Now()-i.Time < intentAgeSeconds {
			continue
		}
		if err := e.settle(ctx, i, &n); err != nil {
			return n, err
		}
	}
	if atStart {
		err = e.countOrphans(ctx, &n)
	}
	return n, err
}

// settle ends one intent. A creation whose row was committed finished its
// intent with it, so what is left here was never acknowledged. It is first taken
// over under another id: a creation that was only slow then finds its intent
// gone, and does not acknowledge a key whose removal has begun.
func (e *Engine) settle(ctx context.Context, i core.Intent, n *Reconciled) error {
	kind := i.Kind
	if kind == intentCreate {
		old := i.ID
		i.ID, i.Kind = hex.EncodeToString(newToken()), intentDestroy
		if err := e.Store.Commit(ctx, &core.Change{Begin: []core.Intent{i}, Finish: []string{old}}); err != nil {
			return err
		}
	}
	named, err := e.Store.Residents(ctx, [][]byte{i.Token})
	if err != nil {
		return err
	}
	if !named[string(i.Token)] {
		if err := e.HSM.DestroyObject(ctx, i.Token); err != nil {
			return err
		}
		n.Removed++
	}
	n.Finished++
	return e.Store.Commit(ctx, &core.Change{Finish: []string{i.ID}, Entries: []core.Entry{e.settled(i, kind)}})
}

func (e *Engine) settled(i core.Intent, kind string) core.Entry {
	return e.Journal.Seal(&core.Record{Time: e.Clock.NowMicro(), Tenant: i.Tenant, Principal: "keyreeve", Door: core.DoorClock,
		Operation: "Reconcile", Object: i.Object, Outcome: core.Allowed, Where: "token", Detail: kind})
}

// countOrphans counts token objects of ours that neither a row nor a tenant key
// names. They are reported and never removed: an intent precedes every object
// that we make, so these come from elsewhere - most likely the database is not
// the one that belongs to this token, or was restored from an old backup, and
// then they are the only copy of somebody's keys.
func (e *Engine) countOrphans(ctx context.Context, n *Reconciled) error {
	have, err := e.HSM.Objects(ctx)
	if err != nil || len(have) == 0 {
		return err
	}
	named, err := e.Store.Residents(ctx, have)
	if err != nil {
		return err
	}
	keys, err := e.Store.TenantKeys(ctx, "")
	if err != nil {
		return err
	}
	for _, k := range keys {
		named[string(k.Token)] = true
	}
	for _, t := range have {
		if !named[string(t)] {
			e.Log.Warn("token object that no row names", "token_object", hex.EncodeToString(t))
			n.Orphans++
		}
	}
	return nil
}
