package httpd

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// simulation is the body of POST /v1/simulate. What is left out about the principal is what
// the server knows of it.
type simulation struct {
	Principal  string            `json:"principal"`
	Groups     []string          `json:"groups"`
	Roles      []string          `json:"roles"`
	Attributes map[string]string `json:"attributes"`
	Action     string            `json:"action"` // a word or a name, such as "rotate" or "Get Attributes"
	KeyID      string            `json:"keyId"`
	Door       string            `json:"door"`    // "kmip" or "rest"; left out: "rest"
	Address    string            `json:"address"` // left out: the caller's
	At         string            `json:"at"`      // left out: now

	Algorithm string   `json:"algorithm"` // of the key that the request makes, such as "AES"
	Length    int64    `json:"length"`    // of that key, in bits
	Usage     []string `json:"usage"`     // of that key, such as "Encrypt"
}

func (in *simulation) Validate() error {
	if in.Action == core.EveryAction || core.ActionsNamed(in.Action) == nil {
		return core.Errorf(core.InvalidField, `"action" %q is none that is known; "encrypt", "rotate" and "Get Attributes" are some`, door.Quotable(in.Action))
	}
	if _, err := netip.ParseAddr(in.Address); in.Address != "" && err != nil {
		return core.Errorf(core.InvalidField, `"address" must be an IP address, not %q`, door.Quotable(in.Address))
	}
	return checkPrincipal(&core.Principal{ID: in.Principal, Groups: in.Groups, Roles: in.Roles, Attributes: in.Attributes})
}

// checkPrincipal checks the names of a principal by the bounds of a user.
func checkPrincipal(p *core.Principal) error {
	u := core.User{Tenant: "any", Name: p.ID, Version: 1, Groups: p.Groups, Roles: p.Roles, Attributes: p.Attributes}
	return u.Check()
}

// simulated is the decision about a request, and why.
type simulated struct {
	Action     string      `json:"action"`   // its name
	Decision   string      `json:"decision"` // "allow" or "deny"
	Reasons    []string    `json:"reasons"`
	Policy     string      `json:"policy"`             // hash of the policy in Rego
	Rights     []string    `json:"rights"`             // roles of the tenant that permit the action
	Statements []statement `json:"statements"`         // of the key policies that are attached
	NeedsKey   bool        `json:"needsKey,omitempty"` // denied without a key, and permitted for one of the principal's own
}

// statement says whether a statement of a key policy matches, and why not.
type statement struct {
	Statement string   `json:"statement"` // such as "payroll@3/1"
	Effect    string   `json:"effect"`
	Matched   bool     `json:"matched"`
	Counts    bool     `json:"counts"`          // false if an exclusive policy takes its effect away
	Unmet     []string `json:"unmet,omitempty"` // such as "principal" or "conditions.ipAddress"
}

func simulationShown(d *admin.Simulation) simulated {
	return simulated{Action: d.Action.String(), Decision: verdict(d.Allow), Reasons: door.OrEmpty(d.Reasons), Policy: d.PolicyHash, Rights: door.OrEmpty(d.Rights), NeedsKey: d.DependsOnObject,
		Statements: door.Translate(d.Statements, func(v *core.StatementVerdict) statement { return statement(*v) })}
}

func verdict(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}

func simulate(s *service, c *core.Caller, r *http.Request) (simulated, error) {
	in := simulation{Door: string(core.DoorREST), Address: c.Address}
	if err := s.DecodeFor(c, r, core.ActionSimulatePolicy, &in); err != nil {
		return simulated{}, err
	}
	q := questionAbout(c, in.Principal)
	q.Principal.Groups, q.Principal.Roles, q.Principal.Attributes = in.Groups, in.Roles, in.Attributes
	q.Actions, q.Object, q.Door, q.Address = core.ActionsNamed(in.Action), in.KeyID, core.Door(in.Door), in.Address
	q.At, _ = door.ReadTime("at", in.At) // it was checked
	q.NewKey = admin.NewKey{Algorithm: in.Algorithm, Length: in.Length, Usage: in.Usage}
	out, err := s.Admin.Simulate(r.Context(), c, q)
	return simulationShown(&out), err
}

