package authz

import "github.com/open-policy-agent/opa/v1/ast"

// ignoresTimeAndAddress reports whether nothing in a module can read the time or the
// address, so that its answers may be kept in a [memo]. A module that reads the input as
// a whole, or a field whose name is computed, may read everything. The result may be
// false for a module that ignores both: a mention in an unused rule is enough.
//
// A proof for each question was tried: partial evaluation with only time and address
// unknown. But OPA does not evaluate a set of reasons if one of its rules reads an
// unknown. So that proof succeeds for the same policies as this one, at ten times the
// cost of an evaluation.
func ignoresTimeAndAddress(m *ast.Module) bool {
	ok := true
	heads := map[*ast.Term]bool{} // terms "input" that begin a reference to a named field
	ast.WalkRefs(m, func(r ast.Ref) bool {
		if len(r) > 0 && isInput(r[0]) {
			heads[r[0]] = true
			ok = ok && namesSteadyField(r)
		}
		return false
	})
	ast.WalkTerms(m, func(t *ast.Term) bool {
		if isInput(t) && !heads[t] {
			ok = false
		}
		return false
	})
	return ok
}

func isInput(t *ast.Term) bool { return t.Equal(ast.InputRootDocument) }

func namesSteadyField(r ast.Ref) bool {
	if len(r) < 2 {
		return false
	}
	name, isText := r[1].Value.(ast.String)
	return isText && name != "now" && name != "address"
}
