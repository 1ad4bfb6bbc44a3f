package member

import (
	"context"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/custody"
)

var bg = context.Background()

// siteID is the installation of a testSite.
var siteID = strings.Repeat("ab", 16)

// testSite is a module with a token of its own, and custody over it.
type testSite struct {
	*custody.Custody
	module *Module
}

// tokenDir is a folder of a development token.
func tokenDir(t *testing.T) string {
	t.Helper()
	if _, err := SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	return coretest.MemoryDir(t)
}

// newSite opens a fresh token without an installation.
func newSite(t *testing.T) *testSite {
	t.Helper()
	cfg, err := DevToken(tokenDir(t))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(bg) })
	c, err := custody.Open(bg, m, custody.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &testSite{c, m}
}

// newTenantSite is a site with an installation and the set 1 of the tenant "default".
func newTenantSite(t *testing.T) (*testSite, core.KeySet) {
	t.Helper()
	s := newSite(t)
	if _, err := s.MakeSystemSet(bg, siteID); err != nil {
		t.Fatal(err)
	}
	if err := s.OpenInstallation(bg, siteID); err != nil {
		t.Fatal(err)
	}
	set := s.makeSet(t, 1, "default")
	if err := s.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Fatal(err)
	}
	return s, set
}

func (s *testSite) makeSet(t *testing.T, number int64, tenant string) core.KeySet {
	t.Helper()
	set := core.KeySet{Number: number, Tenant: tenant, Epoch: 1, State: core.KeySetActive}
	var err error
	if set.Checks, err = s.MakeKeySet(bg, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// inSession runs f in a session of the module.
func (s *testSite) inSession(t *testing.T, f func(h p11.SessionHandle) error) {
	t.Helper()
	if err := s.module.perform(bg, call{doing: "test", run: func(h p11.SessionHandle, _ p11.ObjectHandle) error { return f(h) }}); err != nil {
		t.Fatal(err)
	}
}

// labels lists the labels of all token objects of the installation.
func (s *testSite) labels(t *testing.T) (labels []string) {
	t.Helper()
	all, err := s.module.Objects(bg, "keyreeve/"+siteID+"/")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		labels = append(labels, o.Label)
	}
	return labels
}

// setKey is the key of a set by its purpose, with its label.
func setKey(number, purpose string) hsm.SetKey {
	return hsm.SetKey{Label: "keyreeve/" + siteID + "/" + number + "/" + purpose, Template: custody.SetTemplate(purpose)}
}
