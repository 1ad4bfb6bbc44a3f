package engine

import (
	"context"
	"encoding/hex"
	"slices"
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
	due := slices.DeleteFunc(intents, func(i core.Intent) bool { return !atStart && e.Clock.Now()-i.Time < intentAgeSeconds })
	if err := e.settleAll(ctx, due, &n); err != nil {
		return n, err
	}
	if atStart {
		err = e.countOrphans(ctx, &n)
	}
	return n, err
}

// settleChunk is how many intents are closed in one commit.
const settleChunk = 200

// settleAll ends intents. The token is asked once what it holds: while it is away
// thousands of creations may fail, and each question takes as long as the token
// has objects.
func (e *Engine) settleAll(ctx context.Context, due []core.Intent, n *Reconciled) error {
	if len(due) == 0 {
		return nil
	}
	kinds := make([]string, len(due)) // as they began
	for i := range due {
		kinds[i] = due[i].Kind
	}
	for chunk := range slices.Chunk(due, settleChunk) {
		if err := e.takeOver(ctx, chunk); err != nil {
			return err
		}
	}
	have, err := e.HSM.Objects(ctx)
	if err != nil {
		return err
	}
	held := make(map[string]bool, len(have))
	for _, t := range have {
		held[string(t)] = true
	}
	for ; len(due) > 0; due, kinds = due[min(len(due), settleChunk):], kinds[min(len(kinds), settleChunk):] {
		if err := e.settle(ctx, due[:min(len(due), settleChunk)], kinds, held, n); err != nil {
			return err
		}
	}
	return nil
}

// takeOver gives the intents of creations another id: a creation that was only
// slow then finds its intent gone, and does not acknowledge a key whose removal
// has begun.
func (e *Engine) takeOver(ctx context.Context, due []core.Intent) error {
	var ch core.Change
	for i := range due {
		if due[i].Kind == intentCreate {
			ch.Finish = append(ch.Finish, due[i].ID)
			due[i].ID, due[i].Kind = hex.EncodeToString(newToken()), intentDestroy
			ch.Begin = append(ch.Begin, due[i])
		}
	}
	if len(ch.Begin) == 0 {
		return nil
	}
	return e.Store.Commit(ctx, &ch)
}

// settle removes the token objects that no row names and closes their intents. A
// creation whose row was committed finished its intent with it, so what is left
// here was never acknowledged.
func (e *Engine) settle(ctx context.Context, due []core.Intent, kinds []string, held map[string]bool, n *Reconciled) error {
	tokens := make([][]byte, len(due))
	for i := range due {
		tokens[i] = due[i].Token
	}
	named, err := e.Store.Residents(ctx, tokens)
	if err != nil {
		return err
	}
	var ch core.Change
	for i := range due {
		if t := string(due[i].Token); held[t] && !named[t] {
			if err := e.HSM.DestroyObject(ctx, due[i].Token); err != nil {
				return err
			}
			n.Removed++
		}
		ch.Finish, ch.Entries = append(ch.Finish, due[i].ID), append(ch.Entries, e.settled(due[i], kinds[i]))
	}
	n.Finished += len(due)
	return e.Store.Commit(ctx, &ch)
}

func (e *Engine) settled(i core.Intent, kind string) core.Entry {
	return e.Journal.Seal(&core.Record{Time: e.Clock.NowMicro(), Tenant: i.Tenant, Principal: "keyreeve", Door: core.DoorClock,
		Operation: "Reconcile", Object: i.Object, Outcome: core.Allowed, Where: "token", Detail: kind})
}

// countOrphans counts resident objects of this installation that no row names. They are reported and never removed: an intent precedes every object
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
	for _, t := range have {
		if !named[string(t)] {
			e.Log.Warn("token object that no row names", "token_object", hex.EncodeToString(t))
			n.Orphans++
		}
	}
	return nil
}
