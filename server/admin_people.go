package server

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// States of versions of key policies, as commands see them.
const (
	PolicyActive  = string(admin.PolicyActive)
	PolicyWaiting = string(admin.PolicyWaiting)
)

// PolicyVersion is a version of a key policy, as commands see it.
type PolicyVersion struct {
	Name       string          `json:"name"`
	Version    int64           `json:"version"`
	State      string          `json:"state"` // "active", "waiting", "replaced" or "deleted"
	At         time.Time       `json:"at"`
	ActivateAt *time.Time      `json:"activateAt,omitempty"` // since when it is in force; nil: since it was stored
	Author     string          `json:"author"`
	Reason     string          `json:"reason,omitempty"`
	Document   json.RawMessage `json:"document,omitempty"`
}

func policyVersion(p admin.PolicyVersion) PolicyVersion {
	return PolicyVersion{Name: p.Name, Version: p.Version, State: string(p.State), At: time.Unix(p.At, 0).UTC(), ActivateAt: optionalTime(p.ActivateAt), Author: p.Author, Reason: p.Reason, Document: p.Document}
}

// optionalTime returns a time in Unix seconds, nil for 0.
func optionalTime(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	return new(time.Unix(unix, 0).UTC())
}

func policyVersions(all []admin.PolicyVersion) []PolicyVersion {
	out := make([]PolicyVersion, len(all))
	for i, p := range all {
		out[i] = policyVersion(p)
	}
	return out
}

// SavedPolicy is the answer to a new version of a key policy.
type SavedPolicy struct {
	Name       string     `json:"name"`
	Version    int64      `json:"version"`
	State      string     `json:"state"`                // "active" or "waiting"
	ActivateAt *time.Time `json:"activateAt,omitempty"` // nil: it is in force at once
	Hash       string     `json:"hash,omitempty"`
	Attached   []string   `json:"attached,omitempty"`
	Warnings   []string   `json:"warnings,omitempty"`
}

func savedPolicy(p admin.SavedPolicy, err error) (any, error) {
	return SavedPolicy{Name: p.Name, Version: p.Version, State: string(p.State), ActivateAt: optionalTime(p.ActivateAt), Hash: p.Hash, Attached: p.Attached, Warnings: p.Warnings}, err
}

// AdminPage is how many entries a list over the admin socket has at most. A shorter list
// is the last one.
const AdminPage = 1000

func (d *adminDoor) listPolicies(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := d.admin.ListPolicies(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	return policyVersions(all), err
}

func (d *adminDoor) readPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	version, err := q.Number("version")
	if err != nil {
		return nil, err
	}
	var p admin.PolicyVersion
	if version == 0 {
		p, err = d.admin.ReadPolicy(ctx, c, q.Tenant(), q.Get("name"))
	} else {
		p, err = d.admin.ReadPolicyVersion(ctx, c, q.Tenant(), q.Get("name"), version)
	}
	return policyVersion(p), err
}

func (d *adminDoor) savePolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	in := admin.SavePolicyInput{Tenant: q.Tenant(), Name: q.Get("name"), Document: bytes.Clone(q.Body), Reason: q.Get("reason")}
	var err error
	if in.Expected, err = expectedOf(q); err != nil {
		return nil, err
	}
	if in.ActivateAt, err = q.Time("at"); err != nil {
		return nil, err
	}
	return savedPolicy(d.admin.SavePolicy(ctx, c, in))
}

// expectedOf returns the version that a change is to replace, nil if the command names none.
func expectedOf(q *adminsocket.Question) (*int64, error) {
	if q.Get("expected") == "" {
		return nil, nil
	}
	expected, err := q.Number("expected")
	return &expected, err
}

func (d *adminDoor) deletePolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, d.admin.DeletePolicy(ctx, c, removalOf(q))
}

func (d *adminDoor) policyHistory(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	below, err := q.Number("below")
	if err != nil {
		return nil, err
	}
	all, err := d.admin.PolicyHistory(ctx, c, q.Tenant(), q.Get("name"), below, AdminPage)
	return policyVersions(all), err
}

func (d *adminDoor) rollBackPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	to, err := q.Number("version")
	if err != nil {
		return nil, err
	}
	return savedPolicy(d.admin.RollBackPolicy(ctx, c, admin.RollBackInput{Tenant: q.Tenant(), Name: q.Get("name"), To: to, Reason: q.Get("reason")}))
}

func (d *adminDoor) withdrawPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return savedPolicy(d.admin.WithdrawPolicy(ctx, c, removalOf(q)))
}

// replayPolicy takes the body of the same question over REST.
func (d *adminDoor) replayPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	in, err := httpd.ReadReplay(bytes.Clone(q.Body))
	if err != nil {
		return nil, err
	}
	in.Tenant, in.Name = q.Tenant(), q.Get("name")
	out, err := admin.ReplayPolicy(ctx, d.admin, c, in)
	return httpd.ShowReplay(&out), err
}

func (d *adminDoor) listCanaries(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := admin.ListCanaries(ctx, d.admin, c, q.Tenant())
	out := make([]httpd.NamedCanary, len(all))
	for i := range all {
		out[i] = httpd.ShowCanary(&all[i])
	}
	return out, err
}

// saveCanary takes the body of the same request over REST.
func (d *adminDoor) saveCanary(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	in, err := httpd.ReadCanary(q.Body)
	if err != nil {
		return nil, err
	}
	in.Tenant, in.Name = q.Tenant(), q.Get("name")
	return struct{}{}, admin.SaveCanary(ctx, d.admin, c, in)
}

