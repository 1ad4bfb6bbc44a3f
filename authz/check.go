package authz

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

const (
	maxCheckSteps    = 200_000 // expressions that one check looks at
	maxCheckDepth    = 100     // functions within functions
	maxCheckProblems = 10      // named in one refusal
)

// checker follows which values each term of a compiled policy can have. It finds
// references to fields that the input does not have, and comparisons that are true for
// no input. It also finds comparisons that it cannot follow: of a literal with something
// that is computed from a field with few values.
//
// OPA would load a rule with such a mistake, and the rule would never apply, or always.
// OPA's schemas were tried: they know names but not values, and neither in functions.
type checker struct {
	rules       map[string][]*ast.Rule
	ruleDomains map[string]domain
	hints       map[*field][]*ast.Term // literals that the policy compares each field with
	location    *ast.Location
	steps       int
	depth       int
	problems    []string
}

type env map[ast.Var]domain

// checkModule checks a compiled module. It returns the literals that the policy compares
// each field with, for the canaries.
func checkModule(m *ast.Module) (map[*field][]*ast.Term, error) {
	c := &checker{rules: map[string][]*ast.Rule{}, ruleDomains: map[string]domain{}, hints: map[*field][]*ast.Term{}}
	for _, r := range m.Rules {
		name := ruleName(r)
		c.rules[name] = append(c.rules[name], r)
	}
	for _, name := range slices.Sorted(maps.Keys(c.rules)) {
		if len(c.rules[name][0].Head.Args) == 0 {
			c.ruleValue(name)
		}
	}
	if d, ok := c.ruleDomains["decision"]; ok {
		c.location = nil
		c.checkDecision(d)
	}
	if c.steps > maxCheckSteps {
		c.refuse("the policy is too large or its functions too deep to be checked")
	}
	if len(c.problems) == 0 {
		return c.hints, nil
	}
	if more := len(c.problems) - maxCheckProblems; more > 0 {
		c.problems = append(c.problems[:maxCheckProblems], fmt.Sprintf("and %d more", more))
	}
	return nil, errors.New(strings.Join(c.problems, "\n"))
}

// ruleName returns the first part of the name of a rule.
func ruleName(r *ast.Rule) string {
	if v, ok := r.Head.Ref()[0].Value.(ast.Var); ok {
		return string(v)
	}
	return r.Head.Ref()[0].String()
}

func (c *checker) refuse(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if c.location != nil {
		s = fmt.Sprintf("%s:%d: %s", c.location.File, c.location.Row, s)
	}
	if !slices.Contains(c.problems, s) {
		c.problems = append(c.problems, s)
	}
}

// ruleValue returns the domain of the value of a rule.
func (c *checker) ruleValue(name string) domain {
	if d, ok := c.ruleDomains[name]; ok {
		return d
	}
	c.ruleDomains[name] = domain{unknown: true} // the compiler refuses a rule that uses itself
	var all []domain
	for _, r := range c.rules[name] {
		for ; r != nil; r = r.Else {
			e := env{}
			c.checkBody(r.Body, e)
			c.location = r.Loc()
			all = append(all, c.headValue(r, e))
		}
	}
	d := joined(all...)
	c.ruleDomains[name] = d
	return d
}

// headValue returns the domain of the head of one rule: its value, inside of the
// collections that its name defines.
func (c *checker) headValue(r *ast.Rule, e env) domain {
	var v domain
	switch {
	case r.Head.Value != nil:
		v = c.termDomain(r.Head.Value, e)
	case r.Head.Key != nil:
		k := c.termDomain(r.Head.Key, e)
		v = domain{entries: []entry{{k, k}}}
	default:
		v = constant(yes)
	}
	ref := r.Head.Ref()
	for i := len(ref) - 1; i > 0; i-- {
		v = domain{entries: []entry{{c.termDomain(ref[i], e), v}}}
	}
	return v
}

func (c *checker) checkBody(b ast.Body, e env) {
	for _, x := range b {
		if c.steps++; c.steps > maxCheckSteps {
			return
		}
		if x.Location != nil {
			c.location = x.Location
		}
		c.checkExpression(x, e)
	}
}

