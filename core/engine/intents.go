package engine

import (
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// intentAgeSeconds is how old an intent must be before the reconciler takes its
// operation for dead; no operation runs that long.
const intentAgeSeconds = 120

// tokenIntent is the id of the one intent that a token object can have.
func tokenIntent(token []byte) string { return hex.EncodeToString(token) }

// ownIntents are the intents that this process began and has not finished. They
// are the only reason for which a token object is destroyed without a command:
// a row of the table intent can be put back or altered, or come from a restored
// backup, and then names a key that is in use. Safe for concurrent use.
type ownIntents struct {
	process string // this one, in its intents

	mu     sync.Mutex
	open   map[string]*ownIntent // by id
	others int                   // intents of other processes whose token object is there, when last seen
}

// ownIntent is one of them. It is not changed but for failed.
type ownIntent struct {
	core.Intent
	birth  bool  // of an object whose creation was not acknowledged, or was taken back
	since  int64 // by Clock.Mono
	failed bool  // the token was asked to destroy the object, and it is not certain that it is gone
}

func newOwnIntents() *ownIntents {
	return &ownIntents{process: randomHex(), open: map[string]*ownIntent{}}
}

func randomHex() string { return hex.EncodeToString(newToken()) }

// newIntent makes an intent of this process about the token object of o.
func (e *Engine) newIntent(kind core.IntentKind, tenant, id string, token []byte, now int64) core.Intent {
	return core.Intent{ID: tokenIntent(token), Tenant: tenant, Kind: kind, CKAID: token, Object: id, Label: e.ports.HSM.ObjectLabel(tenant, id), Time: now,
		Process: e.own.process, Nonce: rand.Text()}
}

// begin remembers the intents of a change before it is stored: whether it was is not
// always known.
func (w *ownIntents) begin(ch *core.Change, mono int64, birth bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range core.WritesOf[core.BeginIntent](ch) {
		w.open[b.Intent.ID] = &ownIntent{Intent: b.Intent, birth: birth || b.Intent.Kind == core.IntentCreateObject, since: mono}
	}
}

// finish forgets the intents that a stored change has closed.
func (w *ownIntents) finish(ch *core.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range core.WritesOf[core.FinishIntent](ch) {
		delete(w.open, f.ID)
	}
}

// fail notes that the object of an intent may still be there.
func (w *ownIntents) fail(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.open[id]; i != nil {
		i.failed = true
	}
}

// due lists the intents whose operation has ended without finishing them.
func (w *ownIntents) due(mono int64) (out []ownIntent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.open {
		if i.failed || mono-i.since >= intentAgeSeconds*1e6 {
			out = append(out, *i)
		}
	}
	return out
}

func (w *ownIntents) has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[id] != nil
}

func (w *ownIntents) setOthers(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others = n
}

// PendingDestroys counts the token objects that should be gone and are not
// certain to be: those that this process could not destroy yet, and those that
// other processes left, which only a command destroys.
func (e *Engine) PendingDestroys() int {
	e.own.mu.Lock()
	defer e.own.mu.Unlock()
	n := e.own.others
	for _, i := range e.own.open {
		if i.failed {
			n++
		}
	}
	return n
}

// tokenObject is what an intent is about.
func tokenObject(i *core.Intent) core.TokenObject {
	return core.TokenObject{Tenant: i.Tenant, ID: i.Object, CKAID: i.CKAID}
}
