package admin

import (
	"context"
	"math"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// StoredApproval is a request that waits, with its place in the directory.
type StoredApproval = directory.StoredApproval

// ApprovalInput names a request that waits.
type ApprovalInput struct {
	Tenant string // "": the caller's
	ID     string
	Reason string
}

// ApprovalVerbs are the operations on requests that wait for approvals. It is safe for
// concurrent use.
type ApprovalVerbs struct{ verbs *Verbs }

// NewApprovalVerbs returns the operations on approvals beside those of v.
func NewApprovalVerbs(v *Verbs) *ApprovalVerbs { return &ApprovalVerbs{v} }

// Approve approves a request that waits. The approver must be named by a statement that
// demands the approvals. It must not be the requester, nor a user or an
// enrolled client that the requester has ever made or changed: the code is then PermissionDenied. Approving twice counts once.
func (a *ApprovalVerbs) Approve(ctx context.Context, c *core.Caller, in ApprovalInput) (out StoredApproval, err error) {
	err = a.runOnApproval(ctx, c, core.ActionApproveRequest, in.Tenant, in.ID, func(k *engine.Call, asked *StoredApproval) error {
		out = *asked
		self := authorOf(c)
		if slices.ContainsFunc(asked.Approvers, func(one directory.Approver) bool { return one.Principal == self }) {
			return nil
		}
		approver, err := a.approverOf(k, asked)
		if err != nil {
			return err
		}
		out.Approvers = append(slices.Clone(asked.Approvers), approver)
		body, err := core.EncodeBody(&out.Approval)
		if err != nil {
			return err
		}
		_, err = a.verbs.saveEntry(k, change{kind: core.EntryApproval, tenant: asked.Tenant, id: asked.ID, reason: in.Reason, expected: asked.Version, body: body})
		return err
	})
	if err != nil {
		return StoredApproval{}, err
	}
	return out, nil
}

// approverOf returns what an approval notes of the caller, who must be an independent
// approver.
func (a *ApprovalVerbs) approverOf(k *engine.Call, asked *StoredApproval) (out directory.Approver, err error) {
	p := k.Caller.Principal
	out = directory.Approver{Principal: authorOf(k.Caller), At: k.Now}
	for i := range asked.Needs {
		if asked.Needs[i].NamesApprover(p) {
			out.Statements = append(out.Statements, asked.Needs[i].Statement)
		}
	}
	switch {
	case out.Principal == asked.Requester:
		return out, core.Errorf(core.PermissionDenied, "nobody approves their own request")
	case len(out.Statements) == 0:
		return out, core.Errorf(core.PermissionDenied, "no statement that demands approvals names %s as an approver", core.ClientText(p.ID))
	case p.Tenant != asked.Tenant:
		return out, nil
	}
	for _, kind := range []core.EntryKind{core.EntryUser, core.EntryClient} {
		changed, err := a.hasChanged(k, core.DirectoryName{Tenant: asked.Tenant, Kind: kind, ID: p.ID}, asked.Requester)
		if err != nil {
			return out, err
		}
		if changed {
			return out, core.Errorf(core.PermissionDenied, "%s has made or changed the %s %s, who is thus no independent approver", core.ClientText(asked.Requester), kind, core.ClientText(p.ID))
		}
	}
	return out, nil
}

// hasChanged reports whether an author has stored any version of an entry, or may have: only the
// newest versions are kept, so nobody is known not to have made an entry whose first one is gone.
func (a *ApprovalVerbs) hasChanged(k *engine.Call, name core.DirectoryName, author string) (bool, error) {
	if a.verbs.directory.NextVersion(name.Kind, name.Tenant, name.ID) == 1 {
		return false, a.verbs.directory.Fresh()
	}
	for below := int64(math.MaxInt64); below > 1; {
		page, err := k.Ports.Store.DirectoryHistory(k.Ctx, name, below, historyPage)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(page, func(e *core.DirectoryEntry) bool { return e.Author == author }) {
			return true, nil
		}
		if len(page) < historyPage {
			return len(page) == 0 || page[len(page)-1].Version > 1, nil
		}
		below = page[len(page)-1].Version
	}
	return false, nil
}

// Deny ends a request that waits. Its requester can withdraw it, and each of its
// approvers and the administrator on the server's machine can deny it.
func (a *ApprovalVerbs) Deny(ctx context.Context, c *core.Caller, in ApprovalInput) error {
	return a.runOnApproval(ctx, c, core.ActionDenyRequest, in.Tenant, in.ID, func(k *engine.Call, asked *StoredApproval) error {
		if !asked.NamesApprover(c.Principal) && authorOf(c) != asked.Requester && c.Principal.Tenant != core.SystemTenant {
			return core.Errorf(core.PermissionDenied, "only the requester and the approvers can deny the request %s", asked.ID)
		}
		return a.verbs.deleteEntry(k, change{kind: core.EntryApproval, tenant: asked.Tenant, id: asked.ID, reason: in.Reason, expected: asked.Version})
	})
}

// Read returns a request that waits.
func (a *ApprovalVerbs) Read(ctx context.Context, c *core.Caller, tenant, id string) (out StoredApproval, err error) {
	err = a.runOnApproval(ctx, c, core.ActionReadApprovals, tenant, id, func(_ *engine.Call, asked *StoredApproval) error {
		out = *asked
		return nil
	})
	return out, err
}

// List lists the requests that wait and that the caller may see, by ID, starting
// after an ID.
func (a *ApprovalVerbs) List(ctx context.Context, c *core.Caller, tenant, after string, limit int) (out []StoredApproval, err error) {
	err = a.verbs.run(ctx, c, core.ActionReadApprovals, "list", func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		for _, id := range a.verbs.ports.Approvals.IDs(tenant, "", after, k.Now, math.MaxInt) {
			asked, err := a.visibleApproval(k, tenant, id)
			if core.CodeOf(err) == core.ItemNotFound {
				continue
			}
			if err != nil {
				return err
			}
			if out = append(out, *asked); len(out) == limit {
				return nil
			}
		}
		return nil
	})
	return out, err
}

