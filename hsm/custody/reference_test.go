package custody_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

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
