package authn

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// enrolledWorld has one enrolled client, acme/dev, with one certificate.
type enrolledWorld struct {
	revision    uint64
	stale, err  error
	fingerprint string
	groups      []string
}

func (w *enrolledWorld) Revision() (uint64, error) { return w.revision, w.stale }

func (w *enrolledWorld) Admit(tenant, name, fingerprint string) (groups, roles []string, keyGroup string, err error) {
	if w.err == nil && (tenant != "acme" || name != "dev" || fingerprint != w.fingerprint) {
		return nil, nil, "", core.Errorf(core.ItemNotFound, "no such client or certificate")
	}
	return w.groups, nil, w.groups[0], w.err
}

// change gives the world another state, as a watcher of the directory does.
func (w *enrolledWorld) change(to func()) {
	to()
	w.revision++
}

// The directory decides about a certificate of the authority for enrolled clients, for each
// message of an open connection: serial number, groups, revocation. Whatever it does not say
// for sure is a refusal.
func TestEnrolledClients(t *testing.T) {
	other, own := newCA(t, "other", nil), newCA(t, "own", nil)
	leaf := own.leaf(uri("keyreeve://acme/dev?role=admin"))
	w := &enrolledWorld{fingerprint: fingerprint(leaf), groups: []string{"storage"}}
	s := trusting(t, other)
	s.EnrollmentCA = bundle(t, own)
	s.Mappings = []Mapping{{SAN: "array.example", Tenant: "acme", Name: "mapped"}}
	a := authenticator(t, s)
	refused(t, "a client while nobody can be looked up", a, state(leaf))
	a.UseEnrolled(w)
	ask := a.Identify(evidenceOf(state(leaf)))
	p, err := ask()
	if err != nil || p.Tenant != "acme" || p.ID != "dev" || len(p.Roles) != 0 || len(p.Groups) != 1 || p.KeyGroup != "storage" || p.NamedBy != NamedByEnrollment {
		t.Fatalf("an enrolled client: %+v, %v", p, err)
	}
	if again, _ := ask(); again != p {
		t.Error("the principal changes although nothing has changed")
	}
	w.change(func() { w.groups = []string{"backup"} })
	if p, err := ask(); err != nil || p.Groups[0] != "backup" {
		t.Errorf("after its groups changed: %+v, %v", p, err)
	}
	refusing := func(err error) (do, undo func()) {
		return func() { w.change(func() { w.err = err }) }, func() { w.change(func() { w.err = nil }) }
	}
	steps := map[string]struct{ do, undo func() }{
		"a certificate that is not listed": {func() { w.change(func() { w.fingerprint = strings.Repeat("0", 64) }) }, func() { w.change(func() { w.fingerprint = fingerprint(leaf) }) }},
		"a directory that is not new":      {func() { w.stale, w.err = errors.New("stale"), core.Errorf(core.StoreUnavailable, "stale") }, func() { w.stale, w.err = nil, nil }},
	}
	for what, err := range map[string]error{"a revoked certificate": core.Errorf(core.AuthenticationNotSuccessful, "revoked"), "a client that was removed": core.Errorf(core.ItemNotFound, "gone"), "a row that was changed": core.Errorf(core.Tampered, "changed")} {
		do, undo := refusing(err)
		steps[what] = struct{ do, undo func() }{do, undo}
	}
	for what, step := range steps {
		step.do()
		if p, err := ask(); p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
			t.Errorf("%s, on an open connection: %+v, %v", what, p, err)
		}
		step.undo()
		if _, err := ask(); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	for what, chain := range map[string][]*x509.Certificate{
		"another name":      {own.leaf(uri("keyreeve://acme/other"))},
		"no name":           {own.leaf(func(*x509.Certificate) {})},
		"the server's":      {own.leaf(uri("keyreeve://system/socket"))},
		"a name by mapping": {own.leaf(func(l *x509.Certificate) { l.DNSNames = []string{"array.example"} })},
	} {
		refused(t, what, a, state(chain...))
	}
	if p, err := who(a, state(other.leaf(uri("keyreeve://acme/free")))); err != nil || p.ID != "free" {
		t.Errorf("a client of another authority: %+v, %v", p, err)
	}
	below := newCA(t, "below", own)
	refused(t, "a certificate below an authority that the own one has signed", a, state(below.leaf(uri("keyreeve://acme/dev")), below.cert))
}

// The file of the authority has exactly one authority that is signed by itself.
func TestEnrollmentAuthorityIsChecked(t *testing.T) {
	c, own := newCA(t, "ca", nil), newCA(t, "own", nil)
	for what, file := range map[string]string{"no file": "/nonexistent.pem", "two": bundle(t, c, own), "one below another": bundle(t, newCA(t, "below", own))} {
		s := trusting(t, c)
		s.EnrollmentCA = file
		if _, err := New(s, nil); err == nil || !strings.Contains(err.Error(), "enrollment.certificate") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
