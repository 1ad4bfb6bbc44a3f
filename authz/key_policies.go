package authz

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/rules"
)

// Bounds of the key policies that are kept compiled.
const (
	keptPolicies = 4096
	keptFor      = time.Hour
)

// KeyPolicies are the key policies that people write as JSON. It finds the statements that
// match a request, for the decision by policies.rego. Safe for concurrent use.
type KeyPolicies struct {
	matcher *keypolicy.Matcher
	regions format.Regions
	read    func(core.DirectoryVersion) (*core.DirectoryEntry, error)

	mu       sync.RWMutex
	compiled *cache.Bounded[*keypolicy.Policy]
}

var _ core.KeyPolicies = (*KeyPolicies)(nil)

// NewKeyPolicies returns key policies. read returns the newest version of a policy. It
// fails only if the program is broken.
func NewKeyPolicies(read func(core.DirectoryVersion) (*core.DirectoryEntry, error)) (*KeyPolicies, error) {
	m, err := keypolicy.NewMatcher(keypolicy.MatcherOptions{})
	if err != nil {
		return nil, err
	}
	return &KeyPolicies{matcher: m, read: read, compiled: cache.New(keptPolicies, keptFor, func(*keypolicy.Policy) {})}, nil
}

// match adds the statements that match a request to it.
func (k *KeyPolicies) match(ctx context.Context, r *core.AccessRequest) error {
	if len(r.Policies) == 0 {
		return nil
	}
	policies, err := k.compileAll(r.Policies)
	if err != nil {
		return err
	}
	m, err := k.matcher.Match(ctx, requestOf(r), policies)
	if err != nil {
		return err
	}
	r.Statements = core.MatchedStatements{Allow: m.Allow, Deny: m.Deny, Exclusive: m.Exclusive}
	return nil
}

// requestOf returns a request as the matcher takes it. Parameters that the request leaves
// open are those of the object.
func requestOf(r *core.AccessRequest) *keypolicy.Request {
	out := &keypolicy.Request{AccessRequest: r, Wrapped: r.Asked.Wrapped}
	switch {
	case r.Object != nil:
		out.Parameters = rules.CompleteParameters(r.Asked.Parameters, r.Object)
	case r.Asked.Parameters != nil:
		out.Parameters = *r.Asked.Parameters
	}
	return out
}

func (k *KeyPolicies) compileAll(versions []core.DirectoryVersion) ([]*keypolicy.Policy, error) {
	out := make([]*keypolicy.Policy, len(versions))
	for i, v := range versions {
		var err error
		if out[i], err = k.compile(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compile returns a version of a policy, which is kept for the next request.
func (k *KeyPolicies) compile(v core.DirectoryVersion) (*keypolicy.Policy, error) {
	k.mu.RLock()
	p, ok := k.compiled.Get(v.Name.Tenant, v.Name.ID)
	k.mu.RUnlock()
	if ok && p.Version() == v.Version {
		return p, nil
	}
	e, err := k.read(v)
	if err != nil {
		return nil, err
	}
	if p, _, err = keypolicy.Compile(e.Body, keypolicy.Options{Name: e.ID, Version: e.Version, Regions: k.regions}); err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policy %s cannot be read", core.ClientText(v.Name.ID))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.compiled.Put(v.Name.Tenant, v.Name.ID, p)
	return p, nil
}

// Explain implements [core.KeyPolicies].
func (k *KeyPolicies) Explain(ctx context.Context, r *core.AccessRequest) ([]core.StatementVerdict, error) {
	policies, err := k.compileAll(r.Policies)
	if err != nil || len(policies) == 0 {
		return nil, err
	}
	verdicts, err := k.matcher.Explain(ctx, requestOf(r), policies)
	if err != nil {
		return nil, err
	}
	out := make([]core.StatementVerdict, len(verdicts))
	for i, v := range verdicts {
		out[i] = core.StatementVerdict{Statement: v.Statement, Effect: string(v.Effect), Matched: v.Matched, Counts: v.Counts, Unmet: v.Unmet}
	}
	return out, nil
}

// CheckKeyPolicy implements [core.KeyPolicies].
func (k *KeyPolicies) CheckKeyPolicy(ctx context.Context, name string, document []byte, exists func(string) bool) (core.KeyPolicyFacts, error) {
	p, warnings, err := keypolicy.Compile(document, keypolicy.Options{Name: name, Version: 1, Regions: k.regions, Exists: exists})
	if err == nil {
		err = k.matcher.RunTests(ctx, p)
	}
	if err != nil {
		return core.KeyPolicyFacts{}, err
	}
	facts := core.KeyPolicyFacts{Hash: p.Hash(), Statements: len(p.Statements()), Exclusive: p.Exclusive()}
	for _, w := range warnings {
		facts.Warnings = append(facts.Warnings, w.Path+": "+w.Text)
	}
	targets := p.Targets()
	for _, name := range targets.Names {
		if targets.Kind == format.KeyTarget {
			facts.Keys = append(facts.Keys, name)
		} else {
			facts.Holders = append(facts.Holders, string(targets.Kind)+":"+name)
		}
	}
	return facts, nil
}
