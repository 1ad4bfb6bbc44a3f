package authz

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/authz/fence"
)

// compare checks a comparison: each literal must be a possible value of the other side.
func (c *checker) compare(x, y domain) {
	c.checkLiterals(x, y)
	c.checkLiterals(y, x)
	if x.fromInput() && y.fromInput() && x.finite() && y.finite() && !slices.ContainsFunc(x.values, func(v *ast.Term) bool { return containsTerm(y.values, v) }) {
		c.refuse("%s and %s are never equal", x.describe(), y.describe())
	}
	for _, a := range x.entries {
		for _, b := range y.entries {
			if a.key.finite() && b.key.finite() && len(a.key.values) == 1 && len(b.key.values) == 1 && a.key.values[0].Equal(b.key.values[0]) {
				c.compare(a.value, b.value)
			}
		}
	}
}

// checkLiterals checks that x can have the literals of y.
func (c *checker) checkLiterals(x, y domain) {
	if x.from != nil && y.unknown && x.finite() {
		c.refuse("%s is compared with a value that cannot be checked, so a mistake would not be found; compare it with values that are written out", x.describe())
	}
	for _, v := range y.values {
		if y.from != nil && x.from != nil {
			continue // neither side is a literal
		}
		if x.fromInput() && !c.isPossible(x, v) {
			c.refuse("%s is never %v%s", x.describe(), v, x.suggestion(v))
		}
		if more, ok := membersOf(v); ok && len(x.entries) > 0 && !x.fromInput() {
			c.compare(domain{entries: x.entries}, domain{entries: more})
		}
	}
	for _, f := range x.fields {
		if f.form == structureForm && len(y.entries) > 0 {
			c.compareWithStructure(f, y.entries)
		}
	}
}

// isPossible reports whether x can be the constant v. It notes v as a literal.
func (c *checker) isPossible(x domain, v *ast.Term) bool {
	if containsTerm(x.values, v) {
		if x.from != nil {
			c.noteLiteral(x.from, v)
		}
		return true
	}
	for _, f := range x.fields {
		if !f.accepts(v) {
			continue
		}
		members, _ := membersOf(v)
		switch f.form {
		case structureForm:
			c.compareWithStructure(f, members)
		case namesForm:
			for _, m := range members {
				c.noteName(f, m.key)
				c.compare(domain{values: []*ast.Term{yes}, from: f}, m.value)
			}
		case textsForm:
			for _, m := range members {
				c.noteName(f, m.key)
				c.compare(domainOf(f.value), m.value)
			}
		default:
			c.noteLiteral(f, v)
		}
		return true
	}
	if _, ok := membersOf(v); ok && len(x.entries) > 0 {
		return true // member by member, see compare
	}
	return x.unknown
}

// compareWithStructure compares an object that is written out with a structure of the
// input. The object must have each part, because the input has.
func (c *checker) compareWithStructure(f *field, members []entry) {
	have := map[string]bool{}
	for _, m := range members {
		if !m.key.finite() || len(m.key.values) != 1 {
			c.refuse("the name of a field of %s is computed, so it cannot be checked; write the name", f.path)
			return
		}
		name, _ := m.key.values[0].Value.(ast.String)
		p := f.partNamed(string(name))
		if p == nil {
			c.refuse("%s has no member %v; policies.rego describes the input", f.path, m.key.values[0])
			continue
		}
		have[p.name] = true
		c.compare(domainOf(p), m.value)
	}
	for i := range f.parts {
		if !have[f.parts[i].name] {
			c.refuse("%s never equals an object without %s", f.path, f.parts[i].name)
		}
	}
}

// unifyTerms checks "=" and ":=". It binds free variables, and compares other terms.
func (c *checker) unifyTerms(a, b *ast.Term, e env) {
	if _, ok := freeVariable(b, e); ok {
		a, b = b, a
	}
	if _, ok := freeVariable(a, e); ok {
		c.bindTerm(a, c.termDomain(b, e), e)
		return
	}
	if x, ok := a.Value.(*ast.Array); ok {
		if y, ok := b.Value.(*ast.Array); ok && x.Len() == y.Len() {
			for i := range x.Len() {
				c.unifyTerms(x.Elem(i), y.Elem(i), e)
			}
			return
		}
	}
	if !pattern(a) && pattern(b) {
		a, b = b, a
	}
	c.bindTerm(a, c.termDomain(b, e), e)
}

// pattern reports whether a term is a collection with variables in it.
func pattern(t *ast.Term) bool {
	switch t.Value.(type) {
	case *ast.Array, ast.Object:
		return !ast.IsConstant(t.Value)
	}
	return false
}

