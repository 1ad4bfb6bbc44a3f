package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
)

const (
	decisionQuery = "x = data.keyreeve.authz.decision"
	testTimeout   = 5 * time.Second // of one test
	maxTested     = 500             // inputs of tests that are kept
	maxNamed      = 5               // failed tests that are named
)

// policy is one compiled policy. Only its memo changes, which is safe for concurrent
// use.
type policy struct {
	hash                  string // SHA-256 of the text, hex
	query                 rego.PreparedEvalQuery
	module                *ast.Module // compiled
	timeout               time.Duration
	ignoresTimeAndAddress bool  // so that answers can be kept in memo
	ignoresObjectID       bool  // so that they are good for other objects
	memo                  *memo // nil: each question is evaluated

	// For the canaries.
	hints    map[*field][]*ast.Term
	literals []ast.Value
	tested   []ast.Value
}

// compilePolicy returns a policy, which must pass its own tests.
func compilePolicy(ctx context.Context, s core.PolicySource) (*policy, error) {
	m, err := fence.ParseModule(s.PolicyName, s.Policy)
	if err != nil {
		return nil, err
	}
	t, err := fence.ParseModule(s.TestsName, s.Tests)
	if err != nil {
		return nil, err
	}
	if t.Package.Equal(m.Package) {
		return nil, fmt.Errorf("%s: the tests need their own package, such as keyreeve.authz_test; otherwise a rule of the tests could change the policy only while it is tested", s.TestsName)
	}
	p, err := compileModule(ctx, m)
	if err != nil {
		return nil, err
	}
	if p.hints, err = checkModule(p.module); err != nil {
		return nil, err
	}
	p.literals = literalsOf(m)
	if p.tested, err = runTests(ctx, map[string]*ast.Module{"policy": m, "tests": t}); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(s.Policy))
	p.hash = hex.EncodeToString(sum[:])
	return p, nil
}

// compileModule compiles one module with [fence.Capabilities]. A builtin that fails is an
// error: if it were "undefined", a denial would not apply. Partial evaluation was
// measured and is not faster: it does not fold rules that collect reasons in sets.
func compileModule(ctx context.Context, m *ast.Module) (*policy, error) {
	const name = "policy" // messages show the name of the file
	c := ast.NewCompiler().WithCapabilities(fence.Capabilities()).WithStrict(true)
	c.Compile(map[string]*ast.Module{name: m})
	if c.Failed() {
		return nil, c.Errors
	}
	q, err := rego.New(rego.Query(decisionQuery), rego.Compiler(c), rego.SetRegoVersion(ast.RegoV2), rego.Capabilities(fence.Capabilities()),
		rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return &policy{query: q, module: c.Modules[name], timeout: fence.MaxTime,
		ignoresTimeAndAddress: ignoresTimeAndAddress(m) && ignoresTimeAndAddress(c.Modules[name]), ignoresObjectID: ignoresObjectID(m) && ignoresObjectID(c.Modules[name])}, nil
}

// runTests runs the policy's own tests. It fails if there are none. It returns the
// inputs for which the tests ask.
func runTests(ctx context.Context, modules map[string]*ast.Module) ([]ast.Value, error) {
	asked := &questions{seen: map[*ast.Term]bool{}}
	ch, err := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(fence.Capabilities())).SetStore(inmem.New()).SetCoverageQueryTracer(asked).
		SetDefaultRegoVersion(ast.RegoV2).RaiseBuiltinErrors(true).SetTimeout(testTimeout).SetModules(modules).RunTests(ctx, nil)
	if err != nil {
		return nil, err
	}
	n := 0
	var failed []string
	for r := range ch {
		n++
		if !r.Pass() {
			failed = append(failed, testFailure(r))
		}
	}
	switch {
	case len(failed) > maxNamed:
		slices.Sort(failed)
		return nil, fmt.Errorf("its own tests fail or are skipped: %s and %d more", strings.Join(failed[:maxNamed], ", "), len(failed)-maxNamed)
	case len(failed) > 0:
		return nil, fmt.Errorf("its own tests fail or are skipped: %s", strings.Join(failed, ", "))
	case ctx.Err() != nil: // the runner stops early and reports nothing
		return nil, fmt.Errorf("its own tests did not finish in time: %w", ctx.Err())
	case n == 0:
		return nil, errors.New("it has no tests; a policy without tests is not activated")
	}
	return asked.list, nil
}

// questions collects the inputs for which a policy's tests evaluate the decision. Safe
// for concurrent use.
type questions struct {
	mu   sync.Mutex
	seen map[*ast.Term]bool
	list []ast.Value
}

// Enabled is part of [topdown.QueryTracer].
func (q *questions) Enabled() bool { return true }

// Config is part of [topdown.QueryTracer].
func (q *questions) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent is part of [topdown.QueryTracer].
func (q *questions) TraceEvent(e topdown.Event) {
	in := e.Input()
	if e.Op != topdown.EnterOp || in == nil {
		return
	}
	if r, ok := e.Node.(*ast.Rule); !ok || ruleName(r) != "decision" {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.seen[in] && len(q.list) < maxTested {
		q.seen[in] = true
		q.list = append(q.list, in.Value)
	}
}

func testFailure(r *tester.Result) string {
	if r.Error != nil {
		return fmt.Sprintf("%s (%v)", r.Name, r.Error)
	}
	return r.Name
}
