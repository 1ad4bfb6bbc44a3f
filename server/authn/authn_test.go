package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// ca is an authority for tests.
type ca struct {
	t           testing.TB
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	last, lists int64
}

var serials atomic.Int64

func newCA(t testing.TB, name string, parent *ca) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &ca{t: t, key: key}
	c.cert = &x509.Certificate{SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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

// leaf issues a client certificate, which change may modify.
func (c *ca) leaf(change func(*x509.Certificate)) *x509.Certificate {
	c.t.Helper()
	c.last++
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1000 + c.last), Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(tmpl)
	return c.sign(tmpl, &c.key.PublicKey)
}

func (c *ca) crl(change func(*x509.RevocationList), certs ...*x509.Certificate) []byte {
	c.t.Helper()
	c.lists++
	list := &x509.RevocationList{Number: big.NewInt(c.lists), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
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
	return &tls.ConnectionState{PeerCertificates: chain}
}

// bundle writes authorities into a file.
func bundle(t testing.TB, cas ...*ca) string {
	t.Helper()
	var text []byte
	for _, c := range cas {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	return write(t, filepath.Join(t.TempDir(), "ca.pem"), text)
}

// write replaces a file atomically.
func write(t testing.TB, file string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return file
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// everything grants all names to an authority.
func everything(c *ca) Authority {
	return Authority{Fingerprint: fingerprint(c.cert), Tenants: []string{"*"}, Groups: []string{"*"}, Roles: []string{"*"}}
}

// trusting returns settings under which the authorities may name everything.
func trusting(t testing.TB, cas ...*ca) Settings {
	s := Settings{ClientCA: bundle(t, cas...)}
	for _, c := range cas {
		s.Authorities = append(s.Authorities, everything(c))
	}
	return s
}

func authenticator(t testing.TB, s Settings) *Authenticator {
	t.Helper()
	a, err := New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// who asks a who a connection is.
func who(a *Authenticator, s *tls.ConnectionState) (*core.Principal, error) {
	return a.Identify(evidenceOf(s))()
}

func evidenceOf(s *tls.ConnectionState) proof.Evidence {
	return proof.Evidence{Certificates: s.PeerCertificates}
}

func refused(t *testing.T, what string, a *Authenticator, s *tls.ConnectionState) {
	t.Helper()
	if p, err := who(a, s); core.CodeOf(err) != core.AuthenticationNotSuccessful || p != nil {
		t.Errorf("%s: %+v, %v; want AuthenticationNotSuccessful", what, p, err)
	}
}

// Without a certificate nobody is named. A principal has the strength of its proof.
func TestEvidence(t *testing.T) {
	c := newCA(t, "ca", nil)
	a := authenticator(t, trusting(t, c))
	if p, err := a.Identify(proof.Evidence{})(); p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("no evidence: %+v, %v", p, err)
	}
	p, err := a.Identify(evidenceOf(state(c.leaf(uri("keyreeve://acme/dev")), c.cert)))()
	if err != nil || p.ID != "dev" || p.Strength != core.StrengthCertificate || p.Expires == 0 {
		t.Errorf("a certificate: %+v, %v", p, err)
	}
}

func TestPrincipalFromURI(t *testing.T) {
	c := newCA(t, "ca", nil)
	a := authenticator(t, trusting(t, c))
	leaf := c.leaf(uri("keyreeve://acme/dev-1?group=a&group=b&role=operator"))
	p, err := who(a, state(leaf, c.cert))
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
		"keyreeve2://acme/dev", "keyreeve://acme/dev?group=" + strings.Repeat("a&group=", 65) + "a", "https://acme/dev", "keyreeve://acme/d\u00e9v"} {
		u, err := url.Parse(bad)
		if err != nil {
			continue
		}
		// Go would not sign some of these, so the certificate is not a real one.
		cert := *leaf
		cert.URIs = []*url.URL{u}
		refused(t, bad, a, state(&cert, c.cert))
	}
	refused(t, "two URIs", a, state(c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/a")(l); uri("keyreeve://acme/b")(l) }), c.cert))
	if p, err := who(a, state(c.leaf(func(l *x509.Certificate) { uri("spiffe://x/y")(l); uri("keyreeve://acme/b")(l) }), c.cert)); err != nil || p.ID != "b" {
		t.Errorf("another URI beside: %+v, %v", p, err)
	}
}

// A name in the subject names no principal, and only a verified chain counts.
func TestNobody(t *testing.T) {
	c := newCA(t, "ca", nil)
	a := authenticator(t, trusting(t, c))
	good := c.leaf(uri("keyreeve://acme/dev"))
	refused(t, "a common name alone", a, state(c.leaf(func(l *x509.Certificate) { l.Subject.CommonName = "keyreeve://acme/dev" }), c.cert))
	refused(t, "no common name", a, state(c.leaf(func(l *x509.Certificate) { l.Subject = pkix.Name{} }), c.cert))
	refused(t, "a DNS name that looks like the URI", a, state(c.leaf(func(l *x509.Certificate) { l.DNSNames = []string{"acme"} }), c.cert))
	refused(t, "the server's own tenant", a, state(c.leaf(uri("keyreeve://system/socket")), c.cert))
	refused(t, "no certificate", a, &tls.ConnectionState{})
	refused(t, "an authority that is not trusted", a, state(newCA(t, "ca", nil).leaf(uri("keyreeve://acme/dev")), c.cert))
	if _, err := who(a, state(good)); err != nil {
		t.Error(err)
	}
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
	lax := authenticator(t, trusting(t, c))
	demanding := trusting(t, c)
	demanding.RequireEKU = true
	strict := authenticator(t, demanding)
	for what, want := range map[string]struct {
		usage []x509.ExtKeyUsage
		ok    bool
	}{"none": {nil, false}, "client": {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, true},
		"any": {[]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, true}} {
		s := state(c.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/dev")(l); l.ExtKeyUsage = want.usage }), c.cert)
		if _, err := who(lax, s); err != nil {
			t.Errorf("%s where it is not demanded: %v", what, err)
		}
		if _, err := who(strict, s); (err == nil) != want.ok {
			t.Errorf("%s where it is demanded: %v", what, err)
		}
	}
}

// The grant of an authority bounds the names that it may use. An authority below it never has
// more.
func TestGrants(t *testing.T) {
	root, other := newCA(t, "root", nil), newCA(t, "other", nil)
	middle := newCA(t, "middle", root)
	below := newCA(t, "below", middle)
	for what, w := range map[string]struct {
		entries []Authority
		uri     string
		from    *ca
		ok      bool
	}{
		"no entry":             {nil, "keyreeve://acme/dev", root, false},
		"an entry of another":  {[]Authority{everything(other)}, "keyreeve://acme/dev", root, false},
		"everything":           {[]Authority{everything(root)}, "keyreeve://acme/dev?group=g&role=admin", root, true},
		"its tenant":           {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}}}, "keyreeve://acme/dev", root, true},
		"another tenant":       {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}}}, "keyreeve://bmce/dev", root, false},
		"another case":         {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}}}, "keyreeve://Acme/dev", root, false},
		"its group":            {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}, Groups: []string{"g"}}}, "keyreeve://acme/dev?group=g", root, true},
		"a group besides":      {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}, Groups: []string{"g"}}}, "keyreeve://acme/dev?group=g&group=h", root, false},
		"a role":               {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}, Groups: []string{"*"}}}, "keyreeve://acme/dev?role=admin", root, false},
		"the server's role":    {[]Authority{everything(root)}, "keyreeve://acme/dev?role=system", root, false},
		"it is named":          {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}, Roles: []string{"system"}}}, "keyreeve://acme/dev?role=system", root, true},
		"no tenant":            {[]Authority{{Fingerprint: fingerprint(root.cert), Groups: []string{"*"}, Roles: []string{"*"}}}, "keyreeve://acme/dev", root, false},
		"below the anchor":     {[]Authority{everything(root)}, "keyreeve://acme/dev", below, true},
		"below narrows":        {[]Authority{everything(root), {Fingerprint: fingerprint(middle.cert), Tenants: []string{"acme"}}}, "keyreeve://bmce/dev", below, false},
		"below never widens":   {[]Authority{{Fingerprint: fingerprint(root.cert), Tenants: []string{"acme"}}, everything(middle)}, "keyreeve://bmce/dev", middle, false},
		"below without anchor": {[]Authority{everything(middle)}, "keyreeve://acme/dev", middle, false},
	} {
		s := Settings{ClientCA: bundle(t, root, middle, other), Authorities: w.entries}
		a := authenticator(t, s)
		leaf := w.from.leaf(uri(w.uri))
		for _, sent := range [][]*x509.Certificate{{leaf, below.cert, middle.cert, root.cert}, {leaf, below.cert}} {
			p, err := who(a, state(sent...))
			if (err == nil) != w.ok {
				t.Errorf("%s: %+v, %v; want ok %v", what, p, err, w.ok)
			}
			if err != nil && !strings.Contains(err.Error(), "tls.authorities") {
				t.Errorf("%s: %v does not say what to do", what, err)
			}
		}
	}
	// The same authority with another serial number has the same limits.
	again := &ca{t: t, key: middle.key}
	tmpl := *middle.cert
	tmpl.SerialNumber = big.NewInt(serials.Add(1))
	again.cert = root.sign(&tmpl, &middle.key.PublicKey)
	a := authenticator(t, Settings{ClientCA: bundle(t, root, middle), Authorities: []Authority{everything(root), {Fingerprint: fingerprint(middle.cert), Tenants: []string{"acme"}}}})
	refused(t, "another certificate of a narrowed authority", a, state(again.leaf(uri("keyreeve://bmce/dev")), again.cert))
	// An intermediate that is alone in the bundle is an anchor with its own grant.
	a = authenticator(t, Settings{ClientCA: bundle(t, middle), Authorities: []Authority{everything(middle)}})
	if _, err := who(a, state(middle.leaf(uri("keyreeve://acme/dev")), middle.cert)); err != nil {
		t.Error(err)
	}
	refused(t, "a leaf of the root above the anchor", a, state(root.leaf(uri("keyreeve://acme/dev")), root.cert))
}

