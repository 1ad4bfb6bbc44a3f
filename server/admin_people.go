package server

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
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

// tenantNamed returns the tenant that a command names; the default one if none.
func (q *adminQuestion) tenantNamed() string {
	if t := q.Get("tenant"); t != "" {
		return t
	}
	return defaultTenant
}

// number returns a parameter that is a number, 0 if it is missing.
func (q *adminQuestion) number(name string) (int64, error) {
	if q.Get(name) == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, core.Errorf(core.InvalidField, "%s must be a number, not %q", name, core.ClientText(q.Get(name)))
	}
	return n, nil
}

// timeOf returns a parameter that is a time, in Unix seconds; 0 if it is missing.
func (q *adminQuestion) timeOf(name string) (int64, error) {
	if q.Get(name) == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, q.Get(name))
	if err != nil || t.Unix() <= 0 {
		return 0, core.Errorf(core.InvalidField, "--%s must be a time such as 2026-01-31T12:00:00Z", name)
	}
	return t.Unix(), nil
}

func (d *adminDoor) listPolicies(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	all, err := d.admin.ListPolicies(ctx, c, q.tenantNamed(), q.Get("after"), AdminPage)
	return policyVersions(all), err
}

func (d *adminDoor) readPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	version, err := q.number("version")
	if err != nil {
		return nil, err
	}
	var p admin.PolicyVersion
	if version == 0 {
		p, err = d.admin.ReadPolicy(ctx, c, q.tenantNamed(), q.Get("name"))
	} else {
		p, err = d.admin.ReadPolicyVersion(ctx, c, q.tenantNamed(), q.Get("name"), version)
	}
	return policyVersion(p), err
}

func (d *adminDoor) savePolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	in := admin.SavePolicyInput{Tenant: q.tenantNamed(), Name: q.Get("name"), Document: bytes.Clone(q.body), Reason: q.Get("reason")}
	if q.Get("expected") != "" {
		expected, err := q.number("expected")
		if err != nil {
			return nil, err
		}
		in.Expected = &expected
	}
	var err error
	if in.ActivateAt, err = q.timeOf("at"); err != nil {
		return nil, err
	}
	return savedPolicy(d.admin.SavePolicy(ctx, c, in))
}

func (d *adminDoor) deletePolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	return struct{}{}, d.admin.DeletePolicy(ctx, c, q.removal())
}

func (d *adminDoor) policyHistory(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	below, err := q.number("below")
	if err != nil {
		return nil, err
	}
	all, err := d.admin.PolicyHistory(ctx, c, q.tenantNamed(), q.Get("name"), below, AdminPage)
	return policyVersions(all), err
}

func (d *adminDoor) rollBackPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	to, err := q.number("version")
	if err != nil {
		return nil, err
	}
	return savedPolicy(d.admin.RollBackPolicy(ctx, c, admin.RollBackInput{Tenant: q.tenantNamed(), Name: q.Get("name"), To: to, Reason: q.Get("reason")}))
}

func (d *adminDoor) withdrawPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	return savedPolicy(d.admin.WithdrawPolicy(ctx, c, q.removal()))
}

// replayPolicy takes the body of the same question over REST.
func (d *adminDoor) replayPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	in, err := httpd.ReadReplay(bytes.Clone(q.body))
	if err != nil {
		return nil, err
	}
	in.Tenant, in.Name = q.tenantNamed(), q.Get("name")
	out, err := admin.ReplayPolicy(ctx, d.admin, c, in)
	return httpd.ShowReplay(&out), err
}

func (d *adminDoor) listCanaries(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	all, err := admin.ListCanaries(ctx, d.admin, c, q.tenantNamed())
	out := make([]httpd.NamedCanary, len(all))
	for i := range all {
		out[i] = httpd.ShowCanary(&all[i])
	}
	return out, err
}

// saveCanary takes the body of the same request over REST.
func (d *adminDoor) saveCanary(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	in, err := httpd.ReadCanary(q.body)
	if err != nil {
		return nil, err
	}
	in.Tenant, in.Name = q.tenantNamed(), q.Get("name")
	return struct{}{}, admin.SaveCanary(ctx, d.admin, c, in)
}

func (d *adminDoor) deleteCanary(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	return struct{}{}, admin.DeleteCanary(ctx, d.admin, c, q.removal())
}

// attachmentNamed returns the attachment that a command names.
func (q *adminQuestion) attachmentNamed() admin.AttachInput {
	return admin.AttachInput{Tenant: q.tenantNamed(), Policy: q.Get("name"), Object: q.Get("object"), Holder: q.Get("holder")}
}

