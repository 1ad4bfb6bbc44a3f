// Package hsmtest gives tests a token of their own. SoftHSM2 knows one
// configuration a process, so tests that use it do not run in parallel.
package hsmtest

import (
	"context"
	"os"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Dir makes a folder that goes with the test, in memory where there is such a
// place: SoftHSM2 writes a lot of small files.
func Dir(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/dev/shm"); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "keyreeve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Config makes a fresh SoftHSM2 token, or skips the test when there is none.
func Config(t testing.TB) hsm.Config {
	t.Helper()
	if _, err := hsm.SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	cfg, err := hsm.DevToken(Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Installation is the id of the installation that Open makes.
const Installation = "00112233445566778899aabbccddeeff"

// Open opens a token with the keys of tenants, makes those that it lacks, and
// closes it with the test. The sets of the tenants are 1, 2, 3 and so on.
func Open(t testing.TB, cfg hsm.Config, tenants ...string) *hsm.Token {
	t.Helper()
	ctx := context.Background()
	token, err := hsm.Open(ctx, cfg)
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

// KeySet makes the keys of a tenant's first epoch that the token lacks.
func KeySet(t testing.TB, token *hsm.Token, number int64, tenant string) core.KeySet {
	t.Helper()
	s := core.KeySet{Number: number, Tenant: tenant, Epoch: 1, State: core.KeySetActive}
	var err error
	if s.Checks, err = token.MakeKeySet(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	return s
}
