package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// What a seal covers never changes, or all rows that are stored would be refused.
func TestSealInputs(t *testing.T) {
	o := storetest.Object("t", "one")
	o.Seq, o.Version, o.Owner, o.Group = 9, 3, "alice", "g"
	o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x\x7f", Name: "\xfe", Value: core.Text("a\"\\\x1f\x7f\u2028\xff")})
	hash, err := seals{}.RowHash(o)
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]byte{
		"9dbc12ccc4e10551": hash,
		"fb18119ac5ffd532": intentRow(&core.Intent{ID: "i", Tenant: "t", Kind: "k", CKAID: []byte("c"), Object: "o", Label: "l", Time: 5, Process: "p", Nonce: "n"}).b,
		"466d9ed840bc1a6e": keySetRow(&core.KeySet{Number: 7, Tenant: "t", Epoch: 2, State: core.KeySetActive, Checks: []byte("c")}).b,
		"5d29a06ef2a4316a": installationRow(&core.Installation{ID: "i", Created: 5}).b,
	} {
		sum := sha256.Sum256(bytes.Clone(got))
		if hex.EncodeToString(sum[:8]) != want {
			t.Errorf("the seal covers %x with the hash %x, want %s", got, sum[:8], want)
		}
	}
}
