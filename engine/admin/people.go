package admin

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
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
	Codes      *bool  // true: make a new key of one-time codes, which the user needs from then on; false: remove it
	Hashed     *bool  // the user may log in with a Hashed Password; true needs Password
	Reason     string
	Expected   *int64 // the version that it replaces; nil: any
	MustBeNew  bool
	MustExist  bool
}

// Bounds of a new password, in bytes.
const (
	minPasswordBytes = 12
	maxPasswordBytes = 1024
)

// SaveUser makes or changes a user of a tenant. Open connections that the user has
// authenticated see the change at their next message. It returns the user without secrets, but with
// CodeKey if in asks for a new one: nobody can read it again.
func (v *Verbs) SaveUser(ctx context.Context, c *core.Caller, in SaveUserInput) (out core.User, err error) {
	err = v.runRequest(ctx, c, core.ActionSaveUser, "user "+core.ClientText(in.Name), in.withoutPassword(), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		u, expected, err := v.userToChange(tenant, &in)
		if err != nil {
			return err
		}
		if err := requireForUser(v, k, tenant, in.Name, u, in.changesProofs()); err != nil {
			return err
		}
		if err := v.changeProofs(k, u, &in); err != nil {
			return err
		}
		body, err := u.EncodeBody()
		if err != nil {
			return err
		}
		e, err := v.saveEntry(k, change{kind: core.EntryUser, tenant: tenant, id: in.Name, reason: in.Reason, expected: expected, body: body})
		if err != nil {
			return err
		}
		u.Version = e.Version
		out = u.WithoutSecrets()
		if in.Codes != nil {
			out.CodeKey = u.CodeKey
		}
		return nil
	})
	if err != nil {
		return core.User{}, err
	}
	return out, nil
}

// changesProofs reports whether the change is about how the user logs in.
func (in *SaveUserInput) changesProofs() bool {
	return in.Password != nil || in.Codes != nil || in.Hashed != nil
}

// changeProofs changes how a user logs in. With a new password, what is kept for Hashed Passwords
// is made again or removed, so that the old password is never good for one.
func (v *Verbs) changeProofs(k *engine.Call, u *core.User, in *SaveUserInput) (err error) {
	hashed := u.Hashed != nil
	setIfGiven(&hashed, in.Hashed)
	switch n := len(in.Password); {
	case in.Password == nil && in.Hashed != nil && hashed:
		return core.Errorf(core.InvalidField, "give the password too: what is kept for Hashed Passwords is made of it")
	case in.Password != nil && (n < minPasswordBytes || n > maxPasswordBytes):
		return core.Errorf(core.InvalidField, "a password has %d to %d bytes, not %d", minPasswordBytes, maxPasswordBytes, n)
	case !hashed:
		u.Hashed = nil
	case in.Password != nil:
		u.Hashed = v.ports.HashedVerifiers(u.Name, in.Password)
	}
	if in.Password != nil {
		if u.Password, err = v.ports.HashPassword(k.Ctx, in.Password); err != nil {
			return err
		}
	}
	if in.Codes != nil {
		u.CodeKey = newCodeKey(*in.Codes)
	}
	if u.CodeKey != nil && u.Hashed != nil {
		return core.Errorf(core.InvalidField, "a user who needs one-time codes cannot log in with a Hashed Password, which has none; turn one of both off")
	}
	return nil
}

// newCodeKey returns a random key of one-time codes; nil if none is wanted.
func newCodeKey(wanted bool) core.SecretBytes {
	if !wanted {
		return nil
	}
	key := make(core.SecretBytes, core.CodeKeyBytes)
	rand.Read(key)
	return key
}

// CodeKeyURI returns the key of a user's one-time codes as authenticator apps read it; "" if there
// is none.
func CodeKeyURI(u *core.User) string {
	if u.CodeKey == nil {
		return ""
	}
	return fmt.Sprintf("otpauth://totp/keyreeve:%s%%2F%s?secret=%s&issuer=keyreeve&algorithm=SHA1&digits=6&period=30", u.Tenant, u.Name, base32.StdEncoding.EncodeToString(u.CodeKey))
}

// withoutPassword returns what an approval is bound to: the hash of a request is kept, so a
// password is not in it, but whether there is one.
func (in SaveUserInput) withoutPassword() *SaveUserInput {
	if in.Password != nil {
		in.Password = []byte("set")
	}
	return &in
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
	if err := v.checkExpected(&change{kind: core.EntryUser, tenant: tenant, id: in.Name, expected: expectedOf(in.Expected)}); err != nil {
		return nil, 0, err
	}
	expected = u.Version
	u.Version = v.directory.NextVersion(core.EntryUser, tenant, in.Name)
	if expected == 0 {
		u.Begun = u.Version
	}
	setIfGiven(&u.Groups, in.Groups)
	setIfGiven(&u.Roles, in.Roles)
	setIfGiven(&u.Attributes, in.Attributes)
	setIfGiven(&u.Disabled, in.Disabled)
	setIfGiven(&u.Expires, in.Expires)
	if slices.Contains(u.Roles, core.SystemRole) {
		return nil, 0, core.Errorf(core.InvalidField, "no user can have the role system, which is that of the server's own machine")
	}
	return u, expected, nil
}

