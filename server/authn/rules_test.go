package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// attribute is one attribute of a subject, with a string type of one's choice.
func attribute(field string, tag int, text string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: fieldTypes[field], Value: asn1.RawValue{Tag: tag, Bytes: []byte(text)}}
}

// subjectOf sets the subject of a certificate.
func subjectOf(all ...pkix.AttributeTypeAndValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{ExtraNames: all} }
}

// ruled tells whom a certificate is, under an authority that may name some things: its
// principal as TENANT/NAME, groups and roles, or the reason of a refusal.
func ruled(t *testing.T, c *ca, rules []Mapping, leaf *x509.Certificate) string {
	t.Helper()
	s := Settings{ClientCA: bundle(t, c), Authorities: []Authority{{Fingerprint: fingerprint(c.cert), Tenants: []string{"acme", "hr"}, Groups: []string{"storage"}, Roles: []string{"user"}}}}
	for _, r := range rules {
		r.Authority = fingerprint(c.cert)
		s.Mappings = append(s.Mappings, r)
	}
	p, err := who(authenticator(t, s), state(leaf, c.cert))
	if err != nil {
		return err.Error()
	}
	if p.NamedBy == "" {
		t.Errorf("%s/%s does not say which entry named it", p.Tenant, p.ID)
	}
	shown := p.Tenant + "/" + p.ID + " " + strings.Join(append(p.Groups, p.Roles...), ",")
	if p.KeyGroup != "" {
		shown += " shares with " + p.KeyGroup
	}
	return shown
}