func (c *checker) checkExpression(x *ast.Expr, e env) {
	if len(x.With) > 0 {
		c.refuse("\"with\" replaces the input, so only tests may use it; write a function")
		return
	}
	switch t := x.Terms.(type) {
	case *ast.Term:
		d := c.termDomain(t, e)
		if d.finite() && d.from != nil && !slices.ContainsFunc(d.values, func(v *ast.Term) bool { return !v.Equal(no) }) {
			c.refuse("%v can never be true", t)
		}
	case []*ast.Term:
		c.checkCall(t, e)
	case *ast.Not:
		c.checkBody(t.Body, maps.Clone(e))
	case *ast.LogicalAnd:
		c.checkBody(t.Lhs, e)
		c.checkBody(t.Rhs, e)
	case *ast.LogicalOr:
		c.checkBody(t.Lhs, maps.Clone(e))
		c.checkBody(t.Rhs, maps.Clone(e))
	case *ast.Every:
		keys, values := c.children(c.termDomain(t.Domain, e))
		inner := maps.Clone(e)
		if t.Key != nil {
			c.bindTerm(t.Key, keys, inner)
		}
		c.bindTerm(t.Value, values, inner)
		c.checkBody(t.Body, inner)
	case *ast.SomeDecl:
	default:
		c.refuse("%v cannot be checked; write it another way", x)
	}
}

// children returns [domain.children], and refuses a single value of the input.
func (c *checker) children(d domain) (keys, values domain) {
	if d.from != nil && !d.unknown && len(d.values) > 0 {
		if _, ok := membersOf(d.values[0]); !ok {
			c.refuse("%s is one value and has no members", d.describe())
		}
	}
	return d.children()
}

// freeVariable returns the variable that a term is, and true if it has no value yet.
func freeVariable(t *ast.Term, e env) (ast.Var, bool) {
	v, ok := t.Value.(ast.Var)
	if !ok {
		return "", false
	}
	_, bound := e[v]
	return v, !bound
}

// termDomain returns the domain of a term. A variable without a value can be anything.
func (c *checker) termDomain(t *ast.Term, e env) domain {
	if ast.IsConstant(t.Value) {
		return constant(t)
	}
	switch v := t.Value.(type) {
	case ast.Var:
		if d, ok := e[v]; ok {
			return d
		}
		e[v] = domain{unknown: true}
	case ast.Ref:
		return c.referenceDomain(v, e)
	case *ast.Array:
		var d domain
		for i := range v.Len() {
			d.entries = append(d.entries, entry{constant(ast.InternedTerm(i)), c.termDomain(v.Elem(i), e)})
		}
		return d
	case ast.Set:
		var d domain
		v.Foreach(func(x *ast.Term) { m := c.termDomain(x, e); d.entries = append(d.entries, entry{m, m}) })
		return d
	case ast.Object:
		var d domain
		v.Foreach(func(k, x *ast.Term) { d.entries = append(d.entries, entry{c.termDomain(k, e), c.termDomain(x, e)}) })
		return d
	case *ast.ArrayComprehension:
		inner := maps.Clone(e)
		c.checkBody(v.Body, inner)
		return domain{entries: []entry{{domain{unknown: true}, c.termDomain(v.Term, inner)}}}
	case *ast.SetComprehension:
		inner := maps.Clone(e)
		c.checkBody(v.Body, inner)
		m := c.termDomain(v.Term, inner)
		return domain{entries: []entry{{m, m}}}
	case *ast.ObjectComprehension:
		inner := maps.Clone(e)
		c.checkBody(v.Body, inner)
		return domain{entries: []entry{{c.termDomain(v.Key, inner), c.termDomain(v.Value, inner)}}}
	}
	return domain{unknown: true}
}

// referenceDomain follows a reference from its head, member by member.
func (c *checker) referenceDomain(r ast.Ref, e env) domain {
	var d domain
	rest := r[1:]
	switch {
	case isInput(r[0]):
		d = domainOf(inputFields)
	case r[0].Equal(ast.DefaultRootDocument):
		name, ok := ownRule(r)
		if !ok || c.rules[name] == nil {
			c.refuse("%v does not exist: a policy can use its own rules and the input, and no other data", r)
			return domain{unknown: true}
		}
		if len(c.rules[name][0].Head.Args) > 0 {
			return domain{unknown: true}
		}
		at := c.location
		d, rest = c.ruleValue(name), r[len(policyPackage)+1:]
		c.location = at
	default:
		d = c.termDomain(r[0], e)
	}
	for _, k := range rest {
		d = c.memberAt(d, k, e)
	}
	return d
}

var policyPackage = ast.MustParseRef("data.keyreeve.authz")

// ownRule returns the name of the policy's rule that a reference begins with.
func ownRule(r ast.Ref) (string, bool) {
	if !r.HasPrefix(policyPackage) || len(r) <= len(policyPackage) {
		return "", false
	}
	name, ok := r[len(policyPackage)].Value.(ast.String)
	return string(name), ok
}

