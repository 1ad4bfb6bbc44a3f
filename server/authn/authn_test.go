package authn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// ca is an authority of a test.
type ca struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newCA(t testing.TB, name string, parent *ca) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &ca{t: t, key: key}
	c.cert = &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if parent == nil {
		parent = c
	}
	c.cert = parent.sign(c.cert, &key.PublicKey)
	return c
}

func (c *ca) sign(tmpl *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, pub, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

// leaf issues a client certificate; change may make it an odd one.
func (c *ca) leaf(change func(*x509.Certificate)) *x509.Certificate {
	c.t.Helper()
	c.last++
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1000 + c.last), Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(tmpl)
	return c.sign(tmpl, &c.key.PublicKey)
}

func (c *ca) crl(change func(*x509.RevocationList), certs ...*x509.Certificate) []byte {
	c.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, cert := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now()})
	}
	if change != nil {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.cert, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func uri(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
}

func state(chain ...*x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}
}

func authenticator(t testing.TB, o Options) *Authenticator {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func refused(t *testing.T, what string, a *Authenticator, s *tls.ConnectionState) {
	t.Helper()
	if p, err := a.Principal(s); core.CodeOf(err) != core.AuthenticationNotSuccessful || p != nil {
		t.Errorf("%s: %+v, %v; want AuthenticationNotSuccessful", what, p, err)
	}
}

func TestPrincipalFromURI(t *testing.T) {
	c, a := newCA(t, "ca", nil), authenticator(t, Options{})
	leaf := c.leaf(uri("keyreeve://acme/dev-1?group=a&group=b&role=operator"))
	p, err := a.Principal(state(leaf, c.cert))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.Raw)
	if p.Tenant != "acme" || p.ID != "dev-1" || !slices.Equal(p.Groups, []string{"a", "b"}) || !slices.Equal(p.Roles, []string{"operator"}) ||
		p.Method != "mtls" || p.Expires != leaf.NotAfter.Unix() || p.Fingerprint != hex.EncodeToString(sum[:]) || p.Serial != leaf.SerialNumber.Text(16) {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"keyreeve://acme", "keyreeve://acme/", "keyreeve:///dev", "keyreeve:acme/dev", "keyreeve://acme/dev/more", "keyreeve://acme:1/dev", "keyreeve://u@acme/dev",
		"keyreeve://acme/dev#f", "keyreeve://acme/dev?admin=1", "keyreeve://acme/dev?group=", "keyreeve://acme/dev?group=a%0ab", "keyreeve://acme/dev?group=a;role=b", "keyreeve://acme/dev?role=%zz",
		"keyreeve://acme/de%00v", "keyreeve://acme/..", "keyreeve://acme/.dev", "keyreeve://acme/de%2Fv", "keyreeve://ac%2Fme/dev", "keyreeve://[::1]/dev", "keyreeve://acme/" + strings.Repeat("a", 65),
		"keyreeve2://acme/dev", "https://acme/dev", "keyreeve://acme/d\u00e9v"} {
		u, err := url.Parse(bad)
		if err != nil {
			continue
		}
		// Some of these no authority of Go's would sign, so the certificate is not a real one.
		cert := *leaf
		cert.URIs = []*url.URL{u}
		refused(t, bad, a, state(&cert, c.cert))
	}
	refused(t, "two URIs", a, state(c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/a")(l); uri("keyreeve://acme/b")(l) }), c.cert))
	if p, err := a.Principal(state(c.leaf(func(l *x509.Certificate) { uri("spiffe://x/y")(l); uri("keyreeve://acme/b")(l) }), c.cert)); err != nil || p.ID != "b" {
		t.Errorf("another URI beside: %+v, %v", p, err)
	}
}

// A name in the subject names nobody, and nothing but a verified chain counts.
func TestNobody(t *testing.T) {
	c, a := newCA(t, "ca", nil), authenticator(t, Options{})
	good := c.leaf(uri("keyreeve://acme/dev"))
	refused(t, "a common name alone", a, state(c.leaf(func(l *x509.Certificate) { l.Subject.CommonName = "keyreeve://acme/dev" }), c.cert))
	refused(t, "no common name", a, state(c.leaf(func(l *x509.Certificate) { l.Subject = pkix.Name{} }), c.cert))
	refused(t, "a DNS name that looks like the URI", a, state(c.leaf(func(l *x509.Certificate) { l.DNSNames = []string{"acme"} }), c.cert))
	refused(t, "no certificate", a, &tls.ConnectionState{})
	refused(t, "a chain that nobody verified", a, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{good, c.cert}})
	refused(t, "the authority itself", a, state(c.cert))
	refused(t, "an expired certificate", a, state(c.leaf(func(l *x509.Certificate) {
		uri("keyreeve://acme/dev")(l)
		l.NotBefore, l.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Second)
	}), c.cert))
	refused(t, "one not valid yet", a, state(c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/dev")(l); l.NotBefore = time.Now().Add(time.Minute) }), c.cert))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(5), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	uri("keyreeve://acme/dev")(tmpl)
	refused(t, "an RSA key of 1,024 bits", a, state(c.sign(tmpl, &weak.PublicKey), c.cert))
}

func TestExtendedKeyUsage(t *testing.T) {
	c := newCA(t, "ca", nil)
	lax, strict := authenticator(t, Options{}), authenticator(t, Options{RequireEKU: true})
	for what, want := range map[string]struct {
		usage []x509.ExtKeyUsage
		ok    bool
	}{"none": {nil, false}, "server": {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, false}, "client": {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, true},
		"any": {[]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, true}} {
		s := state(c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/dev")(l); l.ExtKeyUsage = want.usage }), c.cert)
		if _, err := lax.Principal(s); err != nil {
			t.Errorf("%s where it is not demanded: %v", what, err)
		}
		if _, err := strict.Principal(s); (err == nil) != want.ok {
			t.Errorf("%s where it is demanded: %v", what, err)
		}
	}
}

func TestMappings(t *testing.T) {
	c := newCA(t, "ca", nil)
	array := func(n pkix.Name) *x509.Certificate {
		return c.leaf(func(l *x509.Certificate) { l.Subject, l.DNSNames = n, []string{"array.example"} })
	}
	victim := array(pkix.Name{CommonName: "array", Organization: []string{"Acme"}, OrganizationalUnit: []string{"a", "b"}})
	sum := sha256.Sum256(victim.Raw)
	who := func(m Mapping, cert *x509.Certificate) string {
		m.Tenant, m.Name = "acme", "array"
		p, err := authenticator(t, Options{Mappings: []Mapping{m}}).Principal(state(cert, c.cert))
		if err != nil {
			return ""
		}
		return p.Tenant + "/" + p.ID
	}
	subject := Mapping{Issuer: c.cert.Subject.String(), Subject: victim.Subject.String()}
	both := Mapping{SAN: "array.example", Fingerprint: "00"}
	for what, w := range map[string]struct {
		m    Mapping
		cert *x509.Certificate
		ok   bool
	}{
		"fingerprint":            {Mapping{Fingerprint: strings.ToUpper(hex.EncodeToString(sum[:]))}, victim, true},
		"another fingerprint":    {Mapping{Fingerprint: strings.Repeat("0", 64)}, victim, false},
		"DNS name":               {Mapping{SAN: "ARRAY.example"}, victim, true},
		"part of a DNS name":     {Mapping{SAN: "example"}, victim, false},
		"issuer and subject":     {subject, victim, true},
		"subject without issuer": {Mapping{Subject: subject.Subject}, victim, false},
		"issuer without subject": {Mapping{Issuer: subject.Issuer}, victim, false},
		"all must fit":           {both, victim, false},
		"nothing given":          {Mapping{}, victim, false},
		"a second common name":   {subject, array(pkix.Name{Organization: []string{"Acme"}, OrganizationalUnit: []string{"a", "b"}, ExtraNames: []pkix.AttributeTypeAndValue{cn("mallory"), cn("array")}}), false},
		"a comma in a name":      {subject, array(pkix.Name{CommonName: "array,OU=a+OU=b,O=Acme"}), false},
	} {
		if got := who(w.m, w.cert) == "acme/array"; got != w.ok {
			t.Errorf("%s: mapped %v, want %v (%q against %q)", what, got, w.ok, w.cert.Subject, w.m.Subject)
		}
	}
	// The same subject from another authority is somebody else.
	other := newCA(t, "other", nil)
	if who(subject, other.leaf(func(l *x509.Certificate) { l.Subject = victim.Subject })) != "" {
		t.Error("another authority's certificate was mapped by its subject")
	}
	// A mapping goes before the certificate's own URI.
	own := c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/own")(l); l.DNSNames = []string{"array.example"} })
	if got := who(Mapping{SAN: "array.example"}, own); got != "acme/array" {
		t.Errorf("mapped to %q", got)
	}
}

func cn(s string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: s}
}

func TestRevocation(t *testing.T) {
	c := newCA(t, "ca", nil)
	other := newCA(t, "other", nil)
	gone, still := c.leaf(uri("keyreeve://acme/gone")), c.leaf(uri("keyreeve://acme/still"))
	file := filepath.Join(t.TempDir(), "crl.pem")
	write := func(parts ...[]byte) {
		t.Helper()
		next := file + ".new"
		if err := os.WriteFile(next, bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	a := authenticator(t, Options{CRLFile: file, CRLMayLack: true}) // not there yet
	if _, err := a.Principal(state(gone, c.cert)); err != nil {
		t.Fatal(err)
	}
	write(c.crl(nil, gone))
	deadline := time.Now().Add(time.Second)
	for !a.Revoked(gone) {
		if time.Now().After(deadline) {
			t.Fatal("a revocation did not count within a second")
		}
		time.Sleep(20 * time.Millisecond)
	}
	refused(t, "a revoked certificate", a, state(gone, c.cert))
	if a.Revoked(still) {
		t.Error("a certificate that is not listed is revoked")
	}
	twin := other.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/gone")(l); l.SerialNumber = gone.SerialNumber })
	if a.Revoked(twin) {
		t.Error("another authority's serial number is revoked")
	}

	for what, text := range map[string][]byte{"nothing": {}, "no PEM": []byte("x"), "a certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}),
		"half a list": c.crl(nil)[:120], "no DER": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1, 2, 3}}),
		"a list and something else": append(c.crl(nil), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}})...),
		"a delta list": c.crl(func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
		}),
		"an entry of another issuer": c.crl(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}
		}, gone)} {
		write(text)
		if err := a.Reload(); err == nil {
			t.Errorf("%s is taken for a revocation list", what)
		}
		if !a.Revoked(gone) {
			t.Errorf("%s took the old list out of force", what)
		}
		if _, err := New(Options{CRLFile: file}); err == nil {
			t.Errorf("%s: the server starts without knowing who is revoked", what)
		}
	}

	// Lists of two authorities in one file both count.
	write(other.crl(nil, twin), c.crl(nil, gone))
	if err := a.Reload(); err != nil || !a.Revoked(gone) || !a.Revoked(twin) || a.Revoked(still) {
		t.Errorf("two lists: %v; revoked %v %v %v", err, a.Revoked(gone), a.Revoked(twin), a.Revoked(still))
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil || !a.Revoked(gone) {
		t.Errorf("a list that was removed: %v, revoked %v; it must stay in force", err, a.Revoked(gone))
	}
}

