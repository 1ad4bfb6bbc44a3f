package authz

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// meet checks a comparison: every literal in it must be possible on the other
// side.
func (c *checker) meet(x, y domain) {
	c.oneSide(x, y)
	c.oneSide(y, x)
	if x.fromInput() && y.fromInput() && x.finite() && y.finite() && !slices.ContainsFunc(x.values, func(v *ast.Term) bool { return holds(y.values, v) }) {
		c.refuse("%s and %s are never equal", x.describe(), y.describe())
	}
	for _, a := range x.entries {
		for _, b := range y.entries {
			if a.key.finite() && b.key.finite() && len(a.key.values) == 1 && len(b.key.values) == 1 && a.key.values[0].Equal(b.key.values[0]) {
				c.meet(a.value, b.value)
			}
		}
	}
}

// oneSide checks the literals of y against x.
func (c *checker) oneSide(x, y domain) {
	if x.from != nil && y.unknown && x.finite() {
		c.refuse("%s is compared with something that cannot be followed, so a mistake in it could not be found; compare it with values that are written out", x.describe())
	}
	for _, v := range y.values {
		if y.from != nil && x.from != nil {
			continue // both vary
		}
		if x.fromInput() && !c.possible(x, v) {
			c.refuse("%s is never %v%s", x.describe(), v, x.nearest(v))
		}
		if more, ok := membersOf(v); ok && len(x.entries) > 0 && !x.fromInput() {
			c.meet(domain{entries: x.entries}, domain{entries: more})
		}
	}
	for _, f := range x.fields {
		if f.form == structureForm && len(y.entries) > 0 {
			c.against(f, y.entries)
		}
	}
}

// possible reports whether x can be a constant, and notes it.
func (c *checker) possible(x domain, v *ast.Term) bool {
	if holds(x.values, v) {
		if x.from != nil {
			c.hint(x.from, v)
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
			c.against(f, members)
		case namesForm:
			for _, m := range members {
				c.name(f, m.key)
				c.meet(domain{values: []*ast.Term{yes}, from: f}, m.value)
			}
		default:
			c.hint(f, v)
		}
		return true
	}
	if _, ok := membersOf(v); ok && len(x.entries) > 0 {
		return true // member by member, see meet
	}
	return x.unknown
}

// against checks an object that is written out against a structure of the input:
// it must have every part, for the input has.
func (c *checker) against(f *field, members []entry) {
	have := map[string]bool{}
	for _, m := range members {
		if !m.key.finite() || len(m.key.values) != 1 {
			c.refuse("the name of a field of %s is computed, so it cannot be checked; write the name", f.path)
			return
		}
		name, _ := m.key.values[0].Value.(ast.String)
		p := f.part(string(name))
		if p == nil {
			c.refuse("%s has no member %v; policies.rego describes the input", f.path, m.key.values[0])
			continue
		}
		have[p.name] = true
		c.meet(domainOf(p), m.value)
	}
	for i := range f.parts {
		if !have[f.parts[i].name] {
			c.refuse("%s never equals an object without %s", f.path, f.parts[i].name)
		}
	}
}

// unify is "=" and ":=": it gives free variables their values, and compares the
// rest.
func (c *checker) unify(a, b *ast.Term, e env) {
	if _, ok := free(b, e); ok {
		a, b = b, a
	}
	if _, ok := free(a, e); ok {
		c.bind(a, c.term(b, e), e)
		return
	}
	if x, ok := a.Value.(*ast.Array); ok {
		if y, ok := b.Value.(*ast.Array); ok && x.Len() == y.Len() {
			for i := range x.Len() {
				c.unify(x.Elem(i), y.Elem(i), e)
			}
			return
		}
	}
	if !pattern(a) && pattern(b) {
		a, b = b, a
	}
	c.bind(a, c.term(b, e), e)
}

// pattern reports a collection with variables in it.
func pattern(t *ast.Term) bool {
	switch t.Value.(type) {
	case *ast.Array, ast.Object:
		return !ast.IsConstant(t.Value)
	}
	return false
}

// bind gives a term that may have free variables in it its value.
func (c *checker) bind(t *ast.Term, d domain, e env) {
	if v, ok := free(t, e); ok {
		if d.empty() {
			d.unknown = true
		}
		e[v] = d
		return
	}
	if !pattern(t) {
		c.meet(c.term(t, e), d)
		return
	}
	switch v := t.Value.(type) {
	case *ast.Array:
		for i := range v.Len() {
			c.bind(v.Elem(i), c.member(d, constant(ast.InternedTerm(i))), e)
		}
	case ast.Object:
		v.Foreach(func(k, x *ast.Term) { c.bind(x, c.step(d, k, e), e) })
	}
}