// memberAt returns the domain of a member of a collection. A free variable as its key
// becomes bound.
func (c *checker) memberAt(d domain, k *ast.Term, e env) domain {
	if v, ok := freeVariable(k, e); ok {
		keys, values := c.children(d)
		e[v] = keys
		return values
	}
	return c.memberDomain(d, c.termDomain(k, e))
}

func (c *checker) memberDomain(d, key domain) domain {
	var out []domain
	named := false // a part of the input has that name
	for _, f := range d.fields {
		switch f.form {
		case structureForm:
			parts, ok := c.namedParts(f, key)
			named = named || ok
			out = append(out, parts...)
		case namesForm:
			c.noteName(f, key)
			named = true
			out = append(out, domain{values: []*ast.Term{yes}, from: f})
		case textsForm:
			c.noteName(f, key)
			named = true
			out = append(out, domainOf(f.value))
		}
	}
	single := d.from != nil && len(d.values) > 0 && d.from.form != namesForm && !slices.ContainsFunc(d.values, func(v *ast.Term) bool { _, ok := membersOf(v); return ok })
	if d.fromInput() && !named && !d.unknown && (len(d.fields) > 0 || single) {
		c.refuse("%s has no member %s; policies.rego describes the input", d.describe(), showValues(key))
		return domain{unknown: true}
	}
	all := d.entries
	for _, v := range d.values {
		more, _ := membersOf(v)
		all = append(slices.Clip(all), more...)
	}
	for _, x := range all {
		if key.fromInput() || !x.key.finite() || !key.finite() {
			c.compare(x.key, key)
			out = append(out, x.value)
		} else if slices.ContainsFunc(key.values, func(v *ast.Term) bool { return containsTerm(x.key.values, v) }) {
			out = append(out, x.value)
		}
	}
	if d.unknown {
		out = append(out, domain{unknown: true})
	}
	return joined(out...)
}

// namedParts returns the parts of a structure that a key names. It refuses a key that
// is not written out in the policy.
func (c *checker) namedParts(f *field, key domain) (out []domain, ok bool) {
	if !key.finite() || (key.from != nil && key.from.form != structureForm) {
		c.refuse("the name of a field of %s is computed, so it cannot be checked; write the name", f.path)
		return nil, true
	}
	for _, v := range key.values {
		name, _ := v.Value.(ast.String)
		if p := f.partNamed(string(name)); p != nil {
			out = append(out, domainOf(p))
		}
	}
	return out, len(out) > 0
}

// noteName notes a group, role or attribute that the policy names. It refuses the empty one.
func (c *checker) noteName(f *field, key domain) {
	for _, v := range key.values {
		if s, ok := v.Value.(ast.String); !ok || s == "" {
			c.refuse("%s never has the member %v: names are texts that are not empty", f.path, v)
			continue
		}
		c.noteLiteral(f, v)
	}
}

func (c *checker) noteLiteral(f *field, v *ast.Term) {
	if !containsTerm(c.hints[f], v) {
		c.hints[f] = append(c.hints[f], v)
	}
}

func showValues(d domain) string {
	var all []string
	for _, v := range d.values {
		all = append(all, v.String())
	}
	if len(all) == 0 {
		return "of that name"
	}
	return strings.Join(all, " or ")
}

// checkDecision checks the form of each decision that is written out in the policy.
func (c *checker) checkDecision(d domain) {
	const form = "the decision is not {allow, reasons, scope} as policies.rego describes it: "
	shapes := [][]entry{}
	for _, v := range d.values {
		m, _ := membersOf(v)
		shapes = append(shapes, m)
	}
	if len(d.entries) > 0 {
		shapes = append(shapes, d.entries)
	}
	want := map[string]func(*ast.Term) bool{
		`"allow"`:   func(t *ast.Term) bool { _, ok := t.Value.(ast.Boolean); return ok },
		`"reasons"`: func(t *ast.Term) bool { _, ok := membersOf(t); return ok },
		`"scope"`:   func(t *ast.Term) bool { return t.Equal(textTerm("own")) || t.Equal(textTerm("tenant")) },
	}
	for _, s := range shapes {
		for _, x := range s {
			if !x.key.finite() || len(x.key.values) != 1 {
				continue // the canaries check it
			}
			name := x.key.values[0].String()
			if want[name] == nil {
				c.refuse(form+"it has no %s", name)
				continue
			}
			for _, v := range x.value.values {
				if !want[name](v) {
					c.refuse(form+"%s cannot be %v", name, v)
				}
			}
		}
	}
}
