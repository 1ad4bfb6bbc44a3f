package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// SimulateInput is a request that is decided and not done. It is asked by Principal, who
// may be anybody of the tenant.
type SimulateInput struct {
	Principal *core.Principal
	Action    core.Action
	Object    string // Unique Identifier; "": none
	Door      core.Door
	Address   string
	At        int64 // Unix seconds; 0: now
	Asked     core.Asked
}

// Simulation is the decision about a request, and why.
type Simulation struct {
	core.Decision
	Statements      []core.StatementVerdict // of the key policies that are attached
	Rights          []string                // own roles of the tenant that permit the action
	DependsOnObject bool                    // it is denied without an object, and permitted for a key of the principal
}

// Simulate decides a request as a real one is decided, does nothing, and explains. It is
// recorded. An administrator of a tenant can ask about its own principals alone.
func (v *Verbs) Simulate(ctx context.Context, c *core.Caller, in SimulateInput) (out Simulation, err error) {
	err = v.run(ctx, c, core.ActionSimulatePolicy, simulationDetail(&in), func(k *engine.Call) error {
		if _, err := tenantOf(c, in.Principal.Tenant); err != nil {
			return err
		}
		r, err := v.questionOf(k, &in)
		if err != nil {
			return err
		}
		if out.Decision, err = k.Ports.Policy.Decide(ctx, r); err != nil {
			return core.Wrap(core.PolicyUnavailable, err, "the policy did not decide, so the request would be refused: %v", err)
		}
		out.Rights = r.Rights
		out.DependsOnObject = !out.Allow && r.Object == nil && permitsOwnKey(k, *r)
		if v.ports.KeyPolicies != nil {
			out.Statements, err = v.ports.KeyPolicies.Explain(ctx, r)
		}
		return err
	})
	return out, err
}

// simulationDetail says for the record what is asked.
func simulationDetail(in *SimulateInput) string {
	detail := core.ClientText(in.Principal.Tenant+"/"+in.Principal.ID) + " " + in.Action.String()
	if in.Object != "" {
		detail += " " + core.ClientText(in.Object)
	}
	return detail
}

// questionOf returns the request for a decision, complete as that of an operation is. An
// object that does not exist is an error of code ItemNotFound.
func (v *Verbs) questionOf(k *engine.Call, in *SimulateInput) (*core.AccessRequest, error) {
	r := &core.AccessRequest{Action: in.Action, Principal: in.Principal, Door: in.Door, Address: in.Address, Now: in.At, Asked: in.Asked}
	if r.Now == 0 {
		r.Now = k.Now
	}
	if in.Object != "" {
		o, err := k.Ports.Store.Object(k.Ctx, in.Principal.Tenant, in.Object)
		if core.CodeOf(err) == core.ItemNotFound {
			return nil, core.Errorf(core.ItemNotFound, "for tenant %s there is no object %q: the answer would be Item Not Found", core.ClientText(in.Principal.Tenant), core.ClientText(in.Object))
		}
		if err != nil {
			return nil, err
		}
		r.Object, r.State = o, o.StateAt(r.Now)
	}
	if k.Ports.Facts == nil {
		return r, nil
	}
	return r, k.Ports.Facts.AddFacts(r)
}

// permitsOwnKey reports whether a request that is denied without an object is permitted
// for an active key of the principal.
func permitsOwnKey(k *engine.Call, r core.AccessRequest) bool {
	r.Object = &core.ManagedObject{Tenant: r.Principal.Tenant, ID: "any", Owner: r.Principal.ID, Type: core.ObjectTypeSymmetricKey}
	r.State = core.Active
	d, err := k.Ports.Policy.Decide(k.Ctx, &r)
	return err == nil && d.Allow
}
