package fair

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Config says how many places there are. Bounds of 0 mean Slots, or no end.
type Config struct {
	Name         string        // of the places, for the error: "sessions of the HSM"
	Slots        int           // lent at once
	PerTenant    int           // of them, to one tenant
	PerPrincipal int           // of those, to one principal
	Waiting      int           // callers of one tenant that may wait; one more is refused at once
	Wait         time.Duration // for a place
}

// maxDebt bounds how far a tenant's account can run ahead of the others': after
// one very long call it is not made to wait for longer than this.
const maxDebt = int64(500 * time.Millisecond)

// maxIdle is the number of accounts that are kept without being in use. More are
// forgotten, and with them the time that they had used.
const maxIdle = 1024

// Slots lends places. The server's own work (see [core.OwnWork]) is bounded by
// the number of places alone. Safe for concurrent use.
type Slots struct {
	cfg Config

	mu      sync.Mutex
	free    int
	waiting int
	refused int64
	tenants group
}

// New makes Slots. The bounds are raised to 1 where they would let nobody in.
func New(c Config) *Slots {
	c.Slots = max(1, c.Slots)
	bound := func(n int) int {
		if n <= 0 || n > c.Slots {
			return c.Slots
		}
		return n
	}
	c.PerTenant = bound(c.PerTenant)
	c.PerPrincipal = min(bound(c.PerPrincipal), c.PerTenant)
	return &Slots{cfg: c, free: c.Slots}
}

// Lease is one place that is lent. Release gives it back, once.
type Lease struct {
	slots     *Slots
	principal *account
	began     int64
}

// account is what one tenant, or one principal of a tenant, has used and has now.
type account struct {
	name    string
	above   *account // a principal's tenant
	members group    // of a tenant: its principals
	first   *waiter  // of a principal: callers in the order of their arrival
	last    *waiter

	used    int64 // nanoseconds of places, on the clock of its group
	inUse   int
	began   int64 // sum of the times at which the places in use were lent
	waiting int
}

// group is the accounts that compete with each other. clock is the account of
// the one that was served last: a newcomer starts there, neither ahead nor behind.
type group struct {
	clock  int64
	byName map[string]*account
	asking []*account // those for which somebody waits
}

type waiter struct {
	principal  *account
	prev, next *waiter
	granted    bool
	began      int64 // when it was granted
	ready      chan struct{}
}

var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// Acquire lends a place to whom ctx names, and waits until ctx ends or the time
// to wait is over. Then, and at once if too many wait already, the error has the
// code Busy.
func (s *Slots) Acquire(ctx context.Context) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, s.given(err)
	}
	tenant, name := core.ShareOf(ctx)
	s.mu.Lock()
	p := s.account(tenant, name)
	if s.free > 0 && s.allowed(p) {
		s.tenants.arrive(p.above)
		p.above.members.arrive(p)
		l := s.lend(p, now())
		s.mu.Unlock()
		return l, nil
	}
	if s.cfg.Waiting > 0 && p.above.waiting >= s.cfg.Waiting {
		s.refused++
		s.mu.Unlock()
		return Lease{}, core.Errorf(core.Busy, "%d calls of this tenant wait for the %s, which is the limit; try again later", s.cfg.Waiting, s.cfg.Name)
	}
	w := &waiter{principal: p, ready: make(chan struct{})}
	s.enqueue(w)
	s.mu.Unlock()
	return s.await(ctx, w)
}

