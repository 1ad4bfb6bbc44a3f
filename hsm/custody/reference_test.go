package custody

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// A row that names the CKA_ID of a KEK as its resident key gets no handle of it,
// and an order to destroy that CKA_ID destroys nothing.
func TestRowsDoNotReachKEKs(t *testing.T) {
	ctx := context.Background()
	c, module := openInternal(t, "default")
	prefix := labelPrefix + c.id + "/"
	labels := func() (out []string) {
		all, err := module.Objects(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			out = append(out, o.Label)
		}
		slices.Sort(out)
		return out
	}
	before := labels()
	keys, err := module.Objects(ctx, prefix)
	if err != nil || len(keys) != 2*len(core.KeyPurposes) {
		t.Fatalf("%d keys of two sets, %v", len(keys), err)
	}
	for _, key := range keys {
		k := core.Key{Tenant: "default", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt | core.MaskWrapKey}
		n, err := c.keysOf("default")
		if err != nil {
			t.Fatal(err)
		}
		k.Material = &core.Material{Mode: core.ModeResident, Class: core.ClassN, Kind: core.KeyAES, Length: 32, CKAID: key.CKAID}
		n.bind(k, k.Material)
		cipher := &core.Cipher{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM}, Data: []byte("x")}
		if _, err := c.Encrypt(ctx, k, cipher); core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "0 objects") {
			t.Errorf("%s as a client's resident key: %v", key.Label, err)
		}
		c.DestroyObject(ctx, core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: key.CKAID}) // all are counted below
	}
	if after := labels(); !slices.Equal(before, after) {
		t.Errorf("of %d objects %d are left", len(before), len(after))
	}
}

// openInternal opens a fresh token with an installation and the keys of tenants.
func openInternal(t *testing.T, tenants ...string) (*Custody, hsm.Member) {
	t.Helper()
	if _, err := member.SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "keyreeve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err := member.DevToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := member.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, id := context.Background(), strings.Repeat("ab", 16)
	t.Cleanup(func() { m.Close(ctx) })
	c, err := Open(ctx, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.MakeSystemSet(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := c.OpenInstallation(ctx, id); err != nil {
		t.Fatal(err)
	}
	for i, tenant := range tenants {
		set := core.KeySet{Number: int64(i + 1), Tenant: tenant, Epoch: 1, State: core.KeySetActive}
		if set.Checks, err = c.MakeKeySet(ctx, set); err != nil {
			t.Fatal(err)
		}
		if err := c.LoadKeySets(ctx, []core.KeySet{set}); err != nil {
			t.Fatal(err)
		}
	}
	return c, m
}
