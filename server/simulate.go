package server

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// Simulated is the answer of the command policy simulate.
type Simulated struct {
	Allow   bool     `json:"allow"`
	Action  string   `json:"action"` // the first one that is denied, otherwise the first
	Reasons []string `json:"reasons"`
	Policy  string   `json:"policy"`

	Rights     []string             `json:"rights,omitempty"`     // roles of the tenant that permit it
	Statements []ExplainedStatement `json:"statements,omitempty"` // of the key policies that are attached
}

// ExplainedStatement says whether a statement of a key policy matches, and why not.
type ExplainedStatement struct {
	Statement string   `json:"statement"`
	Effect    string   `json:"effect"`
	Matched   bool     `json:"matched"`
	Counts    bool     `json:"counts"`
	Unmet     []string `json:"unmet,omitempty"`
}

func explained(all []core.StatementVerdict) (out []ExplainedStatement) {
	for _, s := range all {
		out = append(out, ExplainedStatement(s))
	}
	return out
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
func (d *adminDoor) simulate(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	in, err := d.simulationOf(q)
	if err != nil {
		return nil, err
	}
	out, err := d.admin.Simulate(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if out.DependsOnObject {
		return nil, core.Errorf(core.MissingData, "whether %s may %s depends on the object: name one with --object", in.Principal.ID, out.Action)
	}
	return &Simulated{Allow: out.Allow, Action: out.Action.String(), Reasons: out.Reasons, Policy: out.PolicyHash, Rights: out.Rights, Statements: explained(out.Statements)}, nil
}

// actionsAsked returns the actions that a word for actions, or the name of an action in any
// letter case, stands for. nil if there are none.
func actionsAsked(name string) []core.Action {
	if all := core.ActionsNamed(name); name != core.EveryAction && all != nil {
		return all
	}
	if a, ok := core.ActionByName(name); ok && a.Askable() {
		return []core.Action{a}
	}
	return nil
}

// simulationOf reads a simulation. A principal without groups and roles has those that the
// directory gives to the user or the enrolled client of its name.
func (d *adminDoor) simulationOf(question *adminsocket.Question) (in admin.SimulateInput, err error) {
	q := question.Values
	tenant, name, err := whoAsks(q)
	if err != nil {
		return in, err
	}
	actions := actionsAsked(q.Get("do"))
	if actions == nil {
		return in, core.Errorf(core.InvalidField, "%q is no action; encrypt, rotate and \"Get Attributes\" are some", q.Get("do"))
	}
	from := q.Get("from")
	if _, err := netip.ParseAddr(from); err != nil {
		return in, core.Errorf(core.InvalidField, "--from must be an IP address, not %q", from)
	}
	p := &core.Principal{Tenant: tenant, ID: name, Groups: q["group"], Roles: q["role"], Method: core.MethodCertificate, Strength: core.StrengthCertificate}
	if len(p.Groups)+len(p.Roles) == 0 {
		d.addMappedRoles(p)
	}
	in = admin.SimulateInput{Principal: p, Complete: len(p.Groups)+len(p.Roles) == 0, Actions: actions, Object: q.Get("object"), Door: core.DoorKMIP, Address: from}
	if tenant == adminsocket.Principal.Tenant && name == adminsocket.Principal.ID {
		in.Principal, in.Door, in.Address = adminsocket.Principal, core.DoorAdmin, ""
	}
	in.At, err = question.Time("at")
	return in, err
}
