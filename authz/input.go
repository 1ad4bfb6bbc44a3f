package authz

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
)

// question is everything that the input is made of, except time and address. The memo makes
// its key of all fields: see memo.appendKey.
type question struct {
	principal       *core.Principal
	action          core.Action
	door            core.Door
	present         bool // whether there is an object
	tenant          string
	object          string // Unique Identifier
	owner           string
	group           string
	kind            core.ObjectType
	state           core.State // at the time of the request
	algorithm       core.CryptographicAlgorithm
	allowStatements []string
	denyStatements  []string
	exclusive       bool
	rights          []string
}

// checkComplete refuses a question that lacks what each rule relies on: two empty
// tenants would be equal.
func checkComplete(r *core.AccessRequest) error {
	p, o := r.Principal, r.Object
	switch {
	case p == nil || p.Tenant == "" || p.ID == "":
		return core.Errorf(core.PermissionDenied, "the principal has no tenant or no id")
	case !slices.Contains(doors, r.Door):
		return core.Errorf(core.PermissionDenied, "the request came through an unknown door")
	case !r.Action.Askable():
		return core.Errorf(core.PermissionDenied, "the policy does not decide about this operation")
	case o != nil && (o.Tenant == "" || o.ID == "" || o.Owner == ""):
		return core.Errorf(core.PermissionDenied, "the object has no tenant, id or owner")
	}
	return nil
}

// questionOf returns what the policy can see of a complete request.
func questionOf(r *core.AccessRequest) question {
	q := question{principal: r.Principal, action: r.Action, door: r.Door, exclusive: r.Statements.Exclusive,
		allowStatements: r.Statements.Allow, denyStatements: r.Statements.Deny, rights: r.Rights}
	if o := r.Object; o != nil {
		q.present, q.tenant, q.object, q.owner, q.group = true, o.Tenant, o.ID, o.Owner, o.Group
		q.kind, q.state, q.algorithm = o.Type, r.State, o.Algorithm()
	}
	return q
}

// field is one field of the input: how its value is made, and which values it can have.
// The table below is the only list of the fields. Both the input and the check of a
// policy's references and literals use it.
type field struct {
	name      string
	allValues []*ast.Term // all values that the field can have; nil: any
	form      form        // of the value, if allValues is nil
	parts     []field     // of a structure
	value     *field      // of textsForm: any one of its texts
	of        *field      // of such a text: the field that has it, or lacks it

	makeValue func(q *question, now int64, address string) *ast.Term // nil for a structure
	key       *ast.Term                                              // the name as a term
	path      string                                                 // "input.object.state"
}

// form is the form of the values of a field that can have any value.
type form uint8

const (
	textForm   form = iota
	numberForm      // seconds
	addressForm
	namesForm     // {"name": true}, so that membership is a look-up
	textsForm     // {"name": "text"}
	structureForm // an object with parts
)

// askableActions are the actions about which a policy decides.
var askableActions = slices.DeleteFunc(core.Actions(), func(a core.Action) bool { return !a.Askable() })

// inputFields describes the whole input. policies.rego describes it for people.
var inputFields = withPaths("", field{name: "input", form: structureForm, parts: []field{
	{name: "operation", allValues: termsOf(askableActions, core.Action.String), makeValue: makeText(func(q *question) string { return q.action.String() })},
	{name: "kind", allValues: termsOf(core.ActionKinds, kindName), makeValue: makeText(func(q *question) string { return kindName(q.action.Kind()) })},
	{name: "now", form: numberForm, makeValue: func(_ *question, now int64, _ string) *ast.Term { return ast.IntNumberTerm(int(now)) }},
	{name: "address", form: addressForm, makeValue: func(_ *question, _ int64, address string) *ast.Term { return textTerm(address) }},
	{name: "door", allValues: textTerms(string(core.DoorKMIP), string(core.DoorREST), string(core.DoorClock), string(core.DoorAdmin)), makeValue: makeText(func(q *question) string { return string(q.door) })},
	{name: "principal", form: structureForm, parts: []field{
		{name: "tenant", makeValue: makeText(func(q *question) string { return q.principal.Tenant })},
		{name: "id", makeValue: makeText(func(q *question) string { return q.principal.ID })},
		{name: "groups", form: namesForm, makeValue: makeNames(func(q *question) []string { return q.principal.Groups })},
		{name: "roles", form: namesForm, makeValue: makeNames(func(q *question) []string { return q.principal.Roles })},
		{name: "method", allValues: textTerms(core.Methods...), makeValue: makeText(func(q *question) string { return q.principal.Method })},
		{name: "strength", allValues: termsOf(core.Strengths(), core.Strength.String), makeValue: makeText(func(q *question) string { return q.principal.Strength.String() })},
		{name: "attributes", form: textsForm, makeValue: func(q *question, _ int64, _ string) *ast.Term { return textMap(q.principal.Attributes) }},
		{name: "certificate", form: structureForm, parts: []field{
			{name: "present", allValues: []*ast.Term{yes, no}, makeValue: func(q *question, _ int64, _ string) *ast.Term {
				return ast.BooleanTerm(q.principal.ConnectionPrincipal() != nil)
			}},
			{name: "tenant", makeValue: makeText(func(q *question) string { return certificateOf(q.principal).Tenant })},
			{name: "id", makeValue: makeText(func(q *question) string { return certificateOf(q.principal).ID })},
		}},
		{name: "token", form: structureForm, parts: []field{
			{name: "present", allValues: []*ast.Term{yes, no}, makeValue: func(q *question, _ int64, _ string) *ast.Term { return ast.BooleanTerm(q.principal.TokenID != "") }},
			{name: "id", makeValue: makeText(func(q *question) string { return q.principal.TokenID })},
		}},
		{name: "rights", form: namesForm, makeValue: makeNames(func(q *question) []string { return q.rights })},
	}},
	{name: "object", form: structureForm, parts: []field{
		{name: "present", allValues: []*ast.Term{yes, no}, makeValue: func(q *question, _ int64, _ string) *ast.Term { return ast.BooleanTerm(q.present) }},
		{name: "tenant", makeValue: makeText(func(q *question) string { return q.tenant })},
		{name: "id", makeValue: makeText(func(q *question) string { return q.object })},
		{name: "owner", makeValue: makeText(func(q *question) string { return q.owner })},
		{name: "group", makeValue: makeText(func(q *question) string { return q.group })},
		{name: "type", allValues: orNone(core.TagObjectType), makeValue: makeText(func(q *question) string { return core.EnumName(q.kind) })},
		{name: "state", allValues: orNone(core.TagState), makeValue: makeText(func(q *question) string { return core.EnumName(q.state) })},
		{name: "algorithm", allValues: orNone(core.TagCryptographicAlgorithm), makeValue: makeText(func(q *question) string { return core.EnumName(q.algorithm) })},
	}},
	{name: "statements", form: structureForm, parts: []field{
		{name: "allow", form: namesForm, makeValue: makeNames(func(q *question) []string { return q.allowStatements })},
		{name: "deny", form: namesForm, makeValue: makeNames(func(q *question) []string { return q.denyStatements })},
		{name: "exclusive", allValues: []*ast.Term{yes, no}, makeValue: func(q *question, _ int64, _ string) *ast.Term { return ast.BooleanTerm(q.exclusive) }},
	}},
}})