// A rule names the principal that one exact field of the certificate names. A certificate
// that fits a rule and has no such field is refused, even if a later rule would take it.
func TestRules(t *testing.T) {
	c := newCA(t, "ca", nil)
	const utf8, printable = asn1.TagUTF8String, asn1.TagPrintableString
	byCN := Mapping{Tenant: "acme", Name: "{CN}"}
	all := Mapping{Where: map[string]string{"O": "Acme"}, Tenant: "{OU}", Name: "box.{UID}", Groups: []string{"storage"}, Roles: []string{"{serialNumber}"}}
	sharing := Mapping{Where: map[string]string{"O": "Acme"}, Tenant: "acme", Name: "box", Groups: []string{"storage", "tapes"}, KeyGroup: "storage"}
	full := func(ou, role string) func(*x509.Certificate) {
		return subjectOf(attribute("O", utf8, "Acme"), attribute("OU", utf8, ou), attribute("UID", utf8, "u7"), attribute("serialNumber", printable, role))
	}
	byDNS := Mapping{SANPattern: "*.arrays.example", Tenant: "acme", Name: "{san}"}
	dns := func(names ...string) func(*x509.Certificate) {
		return func(l *x509.Certificate) { l.DNSNames = names }
	}
	for what, w := range map[string]struct {
		rule   Mapping
		change func(*x509.Certificate)
		want   string // principal, or a part of the refusal
	}{
		"a common name":               {byCN, subjectOf(attribute("CN", utf8, "array9")), "acme/array9 "},
		"another case":                {byCN, subjectOf(attribute("CN", utf8, "Array9")), "acme/Array9 "},
		"each field":                  {all, full("hr", "user"), "hr/box.u7 storage,user"},
		"a group for new keys":        {sharing, full("storage", "user"), "acme/box storage,tapes shares with storage"},
		"a tenant without a grant":    {all, full("other", "user"), `may not name tenant "other"`},
		"a role without a grant":      {all, full("hr", "admin"), `may not name role "admin"`},
		"the server's tenant":         {all, full("system", "user"), "reserved"},
		"two common names":            {byCN, subjectOf(attribute("CN", utf8, "array9"), attribute("CN", utf8, "mallory")), "2 values of CN"},
		"the same common name twice":  {byCN, subjectOf(attribute("CN", utf8, "array9"), attribute("CN", utf8, "array9")), "2 values of CN"},
		"no common name":              {byCN, subjectOf(attribute("O", utf8, "Acme")), "0 values of CN"},
		"an empty unit":               {all, full("", "user"), "0 values of OU"},
		"a NUL":                       {byCN, subjectOf(attribute("CN", utf8, "array9\x00.evil")), "0 values of CN"},
		"a BMPString":                 {byCN, subjectOf(attribute("CN", asn1.TagBMPString, "\x00a\x00b")), "0 values of CN"},
		"a T61String":                 {byCN, subjectOf(attribute("CN", asn1.TagT61String, "array9")), "0 values of CN"},
		"a Cyrillic letter":           {byCN, subjectOf(attribute("CN", utf8, "\u0430rray9")), "cannot be a name"},
		"a full-width letter":         {byCN, subjectOf(attribute("CN", utf8, "\uff41rray9")), "cannot be a name"},
		"a trailing space":            {byCN, subjectOf(attribute("CN", utf8, "array9 ")), "cannot be a name"},
		"a slash":                     {byCN, subjectOf(attribute("CN", utf8, "hr/array9")), "cannot be a name"},
		"65 letters":                  {byCN, subjectOf(attribute("CN", utf8, strings.Repeat("a", 65))), "cannot be a name"},
		"64 letters with a prefix":    {Mapping{Tenant: "acme", Name: "a.{CN}"}, subjectOf(attribute("CN", utf8, strings.Repeat("a", 64))), "cannot be a name"},
		"another organization":        {all, subjectOf(attribute("O", utf8, "ACME")), "names no principal"},
		"the organization beside one": {all, subjectOf(attribute("O", utf8, "Evil"), attribute("O", utf8, "Acme"), attribute("OU", utf8, "hr"), attribute("UID", utf8, "u"), attribute("serialNumber", printable, "user")), "2 values of O"},

		"a DNS name":                {byDNS, dns("a9.arrays.example", "other.example"), "acme/a9 "},
		"two labels":                {byDNS, dns("b.a9.arrays.example"), "names no principal"},
		"a DNS name, trailing dot":  {byDNS, dns("a9.arrays.example."), "names no principal"},
		"a DNS name, another case":  {byDNS, dns("a9.ARRAYS.example"), "names no principal"},
		"a DNS name with more":      {byDNS, dns("a9.arrays.example.evil"), "names no principal"},
		"a wildcard certificate":    {byDNS, dns("*.arrays.example"), "names no principal"},
		"no label":                  {byDNS, dns("arrays.example"), "names no principal"},
		"two DNS names":             {byDNS, dns("a9.arrays.example", "a8.arrays.example"), "2 values of san"},
		"a URI":                     {Mapping{SANPattern: "spiffe://acme/array/*", Tenant: "acme", Name: "{san}"}, uri("spiffe://acme/array/a.9"), "acme/a.9 "},
		"a URI with another host":   {Mapping{SANPattern: "spiffe://acme/array/*", Tenant: "acme", Name: "{san}"}, uri("spiffe://evil/spiffe://acme/array/a9"), "names no principal"},
		"a URI with a longer path":  {Mapping{SANPattern: "spiffe://acme/array/*", Tenant: "acme", Name: "{san}"}, uri("spiffe://acme/array/a/b"), "names no principal"},
		"a URI with an escape":      {Mapping{SANPattern: "spiffe://acme/array/*", Tenant: "acme", Name: "{san}"}, uri("spiffe://acme/array/a%2Fb"), "names no principal"},
		"a URI that begins by dots": {Mapping{SANPattern: "spiffe://acme/array/*", Tenant: "acme", Name: "{san}"}, uri("spiffe://acme/array/.."), "cannot be a name"},
		"a mail address":            {Mapping{SANPattern: "*@example.com", Tenant: "acme", Name: "{san}"}, func(l *x509.Certificate) { l.EmailAddresses = []string{"box7@example.com"} }, "acme/box7 "},
		"a DNS name as a mail":      {Mapping{SANPattern: "*.example.com", Tenant: "acme", Name: "{san}"}, func(l *x509.Certificate) { l.EmailAddresses = []string{"a.example.com"} }, "names no principal"},
	} {
		if got := ruled(t, c, []Mapping{w.rule}, c.leaf(w.change)); !strings.Contains(got, w.want) || strings.Contains(w.want, "/") && got != w.want {
			t.Errorf("%s: %q, want %q", what, got, w.want)
		}
	}
	both := c.leaf(func(l *x509.Certificate) {
		subjectOf(attribute("O", utf8, "Acme"), attribute("CN", utf8, "a b"))(l)
		l.DNSNames = []string{"array.example"}
	})
	first, later := Mapping{Where: map[string]string{"O": "Acme"}, Tenant: "acme", Name: "{CN}"}, Mapping{SAN: "array.example", Tenant: "acme", Name: "later"}
	if got := ruled(t, c, []Mapping{first, later}, both); !strings.Contains(got, "cannot be a name") {
		t.Errorf("a certificate that fits the first rule and has no valid name: %q", got)
	}
	if got := ruled(t, c, []Mapping{later, first}, both); got != "acme/later " {
		t.Errorf("the same with the entries in the other order: %q", got)
	}
}

// A rule belongs to one authority, also if that is an intermediate.
func TestRulesBelongToAnAuthority(t *testing.T) {
	root := newCA(t, "root", nil)
	partner := newCA(t, "partner", root)
	s := Settings{ClientCA: bundle(t, root, partner), Mappings: []Mapping{{Authority: fingerprint(partner.cert), Tenant: "acme", Name: "{CN}"}}}
	a := authenticator(t, s)
	if p, err := who(a, state(partner.leaf(func(*x509.Certificate) {}), partner.cert)); err != nil || p.ID != "client" || p.NamedBy != "tls.principals[0]" {
		t.Errorf("a client of the authority: %+v, %v", p, err)
	}
	refused(t, "a client of the authority above", a, state(root.leaf(func(*x509.Certificate) {})))
	s.Mappings[0].Groups = []string{"{CN}"}
	refused(t, "a group from a certificate whose anchor has no grant", authenticator(t, s), state(partner.leaf(func(*x509.Certificate) {}), partner.cert))
}

