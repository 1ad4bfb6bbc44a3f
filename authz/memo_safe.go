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
	return readsInputBy(m, func(r ast.Ref) bool {
		name, known := fieldAt(r, 1)
		return known && name != "now" && name != "address"
	})
}

// ignoresObjectID reports whether nothing in a module can read the id of the object, so that an
// answer is good for all objects that look the same otherwise.
func ignoresObjectID(m *ast.Module) bool {
	return readsInputBy(m, func(r ast.Ref) bool {
		name, known := fieldAt(r, 1)
		if name != "object" {
			return known
		}
		part, known := fieldAt(r, 2)
		return known && part != "id"
	})
}

// readsInputBy reports whether a module reads the input by references that are allowed, and in no
// other way.
func readsInputBy(m *ast.Module, allowed func(ast.Ref) bool) bool {
	ok := true
	heads := map[*ast.Term]bool{} // terms "input" that begin a reference
	ast.WalkRefs(m, func(r ast.Ref) bool {
		if len(r) > 0 && isInput(r[0]) {
			heads[r[0]] = true
			ok = ok && allowed(r)
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

// fieldAt returns the name at a place of a reference. It is not known if the reference is shorter
// or the name is computed.
func fieldAt(r ast.Ref, place int) (name string, known bool) {
	if len(r) <= place {
		return "", false
	}
	text, known := r[place].Value.(ast.String)
	return string(text), known
}
