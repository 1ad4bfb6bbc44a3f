// Package authz decides about each operation by a Rego policy, inside the process.
//
// A policy becomes active only if it compiles under Rego v2 with the builtins that use
// neither network nor clock, if its own tests pass, and if the canaries pass: questions
// whose answers no policy may change. One constructor makes the input, which is always
// complete. If anything goes wrong, the request is denied. The package fetches nothing.
// It and the packages below it are the only ones that import OPA. Start at [New] and [Authorizer.Decide].
package authz

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
)

const (
	loadTimeout    = 60 * time.Second // to compile and test one policy, with its canaries
	maxPolicyBytes = 1 << 20          // of the policy, and again of its tests
)

// Options say where the policy comes from and how it is evaluated.
type Options struct {
	Load    func() (policy, tests string, err error) // called by New and by each Reload
	Names   FileNames
	Timeout time.Duration // of one decision, beside the bound of its steps; 0: 10 s
	Forget  bool          // evaluate each question, keep no answers
	Keys    *KeyPolicies  // nil: requests with key policies are denied

	// Changing is called with the hashes of the old and the next policy before the
	// next one becomes active, and with the next one, which decides nothing yet. If it
	// fails, the old one stays. It may be nil.
	Changing func(ctx context.Context, old, next string, policy core.Policy) error
}

// FileNames are the names of the policy and its tests in messages. An empty name stands
// for the one of the default policy.
type FileNames struct{ Policy, Tests string }

// orDefault replaces empty names.
func (n FileNames) orDefault() FileNames {
	return FileNames{Policy: cmp.Or(n.Policy, "policies.rego"), Tests: cmp.Or(n.Tests, "policies_test.rego")}
}

// Authorizer is [core.Policy]. Safe for concurrent use.
type Authorizer struct {
	opts    Options
	loading sync.Mutex // one Reload at a time, so that the last caller wins
	active  atomic.Pointer[policy]
}

var _ core.Policy = (*Authorizer)(nil)

// New loads, tests and activates the policy. It fails with PolicyUnavailable and returns
// no Authorizer then: without a policy there is no server.
func New(ctx context.Context, o Options) (*Authorizer, error) {
	if o.Timeout <= 0 {
		o.Timeout = fence.MaxTime
	}
	a := &Authorizer{opts: o}
	if err := a.Reload(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload activates the policy as it is now. If anything is wrong with it, the active
// policy stays, and the error has the code PolicyUnavailable.
func (a *Authorizer) Reload(ctx context.Context) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	text, tests, err := a.opts.Load()
	if err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy cannot be read; see policy.file and policy.tests")
	}
	if len(text) > maxPolicyBytes || len(tests) > maxPolicyBytes {
		return core.Errorf(core.PolicyUnavailable, "the policy or its tests are larger than %d bytes", maxPolicyBytes)
	}
	p, err := compilePolicy(ctx, text, tests, a.opts.Names.orDefault())
	if err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated; see policy.file and policy.tests")
	}
	p.timeout = a.opts.Timeout
	if err := runCanaries(ctx, p); err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated; see policy.file and policy.tests")
	}
	if p.ignoresTimeAndAddress && !a.opts.Forget {
		p.memo = newMemo(p.ignoresObjectID)
	}
	if a.opts.Changing != nil {
		trial := &Authorizer{opts: a.opts}
		trial.active.Store(p)
		if err := a.opts.Changing(ctx, a.Hash(), p.hash, trial); err != nil {
			return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated: %v", err)
		}
	}
	a.active.Store(p)
	return nil
}

// Hash returns the SHA-256 of the text of the active policy in hex, or "" if none is
// active.
func (a *Authorizer) Hash() string {
	if p := a.active.Load(); p != nil {
		return p.hash
	}
	return ""
}

// Health returns an error if no policy is active, or if the active one does not decide.
func (a *Authorizer) Health(ctx context.Context) error {
	p := a.active.Load()
	if p == nil {
		return core.Errorf(core.PolicyUnavailable, "no policy is active")
	}
	if err := tenantsStayApart(ctx, p, core.ActionGet); err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the active policy does not decide")
	}
	return nil
}

// Decide answers one question. It fails with PermissionDenied if the question is
// incomplete, else with PolicyUnavailable; the decision denies then. The Reasons of a
// decision are shared, so callers must not change them.
func (a *Authorizer) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	p := a.active.Load()
	if p == nil {
		return core.Decision{}, core.Errorf(core.PolicyUnavailable, "no policy is active")
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
