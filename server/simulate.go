package server

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Simulated is the answer of the command policy simulate.
type Simulated struct {
	Allow   bool     `json:"allow"`
	Reasons []string `json:"reasons"`
	Policy  string   `json:"policy"`
}

// addMappedRoles gives p the groups and roles that tls.principals gives it.
func (d *adminDoor) addMappedRoles(p *core.Principal) {
	for _, m := range d.principals {
		if m.Tenant == p.Tenant && m.Name == p.ID {
			p.Groups, p.Roles = m.Groups, m.Roles
			return
		}
	}
}

// whoAsks reads the principal of a simulation: NAME or TENANT/NAME, with groups
// and roles.
func whoAsks(q url.Values) (tenant, name string, err error) {
	tenant, name, ok := strings.Cut(q.Get("as"), "/")
	if !ok {
		tenant, name = "default", tenant
	}
	if tenant == "" || name == "" || strings.ContainsAny(tenant+name, "/:") {
		return "", "", core.Errorf(core.InvalidField, "--as must be NAME or TENANT/NAME, not %q", q.Get("as"))
	}
	for _, s := range slices.Concat([]string{tenant, name}, q["group"], q["role"]) {
		if err := plainText(s, 256); err != nil || s == "" {
			return "", "", core.Errorf(core.InvalidField, "%q is no name of a principal, group or role", s)
		}
	}
	return tenant, name, nil
}

// simulate asks the policy without doing anything. The principal is given as
// TENANT/NAME with groups and roles, since certificates name them.
func (d *adminDoor) simulate(ctx context.Context, _ *core.Caller, q url.Values) (any, error) {
	tenant, name, err := whoAsks(q)
	if err != nil {
		return nil, err
	}
	action, ok := core.ActionByName(q.Get("do"))
	if !ok || !action.Askable() {
		return nil, core.Errorf(core.InvalidField, "%q is no operation; Get and Encrypt are some", q.Get("do"))
	}
	from := q.Get("from")
	if _, err := netip.ParseAddr(from); err != nil {
		return nil, core.Errorf(core.InvalidField, "--from must be an IP address, not %q", from)
	}
	p := &core.Principal{Tenant: tenant, ID: name, Groups: q["group"], Roles: q["role"], Method: core.MethodCertificate, Strength: core.StrengthCertificate}
	if len(p.Groups)+len(p.Roles) == 0 {
		d.addMappedRoles(p)
	}
	req := core.AccessRequest{Action: action, Door: core.DoorKMIP, Address: from, Now: time.Now().Unix(), Principal: p}
	if tenant == socketPrincipal.Tenant && name == socketPrincipal.ID {
		req.Principal, req.Door, req.Address = socketPrincipal, core.DoorAdmin, ""
	}
	if at := q.Get("at"); at != "" {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return nil, core.Errorf(core.InvalidField, "--at must be a time such as 2026-01-31T12:00:00Z")
		}
		req.Now = t.Unix()
	}
	if id := q.Get("object"); id != "" {
		o, err := d.store.Object(ctx, tenant, id)
		if core.CodeOf(err) == core.ItemNotFound {
			return nil, core.Errorf(core.ItemNotFound, "for tenant %s there is no object %q: the answer would be Item Not Found", tenant, id)
		}
		if err != nil {
			return nil, err
		}
		req.Object, req.State = o, o.StateAt(req.Now)
	}
	decision, err := d.policy.Decide(ctx, &req)
	if err != nil {
		return nil, fmt.Errorf("the policy did not decide, so the request would be refused: %w", err)
	}
	if !decision.Allow && req.Object == nil && d.dependsOnObject(ctx, req) {
		return nil, core.Errorf(core.MissingData, "whether %s may %s depends on the object: name one with --object", name, req.Action)
	}
	return &Simulated{Allow: decision.Allow, Reasons: decision.Reasons, Policy: decision.PolicyHash}, nil
}

// dependsOnObject reports whether a request that is denied without an object is
// allowed for an active key of the caller.
func (d *adminDoor) dependsOnObject(ctx context.Context, req core.AccessRequest) bool {
	req.Object = &core.ManagedObject{Tenant: req.Principal.Tenant, ID: "any", Owner: req.Principal.ID, Type: core.ObjectTypeSymmetricKey}
	req.State = core.Active
	decision, err := d.policy.Decide(ctx, &req)
	return err == nil && decision.Allow
}
