package member

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A call into the library cannot be ended from outside. Everything that waits for
// the calls of others therefore waits for a limited time: a call that hangs must hold
// up itself alone.

// callGate lets calls in, and closes while the library is finalized: a call would
// crash then.
type callGate struct {
	mu      sync.RWMutex
	closing atomic.Bool
}

// pollEvery is how often a bounded wait tries again.
const pollEvery = time.Millisecond

// enterWithin lets a call in. It fails if the gate stays closed for wait.
func (g *callGate) enterWithin(wait time.Duration) error {
	for end := time.Now().Add(wait); g.closing.Load() || !g.mu.TryRLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "the connection to the HSM is being restored; try again later")
		}
	}
	return nil
}

func (g *callGate) leaveGate() { g.mu.RUnlock() }

// closeWithin waits until no call is inside. It takes no place in a queue, where it would
// keep new calls out behind one that hangs.
func (g *callGate) closeWithin(wait time.Duration) error {
	g.closing.Store(true)
	defer g.closing.Store(false)
	for end := time.Now().Add(wait); !g.mu.TryLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "calls into the HSM do not return, so the connection cannot be restored; if they stay, restart keyreeve")
		}
	}
	return nil
}

func (g *callGate) reopen() { g.mu.Unlock() }
