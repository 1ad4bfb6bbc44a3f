package httpd

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// userChange is the body of PATCH /v1/users/{name}. A member that is left out stays as it
// is.
type userChange struct {
	Password   *string            `json:"password"` // hidden when it is decoded; see cutPassword
	Groups     *[]string          `json:"groups"`
	Roles      *[]string          `json:"roles"`
	Attributes *map[string]string `json:"attributes"`
	Disabled   *bool              `json:"disabled"`
	ExpiresAt  door.NullableText  `json:"expiresAt"` // null: never
	Codes      *bool              `json:"codes"`     // true: a new key of one-time codes; false: none
	Hashed     *bool              `json:"hashed"`    // Hashed Passwords of KMIP are accepted; true needs password
	Reason     string             `json:"reason"`
}

// newUser is the body of POST /v1/users.
type newUser struct {
	Name       string             `json:"name"`
	Password   *string            `json:"password"` // left out: the user cannot log in by password
	Groups     *[]string          `json:"groups"`
	Roles      *[]string          `json:"roles"`
	Attributes *map[string]string `json:"attributes"`
	Disabled   *bool              `json:"disabled"`
	ExpiresAt  door.NullableText  `json:"expiresAt"`
	Codes      *bool              `json:"codes"`
	Hashed     *bool              `json:"hashed"`
	Reason     string             `json:"reason"`
}

func (in *newUser) change() userChange {
	return userChange{in.Password, in.Groups, in.Roles, in.Attributes, in.Disabled, in.ExpiresAt, in.Codes, in.Hashed, in.Reason}
}

// saveInput returns the change for the engine.
func (in *userChange) saveInput(name string, password []byte) (admin.SaveUserInput, error) {
	out := admin.SaveUserInput{Name: name, Password: password, Groups: in.Groups, Roles: in.Roles, Attributes: in.Attributes, Disabled: in.Disabled, Codes: in.Codes, Hashed: in.Hashed, Reason: in.Reason}
	if in.Password != nil && password == nil {
		return out, core.Errorf(core.InvalidField, `the name of the member "password" must be written without escapes`)
	}
	if in.ExpiresAt.Given {
		expires, err := door.ReadTime("expiresAt", in.ExpiresAt.Text)
		if err != nil {
			return out, err
		}
		out.Expires = &expires
	}
	return out, nil
}

// user is the answer about a user. It has nothing of the password, and the key of one-time codes
// only when it is new.
type user struct {
	Name string `json:"name"`
	door.SavedVersion
	Groups     []string          `json:"groups"`
	Roles      []string          `json:"roles"`
	Attributes map[string]string `json:"attributes"`
	Disabled   bool              `json:"disabled"`
	ExpiresAt  string            `json:"expiresAt,omitempty"`
	Proofs     []string          `json:"proofs"`               // how the user can log in, some of core.Methods
	CodeKeyURI string            `json:"codeKeyUri,omitempty"` // otpauth:
	Warnings   []string          `json:"warnings,omitempty"`   // about what was saved
}

func userShown(u *core.User) user {
	out := user{Name: u.Name, SavedVersion: door.SavedVersion{Version: door.Version(u.Version)}, Groups: door.OrEmpty(u.Groups), Roles: door.OrEmpty(u.Roles), Attributes: u.Attributes, Disabled: u.Disabled,
		Proofs: door.OrEmpty(u.Proofs), CodeKeyURI: admin.CodeKeyURI(u)}
	if out.Attributes == nil {
		out.Attributes = map[string]string{}
	}
	if u.Expires != 0 {
		out.ExpiresAt = door.TimeText(u.Expires)
	}
	return out
}

func createUser(s *service, c *core.Caller, r *http.Request) (user, error) {
	var in newUser
	password, err := door.DecodeWithPassword(r.Body, &in)
	defer clear(password)
	change := in.change()
	out, err := s.saveUser(c, r, in.Name, &change, password, err)
	out.Location = userPath(out.Name)
	return out, err
}

// rebuildUser shows a user that an earlier request has made. The key of one-time codes is shown once.
func rebuildUser(s *service, c *core.Caller, r *http.Request, made string) (user, error) {
	var in newUser
	password, err := door.DecodeWithPassword(r.Body, &in)
	clear(password)
	if err == nil && in.Codes != nil && *in.Codes {
		err = door.ErrAnswerNotKept
	}
	if err != nil {
		return user{}, err
	}
	u, err := s.Admin.ReadUser(r.Context(), c, "", made)
	out := userShown(&u)
	if err == nil {
		out.Warnings = admin.UnknownRoles(s.Admin, c.Principal.Tenant, &u.Roles)
	}
	out.Location = userPath(made)
	return out, err
}

