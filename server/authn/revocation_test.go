package authn

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// revoked reports whether a list in force revokes a certificate.
func revoked(a *Authenticator, c *x509.Certificate) bool {
	return a.trust.Load().revocations.revokes(c)
}

func critical(id ...int) []pkix.Extension {
	return []pkix.Extension{{Id: id, Critical: true, Value: []byte{0x30, 0}}}
}

func TestRevocation(t *testing.T) {
	c, other, stranger := newCA(t, "ca", nil), newCA(t, "other", nil), newCA(t, "stranger", nil)
	gone, still := c.leaf(uri("keyreeve://acme/gone")), c.leaf(uri("keyreeve://acme/still"))
	twin := other.leaf(func(l *x509.Certificate) { uri("keyreeve://acme/gone")(l); l.SerialNumber = gone.SerialNumber })
	s := trusting(t, c, other)
	s.CRLFile, s.CRLMayLack = filepath.Join(t.TempDir(), "crl.pem"), true // not there yet
	a := authenticator(t, s)
	open := a.Identify(evidenceOf(state(gone)))
	if _, err := open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { a.Watch(ctx) })
	write(t, s.CRLFile, c.crl(nil, gone))
	var err error
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, err = open()
	}
	if err == nil {
		t.Fatal("a revocation does not count on an open connection")
	}
	cancel()
	watching.Wait()
	refused(t, "a revoked certificate", a, state(gone, c.cert))
	if _, err := who(a, state(still)); err != nil || revoked(a, twin) {
		t.Errorf("what is not on the list: %v, another authority's %v", err, revoked(a, twin))
	}

	good := func(ca *ca, certs ...*x509.Certificate) []byte { return ca.crl(nil, certs...) }
	newer := good(c, gone)
	impostor := newCA(t, "ca", nil) // the same name, another key
	for what, text := range map[string][]byte{"nothing": {}, "no PEM": []byte("x"), "a certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}),
		"half a list": newer[:120], "no DER": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1, 2, 3}}),
		"bytes behind the list":     pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: append(decode(newer), 5, 0)}),
		"a list and half of one":    append(good(c, gone), good(other, twin)[:300]...),
		"a list and less":           append(good(c, gone), good(other, twin)[:28]...),
		"a list and garbage":        append(good(c, gone), "garbage"...),
		"garbage and a list":        append([]byte("garbage\n"), newer...),
		"a list of a stranger":      append(good(c, gone), good(stranger)...),
		"another authority's alone": good(other, twin),
		"two of an authority":       append(good(c, gone), good(c, gone)...),
		"an impostor's":             good(impostor),
		"a changed list":            pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: changed(decode(newer))}),
		"an older number":           c.crl(func(l *x509.RevocationList) { l.Number = big.NewInt(0) }, gone),
		"an older time":             c.crl(func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(-time.Minute) }, gone),
		"from the future": c.crl(func(l *x509.RevocationList) {
			l.ThisUpdate = time.Now().Add(time.Hour)
			l.NextUpdate = time.Now().Add(2 * time.Hour)
		}, gone),
		"the same number and less": c.crl(func(l *x509.RevocationList) {
			l.Number = big.NewInt(1)
			l.ThisUpdate = a.trust.Load().revocations.lists[0].ThisUpdate
		}),
		"a delta list": c.crl(func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
		}),
		"an indirect list": c.crl(func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oidDistributionPoint, Critical: true, Value: []byte{0x30, 3, 0x84, 1, 0xff}}}
		}, gone),
		"an unknown extension": c.crl(func(l *x509.RevocationList) { l.ExtraExtensions = critical(1, 2, 3) }, gone),
		"an entry of another issuer": c.crl(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = critical(2, 5, 29, 29)
		}, gone)} {
		write(t, s.CRLFile, text)
		if err := a.checkLists(); err == nil {
			t.Errorf("%s is taken for a revocation list", what)
		}
		if !revoked(a, gone) {
			t.Errorf("%s took the old list out of force", what)
		}
		if a.Health(time.Now(), 0).Problem == "" {
			t.Errorf("%s: health does not say so", what)
		}
		if strings.Contains(what, "older") || what == "the same number and less" || what == "another authority's alone" {
			continue // fine for a start: there is nothing to compare with
		}
		must := s
		must.CRLMayLack = false
		if _, err := New(must, nil); err == nil {
			t.Errorf("%s: the server starts without knowing who is revoked", what)
		}
	}

	// The lists of two authorities in one file both apply, even one for some of the certificates.
	part := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: oidDistributionPoint, Critical: true, Value: []byte{0x30, 3, 0x82, 1, 0xff}}}
	}
	write(t, s.CRLFile, bytes.Join([][]byte{[]byte("# lists\n"), good(other, twin), good(c, gone), c.crl(part)}, nil))
	if err := a.checkLists(); err != nil || !revoked(a, gone) || !revoked(a, twin) || revoked(a, still) {
		t.Errorf("two lists: %v; revoked %v %v %v", err, revoked(a, gone), revoked(a, twin), revoked(a, still))
	}
	if a.Health(time.Now(), 0).Problem != "" {
		t.Error("health still has a problem")
	}
	if err := os.Remove(s.CRLFile); err != nil {
		t.Fatal(err)
	}
	if err := a.checkLists(); err == nil || !revoked(a, gone) {
		t.Errorf("a list that was removed: %v, revoked %v; it must stay in force, and be an error", err, revoked(a, gone))
	}
	none := s
	none.CRLFile = ""
	if err := a.Reload(none, nil); err == nil || !revoked(a, gone) {
		t.Errorf("a setting that was removed: %v, revoked %v", err, revoked(a, gone))
	}
	// The list of a removed authority is removed too.
	write(t, s.CRLFile, good(other, twin))
	only := trusting(t, other)
	only.CRLFile = s.CRLFile
	if err := a.Reload(only, nil); err != nil || !revoked(a, twin) || revoked(a, gone) {
		t.Errorf("%v; revoked %v %v", err, revoked(a, twin), revoked(a, gone))
	}
}