// A list that is looked for in the wrong place is an error at the start, and of
// one that changes later somebody is told, also when it cannot be used.
func TestListIsToldOf(t *testing.T) {
	c := newCA(t, "ca", nil)
	file := filepath.Join(t.TempDir(), "crl.pem")
	if _, err := New(Options{CRLFile: file}); err == nil {
		t.Error("a list that is not there was taken for one that revokes nobody")
	}
	var told []int
	wrong := 0
	a := authenticator(t, Options{CRLFile: file, CRLMayLack: true, Loaded: func(n int, err error) {
		if told = append(told, n); err != nil {
			wrong++
		}
	}})
	for _, b := range [][]byte{c.crl(nil, c.leaf(uri("keyreeve://acme/a")), c.leaf(uri("keyreeve://acme/b"))), []byte("half a li")} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		a.Reload()
	}
	if err := a.Reload(); err == nil {
		t.Error("a list that is spoilt is an error once only")
	}
	if len(told) != 2 || told[0] != 2 || told[1] != 2 || wrong != 1 {
		t.Errorf("told %v, %d of them wrong; want two certificates, then that they stay revoked", told, wrong)
	}
}

// A certificate under a revoked intermediate authority is worth nothing.
func TestRevokedIntermediate(t *testing.T) {
	root := newCA(t, "root", nil)
	middle := newCA(t, "middle", root)
	leaf := middle.leaf(uri("keyreeve://acme/dev"))
	file := filepath.Join(t.TempDir(), "crl.pem")
	if err := os.WriteFile(file, root.crl(nil, middle.cert), 0o600); err != nil {
		t.Fatal(err)
	}
	a := authenticator(t, Options{CRLFile: file})
	refused(t, "a revoked intermediate", a, state(leaf, middle.cert, root.cert))
	cross := newCA(t, "cross", nil)
	s := state(leaf, middle.cert, root.cert)
	s.VerifiedChains = append(s.VerifiedChains, []*x509.Certificate{leaf, cross.cert})
	if _, err := a.Principal(s); err != nil {
		t.Errorf("another chain is not revoked: %v", err)
	}
}

