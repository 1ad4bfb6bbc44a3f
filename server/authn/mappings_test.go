package authn

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs/identity"
)

func TestMappings(t *testing.T) {
	c := newCA(t, "ca", nil)
	array := func(n pkix.Name) *x509.Certificate {
		return c.leaf(func(l *x509.Certificate) {
			l.Subject, l.DNSNames, l.IPAddresses, l.EmailAddresses = n, []string{"array.example"}, []net.IP{net.IPv4(192, 0, 2, 7)}, []string{"Box@Array.example"}
			uri("spiffe://Acme/Array")(l)
		})
	}
	victim := array(pkix.Name{CommonName: "array", Organization: []string{"Acme"}, OrganizationalUnit: []string{"a", "b"}})
	s := Settings{ClientCA: bundle(t, c)}
	mapped := func(m Mapping, cert *x509.Certificate) string {
		t.Helper()
		m.Tenant, m.Name = "acme", "array"
		with := s
		with.Mappings = []Mapping{m}
		p, err := who(authenticator(t, with), state(cert, c.cert))
		if err != nil {
			return ""
		}
		return p.Tenant + "/" + p.ID
	}
	subject := Mapping{Issuer: identity.NameText(c.cert.RawSubject), Subject: identity.NameText(victim.RawSubject)}
	for what, w := range map[string]struct {
		m    Mapping
		cert *x509.Certificate
		ok   bool
	}{
		"fingerprint":          {Mapping{Fingerprint: strings.ToUpper(fingerprint(victim))}, victim, true},
		"another fingerprint":  {Mapping{Fingerprint: strings.Repeat("0", 64)}, victim, false},
		"DNS name":             {Mapping{SAN: "ARRAY.example"}, victim, true},
		"part of a DNS name":   {Mapping{SAN: "example"}, victim, false},
		"IP address":           {Mapping{SAN: "192.0.2.7"}, victim, true},
		"mail address":         {Mapping{SAN: "Box@array.EXAMPLE"}, victim, true},
		"another mail address": {Mapping{SAN: "box@array.example"}, victim, false},
		"URI":                  {Mapping{SAN: "SPIFFE://acme/Array"}, victim, true},
		"another path":         {Mapping{SAN: "spiffe://acme/array"}, victim, false},
		"issuer and subject":   {subject, victim, true},
		"all must fit":         {Mapping{SAN: "array.example", Fingerprint: strings.Repeat("0", 64)}, victim, false},
		"a second common name": {subject, array(pkix.Name{Organization: []string{"Acme"}, OrganizationalUnit: []string{"a", "b"}, ExtraNames: []pkix.AttributeTypeAndValue{cn("mallory"), cn("array")}}), false},
		"a comma in a name":    {subject, array(pkix.Name{CommonName: "array,OU=a+OU=b,O=Acme"}), false},
		"another order":        {Mapping{Issuer: "CN=ca", Subject: "CN=array,O=Acme,OU=a+OU=b"}, victim, false},
	} {
		if got := mapped(w.m, w.cert) == "acme/array"; got != w.ok {
			t.Errorf("%s: mapped %v, want %v (%q against %q)", what, got, w.ok, identity.NameText(w.cert.RawSubject), w.m.Subject)
		}
	}
	// A mapping has priority over the URI of the certificate, and needs no grant.
	own := c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/own")(l); l.DNSNames = []string{"array.example"} })
	if got := mapped(Mapping{SAN: "array.example"}, own); got != "acme/array" {
		t.Errorf("mapped to %q", got)
	}
}

func cn(s string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: s}
}

// Names belong to one authority. Another authority of the bundle cannot use them, not even
// through an intermediate of the same name.
func TestMappingsBelongToAnAuthority(t *testing.T) {
	c, rival := newCA(t, "ca", nil), newCA(t, "rival", nil)
	posing := newCA(t, "ca", rival)
	named := func(ca *ca) *x509.Certificate {
		return ca.leaf(func(l *x509.Certificate) {
			l.Subject = pkix.Name{CommonName: "array"}
			l.DNSNames = []string{"array.example"}
		})
	}
	s := Settings{ClientCA: bundle(t, c, rival)}
	for what, m := range map[string]Mapping{"san": {SAN: "array.example", Authority: fingerprint(c.cert)}, "san, by file": {SAN: "array.example", Authority: bundle(t, c)},
		"issuer and subject": {Issuer: "CN=ca", Subject: "CN=array"}, "with authority": {Issuer: "CN=ca", Subject: "CN=array", Authority: fingerprint(c.cert)}} {
		m.Tenant, m.Name = "acme", "array"
		s.Mappings = []Mapping{m}
		a := authenticator(t, s)
		if _, err := who(a, state(named(c))); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		refused(t, what+", from another authority", a, state(named(rival)))
		refused(t, what+", from one below another that has the name", a, state(named(posing), posing.cert))
	}
	s.Mappings = []Mapping{{SAN: "array.example", Tenant: "acme", Name: "array"}}
	if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("a name that several authorities could issue: %v", err)
	}
}

