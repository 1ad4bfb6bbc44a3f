// Package passwordtest has users in memory for tests.
package passwordtest

import (
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// People are users in memory. Only Put changes them, and only one goroutine may call it.
// Everything else is safe for concurrent use.
type People struct {
	now    atomic.Pointer[state]
	Outage atomic.Pointer[core.Error] // not nil: users cannot be read
}

type state struct {
	revision uint64
	users    map[key]*core.User // nil: removed
	tenants  map[string]bool
}

type key struct{ tenant, name string }

// New returns people without users.
func New() *People {
	p := &People{}
	p.now.Store(&state{})
	return p
}

// Put makes the next version of a user. change gets a copy of the version before, or a new
// user, and returns false to remove the user.
func (p *People) Put(tenant, name string, change func(*core.User) bool) {
	old := p.now.Load()
	next := &state{old.revision + 1, map[key]*core.User{}, map[string]bool{tenant: true}}
	for k, u := range old.users {
		next.users[k], next.tenants[k.tenant] = u, true
	}
	u := &core.User{Tenant: tenant, Name: name}
	if before := old.users[key{tenant, name}]; before != nil {
		*u = *before
	}
	u.Version = int64(next.revision)
	next.users[key{tenant, name}] = nil
	if change(u) {
		next.users[key{tenant, name}] = u
	}
	p.now.Store(next)
}

// Revision returns the number of changes.
func (p *People) Revision() (uint64, error) {
	if err := p.Outage.Load(); err != nil {
		return 0, err
	}
	return p.now.Load().revision, nil
}

// HadUsers reports whether a tenant has or had a user.
func (p *People) HadUsers(tenant string) bool { return p.now.Load().tenants[tenant] }

// User returns a user, or nil.
func (p *People) User(tenant, name string) (*core.User, error) {
	if err := p.Outage.Load(); err != nil {
		return nil, err
	}
	return p.now.Load().users[key{tenant, name}], nil
}
