package fair

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Config says how many places there are. A bound of 0 means Slots, or no bound.
type Config struct {
	Name         string        // of the places, for errors: "sessions of the HSM"
	Slots        int           // places, all lent at once at most
	PerTenant    int           // places lent to one tenant
	PerPrincipal int           // places lent to one principal
	Waiting      int           // callers of one tenant that may wait; another one is refused at once
	Wait         time.Duration // longest wait for a place
}

// maxDebt bounds how much more time than the others a tenant can have on its account. So
// after one very long call, the tenant waits no longer than this.
const maxDebt = int64(500 * time.Millisecond)

// maxIdle is the number of accounts at which unused ones are forgotten, with the time
// that they have used.
const maxIdle = 1024

// Slots lends places. Only the number of places bounds the server's own work (see
// [core.OwnWork]). Safe for concurrent use.
type Slots struct {
	cfg Config

	mu      sync.Mutex
	free    int
	waiting int
	refused int64
	tenants accountGroup
}

// New returns Slots. A bound under which nobody could have a place is raised to 1.
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

// Lease is one place that is lent. Call Release once.
type Lease struct {
	slots     *Slots
	principal *account
	began     int64
}

// account counts what one tenant, or one principal of a tenant, has used and uses now.
type account struct {
	name    string
	above   *account     // of a principal: its tenant
	members accountGroup // of a tenant: its principals
	first   *waiter      // of a principal: its first caller in the order of arrival
	last    *waiter

	used    int64 // nanoseconds of places, in the time of its group
	inUse   int
	began   int64 // sum of the times when the places in use were lent
	waiting int
}

// accountGroup holds the accounts that compete with each other. clock is the used time
// of the account that was served last. A new account begins with it, so that it is
// neither ahead nor behind.
type accountGroup struct {
	clock  int64
	byName map[string]*account
	asking []*account // accounts for which callers wait
}

type waiter struct {
	principal  *account
	prev, next *waiter
	granted    bool
	began      int64 // when the place was lent
	ready      chan struct{}
}

var monotonicStart = time.Now()

func monotonicNow() int64 { return int64(time.Since(monotonicStart)) }

// Acquire lends a place to the tenant and principal of ctx. It waits until ctx ends or
// the time to wait is over; then it fails with Busy. It fails with Busy at once if too
// many callers of the tenant wait.
func (s *Slots) Acquire(ctx context.Context) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, s.gaveUpError(err)
	}
	tenant, name := core.ShareOf(ctx)
	s.mu.Lock()
	p := s.accountOf(tenant, name)
	if s.free > 0 && s.mayBorrow(p) {
		s.tenants.catchUp(p.above)
		p.above.members.catchUp(p)
		l := s.lendTo(p, monotonicNow())
		s.mu.Unlock()
		return l, nil
	}
	if s.cfg.Waiting > 0 && p.above.waiting >= s.cfg.Waiting {
		s.refused++
		s.mu.Unlock()
		return Lease{}, core.Errorf(core.Busy, "%d calls of this tenant are waiting for %s, which is the limit; try again later", s.cfg.Waiting, s.cfg.Name)
	}
	w := &waiter{principal: p, ready: make(chan struct{})}
	s.enqueue(w)
	s.mu.Unlock()
	return s.awaitLease(ctx, w)
}

func (s *Slots) awaitLease(ctx context.Context, w *waiter) (Lease, error) {
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
		return Lease{}, s.gaveUpError(cause)
	}
	return Lease{slots: s, principal: w.principal, began: w.began}, nil
}

// gaveUpError is the error for a caller whose time is over.
func (s *Slots) gaveUpError(cause error) error {
	return core.Wrap(core.Busy, cause, "other calls used all %s until the time of this call was over; try again", s.cfg.Name)
}

// Release returns the place and lends it to the next caller.
func (l Lease) Release() {
	s := l.slots
	if s == nil {
		return
	}
	at := monotonicNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	l.principal.above.members.chargeReturned(l.principal, l.began, at)
	s.tenants.chargeReturned(l.principal.above, l.began, at)
	s.free++
	s.lendToWaiting(at)
}

