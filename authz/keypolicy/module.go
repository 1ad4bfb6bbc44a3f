package keypolicy

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
)

const (
	matchedQuery = "x = data.keyreeve.keypolicy.matched"
	unmetQuery   = "x = data.keyreeve.keypolicy.unmet"
	partialQuery = "data.keyreeve.keypolicy.matched[x]"

	// Steps of one evaluation: some for the module, and so many for each name, value and
	// condition that it looks at. So a larger policy may take longer, in proportion.
	baseSteps    = 10_000
	stepsForEach = 100
)

//go:embed match.rego
var moduleText string

// compiler holds match.rego for interpretation, which only reads it.
var compiler = compileModule()

func compileModule() *ast.Compiler {
	m, err := fence.ParseModule("match.rego", moduleText)
	if err != nil {
		panic(err) // the module is part of the program, and each test compiles it
	}
	c := ast.NewCompiler().WithCapabilities(fence.Capabilities()).WithStrict(true)
	if c.Compile(map[string]*ast.Module{"match.rego": m}); c.Failed() {
		panic(c.Errors)
	}
	return c
}

// regoOptions are those of each evaluation. A builtin that fails is an error: if it were
// "undefined", a denial would not apply. Results stay terms.
func regoOptions(query string, c *ast.Compiler) []func(*rego.Rego) {
	return []func(*rego.Rego){rego.Query(query), rego.Compiler(c), rego.SetRegoVersion(ast.RegoV2), rego.Capabilities(fence.Capabilities()),
		rego.StrictBuiltinErrors(true), rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil })}
}

func prepareQuery(query string, c *ast.Compiler) (rego.PreparedEvalQuery, error) {
	return rego.New(regoOptions(query, c)...).PrepareForEval(context.Background())
}

// place is a statement by its position, and a member of it if one is unmet.
type place struct {
	policy, statement int
	path              string
}

// evaluate returns the set that a query answers. size bounds the steps. An input without
// one of its parts is refused: a denial that looks at the part would not apply.
func evaluate(ctx context.Context, q *rego.PreparedEvalQuery, input ast.Object, size int) ([]place, error) {
	for _, part := range requestKeys {
		if input.Get(part) == nil {
			return nil, core.Errorf(core.PolicyUnavailable, "the request lacks what key policies rely on: %v", part)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the request ended before the key policies were evaluated")
	}
	work := fence.NewBudget(ctx, baseSteps+stepsForEach*size, fence.MaxTime)
	rs, err := q.Eval(ctx, rego.EvalParsedInput(input), rego.EvalExternalCancel(work), rego.EvalMetrics(metrics.NoOp()))
	switch {
	case topdown.IsCancel(err) && work.OutOfSteps():
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policies were not evaluated within their steps; attach fewer or smaller ones")
	case topdown.IsCancel(err):
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policies were not evaluated in time, because the server is overloaded or the request has ended; try again")
	case err != nil:
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policies could not be evaluated")
	case len(rs) != 1:
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies gave no answer")
	}
	return readPlaces(rs[0].Bindings["x"])
}

func readPlaces(x any) (out []place, err error) {
	t, _ := x.(*ast.Term)
	if t == nil {
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies gave no answer")
	}
	set, ok := t.Value.(ast.Set)
	if !ok {
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies gave an answer that is no set")
	}
	out = make([]place, 0, set.Len())
	err = set.Iter(func(item *ast.Term) error {
		p, ok := readPlace(item)
		if !ok {
			return core.Errorf(core.PolicyUnavailable, "the key policies gave a malformed answer")
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// readPlace reads [policy, statement] or [policy, statement, path].
func readPlace(item *ast.Term) (p place, ok bool) {
	list, ok := item.Value.(*ast.Array)
	if !ok || list.Len() < 2 || list.Len() > 3 {
		return p, false
	}
	policy, ok1 := list.Elem(0).Value.(ast.Number)
	statement, ok2 := list.Elem(1).Value.(ast.Number)
	if !ok1 || !ok2 {
		return p, false
	}
	if p.policy, ok1 = policy.Int(); !ok1 {
		return p, false
	}
	if p.statement, ok2 = statement.Int(); !ok2 || list.Len() == 2 {
		return p, ok2
	}
	path, ok := list.Elem(2).Value.(ast.String)
	p.path = string(path)
	return p, ok
}

// labelOf returns the policy and position of a place, which must exist.
func labelOf(p place, policies []*Policy) (*Policy, error) {
	if p.policy < 0 || p.policy >= len(policies) || p.statement < 0 || p.statement >= len(policies[p.policy].labels) {
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies gave an answer about a statement that is not there: %s", fmt.Sprint(p.policy, "/", p.statement))
	}
	return policies[p.policy], nil
}
