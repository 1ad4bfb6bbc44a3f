package custody_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// A seal is valid for its row and its tenant alone, also after a restart.
func TestRowSeals(t *testing.T) {
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg, "default", "other")
	row := []byte("object|default|a row")
	seal, err := token.Seal("default", row)
	if err != nil || len(seal) != 34 || !bytes.HasPrefix(seal, []byte{0, 1}) {
		t.Fatalf("a seal of %d bytes, %v; want epoch 1 and 32 bytes", len(seal), err)
	}
	if err := token.CheckSeal("default", row, seal); err != nil {
		t.Errorf("the seal of an untouched row: %v", err)
	}
	flipped := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	for what, c := range map[string]struct {
		tenant    string
		row, seal []byte
		code      core.Code
	}{
		"another tenant":        {"other", row, seal, core.CryptographicFailure},
		"a tenant without keys": {"nobody", row, seal, core.TokenUnavailable},
		"another row":           {"default", flipped(row, 3), seal, core.CryptographicFailure},
		"a shorter row":         {"default", row[:len(row)-1], seal, core.CryptographicFailure},
		"another seal":          {"default", row, flipped(seal, 20), core.CryptographicFailure},
		"a seal cut short":      {"default", row, seal[:33], core.CryptographicFailure},
		"no seal":               {"default", row, nil, core.CryptographicFailure},
		"an epoch not loaded":   {"default", row, flipped(seal, 1), core.TokenUnavailable},
	} {
		if err := token.CheckSeal(c.tenant, c.row, c.seal); core.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want code %v", what, err, c.code)
		}
	}
	// The MAC of key material has a key of its own.
	k := aesKey("k")
	m, _, err := token.Generate(ctx, k, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
	k = keep(t, k, m, err)
	if again, _ := token.Seal("default", k.Material.MAC); bytes.Equal(again, k.Material.MAC) {
		t.Error("a seal equals a material MAC")
	}
}

func BenchmarkSeal(b *testing.B) {
	token := hsmtest.Open(b, hsmtest.Config(b), "default")
	row := make([]byte, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.Seal("default", row); err != nil {
			b.Fatal(err)
		}
	}
}

// A row that names the CKA_ID of a KEK as its resident key gets no handle of it,
// and an order to destroy that CKA_ID destroys nothing.
func TestRowsDoNotReachKEKs(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	labels := func() []string {
		all, err := token.Labels(ctx)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	before := labels()
	keys, err := token.Member.Objects(ctx, "keyreeve/"+hsmtest.Installation+"/")
	if err != nil || len(keys) != 2*len(core.KeyPurposes) {
		t.Fatalf("%d keys of two sets, %v", len(keys), err)
	}
	for _, key := range keys {
		k, s := aesKey("k"), spec(core.KeyAES, core.ClassN, core.ModeResident, 256)
		s.CKAID = key.CKAID
		m, _, err := token.Generate(ctx, k, s)
		k = keep(t, k, m, err)
		named := core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: key.CKAID}
		if err := token.DestroyObject(ctx, named); err != nil { // only the row is left
			t.Fatal(err)
		}
		if _, err := token.Encrypt(ctx, k, gcm([]byte("x"))); core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "0 objects") {
			t.Errorf("%s as a client's resident key: %v", key.Label, err)
		}
		token.DestroyObject(ctx, named) // all are counted below
	}
	if after := labels(); !slices.Equal(before, after) {
		t.Errorf("of %d objects %d are left", len(before), len(after))
	}
}
