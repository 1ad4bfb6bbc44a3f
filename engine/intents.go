package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// IntentAgeSeconds is how old an intent must be before the reconciler takes its
// operation for dead; no operation runs that long.
const IntentAgeSeconds = 120

// IntentID is the id of the one intent that a token object can have.
func IntentID(token []byte) string { return hex.EncodeToString(token) }

// OwnIntents are the intents that this process began and has not finished. They
// are the only reason for which a token object is destroyed without a command:
// a row of the table intent can be put back or altered, or come from a restored
// backup, and then names a key that is in use. Safe for concurrent use.
type OwnIntents struct {
	Process string // this one, in its intents

	mu     sync.Mutex
	open   map[string]*OwnIntent // by id
	others int                   // intents of other processes whose token object is there, when last seen
}

// OwnIntent is one of them. It is not changed but for failed.
type OwnIntent struct {
	core.Intent
	Birth  bool  // of an object whose creation was not acknowledged, or was taken back
	since  int64 // by Clock.Mono
	Failed bool  // the token was asked to destroy the object, and it is not certain that it is gone
}

func newOwnIntents() *OwnIntents {
	return &OwnIntents{Process: RandomHex(), open: map[string]*OwnIntent{}}
}

func RandomHex() string { return hex.EncodeToString(newCKAID()) }

// NewIntent makes an intent of this process about the token object of o.
func (e *Engine) NewIntent(kind core.IntentKind, tenant, id string, token []byte, now int64) core.Intent {
	return core.Intent{ID: IntentID(token), Tenant: tenant, Kind: kind, CKAID: token, Object: id, Label: e.Ports.HSM.ObjectLabel(tenant, id), Time: now,
		Process: e.Intents.Process, Nonce: rand.Text()}
}

// IntendTokenObject writes the row that says a token object is about to be made.
func (k *Call) IntendTokenObject(o *core.ManagedObject, s *core.KeySpec) error {
	if err := k.holdUsage(k.held.Add(core.Usage{ResidentKeys: 1})); err != nil {
		return err
	}
	s.CKAID = newCKAID()
	ch := core.ChangeOf(core.BeginIntent{Intent: k.Engine.NewIntent(core.IntentCreateObject, o.Tenant, o.ID, s.CKAID, k.Now)})
	k.Engine.Intents.Begin(ch, k.Ports.Clock.Mono(), true)
	return k.Ports.Store.Commit(k.Ctx, ch)
}

// Begin remembers the intents of a change before it is stored: whether it was is not
// always known.
func (w *OwnIntents) Begin(ch *core.Change, mono int64, birth bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range core.WritesOf[core.BeginIntent](ch) {
		w.open[b.Intent.ID] = &OwnIntent{Intent: b.Intent, Birth: birth || b.Intent.Kind == core.IntentCreateObject, since: mono}
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
		i.Failed = true
	}
}

// Due lists the intents whose operation has ended without finishing them.
func (w *OwnIntents) Due(mono int64) (out []OwnIntent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.open {
		if i.Failed || mono-i.since >= IntentAgeSeconds*1e6 {
			out = append(out, *i)
		}
	}
	return out
}

func (w *OwnIntents) Contains(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[id] != nil
}

func (w *OwnIntents) SetOthers(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others = n
}

// PendingDestroys counts the token objects that should be gone and are not
// certain to be: those that this process could not destroy yet, and those that
// other processes left, which only a command destroys.
func (e *Engine) PendingDestroys() int {
	e.Intents.mu.Lock()
	defer e.Intents.mu.Unlock()
	n := e.Intents.others
	for _, i := range e.Intents.open {
		if i.Failed {
			n++
		}
	}
	return n
}

// TokenObjectOf is what an intent is about.
func TokenObjectOf(i *core.Intent) core.TokenObject {
	return core.TokenObject{Tenant: i.Tenant, ID: i.Object, CKAID: i.CKAID}
}

// CloseIntents stores a change that closes intents.
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

// FinishDestroy removes the token object of this process's intent and closes the
// intent. If that fails now, the intent stays and the reconciler tries again: the
// row, which decides whether the key can be used, is destroyed already.
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