// Whatever a certificate says, who it names has a name of the plain form.
func FuzzPrincipal(f *testing.F) {
	for _, s := range []string{"keyreeve://acme/dev?group=a&role=b", "keyreeve:acme/dev", "keyreeve://acme/dev#", "keyreeve://u:p@acme:1/../x?group=%00", "https://x"} {
		f.Add(s, "cn", "dns.example")
	}
	c := newCA(f, "ca", nil)
	real := c.leaf(func(*x509.Certificate) {})
	a := authenticator(f, Options{Mappings: []Mapping{{SAN: "mapped.example", Tenant: "t", Name: "mapped"}, {Issuer: "CN=ca", Subject: "CN=mapped", Tenant: "t", Name: "mapped"}}})
	f.Fuzz(func(t *testing.T, u, name, dns string) {
		parsed, err := url.Parse(u)
		if err != nil {
			return
		}
		cert := *real
		cert.URIs, cert.DNSNames, cert.Subject = []*url.URL{parsed}, []string{dns}, pkix.Name{CommonName: name}
		p, err := a.Principal(state(&cert, c.cert))
		if err != nil {
			return
		}
		for _, s := range append(append([]string{p.Tenant, p.ID}, p.Groups...), p.Roles...) {
			if !nameForm.MatchString(s) {
				t.Errorf("%q names %q", u, s)
			}
		}
		if p.ID == "mapped" && p.Tenant == "t" && !strings.EqualFold(dns, "mapped.example") && name != "mapped" && u != "keyreeve://t/mapped" && parsed.Host != "t" {
			t.Errorf("%q %q %q is mapped", u, name, dns)
		}
	})
}

// FuzzRevocationList: a list is read whole or not at all.
func FuzzRevocationList(f *testing.F) {
	c := newCA(f, "ca", nil)
	one := c.leaf(func(*x509.Certificate) {})
	f.Add(c.crl(nil, one))
	f.Add(append(c.crl(nil), c.crl(nil, one)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		serials, err := readLists(b)
		if (err == nil) != (serials != nil) {
			t.Errorf("%d serials and %v", len(serials), err)
		}
	})
}
