package authz

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/core"
)

const (
	maxSteps       = 100_000 // of one decision; the default policy needs a few hundred
	maxReasons     = 32      // of one decision; more are left out
	maxReasonBytes = 256     // of one reason
)

// decide checks that a question is complete and answers it.
func (p *policy) decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if err := checkComplete(r); err != nil {
		return core.Decision{PolicyHash: p.hash}, err
	}
	d, err := p.decideRemembered(ctx, r)
	return limitPermit(d, r), err
}

// decideMatched answers a complete question whose statements are known. The answer is kept with
// them if it depends on nothing else that changes.
func (p *policy) decideMatched(ctx context.Context, r *core.AccessRequest, known *keypolicy.KnownMatch) (core.Decision, error) {
	if p.memo != nil {
		if d := known.Decision.Load(); d != nil && d.PolicyHash == p.hash {
			return limitPermit(*d, r), nil
		}
	}
	d, err := p.decideRemembered(ctx, r)
	if err == nil && p.memo != nil {
		known.Decision.Store(&d)
	}
	return limitPermit(d, r), err
}

// limitPermit turns a permit into a denial if a statement of a key policy denies, if none
// permits and a policy is exclusive, or if the access token of the principal is narrowed to
// something else. The default policy heeds statements too. An operator's policy cannot permit
// it by leaving the rule out.
func limitPermit(d core.Decision, r *core.AccessRequest) core.Decision {
	s := &r.Statements
	switch {
	case !d.Allow:
	case len(s.Deny) > 0:
		d.Allow, d.Reasons = false, []string{"statement " + s.Deny[0] + " denies it"}
	case s.Exclusive && len(s.Allow) == 0:
		d.Allow, d.Reasons = false, []string{"an exclusive key policy does not permit it"}
	case !namesAction(r.Principal, r.Action):
		d.Allow, d.Reasons = false, []string{"the token is narrowed to other actions"}
	case !namesObject(r.Principal, r):
		d.Allow, d.Reasons = false, []string{"the token is narrowed to other keys"}
	}
	return d
}

// namesAction reports whether a principal is not narrowed to actions, or to this one too.
func namesAction(p *core.Principal, a core.Action) bool {
	return p.Actions == nil || slices.ContainsFunc(p.Actions, func(name string) bool { return slices.Contains(core.ActionsNamed(name), a) })
}

// namesObject reports whether a principal is not narrowed to objects, or to the one of the
// request too. A search passes: there is a request of its own for each object that it finds.
func namesObject(p *core.Principal, r *core.AccessRequest) bool {
	switch {
	case p.Keys == nil:
		return true
	case r.Object == nil:
		info := r.Action.Info()
		return info != nil && info.Objects == core.ManyObjects
	}
	return slices.ContainsFunc(p.Keys, func(key string) bool { return namesVersion(key, r.Object, r.Door) })
}

// namesVersion reports whether a key that a token is narrowed to is o: by its identifier, or by that
// of version 1 and its number. At the REST door the identifier of version 1 names each version.
// KMIP names objects, each by an identifier of its own.
func namesVersion(key string, o *core.ManagedObject, door core.Door) bool {
	name, number, numbered := strings.Cut(key, "@")
	if numbered {
		return (name == o.Family() || name == o.ID) && number == strconv.FormatInt(o.FamilyVersion(), 10)
	}
	return name == o.ID || door == core.DoorREST && name == o.Family()
}

// decideRemembered returns the answer in the memo, or evaluates the policy.
func (p *policy) decideRemembered(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	q := questionOf(r)
	if p.memo == nil {
		return p.evaluate(ctx, q, r.Now, r.Address)
	}
	var room [512]byte // so that a usual question allocates nothing
	key := p.memo.appendKey(room[:0], &q)
	if d, ok := p.memo.answers.Get(r.Principal.Tenant, key); ok {
		return d, nil
	}
	d, err := p.evaluate(ctx, q, r.Now, r.Address)
	if err == nil {
		p.memo.answers.Put(r.Principal.Tenant, key, d)
	}
	return d, err
}

// evaluate makes the input of a question and evaluates the policy. [fence.Budget] bounds it.
func (p *policy) evaluate(ctx context.Context, q question, now int64, address string) (core.Decision, error) {
	return p.answer(ctx, makeInput(&q, now, address))
}

// answer evaluates the policy for an input.
func (p *policy) answer(ctx context.Context, in ast.Value) (core.Decision, error) {
	deny := core.Decision{PolicyHash: p.hash}
	if err := ctx.Err(); err != nil {
		return deny, core.Wrap(core.PolicyUnavailable, err, "the request ended before the policy was evaluated")
	}
	work := fence.NewBudget(ctx, maxSteps, p.timeout)
	rs, err := p.query.Eval(ctx, rego.EvalParsedInput(in), rego.EvalExternalCancel(work))
	switch {
	case topdown.IsCancel(err) && work.OutOfSteps():
		return deny, core.Wrap(core.PolicyUnavailable, err, "the policy did not decide within %d steps; make its rules search less", maxSteps)
	case topdown.IsCancel(err):
		return deny, core.Wrap(core.PolicyUnavailable, err, "the policy did not decide in time, because the server is overloaded or the request has ended; try again")
	case err != nil:
		return deny, core.Wrap(core.PolicyUnavailable, err, "the policy failed and made no decision")
	case len(rs) != 1:
		return deny, core.Errorf(core.PolicyUnavailable, "the policy has no decision")
	}
	d, ok := parseDecision(rs[0].Bindings["x"])
	if !ok {
		return deny, core.Errorf(core.PolicyUnavailable, "the policy's decision is not {allow, reasons, scope} as policies.rego describes it")
	}
	d.PolicyHash = p.hash
	return d, nil
}

// parseDecision returns the decision in a result. It accepts only the form that
// policies.rego describes: three fields, allow as true or false, at least one reason, and a
// known scope. It keeps the first maxReasons reasons.
func parseDecision(x any) (core.Decision, bool) {
	m, _ := x.(map[string]any)
	allow, isBool := m["allow"].(bool)
	list, isList := m["reasons"].([]any)
	scope, _ := m["scope"].(string)
	if len(m) != 3 || !isBool || !isList || len(list) == 0 || (scope != "tenant" && scope != "own") {
		return core.Decision{}, false
	}
	list = list[:min(len(list), maxReasons)]
	d := core.Decision{Allow: allow, Scope: scope, Reasons: make([]string, 0, len(list))}
	for _, r := range list {
		s, ok := r.(string)
		if !ok || s == "" || len(s) > maxReasonBytes {
			return core.Decision{}, false
		}
		d.Reasons = append(d.Reasons, s)
	}
	d.Reasons = slices.Clip(d.Reasons) // an append by the caller copies
	return d, true
}
