package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// IntentAgeSeconds is the age from which the reconciler treats the operation of an
// intent as ended. No operation runs that long.
const IntentAgeSeconds = 120

// IntentID returns the ID of the only intent that a token object can have. token is
// its CKA_ID.
func IntentID(token []byte) string { return hex.EncodeToString(token) }

// OwnIntents are the intents that this process began and has not finished. Only for
// them is a token object destroyed without a command. A row of the table intent is
// not enough: it may be old, altered or from a restored backup, and may name a key
// that is in use. Safe for concurrent use.
type OwnIntents struct {
	Process string // the name of this process in its intents

	mu     sync.Mutex
	open   map[string]*OwnIntent // by id
	others int                   // intents of other processes whose token object exists, at the last count
}

// OwnIntent is one intent of this process. Only DestroyFailed changes.
type OwnIntent struct {
	core.Intent
	Unacknowledged bool  // the creation of the object was not acknowledged, or was undone
	since          int64 // by Clock.Mono
	DestroyFailed  bool  // the token was asked to destroy the object, and the object may still exist
}

func newOwnIntents() *OwnIntents {
	return &OwnIntents{Process: RandomHex(), open: map[string]*OwnIntent{}}
}

// RandomHex returns 16 random bytes in hexadecimal, as in the IDs of intents.
func RandomHex() string { return hex.EncodeToString(newCKAID()) }

// NewIntent returns an intent of this process about the token object of object id. It
// stores nothing.
func (e *Engine) NewIntent(kind core.IntentKind, tenant, id string, token []byte, now int64) core.Intent {
	return core.Intent{ID: IntentID(token), Tenant: tenant, Kind: kind, CKAID: token, Object: id, Label: e.Ports.HSM.ObjectLabel(tenant, id), Time: now,
		Process: e.Intents.Process, Nonce: rand.Text()}
}

// IntendTokenObject stores the intent to make a token object for o, and sets its CKA_ID
// in s. It fails with QuotaExceeded if the tenant has too many resident keys.
func (k *Call) IntendTokenObject(o *core.ManagedObject, s *core.KeySpec) error {
	if err := k.holdUsage(k.heldUsage.Add(core.Usage{ResidentKeys: 1})); err != nil {
		return err
	}
	s.CKAID = newCKAID()
	ch := core.ChangeOf(core.BeginIntent{Intent: k.Engine.NewIntent(core.IntentCreateObject, o.Tenant, o.ID, s.CKAID, k.Now)})
	k.Engine.Intents.Begin(ch, k.Ports.Clock.Mono(), true)
	return k.Ports.Store.Commit(k.Ctx, ch)
}

// Begin remembers the intents of a change before the change is stored, because it is not
// always known afterwards whether it was. mono is the time by Clock.Mono.
func (w *OwnIntents) Begin(ch *core.Change, mono int64, birth bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range core.WritesOf[core.BeginIntent](ch) {
		w.open[b.Intent.ID] = &OwnIntent{Intent: b.Intent, Unacknowledged: birth || b.Intent.Kind == core.IntentCreateObject, since: mono}
	}
}

// Finish forgets the intents that a stored change has closed.
func (w *OwnIntents) Finish(ch *core.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range core.WritesOf[core.FinishIntent](ch) {
		delete(w.open, f.ID)
	}
}

// NoteFailed notes that the object of an intent may still be there.
func (w *OwnIntents) NoteFailed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.open[id]; i != nil {
		i.DestroyFailed = true
	}
}

// Due lists the intents that are not finished although their operation has ended.
func (w *OwnIntents) Due(mono int64) (out []OwnIntent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.open {
		if i.DestroyFailed || mono-i.since >= IntentAgeSeconds*1e6 {
			out = append(out, *i)
		}
	}
	return out
}

// Contains reports whether an intent is one of this process and not finished.
func (w *OwnIntents) Contains(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[id] != nil
}

// SetForeign stores how many intents of other processes have a token object.
func (w *OwnIntents) SetForeign(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others = n
}

// PendingDestroys counts the token objects that should be destroyed and may still exist:
// those that this process could not destroy yet, and those that other processes left,
// which only a command destroys.
func (e *Engine) PendingDestroys() int {
	e.Intents.mu.Lock()
	defer e.Intents.mu.Unlock()
	n := e.Intents.others
	for _, i := range e.Intents.open {
		if i.DestroyFailed {
			n++
		}
	}
	return n
}

// TokenObjectOf returns the token object that an intent is about.
func TokenObjectOf(i *core.Intent) core.TokenObject {
	return core.TokenObject{Tenant: i.Tenant, ID: i.Object, CKAID: i.CKAID}
}

// CloseIntents stores a change that finishes intents, and forgets them. An empty change
// does nothing.
func (e *Engine) CloseIntents(ctx context.Context, ch *core.Change) error {
	if len(ch.Writes) == 0 {
		return nil
	}
	if err := e.Ports.Store.Commit(ctx, ch); err != nil {
		return err
	}
	e.Intents.Finish(ch)
	return nil
}

// FinishDestroy removes a token object that this process has an intent for, and finishes
// the intent. If the token fails, the intent stays and the reconciler tries again. The
// key cannot be used meanwhile, because its row is destroyed already.
func (e *Engine) FinishDestroy(ctx context.Context, o core.TokenObject) {
	ctx = context.WithoutCancel(ctx)
	id := IntentID(o.CKAID)
	if !e.Intents.Contains(id) {
		return
	}
	err := e.Ports.HSM.DestroyObject(ctx, o)
	if err == nil {
		err = e.CloseIntents(ctx, core.ChangeOf(core.FinishIntent{ID: id}))
	}
	if err != nil {
		e.Intents.NoteFailed(id)
		e.Ports.Log.Error("destroy token object", "token_object", hex.EncodeToString(o.CKAID), "object", o.ID, "error", err)
	}
}