// PolicyTargets are what a key policy is attached to, as commands see it.
type PolicyTargets struct {
	Holders []string `json:"holders,omitempty"` // such as "role:ops"
	Objects []string `json:"objects,omitempty"` // Unique Identifiers
	More    bool     `json:"more,omitempty"`    // there may be more objects
}

func (d *adminDoor) listTargets(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	t, err := d.admin.TargetsOfPolicy(ctx, c, q.tenantNamed(), q.Get("name"))
	return PolicyTargets{Holders: t.Holders, Objects: t.Objects, More: len(t.Objects) == admin.MaxTargets}, err
}

func (d *adminDoor) attachPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	_, err := d.admin.AttachPolicy(ctx, c, q.attachmentNamed())
	return struct{}{}, err
}

func (d *adminDoor) detachPolicy(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	_, err := d.admin.DetachPolicy(ctx, c, q.attachmentNamed())
	return struct{}{}, err
}

// removal returns the entry that a command deletes.
func (q *adminQuestion) removal() admin.Removal {
	return admin.Removal{Tenant: q.tenantNamed(), Name: q.Get("name"), Reason: q.Get("reason")}
}

// UserChange is what a command says of a user. A member that is left out stays as it is.
type UserChange struct {
	Password   []byte             `json:"password,omitempty"` // base64
	Groups     *[]string          `json:"groups,omitempty"`
	Roles      *[]string          `json:"roles,omitempty"`
	Attributes *map[string]string `json:"attributes,omitempty"`
	Disabled   *bool              `json:"disabled,omitempty"`
	Expires    *int64             `json:"expires,omitempty"` // Unix seconds, 0: never
}

// User is a user as commands see it.
type User struct {
	Name       string            `json:"name"`
	Version    int64             `json:"version"`
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Disabled   bool              `json:"disabled,omitempty"`
	Expires    int64             `json:"expires,omitempty"` // Unix seconds
}

func userShown(u *core.User) User {
	return User{Name: u.Name, Version: u.Version, Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Disabled: u.Disabled, Expires: u.Expires}
}

func (d *adminDoor) listUsers(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	all, err := d.admin.ListUsers(ctx, c, q.tenantNamed(), q.Get("after"), AdminPage)
	out := make([]User, len(all))
	for i := range all {
		out[i] = userShown(&all[i])
	}
	return out, err
}

func (d *adminDoor) saveUser(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	var change UserChange
	if err := decodeStrict(q.body, &change); err != nil {
		return nil, err
	}
	defer clear(change.Password)
	u, err := d.admin.SaveUser(ctx, c, admin.SaveUserInput{Tenant: q.tenantNamed(), Name: q.Get("name"), Password: change.Password, Groups: change.Groups, Roles: change.Roles,
		Attributes: change.Attributes, Disabled: change.Disabled, Expires: change.Expires, Reason: q.Get("reason"), MustBeNew: q.Get("new") != "", MustExist: q.Get("existing") != ""})
	return userShown(&u), err
}

// decodeStrict reads JSON and refuses unknown members.
func decodeStrict(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return core.Errorf(core.InvalidField, "the body is not the JSON that is expected")
	}
	return nil
}

func (d *adminDoor) deleteUser(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	return struct{}{}, d.admin.DeleteUser(ctx, c, q.removal())
}

// Role is a role of a tenant as commands see it.
type Role struct {
	Name        string   `json:"name"`
	Version     int64    `json:"version,omitempty"`
	Description string   `json:"description,omitempty"`
	Actions     []string `json:"actions"`
}

func (d *adminDoor) listRoles(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	all, err := d.admin.ListRoles(ctx, c, q.tenantNamed(), q.Get("after"), AdminPage)
	out := make([]Role, len(all))
	for i, r := range all {
		out[i] = Role{Name: r.Name, Version: r.Version, Description: r.Description, Actions: r.Actions}
	}
	return out, err
}

func (d *adminDoor) saveRole(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	var role core.Role
	if err := decodeStrict(q.body, &role); err != nil {
		return nil, err
	}
	r, err := d.admin.SaveRole(ctx, c, admin.SaveRoleInput{Tenant: q.tenantNamed(), Name: q.Get("name"), Description: &role.Description, Actions: &role.Actions, Reason: q.Get("reason")})
	return Role{Name: r.Name, Version: r.Version, Description: r.Description, Actions: r.Actions}, err
}

func (d *adminDoor) deleteRole(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	return struct{}{}, d.admin.DeleteRole(ctx, c, q.removal())
}
