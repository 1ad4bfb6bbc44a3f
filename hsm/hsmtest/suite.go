package hsmtest

import (
	"bytes"
	"context"
	"crypto/aes"
	"errors"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/custody"
)

// RunMember tests the promises of [hsm.Member]. open returns a member over a fresh HSM,
// which the suite closes. The HSM must have the mechanisms of SoftHSM2 and enforce
// templates.
func RunMember(t *testing.T, open func(t *testing.T) hsm.Member) {
	for name, promise := range map[string]func(*memberTest){
		"Has names mechanisms by their use":           (*memberTest).hasMechanisms,
		"SelfTest finds weak templates":               (*memberTest).selfTestFindsWeakTemplates,
		"MakeKeys makes the keys that are missing":    (*memberTest).makeKeysCompletesSets,
		"MakeKeys refuses a label that is taken":      (*memberTest).makeKeysRefusesOtherObjects,
		"LoadKeys takes only the keys that were made": (*memberTest).loadKeysTakesOnlyItsOwn,
		"LoadKeys replaces a group":                   (*memberTest).loadKeysReplacesGroups,
		"Use encrypts as the standards say":           (*memberTest).useEncrypts,
		"Use signs and digests as the standards say":  (*memberTest).useSigns,
		"Use obeys the template":                      (*memberTest).useObeysTemplates,
		"A kept handle is used for its MAC":           (*memberTest).handlesBelongToMACs,
		"Read reads only keys that may be in clear":   (*memberTest).readObeysTemplates,
		"Wrap wraps keys and bytes":                   (*memberTest).wrapWraps,
		"Wrap wraps under RSA public keys":            (*memberTest).wrapUnderRSA,
		"Make generates keys":                         (*memberTest).makeGenerates,
		"Make generates pairs":                        (*memberTest).makeGeneratesPairs,
		"Make unwraps under a wrapped key":            (*memberTest).makeUnwrapsTwice,
		"Make compares what it unwraps":               (*memberTest).makeComparesParts,
		"Objects stay until they are destroyed":       (*memberTest).objectsStayUntilDestroyed,
		"Random bytes do not repeat":                  (*memberTest).randomDoesNotRepeat,
		"A closed member refuses calls":               (*memberTest).closedMemberRefuses,
		"A member may be used at once":                (*memberTest).membersAreConcurrent,
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			t.Cleanup(func() { m.Close(context.Background()) })
			promise(&memberTest{t, m, context.Background()})
		})
	}
}

// memberTest is a member under test.
type memberTest struct {
	*testing.T
	hsm.Member
	ctx context.Context
}

// setLabels is the start of the labels of the sets that the suite makes.
const setLabels = "keyreeve-suite/set/"

// setKeys returns the keys of a set, without check values.
func setKeys(set string) (keys []hsm.SetKey) {
	for _, purpose := range core.KeyPurposes {
		keys = append(keys, hsm.SetKey{Label: setLabels + set + "/" + purpose, Template: custody.SetTemplate(purpose)})
	}
	return keys
}

// madeSet makes a set and returns its keys with their check values.
func (m *memberTest) madeSet(set string) []hsm.SetKey {
	m.Helper()
	keys := setKeys(set)
	checks, err := m.MakeKeys(m.ctx, keys)
	if err != nil || len(checks) != len(keys) {
		m.Fatalf("MakeKeys: %d check values of %d keys, %v", len(checks), len(keys), err)
	}
	for i := range keys {
		keys[i].Check = checks[i]
	}
	return keys
}

// loadedSet makes and loads a set. It returns the labels of its keys by purpose.
func (m *memberTest) loadedSet() map[string]string {
	m.Helper()
	keys, labels := m.madeSet("1"), map[string]string{}
	if loaded, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "1", Keys: keys}}); err != nil || loaded != 1 {
		m.Fatalf("LoadKeys: %d groups, %v", loaded, err)
	}
	for i, purpose := range core.KeyPurposes {
		labels[purpose] = keys[i].Label
	}
	return labels
}

// imported wraps the bytes of a new key under a KEK, and returns the name of the key with
// its uses.
func (m *memberTest) imported(id, kek string, typ hsm.KeyType, b []byte, uses hsm.Uses) *hsm.Key {
	m.Helper()
	made, err := m.Make(m.ctx, hsm.Order{Template: hsm.Template{Type: typ, Sensitive: true, Extractable: true}, Bytes: bytes.Clone(b), KEK: kek})
	if err != nil || len(made.Blob) != len(b)+8 {
		m.Fatalf("a key of %d bytes becomes a blob of %d bytes, %v", len(b), len(made.Blob), err)
	}
	return &hsm.Key{Tenant: "t", ID: id, KEK: kek, Blob: made.Blob, MAC: []byte("MAC of " + id),
		Template: hsm.Template{Type: typ, Sensitive: true, Uses: uses, Unmodifiable: true}}
}

// labels lists the labels of the objects of the suite.
func (m *memberTest) labels() (labels []string) {
	m.Helper()
	objects, err := m.Objects(m.ctx, "keyreeve-suite/")
	if err != nil {
		m.Fatal(err)
	}
	for _, o := range objects {
		labels = append(labels, o.Label)
	}
	slices.Sort(labels)
	return labels
}

// wantRefused fails the test unless err is a core.Error with one of the codes.
func (m *memberTest) wantRefused(what string, err error, codes ...core.Code) {
	m.Helper()
	if _, ok := errors.AsType[*core.Error](err); !ok || !slices.Contains(codes, core.CodeOf(err)) {
		m.Errorf("%s: %v, code %v; want an error with code %v", what, err, core.CodeOf(err), codes)
	}
}

// UnwrapRFC3394 unwraps a blob by Go's AES.
func UnwrapRFC3394(t testing.TB, kek, in []byte) []byte {
	t.Helper()
	b, _ := aes.NewCipher(kek)
	a, r := bytes.Clone(in[:8]), bytes.Clone(in[8:])
	n := len(r) / 8
	buf := make([]byte, 16)
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			copy(buf, a)
			for x, v := 0, n*j+i; x < 4; x, v = x+1, v>>8 {
				buf[7-x] ^= byte(v)
			}
			copy(buf[8:], r[(i-1)*8:i*8])
			b.Decrypt(buf, buf)
			copy(a, buf[:8])
			copy(r[(i-1)*8:], buf[8:])
		}
	}
	if !bytes.Equal(a, bytes.Repeat([]byte{0xA6}, 8)) {
		t.Fatal("the wrapped bytes have no RFC 3394 integrity")
	}
	return r
}