// Entries without a meaning are errors.
func TestGrantsThatAreRefused(t *testing.T) {
	c, stranger := newCA(t, "ca", nil), newCA(t, "stranger", nil)
	file := bundle(t, c)
	for what, entries := range map[string][]Authority{
		"nothing named": {{Tenants: []string{"a"}}}, "both": {{File: file, Fingerprint: fingerprint(c.cert)}}, "a stranger": {everything(stranger)}, "a stranger's file": {{File: bundle(t, stranger)}},
		"no file": {{File: "/nonexistent.pem"}}, "no fingerprint": {{Fingerprint: "12"}}, "two entries": {everything(c), {File: file}}, "two in a file": {{File: bundle(t, c, stranger)}},
		"an impossible tenant": {{File: file, Tenants: []string{"a b"}}}, "an empty role": {{File: file, Roles: []string{""}}}, "a pattern": {{File: file, Groups: []string{"a*"}}},
	} {
		if _, err := New(Settings{ClientCA: file, Authorities: entries}, nil); err == nil || !strings.Contains(err.Error(), "tls.authorities[") {
			t.Errorf("%s: %v", what, err)
		}
	}
	colons := strings.ToUpper(fingerprint(c.cert))
	for i := len(colons) - 2; i > 0; i -= 2 {
		colons = colons[:i] + ":" + colons[i:]
	}
	for _, e := range []Authority{{File: file, Tenants: []string{"acme"}}, {Fingerprint: colons, Tenants: []string{"acme"}}} {
		a := authenticator(t, Settings{ClientCA: file, Authorities: []Authority{e}})
		if _, err := who(a, state(c.leaf(uri("keyreeve://acme/dev")))); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	cut, _ := os.ReadFile(file)
	for what, text := range map[string][]byte{"cut off": cut[:len(cut)-30], "a second one cut off": append(slices.Clone(cut), cut[:300]...), "garbage behind": append(slices.Clone(cut), "x"...), "nothing": {}} {
		if _, err := New(Settings{ClientCA: write(t, filepath.Join(t.TempDir(), "ca"), text)}, nil); err == nil || !strings.Contains(err.Error(), "tls.client_ca") {
			t.Errorf("client_ca, %s: %v", what, err)
		}
	}
}

// A reload applies to open connections too: it can refuse them or accept them. Settings that
// cannot be used change nothing.
func TestReloadCountsOnOpenConnections(t *testing.T) {
	c, other := newCA(t, "ca", nil), newCA(t, "other", nil)
	s := trusting(t, c, other)
	a := authenticator(t, s)
	open := a.Identify(evidenceOf(state(c.leaf(uri("keyreeve://acme/dev?group=g")))))
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := open(); again != first {
		t.Error("the principal is made again each time")
	}
	reload := func(what string, s Settings, ok bool) (p *core.Principal, err error) {
		t.Helper()
		if err := a.Reload(s, nil); (err == nil) != ok {
			t.Fatalf("%s: %v", what, err)
		}
		return open()
	}
	if p, err := reload("nothing new", s, true); err != nil || p != first {
		t.Errorf("%+v, %v; want the same principal", p, err)
	}
	narrow := s
	narrow.Authorities = []Authority{{Fingerprint: fingerprint(c.cert), Tenants: []string{"acme"}}}
	if _, err := reload("a narrower grant", narrow, true); err == nil {
		t.Error("a grant that was taken away still counts")
	}
	mapped := narrow
	mapped.Mappings = []Mapping{{Fingerprint: first.Fingerprint, Tenant: "acme", Name: "other"}}
	if p, err := reload("mapped", mapped, true); err != nil || p.ID != "other" || len(p.Groups) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	broken := s
	broken.ClientCA = "/nonexistent"
	if p, err := reload("broken", broken, false); err != nil || p.ID != "other" {
		t.Errorf("a reload that failed: %+v, %v", p, err)
	}
	without := trusting(t, other)
	unrecorded := errors.New("this cannot be recorded")
	if err := a.Reload(without, func(Changes) error { return unrecorded }); !errors.Is(err, unrecorded) {
		t.Errorf("%v", err)
	}
	if _, err := open(); err != nil {
		t.Errorf("a change that could not be announced: %v", err)
	}
	var changes Changes
	if err := a.Reload(without, func(c Changes) error { changes = c; return nil }); err != nil || len(changes.Removed) != 1 || !changes.Removed[0].Equal(c.cert) || len(changes.Added) != 0 {
		t.Errorf("%+v, %v", changes, err)
	}
	if _, err := open(); err == nil {
		t.Error("an authority that was removed still counts")
	}
	if p, err := reload("all again", s, true); err != nil || p.ID != "dev" {
		t.Errorf("%+v, %v", p, err)
	}
}

// A connection ends with the first certificate of its chain that expires.
func TestChainExpires(t *testing.T) {
	root := newCA(t, "root", nil)
	middle := newCA(t, "middle", root)
	tmpl := *middle.cert
	tmpl.NotAfter = time.Now().Add(1500 * time.Millisecond)
	middle.cert = root.sign(&tmpl, &middle.key.PublicKey)
	a := authenticator(t, trusting(t, root))
	open := a.Identify(evidenceOf(state(middle.leaf(uri("keyreeve://acme/dev")), middle.cert)))
	p, err := open()
	if err != nil {
		t.Skip("this machine was busy for longer than the certificate lasts:", err)
	}
	if p.Expires != middle.cert.NotAfter.Unix() {
		t.Errorf("the principal expires at %d, the chain at %d", p.Expires, middle.cert.NotAfter.Unix())
	}
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		_, err = open()
	}
	if err == nil {
		t.Error("the connection outlives an intermediate certificate")
	}
}

