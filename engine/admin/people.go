package admin

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// SaveUserInput makes or changes a user. A nil field stays as it is.
type SaveUserInput struct {
	Tenant     string // "": the caller's
	Name       string
	Password   []byte // zeroed by the caller
	Groups     *[]string
	Roles      *[]string
	Attributes *map[string]string
	Disabled   *bool
	Expires    *int64 // Unix seconds, 0: never
	Reason     string
	MustBeNew  bool
	MustExist  bool
}

// Bounds of a new password, in bytes.
const (
	minPasswordBytes = 12
	maxPasswordBytes = 1024
)

// SaveUser makes or changes a user of a tenant. Open connections that the user has
// authenticated see the change at their next message.
func (v *Verbs) SaveUser(ctx context.Context, c *core.Caller, in SaveUserInput) (out core.User, err error) {
	err = v.run(ctx, c, core.ActionSaveUser, "user "+core.ClientText(in.Name), func(k *engine.Call) error {
		tenant, err := tenantOf(c, in.Tenant)
		if err != nil {
			return err
		}
		u, expected, err := v.userToChange(tenant, &in)
		if err != nil {
			return err
		}
		if in.Password != nil {
			if n := len(in.Password); n < minPasswordBytes || n > maxPasswordBytes {
				return core.Errorf(core.InvalidField, "a password has %d to %d bytes, not %d", minPasswordBytes, maxPasswordBytes, n)
			}
			if u.Password, err = v.ports.HashPassword(in.Password); err != nil {
				return err
			}
		}
		body, err := u.EncodeBody()
		if err != nil {
			return err
		}
		_, err = v.saveEntry(k, change{kind: core.EntryUser, tenant: tenant, id: in.Name, reason: in.Reason, expected: expected, body: body})
		out = *u
		return err
	})
	out.Password = ""
	return out, err
}

// userToChange returns the next version of a user, before a new password is hashed, and the
// version that it replaces.
func (v *Verbs) userToChange(tenant string, in *SaveUserInput) (u *core.User, expected int64, err error) {
	u, err = v.user(tenant, in.Name)
	switch {
	case core.CodeOf(err) == core.ItemNotFound && in.MustExist:
		return nil, 0, err
	case core.CodeOf(err) == core.ItemNotFound:
		u = &core.User{Tenant: tenant, Name: in.Name}
	case err != nil:
		return nil, 0, err
	case in.MustBeNew:
		return nil, 0, core.Errorf(core.ObjectAlreadyExists, "there is a user %s already", core.ClientText(in.Name))
	}
	expected = v.ports.Directory.NextVersion(core.EntryUser, tenant, in.Name) - 1
	u.Version = expected + 1
	setIfGiven(&u.Groups, in.Groups)
	setIfGiven(&u.Roles, in.Roles)
	setIfGiven(&u.Attributes, in.Attributes)
	setIfGiven(&u.Disabled, in.Disabled)
	setIfGiven(&u.Expires, in.Expires)
	for _, r := range u.Roles {
		if r == "system" {
			return nil, 0, core.Errorf(core.InvalidField, "no user can have the role system, which is that of the server's own machine")
		}
	}
	return u, expected, nil
}

func setIfGiven[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

// user returns the newest version of a user.
func (v *Verbs) user(tenant, name string) (*core.User, error) {
	e, err := v.ports.Directory.Get(core.EntryUser, tenant, name)
	if err != nil {
		return nil, absent(err, core.EntryUser, name)
	}
	return core.DecodeUser(tenant, name, e.Version, e.Body)
}

// DeleteUser ends a user.
func (v *Verbs) DeleteUser(ctx context.Context, c *core.Caller, tenant, name, reason string) error {
	return v.deleteNamed(ctx, c, core.ActionDeleteUser, change{kind: core.EntryUser, tenant: tenant, id: name, reason: reason, expected: anyVersion})
}

// ListUsers lists the users of a tenant by name, without their passwords, starting after a
// name.
func (v *Verbs) ListUsers(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]core.User, error) {
	return listEntries(ctx, v, c, core.ActionReadUsers, listOf{core.EntryUser, tenant, after, limit}, func(e *core.DirectoryEntry) (core.User, error) {
		u, err := core.DecodeUser(e.Tenant, e.ID, e.Version, e.Body)
		if err != nil {
			return core.User{}, err
		}
		u.Password = ""
		return *u, nil
	})
}

// NamedRole is a role with its name and version.
type NamedRole struct {
	Name    string
	Version int64
	core.Role
}

// SaveRole makes or changes a role of a tenant.
func (v *Verbs) SaveRole(ctx context.Context, c *core.Caller, tenant, name string, role core.Role, reason string) (version int64, err error) {
	err = v.run(ctx, c, core.ActionSaveRole, "role "+core.ClientText(name), func(k *engine.Call) error {
		tenant, err := tenantOf(c, tenant)
		if err != nil {
			return err
		}
		if !core.ValidName(name) || slices.Contains(core.BuiltInRoles, name) {
			return core.Errorf(core.InvalidField, "%q cannot be a role of a tenant: it is built in, or no name of letters, digits, '.', '_' and '-'", core.ClientText(name))
		}
		body, err := core.EncodeBody(&role)
		if err != nil {
			return err
		}
		e, err := v.saveEntry(k, change{kind: core.EntryRole, tenant: tenant, id: name, reason: reason, expected: anyVersion, body: body})
		if err == nil {
			version = e.Version
		}
		return err
	})
	return version, err
}

// DeleteRole ends a role. Principals that have it lose what it permits.
func (v *Verbs) DeleteRole(ctx context.Context, c *core.Caller, tenant, name, reason string) error {
	return v.deleteNamed(ctx, c, core.ActionDeleteRole, change{kind: core.EntryRole, tenant: tenant, id: name, reason: reason, expected: anyVersion})
}

// ListRoles lists the roles that a tenant has declared, by name, starting after a name.
func (v *Verbs) ListRoles(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]NamedRole, error) {
	return listEntries(ctx, v, c, core.ActionReadRoles, listOf{core.EntryRole, tenant, after, limit}, func(e *core.DirectoryEntry) (NamedRole, error) {
		one := NamedRole{Name: e.ID, Version: e.Version}
		return one, core.DecodeBody(e.Body, &one.Role)
	})
}
