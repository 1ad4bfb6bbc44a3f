package admin

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// SimulateInput is a request that is decided and not done. It is asked by Principal, who
// may be anybody of the tenant.
type SimulateInput struct {
	Principal *core.Principal
	Complete  bool          // groups, roles and attributes that are nil are those that the server knows
	Actions   []core.Action // all of them must be permitted
	Object    string        // as [findKey] reads it; "": none
	Door      core.Door
	Address   string
	At        int64  // Unix seconds; 0: now
	NewKey    NewKey // that the request makes
}

// NewKey describes the key that a request makes.
type NewKey = rules.NewKey

// Simulation is the decision about a request, and why.
type Simulation struct {
	core.Decision
	Action          core.Action             // that the decision is about: the first one that is denied, otherwise the first
	Statements      []core.StatementVerdict // of the key policies that are attached; from Simulate alone
	Rights          []string                // own roles of the tenant that permit the action
	DependsOnObject bool                    // it is denied without an object, and permitted for a key of the principal
}

// Simulate decides a request as a real one is decided, does nothing, and explains. It is
// recorded. An administrator of a tenant can ask about its own principals alone. An
// object that the caller may not see is answered as one that does not exist.
func (v *Verbs) Simulate(ctx context.Context, c *core.Caller, in SimulateInput) (out Simulation, err error) {
	err = v.run(ctx, c, core.ActionSimulatePolicy, simulationDetail(&in), func(k *engine.Call) error {
		q, err := v.questionOf(k, &in)
		if err != nil {
			return err
		}
		var asked core.AccessRequest
		for i, action := range in.Actions {
			one, r, err := decideAction(k, q, action)
			if err != nil {
				return err
			}
			if i == 0 || !one.Allow {
				out, asked = one, r
			}
			if !one.Allow {
				break
			}
		}
		if asked.Principal != nil && v.ports.KeyPolicies != nil { // it was decided
			out.Statements, err = v.ports.KeyPolicies.Explain(k.Ctx, &asked)
		}
		return err
	})
	return out, err
}

