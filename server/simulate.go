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
	"github.com/keyreeve/keyreeve/server/settings"
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

// mappedPrincipals lists the principals of a tenant that tls.principals names. An entry that
// takes the name from the certificate is left out.
func (s *Server) mappedPrincipals(tenant string) (all []*core.Principal) {
	for _, m := range s.cfg.TLS.Principals {
		if m.Tenant == tenant && core.ValidName(m.Name) {
			all = append(all, &core.Principal{Tenant: tenant, ID: m.Name, Groups: m.Groups, Roles: m.Roles, Method: core.MethodCertificate, Strength: core.StrengthCertificate})
		}
	}
	return all
}

// addMappedRoles gives p the groups and roles that tls.principals gives it. It reports whether
// there is an entry for p.
func (d *adminDoor) addMappedRoles(p *core.Principal) bool {
	for _, m := range d.mapped(p.Tenant) {
		if m.ID == p.ID {
			p.Groups, p.Roles = m.Groups, m.Roles
			return true
		}
	}
	return false
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
		if err := settings.PlainText(s, 256); err != nil || s == "" {
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
	if len(in.Actions) == 0 {
		return nil, core.Errorf(core.InvalidField, "name the operation with --do; Get and Encrypt are some")
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
	if actions == nil && q.Get("do") != "" {
		return in, core.Errorf(core.InvalidField, "%q is no action; encrypt, rotate and \"Get Attributes\" are some", q.Get("do"))
	}
	from := q.Get("from")
	if _, err := netip.ParseAddr(from); err != nil {
		return in, core.Errorf(core.InvalidField, "--from must be an IP address, not %q", from)
	}
	p := &core.Principal{Tenant: tenant, ID: name, Groups: q["group"], Roles: q["role"], Method: core.MethodCertificate, Strength: core.StrengthCertificate}
	complete := len(p.Groups)+len(p.Roles) == 0 && !d.addMappedRoles(p)
	in = admin.SimulateInput{Principal: p, Complete: complete, Actions: actions, Object: q.Get("object"), Door: core.DoorKMIP, Address: from}
	if tenant == adminsocket.Principal.Tenant && name == adminsocket.Principal.ID {
		in.Principal, in.Door, in.Address = adminsocket.Principal, core.DoorAdmin, ""
	}
	if in.At, err = question.Time("at"); err != nil {
		return in, err
	}
	length, err := question.Number("length")
	if err != nil {
		return in, err
	}
	in.NewKey = admin.NewKey{Algorithm: q.Get("algorithm"), Length: length, Usage: q["usage"]}
	return in, nil
}

// Explained is the answer of the command policy explain: everything that one principal may do
// with an object, or what each principal that the server knows may do.
type Explained struct {
	Actions    []ExplainedAction    `json:"actions,omitempty"`
	Principals []ExplainedPrincipal `json:"principals,omitempty"`
}

// ExplainPage is how many principals an answer has at most. A shorter one is the last.
const ExplainPage = admin.MaxAccessPage

// ExplainedAction is the decision about an action, and why.
type ExplainedAction struct {
	Action  string   `json:"action"`
	Allow   bool     `json:"allow"`
	Reasons []string `json:"reasons,omitempty"`
}

// ExplainedPrincipal is what a principal may do.
type ExplainedPrincipal struct {
	Principal string   `json:"principal"` // such as "user:alice"
	Refusal   string   `json:"refusal,omitempty"`
	Actions   []string `json:"actions"`
}

// explainAccess answers about one principal if the command names one, and else about each that
// the server knows.
func explainAccess(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	if q.Get("object") == "" {
		return nil, core.Errorf(core.InvalidField, "name the object with --object")
	}
	if q.Get("as") == "" {
		return d.explainAll(ctx, c, q)
	}
	in, err := d.simulationOf(q)
	if err != nil {
		return nil, err
	}
	all, err := d.admin.Access(ctx, c, in)
	var out Explained
	for _, one := range all {
		out.Actions = append(out.Actions, ExplainedAction{one.Action.String(), one.Allow, one.Reasons})
	}
	return out, err
}

func (d *adminDoor) explainAll(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	at, err := q.Time("at")
	if err != nil {
		return nil, err
	}
	page, err := admin.ListAccess(ctx, d.admin, c, admin.AccessListInput{Tenant: q.Tenant(), Object: q.Get("object"), Door: core.DoorKMIP, Address: q.Get("from"), At: at, After: q.Get("after"), Limit: admin.MaxAccessPage})
	var out Explained
	for i := range page {
		out.Principals = append(out.Principals, ExplainedPrincipal{page[i].Key(), page[i].Refusal, actionNames(page[i].Allowed)})
	}
	return out, err
}

func actionNames(all []core.Action) []string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.String()
	}
	return names
}
