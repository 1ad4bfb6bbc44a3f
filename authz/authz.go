// Package authz decides every operation by a Rego policy, inside the process.
//
// A policy becomes active only when it compiles under Rego v2 with the builtins
// that touch neither network nor clock, when its own tests pass, and when the
// canaries do: questions whose answers no policy may change. The input is made
// by one constructor and always complete. Whatever goes wrong is a deny. It
// fetches nothing and never falls back to an allow. Only this package imports
// OPA. Start at [New].
package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/core"
)

// defaultTimeout bounds one decision.
const defaultTimeout = 100 * time.Millisecond

// Options say where the policy comes from.
type Options struct {
	Load    func() (policy, tests string, err error) // asked at start and at each Reload
	Timeout time.Duration                            // of one decision; 0: 100 ms
}

// Authorizer is core.Policy. Safe for concurrent use.
type Authorizer struct {
	opts   Options
	active atomic.Pointer[policy]
}

// policy is one compiled policy with the answers it has proven to be constant.
type policy struct {
	hash   string
	query  rego.PreparedEvalQuery
	steady bool // reads neither time nor address: an answer holds for its whole key
	memo   *memo
}

// New loads, tests and activates the policy; without one there is no server.
func New(ctx context.Context, o Options) (*Authorizer, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	a := &Authorizer{opts: o}
	return a, a.Reload(ctx)
}

// Reload activates the policy as it is now. If anything is wrong with it, the
// active one stays and the error says what.
func (a *Authorizer) Reload(ctx context.Context) error {
	text, tests, err := a.opts.Load()
	if err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy cannot be read; see policy.file and policy.tests")
	}
	p, err := compile(ctx, text, tests)
	if err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated")
	}
	if err := a.canaries(ctx, p); err != nil {
		return core.Wrap(core.PolicyUnavailable, err, "the policy is not activated")
	}
	a.active.Store(p)
	return nil
}

// Hash is the SHA-256 of the active policy's text, in hex.
func (a *Authorizer) Hash() string { return a.active.Load().hash }

// Health is an error when no policy is active.
func (a *Authorizer) Health(context.Context) error {
	if a.active.Load() == nil {
		return core.Errorf(core.PolicyUnavailable, "no policy is active")
	}
	return nil
}

// capabilities leaves out every builtin whose answer depends on something
// outside the input: network, clock, randomness, environment.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || b.Name == "time.now_ns" || strings.HasPrefix(b.Name, "http.") || strings.HasPrefix(b.Name, "net.lookup") || b.Name == "opa.runtime"
	})
	c.AllowNet = []string{}
	return c
}

func compile(ctx context.Context, text, tests string) (*policy, error) {
	modules := map[string]*ast.Module{}
	for name, src := range map[string]string{"policies.rego": text, "policies_test.rego": tests} {
		m, err := parse(name, src)
		if err != nil {
			return nil, err
		}
		modules[name] = m
	}
	if err := runTests(ctx, modules); err != nil {
		return nil, err
	}
	m := modules["policies.rego"]
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	compiler.Compile(map[string]*ast.Module{"policies.rego": m})
	if compiler.Failed() {
		return nil, compiler.Errors
	}
	partial, err := rego.New(rego.Query("x = data.keyreeve.authz.decision"), rego.Compiler(compiler), rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	return &policy{hash: hex.EncodeToString(sum[:]), query: partial, steady: steady(m), memo: newMemo()}, nil
}

// parse demands Rego v2, whose "not" and strictness close fail-open holes that
// older semantics have.
func parse(name, src string) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, src, ast.ParserOptions{Capabilities: capabilities(), ProcessAnnotation: true})
	if err != nil {
		return nil, err
	}
	for _, i := range m.Imports {
		if i.Path.String() == "rego.v2" {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%s: it lacks the line \"import rego.v2\", without which some denials do not fire", name)
}

