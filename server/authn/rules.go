package authn

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

// Entries of tls.principals can be rules for many certificates: they compare fields of the
// subject, or a name with a wildcard, and build the principal from them. A rule compares
// bytes: it folds no case, trims nothing and cuts nothing off, so that two certificates
// with different names never become one principal.

// fieldTypes are the fields of the subject that a rule can read.
var fieldTypes = map[string]asn1.ObjectIdentifier{
	"CN": attributeTypes["CN"], "O": attributeTypes["O"], "OU": attributeTypes["OU"], "UID": attributeTypes["UID"], "serialNumber": attributeTypes["SERIALNUMBER"],
}

// sanField stands for the part of a name that the wildcard of san_pattern matched.
const sanField = "san"

// nameTemplate is a tenant, name, group or role: fixed text around at most one field.
type nameTemplate struct{ before, field, after string }

// parseTemplate reads text such as "arrays", "{CN}" or "hr.{OU}".
func parseTemplate(text string) (nameTemplate, error) {
	before, rest, found := strings.Cut(text, "{")
	if !found {
		if !identity.ValidName(text) {
			return nameTemplate{}, fmt.Errorf("%q cannot be a name; use letters, digits, '.', '_' and '-', at most 64", text)
		}
		return nameTemplate{before: text}, nil
	}
	field, after, closed := strings.Cut(rest, "}")
	if !closed || (fieldTypes[field] == nil && field != sanField) || !identity.ValidName(before+"x"+after) {
		return nameTemplate{}, fmt.Errorf("%q is not text with one of {CN}, {O}, {OU}, {UID}, {serialNumber} and {san}", text)
	}
	return nameTemplate{before, field, after}, nil
}

// principalTemplate builds the principal of a certificate that matches an entry.
type principalTemplate struct {
	tenant, name  nameTemplate
	groups, roles []nameTemplate
	keyGroup      int // index in groups; -1: none
}

func (e *Mapping) parseTemplates() (p principalTemplate, err error) {
	read := func(what, text string) (t nameTemplate) {
		if err == nil {
			if t, err = parseTemplate(text); err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
		}
		return t
	}
	p.tenant, p.name = read("tenant", e.Tenant), read("name", e.Name)
	for _, g := range e.Groups {
		p.groups = append(p.groups, read("groups", g))
	}
	for _, r := range e.Roles {
		p.roles = append(p.roles, read("roles", r))
	}
	if p.keyGroup = slices.Index(e.Groups, e.KeyGroup); err == nil && e.KeyGroup != "" && p.keyGroup < 0 {
		err = fmt.Errorf("key_group: %q is not one of the groups of the entry", e.KeyGroup)
	}
	return p, err
}

// fields lists the fields that the template reads, with "" for fixed text.
func (p *principalTemplate) fields() (out []string) {
	for _, t := range slices.Concat([]nameTemplate{p.tenant, p.name}, p.groups, p.roles) {
		out = append(out, t.field)
	}
	return out
}

// givesRights reports whether the tenant, a group or a role comes from the certificate. The
// authority must then be permitted to name it.
func (p *principalTemplate) givesRights() bool {
	return slices.ContainsFunc(slices.Concat([]nameTemplate{p.tenant}, p.groups, p.roles), func(t nameTemplate) bool { return t.field != "" })
}

// checkRule fails if an entry that is a rule lacks what a rule needs.
func (e *Mapping) checkRule(m *mapping) error {
	for field, value := range e.Where {
		if fieldTypes[field] == nil || value == "" {
			return fmt.Errorf("where: %q is not one of CN, O, OU, UID and serialNumber with a value", field)
		}
	}
	read := m.principal.fields()
	if slices.Contains(read, sanField) && e.SANPattern == "" {
		return errors.New("{san} is the part that the wildcard of san_pattern matches; set san_pattern")
	}
	isRule := len(e.Where) > 0 || e.SANPattern != "" || slices.ContainsFunc(read, func(f string) bool { return f != "" })
	if isRule && e.Authority == "" {
		return errors.New("a rule for many certificates needs authority: the file or fingerprint of the one that issues them")
	}
	if !isRule && !e.namesOne() {
		return errors.New("it needs one of fingerprint, public_key, san, or issuer with subject, or a rule: where, san_pattern, or a name such as \"{CN}\"")
	}
	return nil
}

// namesOne reports whether an entry has a criterion that one client meets.
func (e *Mapping) namesOne() bool {
	return e.Fingerprint != "" || e.PublicKey != "" || e.SAN != "" || (e.Issuer != "" && e.Subject != "")
}

