package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// certificateSeconds is how long the certificates of [newClientSite] are valid.
const certificateSeconds = 1000

// clientSite is a world with an authority for enrolled clients.
type clientSite struct {
	*world
	verbs *admin.ClientVerbs
	admin *core.Caller
}

// newClientSite returns a world whose policy refuses one action and whose authority numbers its
// certificates.
func newClientSite(t *testing.T, refused core.Action, window time.Duration) *clientSite {
	w := newWorld(t)
	v, _ := administered(t, w, refused)
	issued := 0
	sign := func([]byte, string, string) (admin.SignedCertificate, error) {
		issued++
		return admin.SignedCertificate{PEM: []byte("x"), Serial: fmt.Sprintf("%x", issued), Fingerprint: fmt.Sprintf("%064x", issued), Expires: w.clock.Now() + certificateSeconds}, nil
	}
	list := func(revoked []directory.ClientCertificate) ([]byte, error) {
		serials := []string{}
		for _, one := range revoked {
			serials = append(serials, one.Serial)
		}
		slices.Sort(serials)
		return []byte(strings.Join(serials, " ")), nil
	}
	return &clientSite{w, admin.NewClientVerbs(v, admin.ClientSettings{InvitationLifetime: time.Hour, RenewalWindow: window, Sign: sign, SignList: list}), plainCaller("anna")}
}

// add makes a client with a certificate, and returns a caller that has it.
func (s *clientSite) add(t *testing.T, name string) *core.Caller {
	t.Helper()
	saved, err := s.verbs.Save(ctx, s.admin, admin.SaveClientInput{Name: name, Request: []byte("csr")})
	if err != nil {
		t.Fatal(err)
	}
	return withCertificate(name, &saved.Certificate)
}

// plainCaller returns a caller of the tenant default.
func plainCaller(name string) *core.Caller {
	return &core.Caller{Principal: &core.Principal{Tenant: "default", ID: name}, Door: core.DoorREST}
}

// withCertificate returns a caller that has proved itself by a certificate.
func withCertificate(name string, c *admin.SignedCertificate) *core.Caller {
	by := plainCaller(name)
	by.Principal.Method, by.Principal.Serial, by.Principal.Fingerprint = core.MethodCertificate, c.Serial, c.Fingerprint
	return by
}

// renewed renews the certificate of a caller and returns a caller with the new one.
func (s *clientSite) renewed(t *testing.T, by *core.Caller) *core.Caller {
	t.Helper()
	out, err := s.verbs.Renew(ctx, by, []byte("csr"))
	if err != nil {
		t.Fatal(err)
	}
	return withCertificate(by.Principal.ID, &out.Certificate)
}

// Only a certificate that this server has issued to the caller, that is not revoked and has not
// expired, gets another one, and only near its end. No token and no other proof does.
func TestWhoRenewsACertificate(t *testing.T) {
	s := newClientSite(t, 0, 300*time.Second)
	old, other, revoked, late := s.add(t, "c1"), s.add(t, "c2"), s.add(t, "c3"), s.add(t, "c4")
	if _, err := s.verbs.Revoke(ctx, s.admin, admin.RevokeClientInput{Name: "c3"}); err != nil {
		t.Fatal(err)
	}
	demand := func(what string, by *core.Caller, want core.Code) {
		t.Helper()
		if _, err := s.verbs.Renew(ctx, by, []byte("csr")); core.CodeOf(err) != want {
			t.Errorf("%s renews: %v; want %v", what, err, want)
		}
	}
	demand("a new certificate", old, core.WrongState)
	s.clock.now += certificateSeconds - 301
	demand("a certificate one second early", old, core.WrongState)
	s.clock.now++
	change := func(edit func(*core.Principal)) *core.Caller {
		by := withCertificate("c1", &admin.SignedCertificate{Serial: old.Principal.Serial, Fingerprint: old.Principal.Fingerprint})
		edit(by.Principal)
		return by
	}
	for what, edit := range map[string]func(*core.Principal){
		"a token bound to the certificate":  func(p *core.Principal) { p.Method, p.TokenID = core.MethodToken, "k1" },
		"a password beside the certificate": func(p *core.Principal) { p.Method = core.MethodPassword },
		"a token with the certificate":      func(p *core.Principal) { p.TokenID = "k1" },
		"a caller without a certificate":    func(p *core.Principal) { p.Fingerprint = "" },
		"a certificate of another client":   func(p *core.Principal) { p.Fingerprint = other.Principal.Fingerprint },
		"another client with it":            func(p *core.Principal) { p.ID = "c2" },
		"a client that is not enrolled":     func(p *core.Principal) { p.ID = "nobody" },
		"a client of another tenant":        func(p *core.Principal) { p.Tenant = "other" },
	} {
		demand(what, change(edit), core.PermissionDenied)
	}
	demand("a revoked certificate", revoked, core.PermissionDenied)
	next := s.renewed(t, old)
	shown, err := s.verbs.Read(ctx, s.admin, "", "c1")
	if err != nil || len(shown.Certificates) != 2 || shown.Certificates[1].RenewedFrom != old.Principal.Serial {
		t.Errorf("the client after its renewal: %+v, %v", shown, err)
	}
	demand("the new certificate", next, core.WrongState)
	s.clock.now += 300
	demand("a certificate that has expired", late, core.PermissionDenied)

	s = newClientSite(t, 0, 0)
	demand("a certificate where renewal is off", s.add(t, "c1"), core.OperationNotSupported)
	s = newClientSite(t, core.ActionRenewClient, certificateSeconds*time.Second)
	demand("a client that the policy forbids it", s.add(t, "c1"), core.PermissionDenied)
}