// runTests runs the policy's own tests; none is as bad as one that fails.
func runTests(ctx context.Context, modules map[string]*ast.Module) error {
	ch, err := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(capabilities())).SetStore(inmem.New()).
		CapturePrintOutput(false).SetModules(modules).RunTests(ctx, nil)
	if err != nil {
		return err
	}
	n := 0
	var failed []string
	for r := range ch {
		n++
		if !r.Pass() {
			failed = append(failed, r.Name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("its own tests fail: %s", strings.Join(failed, ", "))
	}
	if n == 0 {
		return errors.New("it has no tests; a rule that nobody tried is not activated")
	}
	return nil
}

// steady reports whether no rule can read the time or the address. References
// whose path is computed, or the input as a whole, count as reading all.
func steady(m *ast.Module) bool {
	ok := true
	ast.WalkRefs(m, func(r ast.Ref) bool {
		if !r.HasPrefix(ast.Ref{ast.InputRootDocument}) {
			return false
		}
		if len(r) < 2 {
			ok = false
			return false
		}
		field, isText := r[1].Value.(ast.String)
		if !isText || field == "now" || field == "address" {
			ok = false
		}
		return false
	})
	ast.WalkTerms(m, func(t *ast.Term) bool {
		if v, isVar := t.Value.(ast.Var); isVar && v == ast.InputRootDocument.Value.(ast.Var) {
			ok = ok && insideRef(m, t)
		}
		return false
	})
	return ok
}

// insideRef reports whether the input's term t is the head of a longer reference.
func insideRef(m *ast.Module, t *ast.Term) bool {
	found := false
	ast.WalkRefs(m, func(r ast.Ref) bool {
		if len(r) > 1 && r[0] == t {
			found = true
		}
		return false
	})
	return found
}

// Decide answers one question. An error comes with a decision that denies.
func (a *Authorizer) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	p := a.active.Load()
	if p == nil {
		return core.Decision{}, core.Errorf(core.PolicyUnavailable, "no policy is active")
	}
	return a.decide(ctx, p, r)
}

func (a *Authorizer) decide(ctx context.Context, p *policy, r *core.AccessRequest) (core.Decision, error) {
	if err := complete(r); err != nil {
		return core.Decision{PolicyHash: p.hash}, err
	}
	if p.steady {
		if d, ok := p.memo.get(r); ok {
			return d, nil
		}
	}
	d, err := a.evaluate(ctx, p, r)
	if err == nil && p.steady {
		p.memo.put(r, d)
	}
	return d, err
}

func (a *Authorizer) evaluate(ctx context.Context, p *policy, r *core.AccessRequest) (core.Decision, error) {
	deny := core.Decision{PolicyHash: p.hash}
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(a.opts.Timeout, cancel.Cancel)
	defer timer.Stop()
	rs, err := p.query.Eval(ctx, rego.EvalParsedInput(input(r)), rego.EvalExternalCancel(cancel))
	if err != nil {
		return deny, core.Wrap(core.PolicyUnavailable, err, "the policy did not come to a decision")
	}
	if len(rs) != 1 {
		return deny, core.Errorf(core.PolicyUnavailable, "the policy has no decision")
	}
	return read(rs[0].Bindings["x"], p.hash)
}

// read takes exactly the form that policies.rego promises.
func read(x any, hash string) (core.Decision, error) {
	d := core.Decision{PolicyHash: hash}
	m, ok := x.(map[string]any)
	allow, isBool := m["allow"].(bool)
	list, isList := m["reasons"].([]any)
	scope, isText := m["scope"].(string)
	if !ok || !isBool || !isList || !isText || len(m) != 3 || (scope != "tenant" && scope != "own") {
		return d, core.Errorf(core.PolicyUnavailable, "the policy's decision is not {allow, reasons, scope}")
	}
	for _, r := range list {
		s, ok := r.(string)
		if !ok {
			return core.Decision{PolicyHash: hash}, core.Errorf(core.PolicyUnavailable, "a reason of the policy is no text")
		}
		d.Reasons = append(d.Reasons, s)
	}
	d.Allow, d.Scope = allow, scope
	return d, nil
}
