// Package authz decides every operation by a Rego policy, inside the process.
//
// A policy becomes active only when it compiles under Rego v2 with the builtins
// that touch neither network nor clock, when its own tests pass, and when the
// canaries do: questions whose answers no policy may change. The input is made
// by one constructor and always complete. Whatever goes wrong is a deny. It
// fetches nothing and never falls back to an allow. Only this package imports
// OPA. Start at [New] and [Authorizer.Decide].
package authz

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

const (
	loadTimeout    = 60 * time.Second // of compiling, testing and trying one policy
	maxPolicyBytes = 1 << 20          // of the policy, and of its tests
)

// Options say where the policy comes from and how it is asked.
type Options struct {
	Load    func() (policy, tests string, err error) // asked at start and at each Reload
	Names   FileNames
	Timeout time.Duration // of one decision, whose work is bounded besides; 0: 10 s
	Forget  bool          // evaluate each question, remember no answer

	// Changing is told, by their hashes, which policy is about to take another's
	// place; an error leaves the old one. Nil: nobody is.
	Changing func(ctx context.Context, old, next string) error
}

// FileNames are the names by which messages call the policy and its tests; "": those
// of the default policy.
type FileNames struct{ Policy, Tests string }

// orDefault replaces names that are missing.
func (n FileNames) orDefault() FileNames {
	return FileNames{Policy: cmp.Or(n.Policy, "policies.rego"), Tests: cmp.Or(n.Tests, "policies_test.rego")}
}

// Authorizer is [core.Policy]. Safe for concurrent use.
type Authorizer struct {
	opts    Options
	loading sync.Mutex // one Reload at a time, so that the last one asked for wins
	active  atomic.Pointer[policy]
}

var _ core.Policy = (*Authorizer)(nil)

// New loads, tests and activates the policy. An error has code
// PolicyUnavailable, and then there is no Authorizer: without a policy there is
// no server.
func New(ctx context.Context, o Options) (*Authorizer, error) {
	if o.Timeout <= 0 {
		o.Timeout = maxDecisionTime
	}
	a := &Authorizer{opts: o}
	if err := a.Reload(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload activates the policy as it is now. If anything is wrong with it, the
// active one stays and the error, of code PolicyUnavailable, says what.
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
		p.memo = newMemo()
	}
	if a.opts.Changing != nil {
		if err := a.opts.Changing(ctx, a.Hash(), p.hash); err != nil {
			return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated, because that could not be recorded")
		}
	}
	a.active.Store(p)
	return nil
}

// Hash is the SHA-256 of the active policy's text, in hex; "" when none is.
func (a *Authorizer) Hash() string {
	if p := a.active.Load(); p != nil {
		return p.hash
	}
	return ""
}

// Health is an error when no policy is active or the active one does not come
// to decisions.
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

// Decide answers one question. An error has code PermissionDenied when the
// question is incomplete, else PolicyUnavailable, and its decision denies. The
// answer's Reasons are shared: read them, do not change them.
func (a *Authorizer) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	p := a.active.Load()
	if p == nil {
		return core.Decision{}, core.Errorf(core.PolicyUnavailable, "no policy is active")
	}
	return p.decide(ctx, r)
}
