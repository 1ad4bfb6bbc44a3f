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

// Open opens a fresh token with the keys of tenants, and closes it with the test.
func Open(t testing.TB, cfg hsm.Config, tenants ...string) *hsm.Token {
	t.Helper()
	ctx := context.Background()
	token, err := hsm.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close(ctx) })
	for _, tenant := range tenants {
		if err := token.LoadTenantKeys(ctx, TenantKeys(t, token, tenant)); err != nil {
			t.Fatal(err)
		}
	}
	return token
}

// TenantKeys makes the five keys of a tenant.
func TenantKeys(t testing.TB, token *hsm.Token, tenant string) []core.TenantKey {
	t.Helper()
	var keys []core.TenantKey
	for i, p := range []string{"N", "X", "C", "D", "R"} {
		k := core.TenantKey{Tenant: tenant, Purpose: p, Epoch: 1, Token: append([]byte(tenant + "---------------")[:15], byte(i)), State: "active"}
		if err := token.MakeTenantKey(context.Background(), k); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}
