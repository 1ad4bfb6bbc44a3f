package fair

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// rivalTime is how long the bound of [Processors] applies after a request of another
// tenant.
const rivalTime = 5 * time.Second

// turnWait is the longest time that a request waits for its turn to compute.
const turnWait = 10 * time.Second

// Processors bounds how many requests of one tenant compute at once while other tenants
// are served too. Without it, a short request of one tenant would wait for a processor
// behind all running requests of another tenant. There is no bound for a tenant that is
// alone. Safe for concurrent use.
type Processors struct {
	perTenant  int32                 // requests of one tenant
	lastServed atomic.Pointer[Share] // of the tenant of the last request
	rivalsSeen atomic.Int64          // when the tenant of the last request last changed; 0: never

	mu     sync.Mutex
	shares map[string]*Share
}

// NewProcessors returns Processors for so many requests of one tenant at once.
func NewProcessors(each int) *Processors {
	return &Processors{perTenant: int32(max(1, each)), shares: map[string]*Share{}}
}

// Share is the use of the processors by one tenant.
type Share struct {
	processors *Processors
	tenant     string
	users      int          // turns that are open; guarded by processors.mu
	running    atomic.Int32 // requests that compute
	waiting    atomic.Int32 // requests in the queue

	mu    sync.Mutex
	queue Queue[*turnWaiter]
}

type turnWaiter struct {
	state atomic.Int32  // waiterWaits, then one of the others
	ready chan struct{} // closed when granted
}

const (
	waiterWaits int32 = iota
	waiterGranted
	waiterGone
)

// Turn lets the requests of one connection compute, one after the other. The zero Turn
// has no bound.
type Turn struct {
	share     *Share
	principal string
	state     atomic.Int32
}

// States of a turn.
const (
	turnIdle    int32 = iota
	turnRuns          // its request counts as running
	turnPaused        // its request waits for something other than a processor
	turnGivenUp       // closed; this is final
)

// Open makes t a turn of a principal. The caller must call Close.
func (p *Processors) Open(t *Turn, tenant, principal string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shares[tenant]
	if s == nil {
		s = &Share{processors: p, tenant: tenant}
		p.shares[tenant] = s
	}
	s.users++
	t.share, t.principal = s, principal
}

// Close ends a turn for good, even if its request has not ended.
func (t *Turn) Close() {
	s := t.share
	if s == nil {
		return
	}
	if t.state.Swap(turnGivenUp) == turnRuns {
		s.release()
	}
	p := s.processors
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users == 0 && p.shares[s.tenant] == s {
		delete(p.shares, s.tenant)
		p.lastServed.CompareAndSwap(s, nil)
	}
}

// Begin waits until the request may compute. That is at once, unless other tenants are
// served too and the tenant's share is in use. It fails with Busy if ctx ends, or the
// time to wait is over.
func (t *Turn) Begin(ctx context.Context) error {
	s := t.share
	if s == nil {
		return nil
	}
	p := s.processors
	if last := p.lastServed.Load(); last != s {
		if p.lastServed.Store(s); last != nil {
			p.rivalsSeen.Store(monotonicNow())
		}
	}
	if s.running.Add(1) > p.perTenant && p.contended() {
		s.running.Add(-1)
		if err := s.awaitTurn(ctx, t.principal); err != nil {
			return err
		}
	}
	if !t.state.CompareAndSwap(turnIdle, turnRuns) {
		s.release() // it was closed meanwhile
	}
	return nil
}

// contended reports whether more than one tenant was served lately.
func (p *Processors) contended() bool {
	at := p.rivalsSeen.Load()
	return at != 0 && monotonicNow()-at < int64(rivalTime)
}

func (s *Share) awaitTurn(ctx context.Context, principal string) error {
	w := &turnWaiter{ready: make(chan struct{})}
	s.mu.Lock()
	s.queue.Push(s.tenant, principal, w)
	s.waiting.Add(1)
	s.mu.Unlock()
	s.grantTurns() // a turn may have ended before w was in the queue
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	var cause error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		cause = ctx.Err()
	case <-timer.C:
		cause = context.DeadlineExceeded
	}
	if !w.state.CompareAndSwap(waiterWaits, waiterGone) {
		return nil
	}
	return core.Wrap(core.Busy, cause, "other requests of this tenant use its share of the processors; send fewer requests at once, and try again")
}

// release counts one request less and lets the next one begin.
func (s *Share) release() {
	s.running.Add(-1)
	s.grantTurns()
}

// grantTurns lets waiting requests begin, within the share.
func (s *Share) grantTurns() {
	for s.waiting.Load() > 0 && s.mayRun() {
		s.mu.Lock()
		if !s.mayRun() {
			s.mu.Unlock()
			return
		}
		w, ok := s.queue.Pop()
		if ok {
			s.waiting.Add(-1)
			if w.state.CompareAndSwap(waiterWaits, waiterGranted) {
				s.running.Add(1)
				close(w.ready)
			}
		}
		s.mu.Unlock()
	}
}

// mayRun reports whether another request may compute.
func (s *Share) mayRun() bool {
	return s.running.Load() < s.processors.perTenant || !s.processors.contended()
}

// End ends the computing of a request that is answered.
func (t *Turn) End() {
	if t.state.CompareAndSwap(turnRuns, turnIdle) {
		t.share.release()
	}
}

// Pause is called when the request waits for something other than a processor. If it
// returns true, the caller must call Resume. It returns false if the request does not
// count as running.
func (t *Turn) Pause() bool {
	if t == nil || !t.state.CompareAndSwap(turnRuns, turnPaused) {
		return false
	}
	t.share.release()
	return true
}

// Resume is called when the request computes again. It never waits: the request may hold
// something that others wait for, and is close to its end. Requests that have not begun
// wait instead.
func (t *Turn) Resume() {
	if t.state.CompareAndSwap(turnPaused, turnRuns) {
		t.share.running.Add(1)
	}
}

// Yield lets a waiting request of the tenant go first. The caller must hold nothing that
// such a request could wait for.
func (t *Turn) Yield(ctx context.Context) error {
	if t == nil || t.share == nil || t.share.waiting.Load() == 0 {
		return nil
	}
	t.End()
	return t.Begin(ctx)
}

type turnKey struct{}

// WithTurn returns a context for the work of a turn.
func WithTurn(ctx context.Context, t *Turn) context.Context {
	return context.WithValue(ctx, turnKey{}, t)
}

// TurnOf returns the turn of the work under ctx, or nil.
func TurnOf(ctx context.Context) *Turn {
	t, _ := ctx.Value(turnKey{}).(*Turn)
	return t
}

// Waits pauses the turn of the work under ctx. Over ends the pause.
//
//	defer fair.Waits(ctx).Over()
func Waits(ctx context.Context) Waited {
	if t := TurnOf(ctx); t.Pause() {
		return Waited{t}
	}
	return Waited{}
}

// Waited is a pause of a turn.
type Waited struct{ turn *Turn }

// Over ends the pause.
func (w Waited) Over() {
	if w.turn != nil {
		w.turn.Resume()
	}
}
