package hsmtest

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/custody"
)

// The promises about what an HSM can do, and about the keys of sets.

func (m *memberTest) hasMechanisms() {
	for mechanism, uses := range map[hsm.MechanismType]hsm.Uses{hsm.AESGCM: hsm.Encrypt | hsm.Decrypt, hsm.AESKeyWrap: hsm.Wrap | hsm.Unwrap,
		hsm.SHA256HMAC: hsm.Sign, hsm.SHA256: hsm.Digest, hsm.RSAPKCS: hsm.Sign | hsm.Decrypt | hsm.Wrap | hsm.Unwrap, hsm.ECDSA: hsm.Sign} {
		for _, use := range []hsm.Uses{hsm.Encrypt, hsm.Decrypt, hsm.Sign, hsm.Wrap, hsm.Unwrap, hsm.Digest} {
			if m.Has(mechanism, use) != (uses&use != 0) && mechanism != hsm.RSAPKCS {
				m.Errorf("Has(%#x, %#x) is %v", mechanism, use, m.Has(mechanism, use))
			}
		}
	}
	if m.Has(0x7fff_0000, hsm.Encrypt) {
		m.Error("a mechanism that does not exist encrypts")
	}
}

func (m *memberTest) selfTestFindsWeakTemplates() {
	data, strong := custody.SetTemplate("D"), []hsm.KeyTemplate{custody.SetTemplate("N"), custody.SetTemplate("X")}
	if breaches, err := m.SelfTest(m.ctx, data, strong); err != nil || len(breaches) > 0 {
		m.Errorf("the templates of custody: %q, %v", breaches, err)
	}
	for name, weaken := range map[string]func(*hsm.KeyTemplate){
		"wraps keys that are not sensitive": func(t *hsm.KeyTemplate) { t.Wraps = nil },
		"unwraps keys readable":             func(t *hsm.KeyTemplate) { t.Unwraps = nil },
	} {
		weak := custody.SetTemplate("N")
		weak.Purpose = "weak"
		weaken(&weak)
		breaches, err := m.SelfTest(m.ctx, data, append(slices.Clone(strong), weak))
		if err != nil || len(breaches) == 0 {
			m.Errorf("no breach is found in a template that %s: %v", name, err)
		}
		for _, b := range breaches {
			if !strings.Contains(b, "weak") {
				m.Errorf("the breach %q does not name the weak template", b)
			}
		}
	}
	if left, err := m.Objects(m.ctx, ""); err != nil || len(left) > 0 {
		m.Errorf("SelfTest leaves the objects %v, %v", left, err)
	}
}

func (m *memberTest) makeKeysCompletesSets() {
	keys := m.madeSet("1")
	before, err := m.Objects(m.ctx, setLabels)
	if err != nil || len(before) != len(keys) {
		m.Fatalf("%d objects of %d keys, %v", len(before), len(keys), err)
	}
	missing := func(label string) bool { return strings.ContainsAny(label[len(label)-1:], "CRV") }
	for _, o := range before {
		if missing(o.Label) {
			if err := m.Destroy(m.ctx, o); err != nil {
				m.Fatal(err)
			}
		}
	}
	loaded, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "1", Keys: keys}})
	m.wantRefused("a set that lacks keys", err, core.TokenUnavailable)
	if loaded != 0 {
		m.Errorf("%d incomplete groups were loaded", loaded)
	}
	again := m.madeSet("1")
	for i, k := range again {
		if !missing(k.Label) { // the key of before must still have its check value
			again[i].Check = keys[i].Check
		} else if bytes.Equal(k.Check, keys[i].Check) {
			m.Errorf("the new key %s has the check value of the destroyed one", k.Label)
		}
	}
	after, err := m.Objects(m.ctx, setLabels)
	if err != nil || len(after) != len(before) {
		m.Errorf("%d objects of a completed set, %v; want %d", len(after), err, len(before))
	}
	for _, o := range before {
		kept := slices.ContainsFunc(after, func(a hsm.Object) bool { return a.Label == o.Label && bytes.Equal(a.CKAID, o.CKAID) })
		if kept == missing(o.Label) {
			m.Errorf("the object %s stays: %v", o.Label, kept)
		}
	}
	if _, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "1", Keys: again}}); err != nil {
		m.Errorf("a completed set: %v", err)
	}
}