// The limits of an intermediate in tls.authorities apply to tls.principals too, unless the entry
// there has the fingerprint of the certificate.
func TestMappingsAreNarrowedBelowTheAnchor(t *testing.T) {
	root := newCA(t, "root", nil)
	partner, house := newCA(t, "partner", root), newCA(t, "house", root)
	named := func(ca *ca) *x509.Certificate {
		return ca.leaf(func(l *x509.Certificate) {
			l.Subject = pkix.Name{CommonName: "array"}
			l.DNSNames = []string{"array.example"}
		})
	}
	forged := named(partner)
	s := Settings{ClientCA: bundle(t, root, partner), Authorities: []Authority{{Fingerprint: fingerprint(partner.cert), Tenants: []string{"partner"}, Roles: []string{"backup"}}}}
	for what, w := range map[string]struct {
		m  Mapping
		ok bool
	}{
		"another tenant by san":     {Mapping{SAN: "array.example", Tenant: "acme"}, false},
		"another tenant by subject": {Mapping{Issuer: "CN=partner", Subject: "CN=array", Tenant: "acme"}, false},
		"its tenant":                {Mapping{SAN: "array.example", Tenant: "partner"}, true},
		"its tenant and role":       {Mapping{SAN: "array.example", Tenant: "partner", Roles: []string{"backup"}}, true},
		"another role":              {Mapping{SAN: "array.example", Tenant: "partner", Roles: []string{"admin"}}, false},
		"the very certificate":      {Mapping{Fingerprint: fingerprint(forged), Tenant: "acme"}, true},
	} {
		w.m.Name = "array"
		s.Mappings = []Mapping{w.m}
		a := authenticator(t, s)
		_, err := who(a, state(forged, partner.cert))
		if (err == nil) != w.ok {
			t.Errorf("%s: %v; want ok %v", what, err, w.ok)
		}
		if err != nil && !strings.Contains(err.Error(), "tls.authorities") {
			t.Errorf("%s: %v does not say what to do", what, err)
		}
		if w.m.SAN == "" {
			continue
		}
		for by, cert := range map[string]*x509.Certificate{"root": named(root), "house": named(house)} {
			if _, err := who(a, state(cert, house.cert)); err != nil {
				t.Errorf("%s, from %s, which has no entry: %v", what, by, err)
			}
		}
	}
}

// Entries that can never match are errors that name the entry.
func TestMappingsThatAreRefused(t *testing.T) {
	c := newCA(t, "ca", nil)
	base := Mapping{Tenant: "acme", Name: "array"}
	with := func(change func(*Mapping)) Mapping { m := base; change(&m); return m }
	for what, entries := range map[string][]Mapping{
		"nothing given":          {base},
		"subject without issuer": {with(func(m *Mapping) { m.Subject = "CN=a" })},
		"issuer without subject": {with(func(m *Mapping) { m.Issuer = "CN=a" })},
		"issuer beside san":      {with(func(m *Mapping) { m.Issuer, m.SAN = "CN=a", "a.example" })},
		"short fingerprint":      {with(func(m *Mapping) { m.Fingerprint = "9f86d0" })},
		"no hex":                 {with(func(m *Mapping) { m.Fingerprint = strings.Repeat("g", 64) })},
		"a subject of no form":   {with(func(m *Mapping) { m.Issuer, m.Subject = "CN=ca", "array" })},
		"an unknown type":        {with(func(m *Mapping) { m.Issuer, m.Subject = "CN=ca", "COMMON=array" })},
		"openssl's form":         {with(func(m *Mapping) { m.Issuer, m.Subject = "CN=ca", "/CN=array" })},
		"a san with its kind":    {with(func(m *Mapping) { m.SAN = "DNS:a.example" })},
		"a san with a space":     {with(func(m *Mapping) { m.SAN = "a b" })},
		"a san that is no ASCII": {with(func(m *Mapping) { m.SAN = "\u00e9.example" })},
		"no tenant":              {{SAN: "a.example", Name: "array"}},
		"the server's tenant":    {{SAN: "a.example", Tenant: "system", Name: "socket"}},
		"an impossible name":     {{SAN: "a.example", Tenant: "acme", Name: "a b"}},
		"an impossible role":     {{SAN: "a.example", Tenant: "acme", Name: "a", Roles: []string{""}}},
		"an unknown authority":   {with(func(m *Mapping) { m.SAN, m.Authority = "a.example", strings.Repeat("0", 64) })},
		"no file":                {with(func(m *Mapping) { m.SAN, m.Authority = "a.example", "/nonexistent.pem" })},
		"twice":                  {with(func(m *Mapping) { m.SAN = "a.example" }), with(func(m *Mapping) { m.SAN = "A.example" })},
		"twice by subject":       {with(func(m *Mapping) { m.Issuer, m.Subject = "CN=ca", "CN=a,O=b" }), with(func(m *Mapping) { m.Issuer, m.Subject = "cn=CA", "CN = A , O=\\62" })},
		"behind a wider one":     {with(func(m *Mapping) { m.SAN = "a.example" }), with(func(m *Mapping) { m.SAN, m.Fingerprint = "a.example", strings.Repeat("0", 64) })},
	} {
		if _, err := New(Settings{ClientCA: bundle(t, c), Mappings: entries}, nil); err == nil || !strings.Contains(err.Error(), "tls.principals[") {
			t.Errorf("%s: %v", what, err)
		}
	}
	narrowFirst := []Mapping{with(func(m *Mapping) { m.SAN, m.Fingerprint = "a.example", strings.Repeat("0", 64) }), with(func(m *Mapping) { m.SAN = "a.example" })}
	if _, err := New(Settings{ClientCA: bundle(t, c), Mappings: narrowFirst}, nil); err != nil {
		t.Error(err)
	}
}