// questionAbout returns a question about a principal of the caller's tenant, who would send
// the request as the caller does.
func questionAbout(c *core.Caller, principal string) admin.SimulateInput {
	return admin.SimulateInput{Complete: true, Door: core.DoorREST, Address: c.Address,
		Principal: &core.Principal{Tenant: c.Principal.Tenant, ID: principal, Method: core.MethodCertificate, Strength: core.StrengthCertificate}}
}

// access is the answer of GET /v1/keys/{keyId}/access: about one principal, or about each that
// the server knows.
type access struct {
	KeyID     string           `json:"keyId"`
	Principal string           `json:"principal"` // "*": each
	Access    []accessToAction `json:"access,omitempty"`

	Principals    []principalAccess `json:"principals,omitempty"`
	NextPageToken string            `json:"nextPageToken,omitempty"`
}

// principalAccess is what a principal may do with a key.
type principalAccess struct {
	Principal string   `json:"principal"` // such as "user:alice"
	Refusal   string   `json:"refusal,omitempty"`
	Actions   []string `json:"actions"`
}

type accessToAction struct {
	Action   string   `json:"action"`
	Decision string   `json:"decision"` // "allow" or "deny"
	Reasons  []string `json:"reasons"`
}

// everybody asks about each principal that the server knows.
const everybody = "*"

// accessToKey answers about ?principal=, or about the caller.
func accessToKey(s *service, c *core.Caller, r *http.Request) (access, error) {
	q, err := s.QueryFor(c, r, core.ActionSimulatePolicy, "principal", "groups", "roles", "limit", "pageToken")
	if err != nil {
		return access{}, err
	}
	principal := c.Principal.ID
	if named, given := q["principal"]; given {
		principal = named
	}
	if principal == everybody {
		return accessOfAll(s, c, r, q)
	}
	in := questionAbout(c, principal)
	in.Principal.Groups, in.Principal.Roles = listed(q["groups"]), listed(q["roles"])
	if err := checkAskedPrincipal(in.Principal, q); err != nil {
		return access{}, s.Engine.RecordRefused(r.Context(), c, core.ActionSimulatePolicy, err)
	}
	in.Object = r.PathValue("keyId")
	all, err := s.Admin.Access(r.Context(), c, in)
	return access{KeyID: in.Object, Principal: principal, Access: door.Translate(all, func(d *admin.Simulation) accessToAction {
		return accessToAction{Action: d.Action.String(), Decision: verdict(d.Allow), Reasons: door.OrEmpty(d.Reasons)}
	})}, err
}

// listed returns the names in a list such as "a,b"; nil for "".
func listed(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func checkAskedPrincipal(p *core.Principal, q map[string]string) error {
	for _, paged := range []string{"limit", "pageToken"} {
		if _, given := q[paged]; given {
			return core.Errorf(core.InvalidField, "%q goes with principal=* alone", paged)
		}
	}
	return checkPrincipal(p)
}

func accessOfAll(s *service, c *core.Caller, r *http.Request, q map[string]string) (access, error) {
	p, err := door.PageIn(q, admin.MaxAccessPage)
	if q["groups"]+q["roles"] != "" {
		err = core.Errorf(core.InvalidField, `"groups" and "roles" are those of one principal; they do not go with principal=*`)
	}
	if err != nil {
		return access{}, s.Engine.RecordRefused(r.Context(), c, core.ActionSimulatePolicy, err)
	}
	out := access{KeyID: r.PathValue("keyId"), Principal: everybody}
	all, err := admin.ListAccess(r.Context(), s.Admin, c, admin.AccessListInput{Object: out.KeyID, Door: core.DoorREST, Address: c.Address, After: p.After, Limit: p.Limit + 1})
	all, out.NextPageToken = door.CutPage(all, p, (*admin.KnownPrincipal).Key)
	out.Principals = door.Translate(all, func(p *admin.KnownPrincipal) principalAccess {
		return principalAccess{p.Key(), p.Refusal, door.Translate(p.Allowed, func(a *core.Action) string { return a.String() })}
	})
	return out, err
}
