package directory

import (
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// Users looks up the users of tenants. Safe for concurrent use.
type Users struct {
	directory *Directory
	typed     *Typed[*core.User]
	changes   atomic.Uint64
}

// NewUsers must be called before the directory is opened.
func NewUsers(d *Directory) *Users {
	u := &Users{directory: d}
	u.typed = NewTyped(d, core.EntryUser, func(e *core.DirectoryEntry) (*core.User, error) {
		return core.DecodeUser(e.Tenant, e.ID, e.Version, e.Body)
	})
	d.Watch(core.EntryUser, func(*core.DirectoryEntry) { u.changes.Add(1) })
	return u
}

// Revision returns a number that changes with each change of a user, of any tenant, and
// when a row is found to be tampered with. It fails as [Directory.Fresh] does.
func (u *Users) Revision() (uint64, error) {
	return u.changes.Load() + u.directory.refusals.Load(), u.directory.Fresh() // both only grow
}

// HadUsers reports whether a tenant has a user or ever had one.
func (u *Users) HadUsers(tenant string) bool { return u.typed.Any(tenant) }

// User returns the newest version of a user, or nil if there is no such user.
func (u *Users) User(tenant, name string) (*core.User, error) {
	user, err := u.typed.Get(tenant, name)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, nil
	}
	return user, err
}