// lendToWaiting lends free places to callers that wait and may have one.
func (s *Slots) lendToWaiting(at int64) {
	for s.free > 0 && s.waiting > 0 {
		p := s.nextPrincipal(at)
		if p == nil {
			return
		}
		w := p.first
		s.dequeue(w)
		w.granted, w.began = true, s.lendTo(p, at).began
		close(w.ready)
	}
}

// nextPrincipal returns the principal that has used the least time, of the tenant that
// has used the least time. It returns nil if no waiting caller may have another place.
func (s *Slots) nextPrincipal(at int64) (best *account) {
	for _, t := range s.tenants.asking {
		if !s.mayHaveMore(t, s.cfg.PerTenant) || (best != nil && best.above.timeUsed(at) <= t.timeUsed(at)) {
			continue
		}
		if p := s.nextOfTenant(t, at); p != nil {
			best = p
		}
	}
	return best
}

func (s *Slots) nextOfTenant(t *account, at int64) (best *account) {
	for _, p := range t.members.asking {
		if s.mayHaveMore(p, s.cfg.PerPrincipal) && (best == nil || p.timeUsed(at) < best.timeUsed(at)) {
			best = p
		}
	}
	return best
}

// timeUsed returns the time that an account has used until now.
func (a *account) timeUsed(at int64) int64 { return a.used + int64(a.inUse)*at - a.began }

// mayHaveMore reports whether an account has fewer than n places, or is the server's own.
func (s *Slots) mayHaveMore(a *account, n int) bool {
	if a.name == core.OwnWork && (a.above == nil || a.above.name == core.OwnWork) {
		return true
	}
	return a.inUse < n
}

func (s *Slots) mayBorrow(p *account) bool {
	return s.mayHaveMore(p.above, s.cfg.PerTenant) && s.mayHaveMore(p, s.cfg.PerPrincipal)
}

// lendTo lends a place to p.
func (s *Slots) lendTo(p *account, at int64) Lease {
	s.free--
	s.tenants.countLent(p.above, at)
	p.above.members.countLent(p, at)
	return Lease{slots: s, principal: p, began: at}
}

// catchUp advances an account that had no place and did not wait to the clock of its
// group: an account gets no credit for time in which it asked for nothing.
func (g *accountGroup) catchUp(a *account) {
	if a.inUse == 0 && a.waiting == 0 {
		a.used = max(a.used, g.clock)
	}
}

func (g *accountGroup) countLent(a *account, at int64) {
	g.clock = max(g.clock, a.used)
	a.inUse++
	a.began += at
}

// chargeReturned charges an account for a place that it returns.
func (g *accountGroup) chargeReturned(a *account, began, at int64) {
	a.inUse--
	a.began -= began
	a.used = min(a.used+at-began, max(a.used, g.clock+maxDebt))
}

func (s *Slots) accountOf(tenant, principal string) *account {
	t := s.tenants.accountOf(tenant, nil)
	return t.members.accountOf(principal, t)
}

func (g *accountGroup) accountOf(name string, above *account) *account {
	if a, ok := g.byName[name]; ok {
		return a
	}
	if g.byName == nil {
		g.byName = map[string]*account{}
	}
	if len(g.byName) >= maxIdle {
		g.forgetIdle()
	}
	a := &account{name: name, above: above, used: g.clock}
	g.byName[name] = a
	return a
}

func (g *accountGroup) forgetIdle() {
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
	p.above.members.addAsking(p)
	s.tenants.addAsking(p.above)
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
	p.above.members.removeAsking(p)
	s.tenants.removeAsking(p.above)
}

func (g *accountGroup) addAsking(a *account) {
	g.catchUp(a)
	if a.waiting++; a.waiting > 1 {
		return
	}
	g.asking = append(g.asking, a)
}

func (g *accountGroup) removeAsking(a *account) {
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

// Usage is the use of Slots, for health, metrics and tests.
type Usage struct {
	Slots, InUse, Waiting int
	Refused               int64 // callers refused since the start, because too many waited
}

// Usage returns how many places are lent and how many callers wait.
func (s *Slots) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Usage{Slots: s.cfg.Slots, InUse: s.cfg.Slots - s.free, Waiting: s.waiting, Refused: s.refused}
}
