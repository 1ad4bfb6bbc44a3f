// Package hsmtest has the suite that every [hsm.Member] must pass, and gives tests a token
// of their own. SoftHSM2 has one configuration for a process, so tests that use it do not
// run in parallel. Start at [RunMember] and [Open].
package hsmtest

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// Dir makes a folder that is removed after the test, in memory if the system can.
func Dir(t testing.TB) string {
	t.Helper()
	return coretest.MemoryDir(t)
}

// Settings are the settings of a token and of the custody over it.
type Settings struct {
	member.Config
	custody.Options
}

// Token is custody over a module of this process.
type Token struct {
	*custody.Custody
	Member *member.Module
}

// Config makes a fresh SoftHSM2 token. It skips the test if SoftHSM2 is not installed.
func Config(t testing.TB) Settings {
	t.Helper()
	if _, err := member.SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	cfg, err := member.DevToken(Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	return Settings{cfg, custody.Options{AllowSoftware: true}}
}

// Start opens a token. The caller closes it.
func Start(ctx context.Context, s Settings) (*Token, error) {
	m, err := member.Open(s.Config)
	if err != nil {
		return nil, err
	}
	c, err := custody.Open(ctx, m, s.Options)
	if err != nil {
		m.Close(ctx)
		return nil, err
	}
	return &Token{c, m}, nil
}

// Installation is the id of the installation that [Open] makes.
const Installation = "00112233445566778899aabbccddeeff"

// Open opens a token with the keys of tenants, and makes the missing ones. It closes the
// token after the test. The sets of the tenants are 1, 2, 3 and so on.
func Open(t testing.TB, s Settings, tenants ...string) *Token {
	t.Helper()
	ctx := context.Background()
	token, err := Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close(ctx) })
	if _, err := token.MakeSystemSet(ctx, Installation); err != nil && core.CodeOf(err) != core.ObjectAlreadyExists {
		t.Fatal(err)
	}
	if err := token.OpenInstallation(ctx, Installation); err != nil {
		t.Fatal(err)
	}
	for i, tenant := range tenants {
		if err := token.LoadKeySets(ctx, []core.KeySet{KeySet(t, token, int64(i+1), tenant)}); err != nil {
			t.Fatal(err)
		}
	}
	return token
}

// KeySet makes the missing keys of a tenant's first epoch.
func KeySet(t testing.TB, token *Token, number int64, tenant string) core.KeySet {
	t.Helper()
	s := core.KeySet{Number: number, Tenant: tenant, Epoch: 1, State: core.KeySetActive}
	var err error
	if s.Checks, err = token.MakeKeySet(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Labels lists the labels of all token objects of the installation, including the keys of
// sets.
func (t *Token) Labels(ctx context.Context) (labels []string, err error) {
	all, err := t.Member.Objects(ctx, "keyreeve/"+Installation+"/")
	for _, o := range all {
		labels = append(labels, o.Label)
	}
	return labels, err
}