// runOnApproval runs verb on a request that waits and that the caller may see.
func (a *ApprovalVerbs) runOnApproval(ctx context.Context, c *core.Caller, action core.Action, tenant, id string, verb func(*engine.Call, *StoredApproval) error) error {
	return a.verbs.run(ctx, c, action, "approval "+core.ClientText(id), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		asked, err := a.visibleApproval(k, tenant, id)
		if err != nil {
			return absent(err, core.EntryApproval, id)
		}
		k.Record.Detail += ", " + asked.Action + " by " + core.ClientText(asked.Requester)
		return verb(k, asked)
	})
}

// visibleApproval returns a request that waits. The code is ItemNotFound unless the caller is
// its requester, may approve it, or may read the policies of the tenant.
func (a *ApprovalVerbs) visibleApproval(k *engine.Call, tenant, id string) (*StoredApproval, error) {
	if a.verbs.ports.Approvals == nil {
		return nil, core.Errorf(core.ItemNotFound, "this server has no approvals")
	}
	asked, err := a.verbs.ports.Approvals.Approval(tenant, id, k.Now)
	if err != nil || asked.NamesApprover(k.Caller.Principal) || asked.Requester == authorOf(k.Caller) {
		return asked, err
	}
	if _, err := k.Decide(core.ActionReadPolicies, nil); core.CodeOf(err) == core.PermissionDenied {
		return nil, core.Errorf(core.ItemNotFound, "there is no approval %s", core.ClientText(id))
	} else if err != nil {
		return nil, err
	}
	return asked, nil
}

// requireApprovals demands the approvals that a change needs because others rest on what it
// changes: the key policies that it names, the holders that it takes a policy from, and the
// names of users, roles and groups who may approve.
func requireApprovals(v *Verbs, k *engine.Call, tenant string, policies, holders, names []string) error {
	if v.ports.Approvals == nil {
		return nil
	}
	var gates []core.Gate
	add := func(more []core.Gate, err error) error {
		for _, g := range more {
			if !slices.ContainsFunc(gates, func(known core.Gate) bool { return known.Statement == g.Statement }) {
				gates = append(gates, g)
			}
		}
		return err
	}
	for _, policy := range policies {
		if err := add(v.ports.Approvals.PolicyGuards(tenant, policy)); err != nil {
			return err
		}
	}
	for _, holder := range holders {
		if err := add(v.ports.Approvals.HolderGuards(tenant, holder)); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		if err := add(v.ports.Approvals.NamingGuards(tenant, names)); err != nil {
			return err
		}
	}
	return engine.RequireApprovals(k, gates, nil)
}

// requireForUser demands the approvals that a change of a user needs: of statements that name
// the user or one of its groups and roles as approvers, before or after, and of the policies
// of groups and roles that the user leaves. after is nil if the user is deleted. To disable or
// delete a user needs none of the first.
func requireForUser(v *Verbs, k *engine.Call, tenant, name string, after *core.User, newPassword bool) error {
	before, err := v.user(tenant, name)
	if core.CodeOf(err) == core.ItemNotFound {
		before, err = &core.User{Tenant: tenant, Name: name}, nil
	}
	if err != nil {
		return err
	}
	var names, left []string
	for _, holder := range holdersOf(before.Name, before.Groups, before.Roles) {
		if after == nil || !slices.Contains(holdersOf(after.Name, after.Groups, after.Roles), holder) {
			left = append(left, holder)
		}
	}
	if after != nil && (newPassword || !onlyDisables(before, after)) {
		names = slices.Concat(holdersOf(before.Name, before.Groups, before.Roles), holdersOf(after.Name, after.Groups, after.Roles), []string{"client:" + name})
	}
	return requireApprovals(v, k, tenant, nil, left, names)
}

// requireForRole demands the approvals that a change of a role needs.
func requireForRole(v *Verbs, k *engine.Call, tenant, name string) error {
	holder := core.RoleHolder + name
	return requireApprovals(v, k, tenant, nil, []string{holder}, []string{holder})
}

// requireForClient demands the approvals that a change of an enrolled client needs: of
// statements that name the client or one of its groups and roles as approvers, before or after,
// and of the policies of groups and roles that it leaves. A new certificate or invitation is
// such a change.
func requireForClient(v *Verbs, k *engine.Call, before, after *NamedClient) error {
	was, becomes := holdersOf(after.Name, before.Groups, before.Roles), holdersOf(after.Name, after.Groups, after.Roles)
	left := slices.DeleteFunc(slices.Clone(was), func(holder string) bool { return slices.Contains(becomes, holder) })
	return requireApprovals(v, k, after.Tenant, nil, left, slices.Concat(was, becomes, []string{"client:" + after.Name}))
}

// holdersOf lists a user or client, its groups and its roles, as holders of policies.
func holdersOf(name string, groups, roles []string) []string {
	names := []string{core.UserHolder + name}
	for _, g := range groups {
		names = append(names, core.GroupHolder+g)
	}
	for _, r := range roles {
		names = append(names, core.RoleHolder+r)
	}
	return names
}

// onlyDisables reports whether a change of a user does nothing else.
func onlyDisables(before, after *core.User) bool {
	same := *after
	same.Disabled, same.Version = before.Disabled, before.Version
	a, err := same.EncodeBody()
	b, again := before.EncodeBody()
	return after.Disabled && before.Version > 0 && err == nil && again == nil && string(a) == string(b)
}