// bindTerm gives the free variables of a term their domains, and compares the rest of
// the term with d.
func (c *checker) bindTerm(t *ast.Term, d domain, e env) {
	if v, ok := freeVariable(t, e); ok {
		if d.isEmpty() {
			d.unknown = true
		}
		e[v] = d
		return
	}
	if !pattern(t) {
		c.compare(c.termDomain(t, e), d)
		return
	}
	switch v := t.Value.(type) {
	case *ast.Array:
		for i := range v.Len() {
			c.bindTerm(v.Elem(i), c.memberDomain(d, constant(ast.InternedTerm(i))), e)
		}
	case ast.Object:
		v.Foreach(func(k, x *ast.Term) { c.bindTerm(x, c.memberAt(d, k, e), e) })
	}
}

// checkCall checks a call of a builtin or of a function of the policy.
func (c *checker) checkCall(terms []*ast.Term, e env) {
	op, args := terms[0].Value.(ast.Ref), terms[1:]
	if name, ok := ownRule(op); ok {
		c.checkFunction(name, args, e)
		return
	}
	switch name := op.String(); name {
	case "eq":
		c.unifyTerms(args[0], args[1], e)
	case "equal", "neq":
		x, y := c.termDomain(args[0], e), c.termDomain(args[1], e)
		if name == "neq" {
			c.refuseAbsent(x, y)
		}
		c.compare(x, y)
		c.bindOutput(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "lt", "lte", "gt", "gte":
		x, y := c.termDomain(args[0], e), c.termDomain(args[1], e)
		c.refuseAbsent(x, y)
		c.checkOrder(x, y)
		c.bindOutput(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "internal.member_2":
		_, values := c.children(c.termDomain(args[1], e))
		c.compareWithMembers(c.termDomain(args[0], e), values)
		c.bindOutput(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "internal.member_3":
		keys, values := c.children(c.termDomain(args[2], e))
		c.compareWithMembers(c.termDomain(args[0], e), keys)
		c.compareWithMembers(c.termDomain(args[1], e), values)
		c.bindOutput(args[3:], domain{values: []*ast.Term{yes, no}}, e)
	default:
		c.checkBuiltin(name, args, e)
	}
}

// compareWithMembers compares a term with the members of a collection. A collection
// without members is a list that is empty so far.
func (c *checker) compareWithMembers(x, members domain) {
	if !members.isEmpty() {
		c.compare(x, members)
	}
}

// refuseAbsent refuses "!=" and comparisons of order with a text that the input may lack.
// Without the text, the comparison is neither true nor false, and a denial that depends on
// it would not apply.
func (c *checker) refuseAbsent(sides ...domain) {
	for _, d := range sides {
		for _, f := range d.fields {
			if f.of != nil && len(d.values) == 0 {
				c.refuse("%s may lack the member, and then the comparison is never true; write \"not ... ==\", or object.get(%s, NAME, DEFAULT)", f.of.path, f.of.path)
			}
		}
	}
}

// checkOrder checks a comparison of order. Both terms must be of one kind: between two
// kinds, the order is the same for each input.
func (c *checker) checkOrder(x, y domain) {
	for _, p := range [][2]domain{{x, y}, {y, x}} {
		for _, v := range p[1].values {
			_, isNumber := v.Value.(ast.Number)
			alike := func(f *field) bool { return isNumber == (f.form == numberForm) }
			if len(p[0].fields) > 0 && !slices.ContainsFunc(p[0].fields, alike) {
				c.refuse("%s and %v have different types, so their order means nothing", p[0].describe(), v)
			}
		}
	}
}

// bindOutput binds the result of a call, if the call has an output.
func (c *checker) bindOutput(out []*ast.Term, d domain, e env) {
	if len(out) > 0 {
		c.bindTerm(out[0], d, e)
	}
}

// checkFunction checks a function of the policy with the arguments of one call.
func (c *checker) checkFunction(name string, args []*ast.Term, e env) {
	rules := c.rules[name]
	if len(rules) == 0 || c.depth >= maxCheckDepth {
		c.refuse("the function %s cannot be checked", name)
		return
	}
	n := min(len(rules[0].Head.Args), len(args))
	given := make([]domain, n)
	for i := range given {
		given[i] = c.termDomain(args[i], e)
	}
	at := c.location
	c.depth++
	var all []domain
	for _, r := range rules {
		for ; r != nil; r = r.Else {
			inner := env{}
			c.location = at
			for i, p := range r.Head.Args[:n] {
				c.bindTerm(p, given[i], inner)
			}
			c.checkBody(r.Body, inner)
			all = append(all, c.headValue(r, inner))
		}
	}
	c.depth--
	c.location = at
	c.bindOutput(args[n:], joined(all...), e)
}

// takesStructures are the builtins that may take a structure or the names of the input
// as a whole, because their result does not depend on a name in it.
var takesStructures = []string{"count", "object.keys", "is_object", "type_name"}

// checkBuiltin checks a call of a builtin. It computes the results if the arguments can
// have only few values.
func (c *checker) checkBuiltin(name string, args []*ast.Term, e env) {
	b := ast.BuiltinMap[name]
	if b == nil {
		c.refuse("the call of %s cannot be checked", name)
		return
	}
	n := min(len(b.Decl.FuncArgs().Args), len(args))
	in := make([]domain, n)
	for i := range in {
		in[i] = c.termDomain(args[i], e)
		if whole := structureIn(in[i]); whole != nil && name != "object.get" && !slices.Contains(takesStructures, name) {
			c.refuse("%s takes %s as a whole, so what it reads there cannot be checked; give it the single field", name, whole.path)
			return
		}
	}
	d := domain{unknown: true}
	switch {
	case name == "object.get" && n == 3:
		d = joined(c.followPath(in[0], in[1]), in[2])
	case name == "or" || name == "array.concat" || name == "object.union":
		if !in[0].finite() || !in[1].finite() {
			d = joined(in[0], in[1])
			break
		}
		d = c.computedDomain(name, in, len(args) == n)
	case name == "and" || name == "minus":
		_, x := in[0].children()
		_, y := in[1].children()
		if x.fromInput() != y.fromInput() {
			c.compareWithMembers(x, y)
		}
		if !in[0].finite() || !in[1].finite() {
			d = in[0]
			break
		}
		d = c.computedDomain(name, in, len(args) == n)
	default:
		d = c.computedDomain(name, in, len(args) == n)
	}
	c.bindOutput(args[n:], d, e)
}

// followPath returns the result of object.get for one key, or for a list of keys.
func (c *checker) followPath(d, keys domain) domain {
	if keys.finite() && len(keys.values) == 1 {
		if list, ok := keys.values[0].Value.(*ast.Array); ok {
			for i := range list.Len() {
				d = c.memberDomain(d, constant(list.Elem(i)))
			}
			return d
		}
	}
	return c.memberDomain(d, keys)
}

// structureIn returns a structure or names of the input that a domain can be.
func structureIn(d domain) *field {
	for _, f := range d.fields {
		if f.form == structureForm || f.form == namesForm || f.form == textsForm {
			return f
		}
	}
	for _, x := range d.entries {
		if f := structureIn(x.value); f != nil {
			return f
		}
	}
	return nil
}

// maxComputed bounds the combinations of arguments for which a builtin is computed.
const maxComputed = 1024

// samples stand for the values of a field that can have any value. They show whether a
// builtin fails for each of them.
var samples = map[form][]*ast.Term{
	textForm:    textTerms("a", "7", "a:b", "127.0.0.1", "10.0.0.0/8", "2026-01-31T12:00:00Z"),
	numberForm:  {ast.IntNumberTerm(0), ast.IntNumberTerm(1700000000)},
	addressForm: textTerms("127.0.0.1", "2001:db8::1"),
}

// computedDomain returns the results of a builtin for all values of its arguments. It
// refuses a condition that is true for none of them, and a call that fails for all.
func (c *checker) computedDomain(name string, in []domain, condition bool) domain {
	lists, exact, varies := make([][]*ast.Term, len(in)), true, false
	n := 1
	for i := range in {
		lists[i] = in[i].values
		for _, f := range in[i].fields {
			lists[i] = append(slices.Clip(lists[i]), samples[f.form]...)
		}
		exact = exact && in[i].finite()
		varies = varies || in[i].fromInput()
		if n *= len(lists[i]); n == 0 || n > maxComputed || in[i].unknown || len(in[i].entries) > 0 {
			return domain{unknown: true}
		}
	}
	var d domain
	var failure error
	fails, holdsOnce := true, false
	for i := range n {
		args := make([]*ast.Term, len(in))
		for j := range lists {
			args[j], i = lists[j][i%len(lists[j])], i/len(lists[j])
		}
		err := topdown.GetBuiltin(name)(topdown.BuiltinContext{Cancel: fence.NewBudget(nil, maxSteps, fence.MaxTime)}, args, func(t *ast.Term) error {
			d = joined(d, constant(t))
			holdsOnce = holdsOnce || !t.Equal(no)
			return nil
		})
		if err == nil {
			fails = false
		} else {
			failure = err
		}
	}
	switch {
	case fails:
		c.refuse("%s always fails here: %s", name, strings.TrimSpace(failure.Error()))
	case exact && varies && condition && !holdsOnce:
		c.refuse("%s(%s) is never true", name, describeAll(in))
	}
	if !exact || d.isEmpty() {
		return domain{unknown: true}
	}
	for i := range in {
		if in[i].from != nil {
			d.from = in[i].from
		}
	}
	return d
}

func describeAll(in []domain) string {
	var all []string
	for i := range in {
		if in[i].fromInput() {
			all = append(all, in[i].describe())
		} else {
			all = append(all, showValues(in[i]))
		}
	}
	return strings.Join(all, ", ")
}