var yes, no = ast.BooleanTerm(true), ast.BooleanTerm(false)

// withPaths returns f with the keys and paths of all fields in it.
func withPaths(above string, f field) *field {
	f.key, f.path = textTerm(f.name), above+f.name
	if f.form == textsForm {
		f.value = &field{path: f.path + "[_]", of: &f}
	}
	for i := range f.parts {
		f.parts[i] = *withPaths(f.path+".", f.parts[i])
	}
	return &f
}

// partNamed returns the part of a structure that has a name, or nil.
func (f *field) partNamed(name string) *field {
	for i := range f.parts {
		if f.parts[i].name == name {
			return &f.parts[i]
		}
	}
	return nil
}

// makeInput returns the input of the policy. It is the only function that makes one, and
// the input always has all fields.
func makeInput(q *question, now int64, address string) ast.Value {
	return inputFields.makeTerm(q, now, address).Value
}

func (f *field) makeTerm(q *question, now int64, address string) *ast.Term {
	if f.makeValue != nil {
		return f.makeValue(q, now, address)
	}
	items := make([][2]*ast.Term, len(f.parts))
	for i := range f.parts {
		items[i] = ast.Item(f.parts[i].key, f.parts[i].makeTerm(q, now, address))
	}
	return ast.ObjectTerm(items...)
}

func textTerm(s string) *ast.Term { return ast.StringTerm(s) }

func textTerms(all ...string) (out []*ast.Term) {
	for _, s := range all {
		out = append(out, textTerm(s))
	}
	return out
}

// makeText returns a function that makes a text field.
func makeText(get func(*question) string) func(*question, int64, string) *ast.Term {
	return func(q *question, _ int64, _ string) *ast.Term { return textTerm(get(q)) }
}

// makeNames returns a function that makes a set of names.
func makeNames(get func(*question) []string) func(*question, int64, string) *ast.Term {
	return func(q *question, _ int64, _ string) *ast.Term { return nameSet(get(q)) }
}

// namesOf returns the names of an enumeration of the standard.
func namesOf(tag core.Tag) []*ast.Term {
	return termsOf(tag.Info().Enum.Values, func(v core.EnumValue) string { return v.Name })
}

// termsOf returns the names of values as terms.
func termsOf[T any](values []T, name func(T) string) (out []*ast.Term) {
	for _, v := range values {
		out = append(out, textTerm(name(v)))
	}
	return out
}

func kindName(k core.ActionKind) string { return string(k) }

// orNone returns namesOf and "", which stands for no object and for an object without
// the attribute.
func orNone(tag core.Tag) []*ast.Term { return append(namesOf(tag), textTerm("")) }

// nameSet returns {"a": true, "b": true}. The empty name is neither a group nor a role.
func nameSet(names []string) *ast.Term {
	items := make([][2]*ast.Term, 0, len(names))
	for _, n := range names {
		if n != "" {
			items = append(items, ast.Item(textTerm(n), yes))
		}
	}
	return ast.ObjectTerm(items...)
}

// textMap returns {"name": "text"}.
func textMap(texts map[string]string) *ast.Term {
	items := make([][2]*ast.Term, 0, len(texts))
	for name, text := range texts {
		items = append(items, ast.Item(textTerm(name), textTerm(text)))
	}
	return ast.ObjectTerm(items...)
}

var noPrincipal core.Principal

// certificateOf returns the principal that the certificate of p's connection proves, or one
// without names.
func certificateOf(p *core.Principal) *core.Principal {
	if c := p.ConnectionPrincipal(); c != nil {
		return c
	}
	return &noPrincipal
}
