package bounds

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Shares of the memory that is free. A tenant may hold three times as much as it
// leaves free, and a principal as much as it leaves to its tenant: so one that
// comes late finds some free however many others hold theirs, and one that is alone is
// not kept small. An eighth of all is kept for tenants that hold little.
const (
	tenantShare = 3
	keptPart    = 8
	littleShare = 4         // of what is free, for a tenant that holds little
	little      = 4 << 20   // bytes of such a tenant
	tiny        = 512 << 10 // bytes that a principal may have whatever its tenant holds
)

// memoryWait is how long a request waits for memory before it is refused.
const memoryWait = 5 * time.Second

// Memory shares out the bytes that messages and answers may take while they are
// worked on: in all, to each tenant and to each principal. Those that wait are
// served in order within a principal, and in turns between principals.
// Safe for concurrent use.
type Memory struct {
	total, each int64 // bytes in all, and of one principal

	mu       sync.Mutex
	used     int64
	tenants  map[string]*tenantMemory
	accounts map[accountName]*Account
	waiting  []*Account // those with waiters; the first is served next
	refused  int64
}

type accountName struct{ tenant, principal string }

type tenantMemory struct {
	used     int64
	accounts int
}

// Account is what one principal holds, over all its connections.
type Account struct {
	memory *Memory
	name   accountName
	tenant *tenantMemory
	users  int // connections
	used   int64
	queue  []*waiter
}

type waiter struct {
	bytes   int64
	granted chan struct{}
}

// NewMemory shares total bytes. One principal may hold at most each of them.
func NewMemory(total, each int64) *Memory {
	return &Memory{total: total, each: min(each, total), tenants: map[string]*tenantMemory{}, accounts: map[accountName]*Account{}}
}

// Bounds returns the bytes in all, and those that one principal may hold.
func (m *Memory) Bounds() (total, each int64) { return m.total, m.each }

// Open returns a principal's account. Close must be called as often as Open.
func (m *Memory) Open(tenant, principal string) *Account {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := accountName{tenant, principal}
	a := m.accounts[name]
	if a == nil {
		t := m.tenants[tenant]
		if t == nil {
			t = &tenantMemory{}
			m.tenants[tenant] = t
		}
		t.accounts++
		a = &Account{memory: m, name: name, tenant: t}
		m.accounts[name] = a
	}
	a.users++
	return a
}

// Close says that one user of the account is gone. Memory that it has reserved must be
// released all the same, before or after.
func (a *Account) Close() {
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	a.users--
	a.forgetUnused()
}

// forgetUnused drops an account that nobody uses and that holds nothing.
func (a *Account) forgetUnused() {
	m := a.memory
	if a.users > 0 || a.used > 0 || len(a.queue) > 0 || m.accounts[a.name] != a {
		return
	}
	delete(m.accounts, a.name)
	if a.tenant.accounts--; a.tenant.accounts == 0 {
		delete(m.tenants, a.name.tenant)
	}
}

// Reserve takes bytes, and waits for them until ctx ends or [memoryWait] is over:
// then the code is Busy. More than a principal may ever hold is refused at once.
// What is reserved must be given back by Release.
func (a *Account) Reserve(ctx context.Context, bytes int64) error {
	m := a.memory
	m.mu.Lock()
	if bytes > m.each {
		m.refused++
		m.mu.Unlock()
		return core.Errorf(core.Busy, "the request takes %d KiB of memory; a principal may have %d KiB (limits.memory_per_principal_mib)", bytes>>10, m.each>>10)
	}
	if len(a.queue) == 0 && a.hasRoomFor(bytes) {
		a.addUsed(bytes)
		m.mu.Unlock()
		return nil
	}
	w := &waiter{bytes: bytes, granted: make(chan struct{})}
	if a.queue = append(a.queue, w); len(a.queue) == 1 {
		m.waiting = append(m.waiting, a)
	}
	m.mu.Unlock()
	timer := time.NewTimer(memoryWait)
	defer timer.Stop()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return a.giveUp(w)
}