func setIfGiven[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

// user returns the newest version of a user.
func (d *entries) user(tenant, name string) (*core.User, error) {
	e, err := d.directory.Get(core.EntryUser, tenant, name)
	if err != nil {
		return nil, absent(err, core.EntryUser, name)
	}
	return core.DecodeUser(tenant, name, e.Version, e.Body)
}

// DeleteUser ends a user and its access tokens.
func (v *Verbs) DeleteUser(ctx context.Context, c *core.Caller, in Removal) error {
	return v.deleteNamed(ctx, c, core.ActionDeleteUser, core.EntryUser, in)
}

// deleteNamed ends an entry.
func (v *Verbs) deleteNamed(ctx context.Context, c *core.Caller, action core.Action, kind core.EntryKind, in Removal) error {
	return v.runRequest(ctx, c, action, string(kind)+" "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		switch kind {
		case core.EntryUser:
			err = requireForUser(v, k, tenant, in.Name, nil, false)
		case core.EntryRole:
			err = requireForRole(v, k, tenant, in.Name)
		}
		if err != nil {
			return err
		}
		return v.deleteEntry(k, change{kind: kind, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected)})
	})
}

// ReadUser returns the newest version of a user, without the password.
func (v *Verbs) ReadUser(ctx context.Context, c *core.Caller, tenant, name string) (core.User, error) {
	return readEntry(ctx, v, c, core.ActionReadUsers, core.DirectoryName{Tenant: tenant, Kind: core.EntryUser, ID: name}, userWithoutPassword)
}

// userWithoutPassword decodes the entry of a user.
func userWithoutPassword(e *core.DirectoryEntry) (core.User, error) {
	u, err := core.DecodeUser(e.Tenant, e.ID, e.Version, e.Body)
	if err != nil {
		return core.User{}, err
	}
	return u.WithoutSecrets(), nil
}

// ListUsers lists the users of a tenant by name, without their passwords, starting after a
// name.
func (v *Verbs) ListUsers(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]core.User, error) {
	return listEntries(ctx, v, c, core.ActionReadUsers, listOf{core.EntryUser, tenant, after, limit}, userWithoutPassword)
}

// NamedRole is a role with its name and version.
type NamedRole struct {
	Name    string
	Version int64
	core.Role
}

// SaveRoleInput makes or changes a role. A nil field stays as it is.
type SaveRoleInput struct {
	Tenant      string // "": the caller's
	Name        string
	Description *string
	Actions     *[]string
	Reason      string
	Expected    *int64 // the version that it replaces, 0 if it must be new; nil: any
	MustExist   bool
}

// SaveRole makes or changes a role of a tenant.
func (v *Verbs) SaveRole(ctx context.Context, c *core.Caller, in SaveRoleInput) (out NamedRole, err error) {
	err = v.runRequest(ctx, c, core.ActionSaveRole, "role "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		if !core.ValidName(in.Name) || slices.Contains(core.BuiltInRoles, in.Name) {
			return core.Errorf(core.InvalidField, "%q cannot be a role of a tenant: it is built in, or no name of letters, digits, '.', '_' and '-'", core.ClientText(in.Name))
		}
		if in.Actions != nil {
			if err := rules.CheckRoleActions(*in.Actions); err != nil {
				return err
			}
		}
		ch := change{kind: core.EntryRole, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected)}
		role, err := v.roleToChange(&ch, &in)
		if err != nil {
			return err
		}
		if ch.body, err = core.EncodeBody(&role.Role); err != nil {
			return err
		}
		if err := requireForRole(v, k, tenant, in.Name); err != nil {
			return err
		}
		e, err := v.saveEntry(k, ch)
		if err != nil {
			return err
		}
		role.Version = e.Version
		out = role
		return nil
	})
	if err != nil {
		return NamedRole{}, err
	}
	return out, nil
}

// roleToChange returns a role as it will be. If it exists, the change then replaces the
// version that was read.
func (d *entries) roleToChange(ch *change, in *SaveRoleInput) (NamedRole, error) {
	role, err := d.role(ch.tenant, in.Name)
	switch {
	case core.CodeOf(err) == core.ItemNotFound && !in.MustExist:
		role = NamedRole{Name: in.Name}
	case err != nil:
		return NamedRole{}, err
	}
	if err := d.checkExpected(ch); err != nil {
		return NamedRole{}, err
	}
	ch.expected = role.Version
	setIfGiven(&role.Description, in.Description)
	setIfGiven(&role.Actions, in.Actions)
	return role, nil
}

// role returns the newest version of a role.
func (d *entries) role(tenant, name string) (NamedRole, error) {
	e, err := d.directory.Get(core.EntryRole, tenant, name)
	if err != nil {
		return NamedRole{}, absent(err, core.EntryRole, name)
	}
	return namedRole(e)
}

// namedRole decodes the entry of a role.
func namedRole(e *core.DirectoryEntry) (NamedRole, error) {
	out := NamedRole{Name: e.ID, Version: e.Version}
	return out, core.DecodeBody(e.Body, &out.Role)
}

// ReadRole returns the newest version of a role that the tenant has declared.
func (v *Verbs) ReadRole(ctx context.Context, c *core.Caller, tenant, name string) (NamedRole, error) {
	return readEntry(ctx, v, c, core.ActionReadRoles, core.DirectoryName{Tenant: tenant, Kind: core.EntryRole, ID: name}, namedRole)
}

// DeleteRole ends a role. Principals that have it lose what it permits.
func (v *Verbs) DeleteRole(ctx context.Context, c *core.Caller, in Removal) error {
	return v.deleteNamed(ctx, c, core.ActionDeleteRole, core.EntryRole, in)
}

// ListRoles lists the roles that a tenant has declared, by name, starting after a name.
func (v *Verbs) ListRoles(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]NamedRole, error) {
	return listEntries(ctx, v, c, core.ActionReadRoles, listOf{core.EntryRole, tenant, after, limit}, namedRole)
}
