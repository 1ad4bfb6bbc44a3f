package authz

import "github.com/open-policy-agent/opa/v1/ast"

// ignoresTimeAndAddress reports whether nothing in a module can read the time or the address.
// Reading the input as a whole, or a field whose name is computed, counts as
// reading everything. It errs towards false: a mention in a rule that is never
// reached is enough.
//
// Proving it question by question, by partial evaluation with only time and
// address unknown, was tried: OPA leaves every set of reasons standing as a
// residue as soon as one of its rules reads an unknown, so the proof succeeds
// exactly where this one does, at ten times the cost of an evaluation.
func ignoresTimeAndAddress(m *ast.Module) bool {
	ok := true
	heads := map[*ast.Term]bool{} // input as the head of a reference to a named field
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
