package directory

import "github.com/keyreeve/keyreeve/core"

// Users looks up the users of tenants. Safe for concurrent use.
type Users struct{ typed *Typed[*core.User] }

// NewUsers must be called before the directory is opened.
func NewUsers(d *Directory) *Users {
	return &Users{NewTyped(d, core.EntryUser, func(e *core.DirectoryEntry) (*core.User, error) {
		return core.DecodeUser(e.Tenant, e.ID, e.Version, e.Body)
	})}
}

// Revision is [Typed.Revision] of the users.
func (u *Users) Revision() (uint64, error) { return u.typed.Revision() }

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