// A certificate is renewed at most three times, also if many ask at once, and a client has at
// most eight valid certificates. Revoked ones are kept until they expire.
func TestRenewalsAreBounded(t *testing.T) {
	s := newClientSite(t, 0, certificateSeconds*time.Second)
	first := s.add(t, "c1")
	var got [16]core.Code
	coretest.AtOnce(len(got), func(i int) {
		_, err := s.verbs.Renew(ctx, first, []byte("csr"))
		for core.CodeOf(err) == core.Conflict {
			_, err = s.verbs.Renew(ctx, first, []byte("csr"))
		}
		if got[i] = core.CodeOf(err); err == nil {
			got[i] = core.ObjectDestroyed // stands for a success
		}
	})
	count := map[core.Code]int{}
	for _, code := range got {
		count[code]++
	}
	if count[core.ObjectDestroyed] != 3 || count[core.QuotaExceeded] != len(got)-3 {
		t.Errorf("%d renewals of one certificate at once: %v; want three and QuotaExceeded", len(got), count)
	}
	newest := s.add(t, "c2")
	for range directory.MaxValidCertificates - 1 {
		newest = s.renewed(t, newest)
	}
	if _, err := s.verbs.Renew(ctx, newest, []byte("csr")); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("the ninth certificate: %v; want QuotaExceeded", err)
	}
	kept := 0
	for ; kept < directory.MaxClientCertificates; kept++ {
		if _, err := s.verbs.Revoke(ctx, s.admin, admin.RevokeClientInput{Name: "c3"}); err != nil && kept > 0 {
			t.Fatal(err)
		}
		if _, err := s.verbs.Save(ctx, s.admin, admin.SaveClientInput{Name: "c3", Request: []byte("csr")}); err != nil {
			t.Fatalf("certificate %d: %v", kept, err)
		}
	}
	if _, err := s.verbs.Revoke(ctx, s.admin, admin.RevokeClientInput{Name: "c3"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.verbs.Save(ctx, s.admin, admin.SaveClientInput{Name: "c3", Request: []byte("csr")}); core.CodeOf(err) != core.QuotaExceeded || !strings.Contains(err.Error(), "64 of them revoked") {
		t.Errorf("a certificate beside 64 revoked ones: %v; want QuotaExceeded", err)
	}
	s.clock.now += certificateSeconds
	if _, err := s.verbs.Save(ctx, s.admin, admin.SaveClientInput{Name: "c3", Request: []byte("csr")}); err != nil {
		t.Errorf("a certificate when the revoked ones have expired: %v", err)
	}
}

// A certificate that has expired and is no longer kept can still be named to revoke those that
// were renewed from it.
func TestRevokeByADroppedCertificate(t *testing.T) {
	s := newClientSite(t, 0, certificateSeconds*time.Second)
	first := s.add(t, "c1")
	s.clock.now += certificateSeconds - 1
	second := s.renewed(t, first)
	s.clock.now += certificateSeconds - 1
	s.renewed(t, second)
	if _, err := s.verbs.Revoke(ctx, s.admin, admin.RevokeClientInput{Name: "c1", Serial: "ff"}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("revoke a certificate that was never issued: %v; want ItemNotFound", err)
	}
	out, err := s.verbs.Revoke(ctx, s.admin, admin.RevokeClientInput{Name: "c1", Serial: first.Principal.Serial})
	if err != nil || len(out.Certificates) != 2 || out.Certificates[0].Revoked == 0 || out.Certificates[1].Revoked == 0 {
		t.Errorf("revoke the first certificate of the chain: %+v, %v; want both that are kept revoked", out.Certificates, err)
	}
}

// deletedTenants has the state deleted for some tenants.
type deletedTenants map[string]bool

func (d deletedTenants) Tenant(name string) (*core.Tenant, error) {
	if d[name] {
		return &core.Tenant{State: core.TenantDeleted}, nil
	}
	return core.TenantWithoutRow, nil
}

// A revocation list has the revoked certificates of all tenants until they expire, and every
// certificate of a tenant that was deleted.
func TestRevocationListIsComplete(t *testing.T) {
	s := newClientSite(t, 0, 0)
	deleted := deletedTenants{}
	s.Ports.TenantRows = deleted
	outside := &core.Caller{Principal: &core.Principal{Tenant: "other", ID: "root"}, Door: core.DoorREST}
	s.add(t, "c1") // certificate 1
	s.add(t, "c2") // 2
	s.clock.now += 10
	for _, name := range []string{"c1", "c2"} { // 3, 4
		if _, err := s.verbs.Save(ctx, outside, admin.SaveClientInput{Name: name, Request: []byte("csr")}); err != nil {
			t.Fatal(err)
		}
	}
	demand := func(want string) {
		t.Helper()
		if got, err := s.verbs.Revocations(ctx, s.admin); err != nil || string(got) != want {
			t.Errorf("the list has %q, %v; want %q", got, err, want)
		}
	}
	demand("")
	for _, by := range []*core.Caller{s.admin, outside} {
		if _, err := s.verbs.Revoke(ctx, by, admin.RevokeClientInput{Name: "c1"}); err != nil {
			t.Fatal(err)
		}
	}
	demand("1 3")
	deleted["other"] = true
	demand("1 3 4")
	s.clock.now += certificateSeconds - 10
	demand("3 4")
	if _, err := newClientSite(t, core.ActionReadRevocations, 0).verbs.Revocations(ctx, s.admin); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a caller whom the policy forbids it: %v; want PermissionDenied", err)
	}
	if _, err := s.verbs.Save(ctx, s.admin, admin.SaveClientInput{Name: "crl"}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("a client with the name of the list: %v; want InvalidField", err)
	}
}