// Whatever a certificate contains, its principal has only valid names.
func FuzzPrincipal(f *testing.F) {
	for _, s := range []string{"keyreeve://acme/dev?group=a&role=b", "keyreeve:acme/dev", "keyreeve://acme/dev#", "keyreeve://u:p@acme:1/../x?group=%00", "https://x"} {
		f.Add(s, "dns.example")
	}
	c := newCA(f, "ca", nil)
	real := c.leaf(func(*x509.Certificate) {})
	s := trusting(f, c)
	s.Mappings = []Mapping{{SAN: "mapped.example", Tenant: "t", Name: "mapped"}}
	a := authenticator(f, s)
	f.Fuzz(func(t *testing.T, u, dns string) {
		parsed, err := url.Parse(u)
		if err != nil {
			return
		}
		cert := *real
		cert.URIs, cert.DNSNames = []*url.URL{parsed}, []string{dns}
		p, err := who(a, state(&cert, c.cert))
		if err != nil {
			return
		}
		for _, s := range append(append([]string{p.Tenant, p.ID}, p.Groups...), p.Roles...) {
			if !identity.ValidName(s) {
				t.Errorf("%q names %q", u, s)
			}
		}
		if p.ID == "mapped" && p.Tenant == "t" && !strings.EqualFold(dns, "mapped.example") && u != "keyreeve://t/mapped" && parsed.Host != "t" {
			t.Errorf("%q %q is mapped", u, dns)
		}
	})
}
