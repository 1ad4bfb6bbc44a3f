package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

func initialised(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	c, err := readCertificate(filepath.Join(dir, "certs", name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serials(t *testing.T, dir string) map[string]int {
	t.Helper()
	block, err := pemfile.One(filepath.Join(dir, "certs", "crl.pem"), "X509 CRL")
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(certificate(t, dir, "ca")); err != nil {
		t.Errorf("the list's signature: %v", err)
	}
	n := map[string]int{}
	for _, e := range list.RevokedCertificateEntries {
		n[e.SerialNumber.String()]++
	}
	return n
}

// An issued certificate verifies under the authority, for its own purpose only, and names
// its principal in the URI.
func TestIssue(t *testing.T) {
	dir := initialised(t)
	if err := Issue(dir, Request{Name: "dev", Tenant: "acme", Groups: []string{"a", "b"}, Roles: []string{"operator"}, TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate(t, dir, "ca"))
	for name, usage := range map[string][2]x509.ExtKeyUsage{"dev": {x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, "server": {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}} {
		c := certificate(t, dir, name)
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: usage[:1]}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: usage[1:]}); err == nil {
			t.Errorf("%s is good for the other side too", name)
		}
		if c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
			t.Errorf("%s can sign certificates", name)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "certs", name+".pem"), filepath.Join(dir, "certs", name+"-key.pem")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	dev := certificate(t, dir, "dev")
	if len(dev.URIs) != 1 || dev.URIs[0].String() != "keyreeve://acme/dev?group=a&group=b&role=operator" || len(dev.DNSNames)+len(dev.IPAddresses)+len(dev.EmailAddresses) > 0 {
		t.Errorf("dev names %v", dev.URIs)
	}
	if left := time.Until(dev.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("dev is valid for %v", left)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := certificate(t, dir, "server").VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

// Only the owner can read key files, whatever the umask is.
func TestKeyFiles(t *testing.T) {
	dir := initialised(t)
	files, _ := filepath.Glob(filepath.Join(dir, "certs", "*-key.pem"))
	if len(files) != 3 {
		t.Fatalf("%v", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "certs")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("certs: %v, %v", info.Mode(), err)
	}
}

// Names that could mislead in a path, a URI or a log are refused.
func TestNamesThatAreRefused(t *testing.T) {
	dir := initialised(t)
	before, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, n := range []string{"", "..", "../x", "a/b", "a b", "a\x00b", "a\nb", "é", ".hidden", "-flag", strings.Repeat("a", 65), "a?b", "a%2f", "\u202edev", "ca", "server", "crl", "dev-key", "ca-key"} {
		if err := Issue(dir, Request{Name: n, Tenant: "acme"}); err == nil {
			t.Errorf("name %q is issued", n)
		}
		if n == "ca" || n == "server" || n == "crl" || strings.HasSuffix(n, "-key") {
			continue
		}
		for what, r := range map[string]Request{"tenant": {Name: "x", Tenant: n}, "group": {Name: "x", Tenant: "a", Groups: []string{n}}, "role": {Name: "x", Tenant: "a", Roles: []string{n}}} {
			if err := Issue(dir, r); err == nil {
				t.Errorf("%s %q is issued", what, n)
			}
		}
		if err := Revoke(dir, n); err == nil {
			t.Errorf("%q is revoked", n)
		}
	}
	if err := Issue(dir, Request{Name: "socket", Tenant: "system"}); err == nil {
		t.Error("a certificate of the server's own tenant was issued")
	}
	if after, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(after) != len(before) {
		t.Errorf("files are left: %v", after)
	}
}

// No file is overwritten, and no incomplete pair of files stays.
func TestNothingIsOverwritten(t *testing.T) {
	dir := initialised(t)
	request := Request{Name: "dev", Tenant: "acme"}
	if err := Issue(dir, request); err != nil {
		t.Fatal(err)
	}
	first := certificate(t, dir, "dev")
	if err := Issue(dir, request); err == nil || !certificate(t, dir, "dev").Equal(first) {
		t.Errorf("the certificate was made again: %v", err)
	}
	key := filepath.Join(dir, "certs", "dev-key.pem")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := Issue(dir, request); err == nil {
		t.Error("a certificate that is there was overwritten")
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a key is left that goes with no certificate")
	}
	ca := certificate(t, dir, "ca")
	if err := Init(dir); err != nil || !certificate(t, dir, "ca").Equal(ca) {
		t.Errorf("the authority was made again: %v", err)
	}
}

// If the first start was killed after any file that it writes, the next one continues, with the keys
// that are there.
func TestInitGoesOn(t *testing.T) {
	whole := initialised(t)
	written := []string{"ca-key.pem", "ca.pem", EnrollmentKey, EnrollmentCertificate, "server-key.pem", "server.pem"}
	for n := range written {
		dir := t.TempDir()
		certs := filepath.Join(dir, "certs")
		if err := os.Mkdir(certs, 0o700); err != nil {
			t.Fatal(err)
		}
		kept := map[string][]byte{}
		for _, f := range written[:n] {
			b, err := os.ReadFile(filepath.Join(whole, "certs", f))
			if err != nil {
				t.Fatal(err)
			}
			kept[f] = b
			if err := os.WriteFile(filepath.Join(certs, f), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Init(dir); err != nil {
			t.Errorf("killed after %v: %v", written[:n], err)
			continue
		}
		for f, b := range kept {
			if now, err := os.ReadFile(filepath.Join(certs, f)); err != nil || !bytes.Equal(now, b) {
				t.Errorf("killed after %v: %s was made again, %v", written[:n], f, err)
			}
		}
		for _, name := range []string{"ca", "clients-ca", "server"} {
			if key, err := readECKey(filepath.Join(certs, name+"-key.pem")); err != nil || !key.PublicKey.Equal(certificate(t, dir, name).PublicKey) {
				t.Errorf("killed after %v: the key of %s is that of another certificate, %v", written[:n], name, err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(certs, ".*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// No revocation is lost, even if many are made at once. A list that cannot be read is not
// replaced, because its certificates would be valid again.
func TestRevoke(t *testing.T) {
	dir := initialised(t)
	const n = 8
	for i := range n {
		if err := Issue(dir, Request{Name: fmt.Sprint("c", i), Tenant: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	coretest.AtOnce(n, func(i int) {
		if err := Revoke(dir, fmt.Sprint("c", i)); err != nil {
			t.Error(err)
		}
	})
	list := serials(t, dir)
	for i := range n {
		if s := certificate(t, dir, fmt.Sprint("c", i)).SerialNumber.String(); list[s] != 1 {
			t.Errorf("c%d is on the list %d times", i, list[s])
		}
	}
	if err := Issue(dir, Request{Name: "last", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "certs", "crl.pem")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := initialised(t)
	if err := Issue(other, Request{Name: "x", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	if err := Revoke(other, "x"); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, "certs", "crl.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string][]byte{"a list and garbage": append(bytes.Clone(good), "x"...), "a list and half of one": append(bytes.Clone(good), good[:200]...), "another authority's list": foreign,
		"half a file": []byte("-----BEGIN X509 CRL-----\nMII"), "nothing": {}, "another thing": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Revoke(dir, "last"); err == nil {
			t.Errorf("%s in place of the list: a new list has been written", what)
		}
		if b, _ := os.ReadFile(path); string(b) != string(text) {
			t.Errorf("%s was overwritten", what)
		}
	}
	if err := Revoke(dir, "nobody"); err == nil {
		t.Error("a certificate that is not there is revoked")
	}
}

// Anyone who can write the files may have changed them: a PEM file is read or refused.
func FuzzAuthority(f *testing.F) {
	dir := f.TempDir()
	if err := Init(dir); err != nil {
		f.Fatal(err)
	}
	cert, _ := os.ReadFile(filepath.Join(dir, "certs", "ca.pem"))
	key, _ := os.ReadFile(filepath.Join(dir, "certs", "ca-key.pem"))
	f.Add(cert, key)
	f.Add(key, cert)
	f.Add([]byte("-----BEGIN A-----\n-----END A-----\n"), []byte{})
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		dir := t.TempDir()
		if os.WriteFile(filepath.Join(dir, "ca.pem"), cert, 0o600) != nil || os.WriteFile(filepath.Join(dir, "ca-key.pem"), key, 0o600) != nil {
			t.Fatal("the files of the test cannot be written")
		}
		if c, k, err := authority(dir); err == nil && (c == nil || k == nil) {
			t.Error("neither authority nor error")
		}
	})
}

// authorityFor makes an authority for enrolled clients.
func authorityFor(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := t.TempDir()
	if err := MakeAuthority(dir); err != nil {
		t.Fatal(err)
	}
	a, err := OpenAuthority(filepath.Join(dir, EnrollmentCertificate), filepath.Join(dir, EnrollmentKey))
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

// requestOf makes a certificate request that asks for much.
func requestOf(t *testing.T, key crypto.Signer, signature x509.SignatureAlgorithm) []byte {
	t.Helper()
	asked := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{"admin.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, SignatureAlgorithm: signature,
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}} // CA: true
	der, err := x509.CreateCertificateRequest(rand.Reader, asked, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// A certificate has the key of the request and nothing else of it.
func TestSignedCertificate(t *testing.T) {
	a, dir := authorityFor(t)
	root, err := os.ReadFile(filepath.Join(dir, EnrollmentCertificate))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	for what, key := range map[string]crypto.Signer{"P-256": keystest.ECKey(t, elliptic.P256()), "P-521": keystest.ECKey(t, elliptic.P521()), "RSA": keystest.RSAKey(2048), "Ed25519": keystest.Ed25519Key(t)} {
		c, err := a.Sign(requestOf(t, key, 0), "acme", "array7", time.Hour)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if !c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) || c.IsCA || c.Subject.CommonName != "array7" || len(c.DNSNames)+len(c.IPAddresses) != 0 || len(c.URIs) != 1 || c.URIs[0].String() != "keyreeve://acme/array7" {
			t.Errorf("%s: %+v", what, c)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if left := time.Until(c.NotAfter); left > time.Hour || left < 59*time.Minute {
			t.Errorf("%s: it lasts %v", what, left)
		}
	}
	if c, err := a.Sign(requestOf(t, keystest.ECKey(t, elliptic.P256()), 0), "acme", "array7", 20*365*24*time.Hour); err != nil || time.Until(c.NotAfter) > 3651*24*time.Hour {
		t.Errorf("a certificate lasts longer than its authority: %v", err)
	}
}

// A request that does not prove its key, or whose key is weak or unknown, gets a sentence.
func TestRequestsThatAreRefused(t *testing.T) {
	a, _ := authorityFor(t)
	good := requestOf(t, keystest.ECKey(t, elliptic.P256()), 0)
	block, _ := pem.Decode(good)
	changed := bytes.Clone(block.Bytes)
	changed[len(changed)-1] ^= 1
	for what, request := range map[string][]byte{
		"nothing":                nil,
		"no PEM":                 []byte("hello"),
		"another block":          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}),
		"two requests":           append(bytes.Clone(good), good...),
		"text behind it":         append(bytes.Clone(good), "hello"...),
		"a damaged request":      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: block.Bytes[:len(block.Bytes)/2]}),
		"another signature":      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: changed}),
		"a long request":         append(bytes.Repeat([]byte("#\n"), 16<<10), good...),
		"an RSA key of 1024":     requestOf(t, keystest.RSAKey(1024), 0),
		"a key on P-224":         requestOf(t, keystest.ECKey(t, elliptic.P224()), x509.ECDSAWithSHA256),
		"a signature with SHA-1": requestOf(t, keystest.RSAKey(2048), x509.SHA1WithRSA),
	} {
		if c, err := a.Sign(request, "acme", "array7", time.Hour); c != nil || !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), "certificate request") {
			t.Errorf("%s: %v, %v", what, c, err)
		}
	}
}

// A revocation list has the serial numbers that it was made of, and the authority has signed it.
// An authority that may not sign lists signs none.
func TestSignedList(t *testing.T) {
	a, _ := authorityFor(t)
	now := time.Unix(1_800_000_000, 0)
	der, err := a.SignList([]RevokedSerial{{"1f", 1_700_000_000}, {"a", 1_700_000_001}}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.CheckSignatureFrom(a.cert) != nil || !list.NextUpdate.Equal(now.Add(time.Hour)) || list.Number.Int64() != now.UnixMilli() {
		t.Fatalf("%v: %+v", err, list)
	}
	if got := list.RevokedCertificateEntries; len(got) != 2 || got[0].SerialNumber.Text(16) != "1f" || got[1].RevocationTime.Unix() != 1_700_000_001 {
		t.Errorf("the list has %+v", got)
	}
	if _, err := a.SignList([]RevokedSerial{{"x", 1}}, now, time.Hour); err == nil {
		t.Error("a list has a serial number that is none")
	}
	a.cert.KeyUsage = x509.KeyUsageCertSign
	if _, err := a.SignList(nil, now, time.Hour); err == nil {
		t.Error("an authority that may not sign lists has signed one")
	}
}

// An authority whose key is kept elsewhere works as one of two files. A key that is that of
// another certificate, or does not sign, is refused.
func TestAuthorityWithAKeyElsewhere(t *testing.T) {
	key := keystest.ECKey(t, elliptic.P256())
	cert, err := NewAuthorityCertificate(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := WriteAuthorityCertificate(dir, PEM(cert)); err != nil {
		t.Fatal(err)
	}
	if err := WriteAuthorityCertificate(dir, PEM(cert)); err == nil {
		t.Error("a certificate was overwritten")
	}
	path := filepath.Join(dir, EnrollmentCertificate)
	a, err := OpenAuthorityWith(path, func(*ecdsa.PublicKey) crypto.Signer { return key })
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Sign(requestOf(t, keystest.Ed25519Key(t), 0), "acme", "array7", time.Hour)
	if err != nil || leaf.CheckSignatureFrom(cert) != nil {
		t.Errorf("a certificate: %v", err)
	}
	if _, err := a.Sign(requestOf(t, key, 0), "acme", "array7", time.Hour); !errors.Is(err, ErrRequest) {
		t.Errorf("a certificate for the key of the authority: %v", err)
	}
	a.key = lostKey{key}
	if _, err := a.Sign(requestOf(t, keystest.Ed25519Key(t), 0), "acme", "array7", time.Hour); err == nil || errors.Is(err, ErrRequest) || err.Error() != "the key is lost" {
		t.Errorf("a certificate of a key that does not sign: %v; want its own error", err)
	}
	a.cert.NotAfter = time.Now().Add(-time.Second)
	if _, err := a.Sign(requestOf(t, keystest.Ed25519Key(t), 0), "acme", "array7", time.Hour); !errors.Is(err, ErrAuthorityExpired) {
		t.Errorf("a certificate of an authority that has expired: %v", err)
	}
	other := keystest.ECKey(t, elliptic.P256())
	if _, err := OpenAuthorityWith(path, func(*ecdsa.PublicKey) crypto.Signer { return other }); err == nil {
		t.Error("the key of another certificate was taken")
	}
	if _, err := OpenAuthorityWith(path, func(*ecdsa.PublicKey) crypto.Signer { return lostKey{key} }); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("a key that does not sign: %v", err)
	}
}

// lostKey is a key that signs nothing.
type lostKey struct{ crypto.Signer }

func (lostKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key is lost")
}

// The files of an authority belong together, and are never overwritten.
func TestOpenAuthority(t *testing.T) {
	_, dir := authorityFor(t)
	if err := MakeAuthority(dir); err == nil {
		t.Error("an authority was overwritten")
	}
	_, other := authorityFor(t)
	certificate, key := filepath.Join(dir, EnrollmentCertificate), filepath.Join(dir, EnrollmentKey)
	development := initialised(t)
	for what, files := range map[string][2]string{
		"another key":        {certificate, filepath.Join(other, EnrollmentKey)},
		"no key":             {certificate, ""},
		"no certificate":     {"", key},
		"a server as its CA": {filepath.Join(development, "certs", "server.pem"), filepath.Join(development, "certs", "server-key.pem")},
	} {
		if a, err := OpenAuthority(files[0], files[1]); a != nil || err == nil {
			t.Errorf("%s: opened", what)
		}
	}
}