func (s *Slots) await(ctx context.Context, w *waiter) (Lease, error) {
	var over <-chan time.Time
	if s.cfg.Wait > 0 {
		t := time.NewTimer(s.cfg.Wait)
		defer t.Stop()
		over = t.C
	}
	defer Waits(ctx).Over()
	var cause error
	select {
	case <-w.ready:
	case <-ctx.Done():
		cause = ctx.Err()
	case <-over:
		cause = context.DeadlineExceeded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cause != nil && !w.granted {
		s.dequeue(w)
		return Lease{}, s.given(cause)
	}
	return Lease{slots: s, principal: w.principal, began: w.began}, nil
}

// given is the answer to a caller that gave up.
func (s *Slots) given(cause error) error {
	return core.Wrap(core.Busy, cause, "all %s were busy with other calls until the time of this one was over; try again", s.cfg.Name)
}

// Release gives the place back and lends it to the next caller.
func (l Lease) Release() {
	s := l.slots
	if s == nil {
		return
	}
	at := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l.principal.above.members.settle(l.principal, l.began, at)
	s.tenants.settle(l.principal.above, l.began, at)
	s.free++
	s.serve(at)
}

// serve lends free places to those who wait and may have one.
func (s *Slots) serve(at int64) {
	for s.free > 0 && s.waiting > 0 {
		p := s.next(at)
		if p == nil {
			return
		}
		w := p.first
		s.dequeue(w)
		w.granted, w.began = true, s.lend(p, at).began
		close(w.ready)
	}
}

// next chooses the tenant that has used least, and of it the principal; nil if
// all who wait have as many places as they may have.
func (s *Slots) next(at int64) (best *account) {
	for _, t := range s.tenants.asking {
		if !s.below(t, s.cfg.PerTenant) || (best != nil && best.above.spent(at) <= t.spent(at)) {
			continue
		}
		if p := s.nextOf(t, at); p != nil {
			best = p
		}
	}
	return best
}

func (s *Slots) nextOf(t *account, at int64) (best *account) {
	for _, p := range t.members.asking {
		if s.below(p, s.cfg.PerPrincipal) && (best == nil || p.spent(at) < best.spent(at)) {
			best = p
		}
	}
	return best
}

// spent is what an account has used, with what it is using.
func (a *account) spent(at int64) int64 { return a.used + int64(a.inUse)*at - a.began }

// below reports whether an account may have one more place of n.
func (s *Slots) below(a *account, n int) bool {
	if a.name == core.OwnWork && (a.above == nil || a.above.name == core.OwnWork) {
		return true
	}
	return a.inUse < n
}

func (s *Slots) allowed(p *account) bool {
	return s.below(p.above, s.cfg.PerTenant) && s.below(p, s.cfg.PerPrincipal)
}

// lend counts a place as lent to p.
func (s *Slots) lend(p *account, at int64) Lease {
	s.free--
	s.tenants.begin(p.above, at)
	p.above.members.begin(p, at)
	return Lease{slots: s, principal: p, began: at}
}

// arrive advances an account that had nothing and waited for nothing to the clock
// of its group: time in which it did not ask is not owed to it.
func (g *group) arrive(a *account) {
	if a.inUse == 0 && a.waiting == 0 {
		a.used = max(a.used, g.clock)
	}
}

func (g *group) begin(a *account, at int64) {
	g.clock = max(g.clock, a.used)
	a.inUse++
	a.began += at
}

// settle charges an account for a place.
func (g *group) settle(a *account, began, at int64) {
	a.inUse--
	a.began -= began
	a.used = min(a.used+at-began, max(a.used, g.clock+maxDebt))
}

func (s *Slots) account(tenant, principal string) *account {
	t := s.tenants.account(tenant, nil)
	return t.members.account(principal, t)
}

func (g *group) account(name string, above *account) *account {
	if a, ok := g.byName[name]; ok {
		return a
	}
	if g.byName == nil {
		g.byName = map[string]*account{}
	}
	if len(g.byName) >= maxIdle {
		g.forget()
	}
	a := &account{name: name, above: above, used: g.clock}
	g.byName[name] = a
	return a
}

func (g *group) forget() {
	for name, a := range g.byName {
		if a.inUse == 0 && a.waiting == 0 {
			delete(g.byName, name)
		}
	}
}

func (s *Slots) enqueue(w *waiter) {
	p := w.principal
	if w.prev = p.last; p.last != nil {
		p.last.next = w
	} else {
		p.first = w
	}
	p.last = w
	s.waiting++
	p.above.members.asks(p)
	s.tenants.asks(p.above)
}

func (s *Slots) dequeue(w *waiter) {
	p := w.principal
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		p.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		p.last = w.prev
	}
	w.prev, w.next = nil, nil
	s.waiting--
	p.above.members.leaves(p)
	s.tenants.leaves(p.above)
}

func (g *group) asks(a *account) {
	g.arrive(a)
	if a.waiting++; a.waiting > 1 {
		return
	}
	g.asking = append(g.asking, a)
}

func (g *group) leaves(a *account) {
	if a.waiting--; a.waiting > 0 {
		return
	}
	for i, other := range g.asking {
		if other == a {
			last := len(g.asking) - 1
			g.asking[i], g.asking[last] = g.asking[last], nil
			g.asking = g.asking[:last]
			return
		}
	}
}

// Usage is what Slots are doing, for health, metrics and tests.
type Usage struct {
	Slots, InUse, Waiting int
	Refused               int64 // since the start, because too many waited
}

// Usage tells what is lent and who waits.
func (s *Slots) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Usage{Slots: s.cfg.Slots, InUse: s.cfg.Slots - s.free, Waiting: s.waiting, Refused: s.refused}
}
