// Package passwordtest has users and a directory in memory for tests.
package passwordtest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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

// Directory is a directory of tenant acme with one person, carol. Its fields are changed by
// Change once it is used. Safe for concurrent use.
type Directory struct {
	mu     sync.Mutex
	Person core.User
	Secret string
	Outage error         // not nil: no login can be verified
	Hang   chan struct{} // not nil: each check waits until it is closed
	Names  []string      // that were asked about
}

// NewDirectory returns a directory in which carol has a password.
func NewDirectory(secret string) *Directory {
	return &Directory{Person: core.User{Tenant: "acme", Name: "ldap.carol", Groups: []string{"storage"}, Roles: []string{"operator"}}, Secret: secret}
}

// Tenant, AtOnce and RememberFor are the settings of the directory.
func (d *Directory) Tenant() string             { return "acme" }
func (d *Directory) AtOnce() int                { return 2 }
func (d *Directory) RememberFor() time.Duration { return time.Minute }

// Verify returns the person, or refuses a name or password that is not carol's.
func (d *Directory) Verify(_ context.Context, name string, password []byte) (*core.User, error) {
	if hang := d.note(name); hang != nil {
		<-hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Outage != nil {
		return nil, d.Outage
	}
	if name != "carol" || string(password) != d.Secret {
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "the directory refuses")
	}
	u := d.Person
	return &u, nil
}

func (d *Directory) note(name string) (hang chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Names = append(d.Names, name)
	return d.Hang
}

// Change changes the directory.
func (d *Directory) Change(f func(*Directory)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// Asked returns how often the directory was asked.
func (d *Directory) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.Names)
}
