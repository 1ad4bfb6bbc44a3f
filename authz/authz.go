// Package authz decides about each operation by a Rego policy, inside the process.
//
// A policy becomes active only if it compiles under Rego v2 with the builtins that use
// neither network nor clock, if its own tests pass, and if the canaries pass: questions
// whose answers no policy may change. One constructor makes the input, which is always
// complete. If anything goes wrong, the request is denied. The package fetches nothing.
// It and the packages below it are the only ones that import OPA. Start at [Load] and [Authorizer.Decide].
package authz

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
)

const (
	loadTimeout    = 60 * time.Second // to compile and test one policy, with its canaries
	maxPolicyBytes = 1 << 20          // of the policy, and again of its tests
)

// Options say how the policy is evaluated.
type Options struct {
	Timeout time.Duration // of one decision, beside the bound of its steps; 0: 10 s
	Forget  bool          // evaluate each question, keep no answers
	Keys    *KeyPolicies  // nil: requests with key policies are denied
}

// Authorizer is [core.ServerPolicy]. Safe for concurrent use.
type Authorizer struct {
	opts  Options
	state atomic.Pointer[inForce]
}

// inForce is the policy that decides, or why none does.
type inForce struct {
	policy *policy // nil: none
	absent error   // of each decision then
}

var _ core.ServerPolicy = (*Authorizer)(nil)

// New returns an Authorizer without a policy: it denies every request until one is active.
func New(o Options) *Authorizer {
	if o.Timeout <= 0 {
		o.Timeout = fence.MaxTime
	}
	a := &Authorizer{opts: o}
	a.Suspend(errNoPolicy)
	return a
}

var errNoPolicy = core.Errorf(core.PolicyUnavailable, "no policy is active")

// current returns what decides now. An Authorizer that was not made by [New] has no policy.
func (a *Authorizer) current() *inForce {
	if now := a.state.Load(); now != nil {
		return now
	}
	return &inForce{absent: errNoPolicy}
}

// Load returns an Authorizer with a policy. It fails as [Authorizer.Prepare] does.
func Load(ctx context.Context, o Options, s core.PolicySource) (*Authorizer, error) {
	a := New(o)
	p, err := a.Prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	p.Activate()
	return a, nil
}

// prepared is [core.PreparedPolicy].
type prepared struct {
	Authorizer // has the policy, and decides nothing but what it is asked itself
	owner      *Authorizer
}

// Activate implements [core.PreparedPolicy]. Answers that were remembered are forgotten.
func (p *prepared) Activate() { p.owner.state.Store(p.state.Load()) }

// Prepare implements [core.ServerPolicy].
func (a *Authorizer) Prepare(ctx context.Context, s core.PolicySource) (core.PreparedPolicy, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if len(s.Policy) > maxPolicyBytes || len(s.Tests) > maxPolicyBytes {
		return nil, core.Errorf(core.PolicyUnavailable, "the policy or its tests are larger than %d bytes", maxPolicyBytes)
	}
	s.PolicyName, s.TestsName = cmp.Or(s.PolicyName, "policies.rego"), cmp.Or(s.TestsName, "policies_test.rego")
	p, err := compilePolicy(ctx, s)
	if err == nil {
		p.timeout = a.opts.Timeout
		err = runCanaries(ctx, p)
	}
	if err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the policy is not activated: see policy.file and policy.tests, or the files of the command")
	}
	if p.ignoresTimeAndAddress && !a.opts.Forget {
		p.memo = newMemo(p.ignoresObjectID)
	}
	next := &prepared{owner: a}
	next.opts = a.opts
	next.state.Store(&inForce{policy: p})
	return next, nil
}

// Suspend implements [core.ServerPolicy].
func (a *Authorizer) Suspend(why error) { a.state.Store(&inForce{absent: why}) }

// Hash returns the SHA-256 of the text of the active policy in hex, or "" if none is
// active.
func (a *Authorizer) Hash() string {
	if p := a.current().policy; p != nil {
		return p.hash
	}
	return ""
}

// Health returns an error if no policy is active, or if the active one does not decide.
func (a *Authorizer) Health(ctx context.Context) error {
	now := a.current()
	if now.policy == nil {
		return now.absent
	}
	if err := tenantsStayApart(ctx, now.policy, core.ActionGet); err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the active policy does not decide")
	}
	return nil
}

// Decide answers one question. It fails with PermissionDenied if the question is
// incomplete, else with PolicyUnavailable; the decision denies then. The Reasons of a
// decision are shared, so callers must not change them.
func (a *Authorizer) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	now := a.current()
	p := now.policy
	if p == nil {
		return core.Decision{}, now.absent
	}
	if len(r.Policies) == 0 {
		return p.decide(ctx, r)
	}
	d, err := a.decideByKeyPolicies(ctx, p, r)
	if err != nil || d.Allow || len(r.Granted) > 0 || len(r.Statements.Gates) == 0 {
		return d, err
	}
	return a.nameGates(ctx, p, r, d)
}

// decideByKeyPolicies answers a question to which key policies are attached.
func (a *Authorizer) decideByKeyPolicies(ctx context.Context, p *policy, r *core.AccessRequest) (core.Decision, error) {
	deny := core.Decision{PolicyHash: p.hash}
	if a.opts.Keys == nil {
		return deny, core.Errorf(core.PolicyUnavailable, "key policies are attached, and this server does not read them")
	}
	if err := checkComplete(r); err != nil {
		return deny, err
	}
	known, err := a.opts.Keys.match(ctx, r)
	if err != nil {
		return deny, err
	}
	return p.decideMatched(ctx, r, known)
}

// nameGates adds the gates to a denial if the request would be permitted with all of them
// open. Otherwise nobody is asked to open them.
func (a *Authorizer) nameGates(ctx context.Context, p *policy, r *core.AccessRequest, d core.Decision) (core.Decision, error) {
	open, gates := *r, r.Statements.Gates
	open.Granted = make([]string, len(gates))
	for i := range gates {
		open.Granted[i] = gates[i].Statement
	}
	opened, err := a.decideByKeyPolicies(ctx, p, &open)
	if err != nil || !opened.Allow {
		return d, err
	}
	d.Gates, d.Reasons = gates, make([]string, min(len(gates), maxMatchesNamed))
	for i := range d.Reasons {
		d.Reasons[i] = "statement " + gates[i].Statement + " has terms to meet"
	}
	return d, nil
}
