package member

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A call into the library cannot be cancelled. So every wait for the calls of others is
// limited: a call that hangs must not block others.

// callGate lets calls in. It is closed while the library is finalized, since a call would
// crash then.
type callGate struct {
	mu      sync.RWMutex
	closing atomic.Bool
}

// pollEvery is how often a bounded wait tries again.
const pollEvery = time.Millisecond

// enterWithin enters the gate. It fails if the gate stays closed for wait.
func (g *callGate) enterWithin(wait time.Duration) error {
	for end := time.Now().Add(wait); g.closing.Load() || !g.mu.TryRLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "the connection to the HSM is being restored; try again later")
		}
	}
	return nil
}

func (g *callGate) leaveGate() { g.mu.RUnlock() }

// closeWithin waits until no call is inside, and closes the gate. It does not use Lock,
// which would keep new calls out while it waits for one that hangs.
func (g *callGate) closeWithin(wait time.Duration) error {
	g.closing.Store(true)
	defer g.closing.Store(false)
	for end := time.Now().Add(wait); !g.mu.TryLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "calls into the HSM do not return, so the connection cannot be restored; restart keyreeve if this continues")
		}
	}
	return nil
}

func (g *callGate) reopen() { g.mu.Unlock() }
