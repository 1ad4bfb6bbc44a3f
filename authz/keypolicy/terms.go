package keypolicy

import (
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// freshTerm makes terms of a tree of the format. No part is shared with other terms, also
// not with those that OPA interns: partial evaluation writes to the terms it meets.
func freshTerm(tree any) *ast.Term {
	switch t := tree.(type) {
	case string:
		return ast.NewTerm(ast.String(t))
	case int64:
		return freshNumber(t)
	case bool:
		return ast.NewTerm(ast.Boolean(t))
	case []any:
		items := make([]*ast.Term, len(t))
		for i := range t {
			items[i] = freshTerm(t[i])
		}
		return ast.ArrayTerm(items...)
	case map[string]any:
		items := make([][2]*ast.Term, 0, len(t))
		for name, value := range t {
			items = append(items, ast.Item(ast.NewTerm(ast.String(name)), freshTerm(value)))
		}
		return ast.ObjectTerm(items...)
	}
	panic(fmt.Sprintf("the normal form has no %T", tree))
}

func freshNumber(n int64) *ast.Term {
	return ast.NewTerm(ast.Number(strconv.FormatInt(n, 10)))
}

// policyItems returns the parts of the input that partial evaluation knows. Policies have
// their position as key. In a list, OPA would intern it.
func policyItems(action string, policies []*Policy, term func(*Policy) *ast.Term) [][2]*ast.Term {
	items := make([][2]*ast.Term, len(policies))
	for i, p := range policies {
		items[i] = ast.Item(freshNumber(int64(i)), term(p))
	}
	return [][2]*ast.Term{ast.Item(policiesKey, ast.ObjectTerm(items...)), ast.Item(actionKey, ast.StringTerm(action))}
}

// sharedTerm returns the term of a policy that all evaluations read.
func (p *Policy) sharedTerm() *ast.Term { return p.term }

// ownTerm returns a term of the policy for one partial evaluation.
func (p *Policy) ownTerm() *ast.Term { return freshTerm(p.normal.Tree()) }