// principalOf builds the principal of a certificate. It fails if a field is missing, has
// several values, or makes a name that is not valid: such a certificate is refused, and no
// later entry is tried.
func (m *mapping) principalOf(leaf *x509.Certificate) (*principalNames, error) {
	var err error
	fill := func(t nameTemplate) string {
		text, why := m.fillTemplate(t, leaf)
		err = errors.Join(err, why)
		return text
	}
	out := &principalNames{tenant: fill(m.principal.tenant), name: fill(m.principal.name)}
	for _, t := range m.principal.groups {
		out.groups = append(out.groups, fill(t))
	}
	for _, t := range m.principal.roles {
		out.roles = append(out.roles, fill(t))
	}
	if m.principal.keyGroup >= 0 {
		out.keyGroup = out.groups[m.principal.keyGroup]
	}
	for field := range m.where {
		_, why := m.fieldOf(field, leaf)
		err = errors.Join(err, why)
	}
	if err == nil && out.tenant == core.SystemTenant {
		err = fmt.Errorf("tenant %q is reserved for the server", out.tenant)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (m *mapping) fillTemplate(t nameTemplate, leaf *x509.Certificate) (string, error) {
	if t.field == "" {
		return t.before, nil
	}
	value, err := m.fieldOf(t.field, leaf)
	if err != nil {
		return "", err
	}
	text := t.before + value + t.after
	if !identity.ValidName(text) {
		return "", fmt.Errorf("its %s makes %s, which cannot be a name; use letters, digits, '.', '_' and '-', at most 64", t.field, core.ClientText(text))
	}
	return text, nil
}

// fieldOf returns the value of a field of which the certificate has exactly one.
func (m *mapping) fieldOf(field string, leaf *x509.Certificate) (string, error) {
	values := m.sanPattern.matchesOf(leaf)
	if field != sanField {
		values = subjectValues(leaf.RawSubject, fieldTypes[field])
	}
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("it has %d values of %s that can be read and needs exactly one", len(slices.DeleteFunc(values, func(v string) bool { return v == "" })), field)
	}
	return values[0], nil
}

// subjectValues returns the values of one type in a subject. A value that is neither a
// UTF8String, a PrintableString nor an IA5String is returned as "".
func subjectValues(raw []byte, typ asn1.ObjectIdentifier) (out []string) {
	var names []relativeNameSET
	if rest, err := asn1.Unmarshal(raw, &names); err != nil || len(rest) > 0 {
		return nil
	}
	for _, name := range names {
		for _, a := range name {
			if !a.Type.Equal(typ) {
				continue
			}
			text, ok := stringOf(a.Value)
			if !ok || !slices.Contains([]int{asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String}, a.Value.Tag) {
				text = ""
			}
			out = append(out, text)
		}
	}
	return out
}

// matchesRule reports whether a certificate has the fields and the name that a rule wants. A
// field with several values matches if one of them does; principalOf then refuses it.
func (m *mapping) matchesRule(leaf *x509.Certificate) bool {
	for field, value := range m.where {
		if !slices.Contains(subjectValues(leaf.RawSubject, fieldTypes[field]), value) {
			return false
		}
	}
	return m.sanPattern == sanPattern{} || len(m.sanPattern.matchesOf(leaf)) > 0
}

// coversRule reports whether m's rule matches each certificate that o's rule matches.
func (m *mapping) coversRule(o *mapping) bool {
	for field, value := range m.where {
		if o.where[field] != value {
			return false
		}
	}
	return m.sanPattern == sanPattern{} || m.sanPattern == o.sanPattern
}

// sanPattern is a DNS name, URI or mail address of which one part is a wildcard.
type sanPattern struct{ kind, before, after string }

// parsePattern reads a pattern such as "*.arrays.example", "spiffe://acme/array/*" or
// "*@example.com". The wildcard stands for one whole part: it matches no separator.
func parsePattern(text string) (sanPattern, error) {
	before, after, found := strings.Cut(text, "*")
	switch {
	case !found || strings.Contains(after, "*") || before+after == "":
		return sanPattern{}, fmt.Errorf("san_pattern: %q needs exactly one '*', beside fixed text", text)
	case before != "" && !strings.HasSuffix(before, ".") && !strings.HasSuffix(before, "/"),
		after != "" && !strings.ContainsRune("./@", rune(after[0])):
		return sanPattern{}, fmt.Errorf("san_pattern: the '*' of %q must stand for one whole part, such as *.example.com", text)
	}
	p := sanPattern{"dns", before, after}
	switch {
	case strings.Contains(before, "://"):
		p.kind = "uri"
	case strings.HasPrefix(after, "@"):
		p.kind = "mail"
	}
	if _, err := parseSAN(before + "x" + after); err != nil || (p.kind == "dns" && strings.ContainsAny(text, "/@:")) {
		return sanPattern{}, fmt.Errorf("san_pattern: %q is neither a DNS name nor a URI or mail address with one '*'", text)
	}
	return p, nil
}

// matchesOf returns what the wildcard matches in the names of a certificate.
func (p sanPattern) matchesOf(c *x509.Certificate) (out []string) {
	var names []string
	switch p.kind {
	case "dns":
		names = c.DNSNames
	case "mail":
		names = c.EmailAddresses
	case "uri":
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
	}
	for _, n := range names {
		part, hasStart := strings.CutPrefix(n, p.before)
		part, hasEnd := strings.CutSuffix(part, p.after)
		if hasStart && hasEnd && part != "" && strings.Trim(part, p.wildcardCharacters()) == "" {
			out = append(out, part)
		}
	}
	return out
}

// wildcardCharacters are those that a wildcard matches. A label of a DNS name has no dot.
func (p sanPattern) wildcardCharacters() string {
	const label = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	if p.kind == "dns" {
		return label
	}
	return label + "."
}