func (d *adminDoor) deleteCanary(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, admin.DeleteCanary(ctx, d.admin, c, removalOf(q))
}

// attachmentNamed returns the attachment that a command names.
func attachmentNamed(q *adminsocket.Question) admin.AttachInput {
	return admin.AttachInput{Tenant: q.Tenant(), Policy: q.Get("name"), Object: q.Get("object"), Holder: q.Get("holder")}
}

// PolicyTargets are what a key policy is attached to, as commands see it.
type PolicyTargets struct {
	Holders []string `json:"holders,omitempty"` // such as "role:ops"
	Objects []string `json:"objects,omitempty"` // Unique Identifiers
	More    bool     `json:"more,omitempty"`    // there may be more objects
}

func (d *adminDoor) listTargets(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	t, err := d.admin.TargetsOfPolicy(ctx, c, q.Tenant(), q.Get("name"))
	return PolicyTargets{Holders: t.Holders, Objects: t.Objects, More: len(t.Objects) == admin.MaxTargets}, err
}

func (d *adminDoor) attachPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	_, err := d.admin.AttachPolicy(ctx, c, attachmentNamed(q))
	return struct{}{}, err
}

func (d *adminDoor) detachPolicy(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	_, err := d.admin.DetachPolicy(ctx, c, attachmentNamed(q))
	return struct{}{}, err
}

// removalOf returns the entry that a command deletes.
func removalOf(q *adminsocket.Question) admin.Removal {
	return admin.Removal{Tenant: q.Tenant(), Name: q.Get("name"), Reason: q.Get("reason")}
}

// UserChange is what a command says of a user. A member that is left out stays as it is.
type UserChange struct {
	Password   []byte             `json:"password,omitempty"` // base64
	Groups     *[]string          `json:"groups,omitempty"`
	Roles      *[]string          `json:"roles,omitempty"`
	Attributes *map[string]string `json:"attributes,omitempty"`
	Disabled   *bool              `json:"disabled,omitempty"`
	Expires    *int64             `json:"expires,omitempty"` // Unix seconds, 0: never
	Codes      *bool              `json:"codes,omitempty"`   // true: a new key of one-time codes
	Hashed     *bool              `json:"hashed,omitempty"`  // Hashed Passwords are accepted
}

// User is a user as commands see it.
type User struct {
	Name       string            `json:"name"`
	Version    int64             `json:"version"`
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Disabled   bool              `json:"disabled,omitempty"`
	Expires    int64             `json:"expires,omitempty"`    // Unix seconds
	Proofs     []string          `json:"proofs,omitempty"`     // how the user can log in, some of core.Methods
	CodeKeyURI string            `json:"codeKeyUri,omitempty"` // of a new key of one-time codes; shown once
	Warnings   []string          `json:"warnings,omitempty"`   // about what was saved
}

func userShown(u *core.User) User {
	return User{Name: u.Name, Version: u.Version, Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Disabled: u.Disabled, Expires: u.Expires, Proofs: u.Proofs, CodeKeyURI: admin.CodeKeyURI(u)}
}

func (d *adminDoor) listUsers(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := d.admin.ListUsers(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	out := make([]User, len(all))
	for i := range all {
		out[i] = userShown(&all[i])
	}
	return out, err
}

func (d *adminDoor) saveUser(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	var change UserChange
	if err := q.Decode(&change); err != nil {
		return nil, err
	}
	defer clear(change.Password)
	expected, err := expectedOf(q)
	if err != nil {
		return nil, err
	}
	u, err := d.admin.SaveUser(ctx, c, admin.SaveUserInput{Tenant: q.Tenant(), Name: q.Get("name"), Password: change.Password, Groups: change.Groups, Roles: change.Roles,
		Attributes: change.Attributes, Disabled: change.Disabled, Expires: change.Expires, Codes: change.Codes, Hashed: change.Hashed, Reason: q.Get("reason"), MustBeNew: q.Get("new") != "", MustExist: q.Get("existing") != "", Expected: expected})
	out := userShown(&u)
	if err == nil {
		out.Warnings = admin.UnknownRoles(d.admin, q.Tenant(), change.Roles)
	}
	return out, err
}

func (d *adminDoor) deleteUser(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, d.admin.DeleteUser(ctx, c, removalOf(q))
}

// Role is a role of a tenant as commands see it.
type Role struct {
	Name        string   `json:"name"`
	Version     int64    `json:"version,omitempty"`
	Description string   `json:"description,omitempty"`
	Actions     []string `json:"actions"`
}

func (d *adminDoor) listRoles(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := d.admin.ListRoles(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	out := make([]Role, len(all))
	for i, r := range all {
		out[i] = Role{Name: r.Name, Version: r.Version, Description: r.Description, Actions: r.Actions}
	}
	return out, err
}

func (d *adminDoor) saveRole(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	var role core.Role
	if err := q.Decode(&role); err != nil {
		return nil, err
	}
	r, err := d.admin.SaveRole(ctx, c, admin.SaveRoleInput{Tenant: q.Tenant(), Name: q.Get("name"), Description: &role.Description, Actions: &role.Actions, Reason: q.Get("reason")})
	return Role{Name: r.Name, Version: r.Version, Description: r.Description, Actions: r.Actions}, err
}

func (d *adminDoor) deleteRole(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, d.admin.DeleteRole(ctx, c, removalOf(q))
}
