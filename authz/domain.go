package authz

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// domain is the set of values that a term of a policy can have, as far as its text
// tells: the union of all fields below.
type domain struct {
	values  []*ast.Term // constants
	from    *field      // values are all values of this field of the input
	fields  []*field    // fields of the input that can have any value
	entries []entry     // members of a collection that the policy builds
	unknown bool        // any other value too
}

// entry is one member of a collection. In a set, key and value are the same.
type entry struct{ key, value domain }

func constant(t *ast.Term) domain { return domain{values: []*ast.Term{t}} }

// domainOf returns the domain of a field.
func domainOf(f *field) domain {
	if f.allValues != nil {
		return domain{values: f.allValues, from: f}
	}
	return domain{fields: []*field{f}}
}

// fromInput reports whether the value comes from the input alone.
func (d *domain) fromInput() bool { return d.from != nil || len(d.fields) > 0 }

func (d *domain) isEmpty() bool {
	return len(d.values)+len(d.fields)+len(d.entries) == 0 && !d.unknown
}

// finite reports whether d is nothing but its values.
func (d *domain) finite() bool {
	return len(d.fields)+len(d.entries) == 0 && !d.unknown
}

// joined returns the union of domains.
func joined(all ...domain) (out domain) {
	seen := ast.NewSet() // a table in a policy can have thousands of members
	for _, d := range all {
		for _, v := range d.values {
			if !seen.Contains(v) {
				seen.Add(v)
				out.values = append(out.values, v)
			}
		}
		for _, f := range d.fields {
			if !slices.Contains(out.fields, f) {
				out.fields = append(out.fields, f)
			}
		}
		if d.from != nil {
			out.from = d.from
		}
		out.entries = append(out.entries, d.entries...)
		out.unknown = out.unknown || d.unknown
	}
	return out
}

func containsTerm(list []*ast.Term, t *ast.Term) bool {
	return slices.ContainsFunc(list, func(x *ast.Term) bool { return x.Equal(t) })
}

// membersOf returns the members of a constant collection. ok is false for a constant
// that is no collection.
func membersOf(t *ast.Term) (out []entry, ok bool) {
	switch v := t.Value.(type) {
	case *ast.Array:
		for i := range v.Len() {
			out = append(out, entry{constant(ast.InternedTerm(i)), constant(v.Elem(i))})
		}
	case ast.Set:
		v.Foreach(func(x *ast.Term) { out = append(out, entry{constant(x), constant(x)}) })
	case ast.Object:
		v.Foreach(func(k, x *ast.Term) { out = append(out, entry{constant(k), constant(x)}) })
	default:
		return nil, false
	}
	return out, true
}

// children returns the domains of the keys and of the values of all members.
func (d *domain) children() (keys, values domain) {
	var ks, vs []domain
	all := d.entries
	for _, v := range d.values {
		more, _ := membersOf(v)
		all = append(slices.Clip(all), more...)
	}
	for _, e := range all {
		ks, vs = append(ks, e.key), append(vs, e.value)
	}
	for _, f := range d.fields {
		switch f.form {
		case structureForm:
			for i := range f.parts {
				ks, vs = append(ks, domain{values: []*ast.Term{f.parts[i].key}, from: f}), append(vs, domainOf(&f.parts[i]))
			}
		case namesForm:
			ks, vs = append(ks, domain{unknown: true}), append(vs, domain{values: []*ast.Term{yes}, from: f})
		case textsForm:
			ks, vs = append(ks, domain{unknown: true}), append(vs, domainOf(f.value))
		}
	}
	if d.unknown {
		ks, vs = append(ks, domain{unknown: true}), append(vs, domain{unknown: true})
	}
	return joined(ks...), joined(vs...)
}

// accepts reports whether a field that can have any value can have a constant. The
// checker compares the parts of structures and the names.
func (f *field) accepts(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.String:
		if f.form == addressForm && v != "" {
			_, err := netip.ParseAddr(string(v))
			return err == nil
		}
		return f.form == textForm || f.form == addressForm
	case ast.Number:
		return f.form == numberForm
	case ast.Object:
		return f.form == structureForm || f.form == namesForm || f.form == textsForm
	}
	return false
}

// describe returns the paths of the fields of the input that a domain comes from.
func (d *domain) describe() string {
	var names []string
	if d.from != nil {
		names = append(names, d.from.path)
	}
	for _, f := range d.fields {
		names = append(names, f.path)
	}
	if len(names) == 0 {
		return "this"
	}
	return strings.Join(names, " or ")
}

// suggestion returns the end of a message: what the literal was probably meant to be.
func (d *domain) suggestion(t *ast.Term) string {
	s, ok := t.Value.(ast.String)
	fold := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == ' ' || r == '_' || r == '-' {
				return -1
			}
			return r
		}, strings.ToLower(s))
	}
	if ok {
		for _, v := range d.values {
			if x, isText := v.Value.(ast.String); isText && fold(string(x)) == fold(string(s)) {
				return "; write " + v.String()
			}
		}
	}
	const few = 12
	if len(d.values) == 0 || len(d.values) > few || !d.finite() {
		return "; policies.rego describes the input"
	}
	var all []string
	for _, v := range d.values {
		all = append(all, v.String())
	}
	return "; it is one of " + strings.Join(all, ", ")
}