// TryReserve takes bytes if they are free now and nobody of the principal waits;
// otherwise the code is Busy. What is reserved must be given back by Release.
func (a *Account) TryReserve(bytes int64) error {
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(a.queue) > 0 || !a.hasRoomFor(bytes) {
		m.refused++
		return core.Errorf(core.Busy, "%d KiB of memory are not free: this principal has %d KiB of %d, all together have %d of %d; end streams that are under way, read answers, and try again", bytes>>10, a.used>>10, m.each>>10, m.used>>10, m.total>>10)
	}
	a.addUsed(bytes)
	return nil
}

// giveUp ends a wait that got nothing, unless the bytes have been granted meanwhile.
func (a *Account) giveUp(w *waiter) error {
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	default:
	}
	for i, other := range a.queue {
		if other == w {
			a.queue = append(a.queue[:i], a.queue[i+1:]...)
			break
		}
	}
	m.refused++
	m.grantWaiting() // those behind it may fit
	a.forgetUnused()
	return core.Errorf(core.Busy, "%d KiB of memory were not free within %v: this principal has %d KiB of %d, all together have %d of %d; read answers as they come, and send less at once", w.bytes>>10, memoryWait, a.used>>10, m.each>>10, m.used>>10, m.total>>10)
}

// Take takes bytes whether they are free or not: for memory that is in use already and
// cannot be taken back.
func (a *Account) Take(bytes int64) {
	a.memory.mu.Lock()
	defer a.memory.mu.Unlock()
	a.addUsed(bytes)
}

// Release gives bytes back.
func (a *Account) Release(bytes int64) {
	if bytes == 0 {
		return
	}
	m := a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	a.addUsed(-bytes)
	m.grantWaiting()
	a.forgetUnused()
}

// addUsed counts bytes as used, or as free if they are negative.
func (a *Account) addUsed(bytes int64) {
	a.memory.used += bytes
	a.tenant.used += bytes
	a.used += bytes
}

// hasRoomFor reports whether a may take bytes now.
func (a *Account) hasRoomFor(bytes int64) bool {
	m := a.memory
	free, mine, tenants := m.total-m.used-bytes, a.used+bytes, a.tenant.used+bytes
	if free < 0 || mine > m.each {
		return false
	}
	if tenants <= min(little, free/littleShare) || (mine <= tiny && tenants <= m.total/4*tenantShare) {
		return true
	}
	free -= m.total / keptPart
	return mine <= min(free, tenantShare*free-tenants)
}

// grantWaiting grants what fits, to one waiter of each account in turn.
func (m *Memory) grantWaiting() {
	for stuck := 0; stuck < len(m.waiting); {
		a := m.waiting[0]
		m.waiting = m.waiting[1:]
		if len(a.queue) == 0 { // they have given up
			continue
		}
		if w := a.queue[0]; a.hasRoomFor(w.bytes) {
			a.addUsed(w.bytes)
			a.queue = a.queue[1:]
			close(w.granted)
			stuck = 0
		} else {
			stuck++
		}
		if len(a.queue) > 0 {
			m.waiting = append(m.waiting, a)
		}
	}
	if len(m.waiting) == 0 {
		m.waiting = nil // so that the backing array does not grow for ever
	}
}

// MemoryUsage is what a [Memory] has given out.
type MemoryUsage struct {
	Used, Total       int64 // bytes
	PrincipalTotal    int64 // bytes that one principal may have
	Principals        int   // that have an account
	Waiting, Refusals int64
}

// Usage returns the figures for metrics.
func (m *Memory) Usage() MemoryUsage {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := MemoryUsage{Used: m.used, Total: m.total, PrincipalTotal: m.each, Principals: len(m.accounts), Refusals: m.refused}
	for _, a := range m.waiting {
		u.Waiting += int64(len(a.queue))
	}
	return u
}
