package keypolicy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// Request is everything that a statement may look at.
type Request struct {
	*core.AccessRequest
	Token string // id of the token that proved the principal; "": none

	// Parameters are those with which the action will be done: of the request, or of the
	// key if the request leaves them open. Create and the like give their algorithm here.
	Parameters core.CryptographicParameters
	Length     int32          // in bits, of a key that is made, taken or replaced; 0: not known
	Usage      core.UsageMask // of such a key
	Wrapped    *bool          // whether Get or Export wraps the key; nil for other actions
}

// checkComplete refuses a request that lacks what statements rely on. It returns the
// address in the form in which ranges are compared, the zero Addr if it is unknown.
func checkComplete(r *Request) (address netip.Addr, err error) {
	p, o := r.Principal, r.Object
	switch {
	case p == nil || p.Tenant == "" || p.ID == "":
		return netip.Addr{}, core.Errorf(core.PermissionDenied, "the principal has no tenant or no id")
	case !r.Action.Askable():
		return netip.Addr{}, core.Errorf(core.PermissionDenied, "no policy decides about this operation")
	case !slices.Contains(doors, r.Door):
		return netip.Addr{}, core.Errorf(core.PermissionDenied, "the request came through an unknown door")
	case o != nil && (o.Tenant == "" || o.ID == "" || o.Owner == ""):
		return netip.Addr{}, core.Errorf(core.PermissionDenied, "the object has no tenant, id or owner")
	case r.Address == "":
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(r.Address)
	if err != nil {
		return netip.Addr{}, core.Errorf(core.PermissionDenied, "the address of the request is malformed")
	}
	return addr.Unmap().WithZone(""), nil
}

var doors = []core.Door{core.DoorKMIP, core.DoorREST, core.DoorClock, core.DoorAdmin}

// NamesOf returns the names of a principal in the spelling of statements. A client is a
// principal that a certificate proved. token is the id of its token, "" if none.
func NamesOf(p *core.Principal, token string) []string {
	names := append(make([]string, 0, 4+len(p.Groups)+len(p.Roles)), format.Anyone, "user:"+p.ID)
	if p.Strength == core.StrengthCertificate {
		names = append(names, "client:"+p.ID)
	}
	if token != "" {
		names = append(names, "token:"+token)
	}
	for _, g := range p.Groups {
		names = appendName(names, "group:", g)
	}
	for _, r := range p.Roles {
		names = appendName(names, "role:", r)
	}
	return names
}

// appendName leaves out the empty name, which is neither a group nor a role.
func appendName(names []string, kind, name string) []string {
	if name == "" {
		return names
	}
	return append(names, kind+name)
}

// Terms of the input that never change.
var (
	yes, emptySet, noText = ast.BooleanTerm(true), ast.ObjectTerm(), ast.StringTerm("")

	policiesKey, actionKey, nowKey, addressKey = ast.StringTerm("policies"), ast.StringTerm("action"), ast.StringTerm("now"), ast.StringTerm("address")
	networksKey, principalKey, factsKey        = ast.StringTerm("networks"), ast.StringTerm("principal"), ast.StringTerm("facts")
	namesKey, strengthKey                      = ast.StringTerm("names"), ast.StringTerm("strength")
)

// requestKeys are the parts of the input that differ from request to request.
var requestKeys = []*ast.Term{nowKey, addressKey, networksKey, principalKey, factsKey}

// question is a request in the form that the module sees. facts returns the values of a
// field.
type question struct {
	tenant, action string
	granted        func(statement string) bool // whether the gate of a statement is open
	address        netip.Addr
	now            int64
	principal      *ast.Term // by principalTerm
	facts          func(field string) []string
}

// questionOf refuses an incomplete request.
func questionOf(r *Request, termOf func(*core.Principal, string) *ast.Term) (q question, err error) {
	if q.address, err = checkComplete(r); err != nil {
		return question{}, err
	}
	q.tenant, q.action, q.now, q.principal = r.Principal.Tenant, r.Action.String(), r.Now, termOf(r.Principal, r.Token)
	q.granted = func(statement string) bool { return slices.Contains(r.Granted, statement) }
	q.facts = func(field string) []string { return factsOf(r, field) }
	return q, nil
}

// inputItems returns the parts of the input that come from the request. They are always
// all there. c says at what conditions look. It fails with PolicyUnavailable if a condition
// names a country or continent and those of the address cannot be found.
func (q *question) inputItems(c *concern) ([][2]*ast.Term, error) {
	networks, err := c.networksOf(q.address)
	if err != nil {
		return nil, err
	}
	address := noText
	if q.address.IsValid() {
		address = ast.StringTerm(q.address.String())
	}
	return append(make([][2]*ast.Term, 0, len(requestKeys)+2),
		ast.Item(nowKey, ast.IntNumberTerm(int(q.now))),
		ast.Item(addressKey, address),
		ast.Item(networksKey, setTerm(networks)),
		ast.Item(principalKey, q.principal),
		ast.Item(factsKey, q.factsTerm(c.fields))), nil
}

func principalTerm(p *core.Principal, token string) *ast.Term {
	return namesTerm(NamesOf(p, token), p.Strength)
}

func namesTerm(names []string, strength core.Strength) *ast.Term {
	return ast.ObjectTerm(ast.Item(namesKey, setTerm(names)), ast.Item(strengthKey, ast.InternedTerm(int(strength))))
}

// field is a field that a condition looks at, also as a term.
type field struct {
	name string
	key  *ast.Term
}

func (q *question) factsTerm(fields []field) *ast.Term {
	items := make([][2]*ast.Term, len(fields))
	for i, f := range fields {
		items[i] = ast.Item(f.key, setTerm(q.facts(f.name)))
	}
	return ast.ObjectTerm(items...)
}

// setTerm returns {"a": true, "b": true}, so that membership is a look-up.
func setTerm(values []string) *ast.Term {
	if len(values) == 0 {
		return emptySet
	}
	items := make([][2]*ast.Term, len(values))
	for i, v := range values {
		items[i] = ast.Item(ast.StringTerm(v), yes)
	}
	return ast.ObjectTerm(items...)
}

// factsOf returns the values of a field; none if there is no object or no such attribute.
func factsOf(r *Request, field string) []string {
	if get, ok := fixedFacts[field]; ok {
		if v := get(r); v != "" {
			return []string{v}
		}
		return nil
	}
	if field == format.ParameterPrefix+"usage" {
		return usagesOf(r.Usage)
	}
	if name, ok := strings.CutPrefix(field, format.PrincipalPrefix); ok {
		if v, ok := r.Principal.Attributes[name]; ok {
			return []string{v}
		}
		return nil
	}
	switch {
	case r.Object == nil:
		return nil
	case field == format.ObjectPrefix+"objectGroup":
		return textsOf(r.Object, core.AttributeName{Tag: core.TagObjectGroup})
	}
	if vendor, name, ok := strings.Cut(strings.TrimPrefix(field, format.TagPrefix), "-"); ok {
		return textsOf(r.Object, core.AttributeName{Vendor: vendor, Name: name})
	}
	return nil
}

// fixedFacts are the fields with one value; "" is none.
var fixedFacts = map[string]func(*Request) string{
	format.DoorField:                  func(r *Request) string { return string(r.Door) },
	format.ObjectPrefix + "type":      objectFact(func(r *Request) string { return core.EnumName(r.Object.Type) }),
	format.ObjectPrefix + "state":     objectFact(func(r *Request) string { return core.EnumName(r.State) }),
	format.ObjectPrefix + "algorithm": objectFact(func(r *Request) string { return core.EnumName(r.Object.Algorithm()) }),
	format.ObjectPrefix + "class":     objectFact(func(r *Request) string { return string(r.Object.Material.Class) }),
	format.ObjectPrefix + "owner":     objectFact(func(r *Request) string { return r.Object.Owner }),
	format.ObjectPrefix + "group":     objectFact(func(r *Request) string { return r.Object.Group }),
	format.ObjectPrefix + "ownedByCaller": objectFact(func(r *Request) string {
		return strconv.FormatBool(r.Object.Tenant == r.Principal.Tenant && r.Object.Owner == r.Principal.ID)
	}),
	format.ParameterPrefix + "algorithm": func(r *Request) string { return core.EnumName(r.Parameters.CryptographicAlgorithm) },
	format.ParameterPrefix + "mode":      func(r *Request) string { return core.EnumName(r.Parameters.BlockCipherMode) },
	format.ParameterPrefix + "padding":   func(r *Request) string { return core.EnumName(r.Parameters.PaddingMethod) },
	format.ParameterPrefix + "hash":      func(r *Request) string { return core.EnumName(r.Parameters.HashingAlgorithm) },
	format.ParameterPrefix + "signature": func(r *Request) string { return core.EnumName(r.Parameters.DigitalSignatureAlgorithm) },
	format.ParameterPrefix + "length":    func(r *Request) string { return optionalNumber(r.Length) },
	format.ParameterPrefix + "wrapped":   func(r *Request) string { return optionalFlag(r.Wrapped) },
}

func objectFact(get func(*Request) string) func(*Request) string {
	return func(r *Request) string {
		if r.Object == nil {
			return ""
		}
		return get(r)
	}
}

// usagesOf returns the name of each bit of a mask. A bit without a name is its number.
func usagesOf(mask core.UsageMask) (names []string) {
	for bit := core.UsageMask(1); bit != 0; bit <<= 1 {
		if mask&bit != 0 {
			names = append(names, bit.String())
		}
	}
	return names
}

// optionalNumber returns "" for 0.
func optionalNumber(n int32) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

// optionalFlag returns "" for nil.
func optionalFlag(flag *bool) string {
	if flag == nil {
		return ""
	}
	return strconv.FormatBool(*flag)
}

// textsOf returns the text values of an attribute of an object.
func textsOf(o *core.ManagedObject, name core.AttributeName) (texts []string) {
	for i := range o.Attributes {
		if a := &o.Attributes[i]; name.Names(a) && a.Value.Kind == core.KindTextString {
			texts = append(texts, a.Value.Text)
		}
	}
	return texts
}
