package hsm

import (
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// A call into the library cannot be ended from outside. What waits for others'
// calls therefore waits for a time: a call that hangs must hold up itself alone.

// life is shared by calls and held alone while the library is finalized.
type life struct {
	mu       sync.RWMutex
	changing atomic.Bool
}

// pollEvery is how often a bounded wait looks again.
const pollEvery = time.Millisecond

// share lets a call in, or refuses after wait while the library is being
// started anew.
func (l *life) share(wait time.Duration) error {
	for end := time.Now().Add(wait); l.changing.Load() || !l.mu.TryRLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "the connection to the HSM is being made again; try again later")
		}
	}
	return nil
}

func (l *life) leave() { l.mu.RUnlock() }

// alone waits until no call is under way. It takes no place in a queue, where
// it would keep new calls out behind one that hangs.
func (l *life) alone(wait time.Duration) error {
	l.changing.Store(true)
	defer l.changing.Store(false)
	for end := time.Now().Add(wait); !l.mu.TryLock(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return core.Errorf(core.TokenUnavailable, "the HSM has calls that do not come back, so the connection cannot be made again; if they stay, restart keyreeve")
		}
	}
	return nil
}

func (l *life) over() { l.mu.Unlock() }

// session is one of the pool. began is when the call that has it began, in Unix
// nanoseconds; 0 while nobody has it.
type session struct {
	handle p11.SessionHandle
	began  atomic.Int64
}

// calls knows the sessions of the pool, to tell which hang. Safe for
// concurrent use.
type calls struct {
	mu    sync.Mutex
	all   map[*session]struct{}
	stuck atomic.Int64 // as last counted
}

func (c *calls) add(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*session]struct{}{}
	}
	c.all[s] = struct{}{}
}

func (c *calls) remove(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, s)
}

// count counts the calls that began more than limit ago.
func (c *calls) count(limit time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, since := 0, time.Now().Add(-limit).UnixNano()
	for s := range c.all {
		if b := s.began.Load(); b != 0 && b < since {
			n++
		}
	}
	c.stuck.Store(int64(n))
	return n
}

// hangs refuses new calls while half of the sessions or more hang: they would
// hang too, one after the other, each with its caller.
func (t *Token) hangs() error {
	if t.calls.stuck.Load()*2 < int64(t.cfg.Sessions) {
		return nil
	}
	n := t.calls.count(t.cfg.Stuck)
	if n*2 < t.cfg.Sessions {
		return nil
	}
	return core.Errorf(core.TokenUnavailable, "%d calls into the HSM have not come back for over %v; look at the HSM and its connection, and restart keyreeve if they stay", n, t.cfg.Stuck)
}
