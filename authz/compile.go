package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

const (
	decisionQuery = "x = data.keyreeve.authz.decision"
	testTimeout   = 2 * time.Second // of one test of a policy
	maxNamed      = 5               // tests that fail, by name
)

// policy is one compiled policy. Immutable but for its memo, which is safe for
// concurrent use.
type policy struct {
	hash    string // SHA-256 of the text, hex
	query   rego.PreparedEvalQuery
	timeout time.Duration
	steady  bool  // reads neither time nor address: an answer holds for its whole question
	memo    *memo // nil: every question is evaluated
}

// capabilities leaves out every builtin whose answer depends on something
// outside the input: network, clock, randomness, environment. The list is
// OPA's own mark plus names, in case an upgrade forgets a mark.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV2))
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || b.Name == "time.now_ns" || b.Name == "opa.runtime" || strings.HasPrefix(b.Name, "crypto.x509.parse_and_verify") || // as of now
			strings.HasPrefix(b.Name, "http.") || strings.HasPrefix(b.Name, "net.lookup") || strings.HasPrefix(b.Name, "rand.")
	})
	c.AllowNet = []string{}
	return c
}

// compile makes a policy of its text, which must pass its own tests.
func compile(ctx context.Context, text, tests string) (*policy, error) {
	m, err := parse("policies.rego", text)
	if err != nil {
		return nil, err
	}
	t, err := parse("policies_test.rego", tests)
	if err != nil {
		return nil, err
	}
	if t.Package.Equal(m.Package) {
		return nil, errors.New("policies_test.rego: the tests need a package of their own, such as keyreeve.authz_test; a rule that they added to the policy's would hold in the tests alone")
	}
	p, err := prepare(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := runTests(ctx, map[string]*ast.Module{"policies.rego": m, "policies_test.rego": t}); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	p.hash = hex.EncodeToString(sum[:])
	return p, nil
}

// prepare compiles one module under the fence: no builtin that looks outside,
// and an error in a builtin is an error, not an "undefined" that lets a denial
// fall silent. Partial evaluation was measured and is no gain here: rules that
// gather reasons in sets are not folded by it.
func prepare(ctx context.Context, m *ast.Module) (*policy, error) {
	const name = "policies.rego"
	c := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	c.Compile(map[string]*ast.Module{name: m})
	if c.Failed() {
		return nil, c.Errors
	}
	q, err := rego.New(rego.Query(decisionQuery), rego.Compiler(c), rego.SetRegoVersion(ast.RegoV2), rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return &policy{query: q, timeout: defaultTimeout, steady: steady(m) && steady(c.Modules[name])}, nil
}

// parse demands Rego v2, whose "not" and strictness close fail-open holes that
// older semantics have. It demands the import too, so that the file means the
// same to whoever tries it with another program.
func parse(name, src string) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, src, ast.ParserOptions{Capabilities: capabilities(), RegoVersion: ast.RegoV2})
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("%s is empty", name)
	}
	if !slices.ContainsFunc(m.Imports, func(i *ast.Import) bool { return ast.RegoV2CompatibleRef.Equal(i.Path.Value) }) {
		return nil, fmt.Errorf("%s: it lacks the line \"import rego.v2\", without which some denials do not fire", name)
	}
	return m, nil
}

// runTests runs the policy's own tests; none is as bad as one that fails.
func runTests(ctx context.Context, modules map[string]*ast.Module) error {
	ch, err := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(capabilities())).SetStore(inmem.New()).
		SetDefaultRegoVersion(ast.RegoV2).RaiseBuiltinErrors(true).SetTimeout(testTimeout).SetModules(modules).RunTests(ctx, nil)
	if err != nil {
		return err
	}
	n := 0
	var failed []string
	for r := range ch {
		n++
		if !r.Pass() {
			failed = append(failed, failure(r))
		}
	}
	switch {
	case len(failed) > maxNamed:
		slices.Sort(failed)
		return fmt.Errorf("its own tests fail or are skipped: %s and %d more", strings.Join(failed[:maxNamed], ", "), len(failed)-maxNamed)
	case len(failed) > 0:
		return fmt.Errorf("its own tests fail or are skipped: %s", strings.Join(failed, ", "))
	case ctx.Err() != nil: // the runner stops early without a word
		return fmt.Errorf("its own tests did not end in time: %w", ctx.Err())
	case n == 0:
		return errors.New("it has no tests; a rule that nobody tried is not activated")
	}
	return nil
}

func failure(r *tester.Result) string {
	if r.Error != nil {
		return fmt.Sprintf("%s (%v)", r.Name, r.Error)
	}
	return r.Name
}