// A pin fits each certificate of a key, in both spellings, and no certificate of another key.
func TestPublicKeyPin(t *testing.T) {
	c, other := newCA(t, "ca", nil), newCA(t, "other", nil)
	first, renewed := c.leaf(func(*x509.Certificate) {}), c.leaf(func(l *x509.Certificate) { l.Subject.CommonName = "renewed" })
	sum := sha256.Sum256(first.RawSubjectPublicKeyInfo)
	for _, pin := range []string{hex.EncodeToString(sum[:]), "sha256//" + base64.StdEncoding.EncodeToString(sum[:])} {
		a := authenticator(t, Settings{ClientCA: bundle(t, c), Mappings: []Mapping{{PublicKey: pin, Tenant: "acme", Name: "array"}}})
		for _, leaf := range []*x509.Certificate{first, renewed} {
			if p, err := who(a, state(leaf)); err != nil || p.ID != "array" {
				t.Errorf("%s: %+v, %v", pin, p, err)
			}
		}
		refused(t, "another key", a, state(c.sign(&x509.Certificate{SerialNumber: first.SerialNumber, Subject: first.Subject, NotAfter: first.NotAfter}, &other.key.PublicKey)))
	}
}

// Rules that could never name anyone, or that say too little, are errors that name the entry.
func TestRulesThatAreRefused(t *testing.T) {
	c := newCA(t, "ca", nil)
	base := Mapping{Authority: fingerprint(c.cert), Tenant: "acme", Name: "{CN}"}
	with := func(change func(*Mapping)) Mapping { m := base; change(&m); return m }
	for what, entries := range map[string][]Mapping{
		"no authority":                  {with(func(m *Mapping) { m.Authority = "" })},
		"a fixed name without a rule":   {with(func(m *Mapping) { m.Name = "array" })},
		"an unknown field":              {with(func(m *Mapping) { m.Name = "{cn}" })},
		"two fields":                    {with(func(m *Mapping) { m.Name = "{CN}{OU}" })},
		"an open brace":                 {with(func(m *Mapping) { m.Name = "{CN" })},
		"a space beside a field":        {with(func(m *Mapping) { m.Groups = []string{"a {CN}"} })},
		"a key group without groups":    {with(func(m *Mapping) { m.KeyGroup = "storage" })},
		"a key group of no group":       {with(func(m *Mapping) { m.Groups, m.KeyGroup = []string{"storage"}, "tapes" })},
		"a wildcard field, no pattern":  {with(func(m *Mapping) { m.Name = "{san}" })},
		"where with an unknown field":   {with(func(m *Mapping) { m.Where = map[string]string{"C": "DE"} })},
		"where with no value":           {with(func(m *Mapping) { m.Where = map[string]string{"O": ""} })},
		"a pattern without a wildcard":  {with(func(m *Mapping) { m.SANPattern = "a.example" })},
		"two wildcards":                 {with(func(m *Mapping) { m.SANPattern = "*.*.example" })},
		"a wildcard for everything":     {with(func(m *Mapping) { m.SANPattern = "*" })},
		"a wildcard within a label":     {with(func(m *Mapping) { m.SANPattern = "a*.example" })},
		"a wildcard before a label":     {with(func(m *Mapping) { m.SANPattern = "*a.example" })},
		"a pattern with a space":        {with(func(m *Mapping) { m.SANPattern = "*.a b" })},
		"a short pin":                   {with(func(m *Mapping) { m.PublicKey = "sha256//AAAA" })},
		"a pin without its kind":        {with(func(m *Mapping) { m.PublicKey = base64.StdEncoding.EncodeToString(make([]byte, 32)) })},
		"behind the same rule":          {base, with(func(m *Mapping) { m.Name = "x.{CN}" })},
		"a narrower one behind a wider": {with(func(m *Mapping) { m.Where = map[string]string{"O": "Acme"} }), with(func(m *Mapping) { m.Where = map[string]string{"O": "Acme", "OU": "a"} })},
	} {
		if _, err := New(Settings{ClientCA: bundle(t, c), Mappings: entries}, nil); err == nil || !strings.Contains(err.Error(), "tls.principals[") {
			t.Errorf("%s: %v", what, err)
		}
	}
	apart := []Mapping{with(func(m *Mapping) { m.Where = map[string]string{"O": "Acme", "OU": "a"} }), with(func(m *Mapping) { m.Where = map[string]string{"O": "Acme"} }), with(func(m *Mapping) { m.SANPattern = "*.a.example" })}
	if _, err := New(Settings{ClientCA: bundle(t, c), Mappings: apart}, nil); err != nil {
		t.Error(err)
	}
}
