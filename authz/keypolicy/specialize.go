package keypolicy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

// OPA's index of rules grows with the square of the rules: a set of 16 branches takes
// 0.14 MB, one of 128 takes 1.8 MB, and one of 1,000 takes 83 MB. So sets are few and small.
const (
	maxSpecialized  = 128              // sets with their action; a tenant with very many drives out its own
	keepSpecialized = 12 * time.Hour   // then a set is evaluated partially again
	usesBefore      = 8                // of a set, before partial evaluation is worth its time
	maxWaiting      = 64               // sets that wait for partial evaluation
	maxBranches     = 64               // of a set; larger ones stay interpreted
	partialTime     = 10 * time.Second // of one partial evaluation
	partialSteps    = 2_000_000
)

// specializedSets keeps queries that were partially evaluated: one for each set of
// policies and action. It makes them one after the other, in the background. Safe for
// concurrent use.
type specializedSets struct {
	off     bool
	mu      sync.RWMutex
	sets    *cache.Bounded[*specializedSet]
	waiting []work
	working bool
}

// specializedSet is one set of policies with an action. query is nil until it is ready,
// and stays nil if partial evaluation is not worth it.
type specializedSet struct {
	uses  atomic.Int64
	query atomic.Pointer[rego.PreparedEvalQuery]
}

// work is one set that waits for partial evaluation.
type work struct {
	set      *specializedSet
	action   string
	policies []*Policy
}

func (s *specializedSets) prepare(off bool) {
	s.off = off
	s.sets = cache.New(maxSpecialized, keepSpecialized, func(*specializedSet) {})
}

// queryFor returns the query of a set, or nil if it must be interpreted. policies have a
// fixed order.
func (s *specializedSets) queryFor(tenant, action string, policies []*Policy, c concern) *rego.PreparedEvalQuery {
	if s.off || c.branches > maxBranches {
		return nil
	}
	room := make([]byte, 0, 512)
	room = append(room, action...)
	for _, p := range policies {
		room = append(append(room, ' '), p.hash...)
	}
	key := string(room)
	s.mu.RLock()
	set, ok := s.sets.Get(tenant, key)
	s.mu.RUnlock()
	if !ok {
		s.mu.Lock()
		if set, ok = s.sets.Get(tenant, key); !ok {
			set = &specializedSet{}
			s.sets.Put(tenant, key, set)
		}
		s.mu.Unlock()
	}
	if q := set.query.Load(); q != nil {
		return q
	}
	if set.uses.Add(1) == usesBefore {
		s.enqueue(work{set, action, policies})
	}
	return nil
}

// enqueue hands a set to the goroutine in the background. If too many wait, the set is
// counted from the start again.
func (s *specializedSets) enqueue(w work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= maxWaiting {
		w.set.uses.Store(0)
		return
	}
	s.waiting = append(s.waiting, w)
	if !s.working {
		s.working = true
		go s.workOff()
	}
}

// workOff evaluates what waits, and ends when nothing does.
func (s *specializedSets) workOff() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.working = false
			s.mu.Unlock()
			return
		}
		w := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		// A set for which this fails stays interpreted, which gives the same answers.
		if q, err := specialize(w.action, w.policies); err == nil {
			w.set.query.Store(q)
		}
	}
}

// partial is the one place where sets are evaluated partially, one after the other.
var partial partialEvaluator

// partialEvaluator has a module of its own: partial evaluation writes to terms that it
// meets, also to those of the module.
type partialEvaluator struct {
	mu       sync.Mutex
	compiler *ast.Compiler // nil until it is needed
}

// specialize evaluates match.rego for known policies and action. What is left is one rule
// for each way in which a statement can match. Nobody waits for it, so a fault of OPA is
// an error and does not end the server.
func specialize(action string, policies []*Policy) (special *rego.PreparedEvalQuery, err error) {
	defer func() {
		if p := recover(); p != nil {
			special, err = nil, core.Errorf(core.PolicyUnavailable, "partial evaluation failed: %v", p)
		}
	}()
	left, err := partial.evaluate(action, policies)
	if err != nil {
		return nil, err
	}
	c, err := compileLeft(left)
	if err != nil {
		return nil, err
	}
	q, err := prepareQuery(matchedQuery, c)
	return &q, err
}

func (e *partialEvaluator) evaluate(action string, policies []*Policy) (*rego.PartialQueries, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.compiler == nil {
		e.compiler = compileModule()
	}
	ctx, cancel := context.WithTimeout(context.Background(), partialTime)
	defer cancel()
	prepared, err := rego.New(regoOptions(partialQuery, e.compiler)...).PrepareForPartial(ctx)
	if err != nil {
		return nil, err
	}
	var unknowns []*ast.Term
	for _, key := range requestKeys {
		unknowns = append(unknowns, ast.NewTerm(ast.Ref{ast.NewTerm(ast.InputRootDocument.Value), ast.NewTerm(key.Value)}))
	}
	return prepared.Partial(ctx, rego.EvalParsedInput(ast.NewObject(policyItems(action, policies, (*Policy).ownTerm)...)), rego.EvalParsedUnknowns(unknowns),
		rego.EvalExternalCancel(fence.NewBudget(ctx, partialSteps, partialTime)))
}

// compileLeft makes a module of the same name as match.rego from what partial evaluation
// left. The set is empty if nothing is left.
func compileLeft(left *rego.PartialQueries) (*ast.Compiler, error) {
	switch {
	case len(left.Support) > 0: // match.rego is written so that nothing needs it
		return nil, core.Errorf(core.PolicyUnavailable, "partial evaluation leaves %d modules", len(left.Support))
	case len(left.Queries) > maxBranches:
		return nil, core.Errorf(core.PolicyUnavailable, "partial evaluation leaves %d rules, at most %d", len(left.Queries), maxBranches)
	}
	m := ast.MustParseModuleWithOpts("package keyreeve.keypolicy\n\nimport rego.v2\n\nmatched contains \"never\" if false", ast.ParserOptions{RegoVersion: ast.RegoV2})
	for _, query := range left.Queries {
		key, body := splitAnswer(query)
		if key == nil {
			return nil, core.Errorf(core.PolicyUnavailable, "partial evaluation leaves a rule without answer")
		}
		head := m.Rules[0].Head.Copy()
		head.Key = key
		m.Rules = append(m.Rules, &ast.Rule{Head: head, Body: body, Module: m})
	}
	c := ast.NewCompiler().WithCapabilities(fence.Capabilities())
	if c.Compile(map[string]*ast.Module{"matched": m}); c.Failed() {
		return nil, c.Errors
	}
	return c, nil
}

// splitAnswer splits "...; x = [0, 1]" into [0, 1] and the rest. An empty rest is true.
func splitAnswer(query ast.Body) (key *ast.Term, body ast.Body) {
	for _, e := range query {
		if e.IsEquality() && e.Operand(0).Equal(ast.VarTerm("x")) && e.Operand(1).IsGround() && !e.Negated && len(e.With) == 0 {
			if key != nil && !key.Equal(e.Operand(1)) {
				return nil, nil // two answers: it would never match
			}
			key = e.Operand(1).Copy() // what is left shares terms with the module
			continue
		}
		body.Append(e.Copy())
	}
	if len(body) == 0 {
		body.Append(ast.NewExpr(ast.BooleanTerm(true)))
	}
	return key, body
}