func decode(list []byte) []byte {
	b, _ := pem.Decode(list)
	return b.Bytes
}

// changed flips a bit of the serial number that a list revokes.
func changed(der []byte) []byte {
	out := bytes.Clone(der)
	out[len(out)/2] ^= 1
	return out
}

// A list is refused if its authority may not sign lists (cRLSign).
func TestListOfOneThatMayNotSign(t *testing.T) {
	c := newCA(t, "ca", nil)
	signing := *c.cert
	tmpl := *c.cert
	tmpl.KeyUsage = x509.KeyUsageCertSign
	c.cert = c.sign(&tmpl, &c.key.PublicKey)
	s := trusting(t, c)
	c.cert = &signing
	s.CRLFile = write(t, filepath.Join(t.TempDir(), "crl.pem"), c.crl(nil))
	if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "cRLSign") {
		t.Errorf("%v", err)
	}
}

// An authority can be removed while its list is still in the file.
func TestAuthorityGoesBeforeItsList(t *testing.T) {
	c, other := newCA(t, "ca", nil), newCA(t, "other", nil)
	gone := c.leaf(uri("keyreeve://acme/gone"))
	s := trusting(t, c, other)
	s.CRLFile = write(t, filepath.Join(t.TempDir(), "crl.pem"), append(c.crl(nil, gone), other.crl(nil)...))
	a := authenticator(t, s)
	next := trusting(t, c)
	next.CRLFile = s.CRLFile
	if err := a.Reload(next, nil); err == nil {
		t.Error("the list of an unknown authority is no error")
	}
	refused(t, "a client of the authority that was removed", a, state(other.leaf(uri("keyreeve://acme/x"))))
	refused(t, "a revoked client", a, state(gone))
	write(t, s.CRLFile, c.crl(nil, gone))
	if err := a.checkLists(); err != nil || a.Health(time.Now(), 0).Problem != "" {
		t.Errorf("after the list is gone too: %v", err)
	}
}