func (m *memberTest) makeKeysRefusesOtherObjects() {
	keys := setKeys("1")
	m.keepResident(keys[0].Label, []byte("taken"), hsm.Wrap)
	_, err := m.MakeKeys(m.ctx, keys)
	m.wantRefused("another object with the label of a key", err, core.ObjectAlreadyExists)
	if !errors.Is(err, hsm.ErrNotAsMade) {
		m.Errorf("the error is not ErrNotAsMade: %v", err)
	}
	if err := m.Destroy(m.ctx, hsm.Object{Label: keys[0].Label, CKAID: []byte("taken")}); err != nil {
		m.Error(err)
	}
	m.madeSet("1")
}

// keepResident makes an AES key that stays in the HSM.
func (m *memberTest) keepResident(label string, ckaid []byte, uses hsm.Uses) *hsm.Key {
	m.Helper()
	o := hsm.Order{Generate: true, Template: hsm.Template{Type: hsm.AES, Sensitive: true, Uses: uses, Bytes: 32, Label: label, CKAID: ckaid}}
	if _, err := m.Make(m.ctx, o); err != nil {
		m.Fatal(err)
	}
	return &hsm.Key{Tenant: "t", ID: label, Label: label, CKAID: ckaid, MAC: []byte("MAC of " + label)}
}

func (m *memberTest) loadKeysTakesOnlyItsOwn() {
	one, two := m.madeSet("1"), m.madeSet("2")
	_, err := m.Use(m.ctx, &hsm.Key{Label: one[0].Label}, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: hsm.SHA256HMAC}, Data: []byte("d")})
	m.wantRefused("a key that is not loaded", err, core.TokenUnavailable)
	for i := range one {
		forged := slices.Clone(two)
		forged[i].Check = one[i].Check
		loaded, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "1", Keys: one}, {Name: "2", Keys: forged}})
		if loaded != 1 || !errors.Is(err, hsm.ErrNotAsMade) {
			m.Errorf("key %s with the check value of another key: %d groups loaded, %v", two[i].Label, loaded, err)
		}
		m.wantRefused("a wrong check value", err, core.TokenUnavailable)
		forged[i] = two[i]
		forged[i].Template.Uses ^= hsm.Derive
		if _, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "2", Keys: forged}}); !errors.Is(err, hsm.ErrNotAsMade) {
			m.Errorf("key %s with another use than its template: %v", two[i].Label, err)
		}
	}
	unchecked := setKeys("2") // a nil check value takes any
	if loaded, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "1", Keys: one}, {Name: "2", Keys: unchecked}}); err != nil || loaded != 2 {
		m.Errorf("two groups: %d loaded, %v", loaded, err)
	}
	m.keepResident(two[0].Label, []byte("second"), hsm.Wrap)
	_, err = m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "2", Keys: two}})
	m.wantRefused("two objects with one label", err, core.TokenUnavailable)
}

func (m *memberTest) loadKeysReplacesGroups() {
	one, two := m.madeSet("1"), m.madeSet("2")
	signs := func(keys []hsm.SetKey) error {
		seal := keys[slices.Index(core.KeyPurposes, "R")].Label
		_, err := m.Use(m.ctx, &hsm.Key{Label: seal}, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: hsm.SHA256HMAC}, Data: []byte("d")})
		return err
	}
	for _, keys := range [][]hsm.SetKey{one, two} {
		if _, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "tenant", Keys: keys}}); err != nil {
			m.Fatal(err)
		}
		if err := signs(keys); err != nil {
			m.Error(err)
		}
	}
	m.wantRefused("a key of the replaced group", signs(one), core.TokenUnavailable)
	forged := slices.Clone(one)
	forged[0].Check = two[0].Check
	if _, err := m.LoadKeys(m.ctx, []hsm.SetKeys{{Name: "tenant", Keys: forged}}); err == nil {
		m.Error("a forged group was loaded")
	}
	if err := signs(two); err != nil {
		m.Errorf("after a group that was refused: %v", err)
	}
}