func userPath(name string) string { return "/v1/users/" + url.PathEscape(name) }

func changeUser(s *service, c *core.Caller, r *http.Request) (user, error) {
	var in userChange
	password, err := door.DecodeWithPassword(r.Body, &in)
	defer clear(password)
	return s.saveUser(c, r, r.PathValue("name"), &in, password, err)
}

// saveUser saves a user whose body was read. unread is the error of a body that could not
// be read.
func (s *service) saveUser(c *core.Caller, r *http.Request, name string, change *userChange, password []byte, unread error) (user, error) {
	var in admin.SaveUserInput
	if unread == nil {
		in, unread = change.saveInput(name, password)
	}
	if unread != nil {
		return user{}, s.Engine.RecordRefused(r.Context(), c, core.ActionSaveUser, unread)
	}
	in.MustBeNew, in.MustExist, in.Expected = r.Method == http.MethodPost, r.Method == http.MethodPatch, door.ExpectedVersion(r)
	u, err := s.Admin.SaveUser(r.Context(), c, in)
	out := userShown(&u)
	if err == nil {
		out.Warnings = admin.UnknownRoles(s.Admin, c.Principal.Tenant, in.Roles)
	}
	return out, err
}

func getUser(s *service, c *core.Caller, r *http.Request) (user, error) {
	u, err := s.Admin.ReadUser(r.Context(), c, "", r.PathValue("name"))
	return userShown(&u), err
}

// newRole is the body of POST /v1/roles.
type newRole struct {
	Name        string    `json:"name"`
	Description *string   `json:"description"`
	Actions     *[]string `json:"actions"` // words or names, such as "rotate" or "Get Attributes"
	Reason      string    `json:"reason"`
}

// roleChange is the body of PATCH /v1/roles/{name}. A member that is left out stays as it
// is.
type roleChange struct {
	Description *string   `json:"description"`
	Actions     *[]string `json:"actions"`
	Reason      string    `json:"reason"`
}

// role is the answer about a role.
type role struct {
	Name string `json:"name"`
	door.SavedVersion
	Description string   `json:"description,omitempty"`
	Actions     []string `json:"actions"`
}

func roleShown(r *admin.NamedRole) role {
	return role{Name: r.Name, SavedVersion: door.SavedVersion{Version: door.Version(r.Version)}, Description: r.Description, Actions: door.OrEmpty(r.Actions)}
}

func createRole(s *service, c *core.Caller, r *http.Request) (role, error) {
	var in newRole
	if err := s.DecodeFor(c, r, core.ActionSaveRole, &in); err != nil {
		return role{}, err
	}
	saved, err := s.Admin.SaveRole(r.Context(), c, admin.SaveRoleInput{Name: in.Name, Description: in.Description, Actions: in.Actions, Reason: in.Reason, Expected: new(int64)})
	out := roleShown(&saved)
	out.Location = rolePath(out.Name)
	return out, err
}

// rebuildRole shows a role that an earlier request has made.
func rebuildRole(s *service, c *core.Caller, r *http.Request, made string) (role, error) {
	found, err := s.Admin.ReadRole(r.Context(), c, "", made)
	out := roleShown(&found)
	out.Location = rolePath(made)
	return out, err
}

func rolePath(name string) string { return "/v1/roles/" + url.PathEscape(name) }

func changeRole(s *service, c *core.Caller, r *http.Request) (role, error) {
	var in roleChange
	if err := s.DecodeFor(c, r, core.ActionSaveRole, &in); err != nil {
		return role{}, err
	}
	saved, err := s.Admin.SaveRole(r.Context(), c, admin.SaveRoleInput{Name: r.PathValue("name"), Description: in.Description, Actions: in.Actions, Reason: in.Reason, Expected: door.ExpectedVersion(r), MustExist: true})
	return roleShown(&saved), err
}

func getRole(s *service, c *core.Caller, r *http.Request) (role, error) {
	found, err := s.Admin.ReadRole(r.Context(), c, "", r.PathValue("name"))
	return roleShown(&found), err
}