// A missing list is an error at the start. The callback is called once for each change of the
// file, even if the new lists cannot be used.
func TestListIsToldOf(t *testing.T) {
	c := newCA(t, "ca", nil)
	s := trusting(t, c)
	s.CRLFile = filepath.Join(t.TempDir(), "crl.pem")
	if _, err := New(s, nil); err == nil {
		t.Error("a list that is not there was taken for one that revokes nobody")
	}
	s.CRLMayLack = true
	var told []int
	wrong := 0
	a, err := New(s, func(n int, err error) {
		if told = append(told, n); err != nil {
			wrong++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{c.crl(nil, c.leaf(uri("keyreeve://acme/a")), c.leaf(uri("keyreeve://acme/b"))), []byte("half a li")} {
		write(t, s.CRLFile, b)
		for range 3 {
			a.checkLists()
		}
	}
	if err := a.checkLists(); err == nil {
		t.Error("a list that is spoilt is an error once only")
	}
	os.Remove(s.CRLFile)
	for range 3 {
		a.checkLists()
	}
	write(t, s.CRLFile, c.crl(nil))
	for range 3 {
		a.checkLists()
	}
	if len(told) != 4 || told[0] != 2 || told[1] != 2 || told[2] != 2 || told[3] != 0 || wrong != 2 {
		t.Errorf("told %v, %d of them wrong; want two certificates, twice that they stay revoked, and none", told, wrong)
	}
}

// A list past its Next Update is still used and has a note; or the clients of its authority are
// refused, even connected ones.
func TestStaleList(t *testing.T) {
	c, other := newCA(t, "ca", nil), newCA(t, "other", nil)
	s := trusting(t, c, other)
	s.CRLFile = write(t, filepath.Join(t.TempDir(), "crl.pem"), c.crl(func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = time.Now().Add(-time.Hour), time.Now().Add(1500*time.Millisecond)
	}))
	a := authenticator(t, s)
	strict := s
	strict.RefuseStale = true
	b := authenticator(t, strict)
	served, ends := a.Identify(evidenceOf(state(c.leaf(uri("keyreeve://acme/dev"))))), b.Identify(evidenceOf(state(c.leaf(uri("keyreeve://acme/dev")))))
	_, err := ends()
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		_, err = ends()
	}
	if err == nil {
		t.Error("tls.crl_stale: refuse does not end a connection")
	}
	if _, err := served(); err != nil {
		t.Errorf("a stale list refuses clients without being told to: %v", err)
	}
	if h := a.Health(time.Now(), 0); h.Stale != 1 || len(h.Notes) == 0 {
		t.Errorf("health: %+v", h)
	}
	if _, err := who(b, state(other.leaf(uri("keyreeve://acme/dev")))); err != nil {
		t.Errorf("another authority's client: %v", err)
	}
}

// A certificate of a revoked intermediate is refused, even on open connections, and no matter
// whether the client or the bundle has the intermediate.
func TestRevokedIntermediate(t *testing.T) {
	root := newCA(t, "root", nil)
	middle := newCA(t, "middle", root)
	leaf := middle.leaf(uri("keyreeve://acme/dev"))
	for _, bundled := range []bool{false, true} {
		s := trusting(t, root)
		sent := state(leaf, middle.cert)
		if bundled {
			s.ClientCA, sent = bundle(t, root, middle), state(leaf)
		}
		s.CRLFile, s.CRLMayLack = filepath.Join(t.TempDir(), "crl.pem"), true
		a := authenticator(t, s)
		open := a.Identify(evidenceOf(sent))
		if _, err := open(); err != nil {
			t.Fatal(err)
		}
		write(t, s.CRLFile, root.crl(nil, middle.cert))
		if err := a.checkLists(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "middle") {
			t.Errorf("an open connection outlives a revoked intermediate: %v", err)
		}
		refused(t, "a revoked intermediate", a, sent)
	}
	// Another chain that is not revoked is accepted.
	s := trusting(t, root, newCA(t, "x", nil))
	cross := newCA(t, "cross", nil)
	twin := &ca{t: t, key: middle.key}
	tmpl := *middle.cert
	twin.cert = cross.sign(&tmpl, &middle.key.PublicKey)
	s = trusting(t, root, cross)
	s.CRLFile = write(t, filepath.Join(t.TempDir(), "crl.pem"), root.crl(nil, middle.cert))
	a := authenticator(t, s)
	if _, err := who(a, state(leaf, middle.cert, twin.cert)); err != nil {
		t.Errorf("another chain is not revoked: %v", err)
	}
	// A list of the intermediate applies if the bundle has the intermediate.
	s = trusting(t, root)
	s.ClientCA = bundle(t, root, middle)
	s.CRLFile = write(t, filepath.Join(t.TempDir(), "crl.pem"), middle.crl(nil, leaf))
	refused(t, "revoked by the intermediate", authenticator(t, s), state(leaf))
}

// FuzzRevocationList tests that a list is read completely or refused.
func FuzzRevocationList(f *testing.F) {
	c := newCA(f, "ca", nil)
	one := c.leaf(func(*x509.Certificate) {})
	f.Add(c.crl(nil, one))
	f.Add(append(c.crl(nil), c.crl(nil, one)...))
	as, err := loadAuthorities(bundle(f, c), nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	file := filepath.Join(f.TempDir(), "crl.pem")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		lists, err := readLists(file, as)
		if (err == nil) != (len(lists) > 0) {
			t.Errorf("%d lists and %v", len(lists), err)
		}
	})
}

// A list that was too far in the future is used when its time has come, even if the file has not
// changed.
func TestListFromTheFutureComesIntoForce(t *testing.T) {
	t.Parallel()
	c := newCA(t, "ca", nil)
	gone := c.leaf(uri("keyreeve://acme/gone"))
	s := trusting(t, c)
	s.CRLFile = filepath.Join(t.TempDir(), "crl.pem")
	write(t, s.CRLFile, c.crl(nil))
	a := authenticator(t, s)
	write(t, s.CRLFile, c.crl(func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(maxListAhead + 2*time.Second) }, gone))
	for range 2 {
		if err := a.checkLists(); err == nil || revoked(a, gone) {
			t.Fatalf("a list from the future: %v", err)
		}
	}
	time.Sleep(3 * time.Second)
	if err := a.checkLists(); err != nil || !revoked(a, gone) {
		t.Errorf("the list whose time has come: %v, revoked %v", err, revoked(a, gone))
	}
}