// Access decides every action on an object for a principal, as [Verbs.Simulate] does, but
// without the statements, and leaves one record. Actions of the input are ignored.
func (v *Verbs) Access(ctx context.Context, c *core.Caller, in SimulateInput) (all []Simulation, err error) {
	err = v.run(ctx, c, core.ActionSimulatePolicy, "access of "+simulationDetail(&in), func(k *engine.Call) error {
		q, err := v.questionOf(k, &in)
		if err != nil {
			return err
		}
		for _, action := range objectActions() {
			one, _, err := decideAction(k, q, action)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// objectActions lists the actions that the policy is asked for about an object.
func objectActions() []core.Action {
	return slices.DeleteFunc(core.Actions(), func(a core.Action) bool { return !a.Askable() || a.Info().Objects == core.NoObject })
}

// simulationDetail says for the record what is asked.
func simulationDetail(in *SimulateInput) string {
	detail := core.ClientText(in.Principal.Tenant + "/" + in.Principal.ID)
	for _, a := range in.Actions {
		detail += " " + a.String()
	}
	if in.Object != "" {
		detail += " " + core.ClientText(in.Object)
	}
	return detail
}

// question is a request for a decision, without its action and its object.
type question struct {
	core.AccessRequest
	key     keyVersions
	refusal string // why no request of the principal is accepted; "": it is
}

// keyVersions are the versions of a key that requests use, by their actions; all nil: there is no key.
type keyVersions struct{ newest, protecting, processing *core.ManagedObject }

// of returns the version that a request with an action uses.
func (v *keyVersions) of(action core.Action) *core.ManagedObject {
	switch {
	case engine.Protecting[action]:
		return v.protecting
	case engine.Processing[action]:
		return v.processing
	}
	return v.newest
}

// versionsOf finds the versions of a key that requests use. find is asked for each.
func versionsOf(find func(core.Action) (*core.ManagedObject, error)) (v keyVersions, err error) {
	if v.newest, err = find(core.ActionGetAttributes); err == nil {
		v.protecting, err = find(core.ActionEncrypt)
	}
	if err == nil {
		v.processing, err = find(core.ActionDecrypt)
	}
	return v, err
}

// decideAction decides a question for one action. It also returns the request that was decided.
func decideAction(k *engine.Call, q *question, action core.Action) (out Simulation, r core.AccessRequest, err error) {
	out.Action = action
	if q.refusal != "" {
		out.Reasons = []string{q.refusal}
		return out, r, nil
	}
	r = q.AccessRequest
	r.Action = action
	if r.Object = q.key.of(action); r.Object != nil {
		r.State = r.Object.StateAt(r.Now)
	}
	if k.Ports.Facts != nil {
		if err := k.Ports.Facts.AddFacts(&r); err != nil {
			return out, r, err
		}
	}
	if out.Decision, err = k.Ports.Policy.Decide(k.Ctx, &r); err != nil {
		return out, r, core.Wrap(core.PolicyUnavailable, err, "the policy did not decide, so the request would be refused: %v", err)
	}
	out.Rights = r.Rights
	out.DependsOnObject = !out.Allow && r.Object == nil && permitsOwnKey(k, r)
	return out, r, nil
}

// questionOf returns the request for a decision. The code is ItemNotFound if there is no
// such tenant or object for the caller.
func (v *Verbs) questionOf(k *engine.Call, in *SimulateInput) (*question, error) {
	aboutItself := in.Principal.Tenant == core.SystemTenant && k.Caller.Principal.Tenant == core.SystemTenant
	if _, err := engine.AskedTenant(k, in.Principal.Tenant); err != nil && !aboutItself {
		return nil, err
	}
	asked, err := in.NewKey.Asked(in.Actions)
	if err != nil {
		return nil, err
	}
	q := &question{AccessRequest: core.AccessRequest{Principal: in.Principal, Door: in.Door, Address: in.Address, Now: in.At, Asked: asked}}
	if q.Now == 0 {
		q.Now = k.Now
	}
	if in.Complete {
		if err := v.completePrincipal(k, q); err != nil {
			return nil, err
		}
	}
	if in.Object == "" {
		return q, nil
	}
	for _, a := range in.Actions {
		if a.Info().Objects == core.NoObject {
			return nil, core.Errorf(core.InvalidField, "%s works on no object that exists; leave the object out", a)
		}
	}
	q.key, err = versionsOf(func(a core.Action) (*core.ManagedObject, error) {
		return visibleVersion(k, in.Principal.Tenant, in.Object, a)
	})
	if err == nil {
		k.Involve(q.key.newest.ID, core.RoleTarget)
	}
	return q, err
}

// visibleVersion is [findVersion] for a version whose attributes the caller may read. Any other
// one is answered as one that does not exist.
func visibleVersion(k *engine.Call, tenant, reference string, action core.Action) (*core.ManagedObject, error) {
	o, err := findVersion(k, tenant, reference, action)
	if err != nil || k.Caller.Principal.Tenant == core.SystemTenant {
		return o, err
	}
	visible, err := mayRead(k, k.Caller.Principal, o)
	if err != nil {
		return nil, err
	}
	if !visible {
		return nil, noObject(tenant, reference)
	}
	return o, nil
}

// mayRead reports whether a principal may read the attributes of an object.
func mayRead(k *engine.Call, p *core.Principal, o *core.ManagedObject) (bool, error) {
	r := core.AccessRequest{Action: core.ActionGetAttributes, Principal: p, Object: o, State: o.StateAt(k.Now), Door: k.Caller.Door, Address: k.Caller.Address, Now: k.Now}
	if k.Ports.Facts != nil {
		if err := k.Ports.Facts.AddFacts(&r); err != nil {
			return false, err
		}
	}
	d, err := k.Ports.Policy.Decide(k.Ctx, &r)
	return d.Allow, err
}

// completePrincipal gives a principal what the server knows of it: all of the caller, if
// it is the caller, or what the directory has. The server does not know what certificates
// say that it has not seen.
func (v *Verbs) completePrincipal(k *engine.Call, q *question) error {
	given, own := q.Principal, k.Caller.Principal
	known := *given
	q.Principal = &known
	if given.Tenant == own.Tenant && given.ID == own.ID {
		known = *own
	} else if err := addKnownFacts(v, q, &known); err != nil {
		return err
	}
	if given.Groups != nil {
		known.Groups = given.Groups
	}
	if given.Roles != nil {
		known.Roles = given.Roles
	}
	if given.Attributes != nil {
		known.Attributes = given.Attributes
	}
	return nil
}

// addKnownFacts gives p the groups, roles and attributes of the user of its name. If there is
// no such user, it gives p the groups and roles of the enrolled client of its name.
func addKnownFacts(v *Verbs, q *question, p *core.Principal) error {
	u, err := v.user(p.Tenant, p.ID)
	if core.CodeOf(err) == core.ItemNotFound {
		return addClientFacts(v, p)
	}
	if err != nil {
		return err
	}
	if u.Disabled || u.Expires != 0 && u.Expires <= q.Now {
		q.refusal = "the user " + u.Name + " is disabled or has expired"
	}
	p.Method, p.Strength = core.MethodPassword, core.StrengthPassword
	p.Groups, p.Roles, p.Attributes = u.Groups, u.Roles, u.Attributes
	return nil
}

// addClientFacts gives p the groups and roles of the enrolled client of its name, if there is one.
func addClientFacts(v *Verbs, p *core.Principal) error {
	e, err := v.directory.Get(core.EntryClient, p.Tenant, p.ID)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	client, err := namedClient(e)
	p.Groups, p.Roles = client.Groups, client.Roles
	return err
}

// permitsOwnKey reports whether a request that is denied without an object is permitted
// for an active key of the principal.
func permitsOwnKey(k *engine.Call, r core.AccessRequest) bool {
	r.Object = &core.ManagedObject{Tenant: r.Principal.Tenant, ID: "any", Owner: r.Principal.ID, Type: core.ObjectTypeSymmetricKey}
	r.State = core.Active
	d, err := k.Ports.Policy.Decide(k.Ctx, &r)
	return err == nil && d.Allow
}