// call checks a call of a builtin or of the policy's own function.
func (c *checker) call(terms []*ast.Term, e env) {
	op, args := terms[0].Value.(ast.Ref), terms[1:]
	if name, ok := ownRule(op); ok {
		c.function(name, args, e)
		return
	}
	switch name := op.String(); name {
	case "eq":
		c.unify(args[0], args[1], e)
	case "equal", "neq":
		c.meet(c.term(args[0], e), c.term(args[1], e))
		c.output(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "lt", "lte", "gt", "gte":
		c.ordered(c.term(args[0], e), c.term(args[1], e))
		c.output(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "internal.member_2":
		_, values := c.children(c.term(args[1], e))
		c.contained(c.term(args[0], e), values)
		c.output(args[2:], domain{values: []*ast.Term{yes, no}}, e)
	case "internal.member_3":
		keys, values := c.children(c.term(args[2], e))
		c.contained(c.term(args[0], e), keys)
		c.contained(c.term(args[1], e), values)
		c.output(args[3:], domain{values: []*ast.Term{yes, no}}, e)
	default:
		c.builtin(name, args, e)
	}
}

// contained compares a term with the members of a collection. One without any is
// a list that is empty so far.
func (c *checker) contained(x, members domain) {
	if !members.empty() {
		c.meet(x, members)
	}
}

// ordered checks an order between two terms, which must be of one kind: across
// kinds it is the same for every input.
func (c *checker) ordered(x, y domain) {
	for _, p := range [][2]domain{{x, y}, {y, x}} {
		for _, v := range p[1].values {
			_, isNumber := v.Value.(ast.Number)
			alike := func(f *field) bool { return isNumber == (f.form == numberForm) }
			if len(p[0].fields) > 0 && !slices.ContainsFunc(p[0].fields, alike) {
				c.refuse("%s and %v are of different kinds, so their order says nothing", p[0].describe(), v)
			}
		}
	}
}

// output gives the result of a call to where it goes, if anywhere.
func (c *checker) output(out []*ast.Term, d domain, e env) {
	if len(out) > 0 {
		c.bind(out[0], d, e)
	}
}

// function checks the policy's own function with the arguments of one call.
func (c *checker) function(name string, args []*ast.Term, e env) {
	rules := c.rules[name]
	if len(rules) == 0 || c.depth >= maxCheckDepth {
		c.refuse("the function %s cannot be followed", name)
		return
	}
	n := min(len(rules[0].Head.Args), len(args))
	given := make([]domain, n)
	for i := range given {
		given[i] = c.term(args[i], e)
	}
	at := c.at
	c.depth++
	var all []domain
	for _, r := range rules {
		for ; r != nil; r = r.Else {
			inner := env{}
			c.at = at
			for i, p := range r.Head.Args[:n] {
				c.bind(p, given[i], inner)
			}
			c.body(r.Body, inner)
			all = append(all, c.head(r, inner))
		}
	}
	c.depth--
	c.at = at
	c.output(args[n:], joined(all...), e)
}

// wholeTaking are the builtins that may take a structure or the names of the
// input as a whole, because what they answer does not depend on a name in it.
var wholeTaking = []string{"count", "object.keys", "is_object", "type_name"}

// builtin checks a call of a builtin: what it answers is computed if its
// arguments can have few values.
func (c *checker) builtin(name string, args []*ast.Term, e env) {
	b := ast.BuiltinMap[name]
	if b == nil {
		c.refuse("the call of %s cannot be checked", name)
		return
	}
	n := min(len(b.Decl.FuncArgs().Args), len(args))
	in := make([]domain, n)
	for i := range in {
		in[i] = c.term(args[i], e)
		if whole := wholeIn(in[i]); whole != nil && name != "object.get" && !slices.Contains(wholeTaking, name) {
			c.refuse("%s takes %s as a whole, so what it reads there cannot be checked; give it the single field", name, whole.path)
			return
		}
	}
	d := domain{unknown: true}
	switch {
	case name == "object.get" && n == 3:
		d = joined(c.path(in[0], in[1]), in[2])
	case name == "or" || name == "array.concat" || name == "object.union":
		if !in[0].finite() || !in[1].finite() {
			d = joined(in[0], in[1])
			break
		}
		d = c.computed(name, in, len(args) == n)
	case name == "and" || name == "minus":
		_, x := in[0].children()
		_, y := in[1].children()
		if x.fromInput() != y.fromInput() {
			c.contained(x, y)
		}
		if !in[0].finite() || !in[1].finite() {
			d = in[0]
			break
		}
		d = c.computed(name, in, len(args) == n)
	default:
		d = c.computed(name, in, len(args) == n)
	}
	c.output(args[n:], d, e)
}

// path is object.get's: one key, or a list of them.
func (c *checker) path(d, keys domain) domain {
	if keys.finite() && len(keys.values) == 1 {
		if list, ok := keys.values[0].Value.(*ast.Array); ok {
			for i := range list.Len() {
				d = c.member(d, constant(list.Elem(i)))
			}
			return d
		}
	}
	return c.member(d, keys)
}

// wholeIn finds a structure or a list of names in a domain.
func wholeIn(d domain) *field {
	for _, f := range d.fields {
		if f.form == structureForm || f.form == namesForm {
			return f
		}
	}
	for _, x := range d.entries {
		if f := wholeIn(x.value); f != nil {
			return f
		}
	}
	return nil
}

// maxComputed bounds the combinations of arguments that a builtin is tried with.
const maxComputed = 1024

// samples stand for the values of an open field: enough to see that a builtin
// fails whatever it is given.
var samples = map[form][]*ast.Term{
	textForm:    texts("a", "7", "a:b", "127.0.0.1", "10.0.0.0/8", "2026-01-31T12:00:00Z"),
	numberForm:  {ast.IntNumberTerm(0), ast.IntNumberTerm(1700000000)},
	addressForm: texts("127.0.0.1", "2001:db8::1"),
}

// computed is what a builtin answers for all that its arguments can be. A
// condition that holds for none of them is refused, and so is a call that fails
// for all of them.
func (c *checker) computed(name string, in []domain, condition bool) domain {
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
		err := topdown.GetBuiltin(name)(topdown.BuiltinContext{Cancel: newBudget(nil, backstop)}, args, func(t *ast.Term) error {
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
		c.refuse("%s fails whatever it is given here: %s", name, strings.TrimSpace(failure.Error()))
	case exact && varies && condition && !holdsOnce:
		c.refuse("%s(%s) never holds", name, describeAll(in))
	}
	if !exact || d.empty() {
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
			all = append(all, show(in[i]))
		}
	}
	return strings.Join(all, ", ")
}
