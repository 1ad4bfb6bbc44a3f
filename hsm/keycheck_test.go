package hsm

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

var bg = context.Background()

// siteToken is a token with an installation and the set 1 of the tenant "default".
func siteToken(t *testing.T) (*Token, core.KeySet) {
	t.Helper()
	tok := devToken(t)
	id := strings.Repeat("ab", 16)
	if _, err := tok.MakeSystemSet(bg, id); err != nil {
		t.Fatal(err)
	}
	if err := tok.OpenInstallation(bg, id); err != nil {
		t.Fatal(err)
	}
	set := madeSet(t, tok, 1, "default")
	if err := tok.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Fatal(err)
	}
	return tok, set
}

func madeSet(t *testing.T, tok *Token, number int64, tenant string) core.KeySet {
	t.Helper()
	set := core.KeySet{Number: number, Tenant: tenant, Epoch: 1, State: core.KeySetActive}
	var err error
	if set.Checks, err = tok.MakeKeySet(bg, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// plant makes a token object as an attacker would who can use the token: by the
// template that he gives, with the label that he gives.
func plant(t *testing.T, tok *Token, mech uint, tmpl []*p11.Attribute, label string, modifiable bool) {
	t.Helper()
	err := tok.do(bg, "plant", func(s p11.SessionHandle) error {
		h, err := tok.lib.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, append(slices.Clone(tmpl), p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_ID, []byte("planted"))))
		if err != nil {
			return err
		}
		change := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}
		if !modifiable {
			change = append(change, unmodifiable())
		}
		_, err = tok.lib.CopyObject(s, h, change)
		return err
	})
	if err != nil {
		t.Fatalf("plant %s: %v", label, err)
	}
}

// changed is a template with one attribute replaced, or left out with nil.
func changed(tmpl []*p11.Attribute, typ uint, a *p11.Attribute) []*p11.Attribute {
	out := slices.DeleteFunc(slices.Clone(tmpl), func(x *p11.Attribute) bool { return x.Type == typ })
	if a != nil {
		out = append(out, a)
	}
	return out
}

// Every line of every template is compared: a key with its own label that
// differs in one of them is refused, and an untouched one is taken.
func TestEveryLineOfATemplateIsCompared(t *testing.T) {
	tok, _ := siteToken(t)
	number := int64(100)
	try := func(purpose, what string, mech uint, tmpl []*p11.Attribute, modifiable, taken bool) {
		t.Helper()
		number++
		label := setLabel(tok.installation, number, purpose)
		plant(t, tok, mech, tmpl, label, modifiable)
		err := tok.do(bg, "check", func(s p11.SessionHandle) error {
			c, err := tok.newChecker(s, core.TokenUnavailable)
			if err != nil {
				return err
			}
			defer c.close()
			found, err := tok.findLabel(s, label, nil)
			if err != nil {
				return err
			}
			defer tok.lib.DestroyObject(s, found[0]) // the next search is quicker
			_, err = c.check(found[0], label, purpose, nil)
			return err
		})
		if taken != (err == nil) || (!taken && !errors.Is(err, errNotAsMade)) {
			t.Errorf("key %s with %s: %v", purpose, what, err)
		}
	}
	for _, purpose := range core.KeyPurposes {
		mech, tmpl, err := setAttributes(purpose)
		if err != nil {
			t.Fatal(err)
		}
		s := setTemplates[purpose]
		try(purpose, "its own template", mech, tmpl, false, true)
		try(purpose, "CKA_MODIFIABLE", mech, tmpl, true, false)
		try(purpose, "CKA_EXTRACTABLE", mech, changed(tmpl, p11.CKA_EXTRACTABLE, p11.NewAttribute(p11.CKA_EXTRACTABLE, true)), false, false)
		try(purpose, "no CKA_SENSITIVE", mech, changed(tmpl, p11.CKA_SENSITIVE, p11.NewAttribute(p11.CKA_SENSITIVE, false)), false, false)
		for _, use := range secretUses {
			try(purpose, "another use "+hex.EncodeToString([]byte{byte(use >> 8), byte(use)}), mech, changed(tmpl, use, p11.NewAttribute(use, !s.uses[use])), false, false)
		}
		try(purpose, "any mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, nil), false, false)
		try(purpose, "one more mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, mechanismList(s.allowed, p11.CKM_AES_ECB)), false, false)
		try(purpose, "another mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, mechanismList(p11.CKM_AES_CTR)), false, false)
		try(purpose, "another length", mech, changed(tmpl, p11.CKA_VALUE_LEN, p11.NewAttribute(p11.CKA_VALUE_LEN, 16)), false, false)
		if s.keyType != p11.CKK_AES {
			continue
		}
		lines := func(fs []flag, drop int, flip bool) *p11.Attribute {
			fs = slices.Clone(fs)
			if flip {
				fs[drop].value = !fs[drop].value
			} else {
				fs = slices.Delete(fs, drop, drop+1)
			}
			return p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(append(fs, flag{p11.CKA_DERIVE, false})...))
		}
		for i := range s.unwrap {
			try(purpose, "a line less in its unwrap template", mech, changed(tmpl, ckaUnwrapTemplate, lines(s.unwrap, i, false)), false, false)
			try(purpose, "a line turned in its unwrap template", mech, changed(tmpl, ckaUnwrapTemplate, lines(s.unwrap, i, true)), false, false)
		}
		more := append(slices.Clone(s.unwrap), flag{p11.CKA_DECRYPT, true})
		try(purpose, "a line more in its unwrap template", mech, changed(tmpl, ckaUnwrapTemplate, p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(more...))), false, false)
		if s.unwrap != nil {
			try(purpose, "no unwrap template", mech, changed(tmpl, ckaUnwrapTemplate, nil), false, false)
		}
		if s.wrap != nil {
			try(purpose, "no wrap template", mech, changed(tmpl, ckaWrapTemplate, nil), false, false)
		} else {
			try(purpose, "a wrap template", mech, changed(tmpl, ckaWrapTemplate, p11.NewAttribute(ckaWrapTemplate, nestedTemplate(flag{p11.CKA_SENSITIVE, true}))), false, false)
		}
	}
}

// A key that imitates a KEK in every line is not used: not under a client's
// label, not beside the KEK, and not in its place.
func TestImitationsAreRefused(t *testing.T) {
	tok, set := siteToken(t)
	for _, purpose := range core.KeyPurposes {
		mech, tmpl, err := setAttributes(purpose)
		if err != nil {
			t.Fatal(err)
		}
		plant(t, tok, mech, tmpl, objectLabel(tok.installation, "default", "imitation"), false)
		own := madeSet(t, tok, int64(10+len(purpose)+int(purpose[0])), "victim"+purpose)
		label := setLabel(tok.installation, own.Number, purpose)
		plant(t, tok, mech, tmpl, label, false)
		if err := tok.LoadKeySets(bg, []core.KeySet{own}); core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "2 objects") {
			t.Errorf("%s: two objects of one label: %v", purpose, err)
		}
		err = tok.do(bg, "replace", func(s p11.SessionHandle) error {
			found, err := tok.findLabel(s, label, nil)
			for _, h := range found {
				as, aerr := tok.lib.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)})
				if aerr == nil && string(as[0].Value) != "planted" {
					err = tok.lib.DestroyObject(s, h)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := tok.LoadKeySets(bg, []core.KeySet{own}); !errors.Is(err, errNotAsMade) {
			t.Errorf("%s: a key of the same template in the place of the one that was made: %v", purpose, err)
		}
	}
	if err := tok.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Errorf("the set that nobody touched: %v", err)
	}
}

// What a row says of a set is not believed: the attacker can write tenant_key, or
// has the seal of an old row.
func TestRowsDoNotChooseKeys(t *testing.T) {
	tok, set := siteToken(t)
	other := madeSet(t, tok, 2, "other")
	edit := func(f func(*core.KeySet)) core.KeySet { s := set; f(&s); return s }
	for what, sets := range map[string][]core.KeySet{
		"the set of another tenant":          {edit(func(s *core.KeySet) { s.Tenant = "eve" })},
		"numbers that were swapped":          {edit(func(s *core.KeySet) { s.Number = other.Number })},
		"a set that the token has not":       {edit(func(s *core.KeySet) { s.Number = 77 })},
		"the system set":                     {edit(func(s *core.KeySet) { s.Number = 0 })},
		"a number below":                     {edit(func(s *core.KeySet) { s.Number = -1 })},
		"check values of another set":        {edit(func(s *core.KeySet) { s.Checks = other.Checks })},
		"no check values":                    {edit(func(s *core.KeySet) { s.Checks = nil })},
		"check values cut off":               {edit(func(s *core.KeySet) { s.Checks = s.Checks[:len(s.Checks)-1] })},
		"a set that is pending":              {edit(func(s *core.KeySet) { s.State = core.KeySetPending })},
		"a set that is retired":              {edit(func(s *core.KeySet) { s.State = core.KeySetRetired })},
		"two sets of one epoch":              {set, edit(func(s *core.KeySet) { s.Number = other.Number; s.Checks = other.Checks })},
		"one set for two epochs":             {set, edit(func(s *core.KeySet) { s.Epoch = 2 })},
		"one set for two tenants":            {other, edit(func(s *core.KeySet) { s.Number = other.Number; s.Tenant = "eve"; s.Checks = other.Checks })},
		"the tenant without a name":          {edit(func(s *core.KeySet) { s.Tenant = "" })},
		"an epoch that no seal has room for": {edit(func(s *core.KeySet) { s.Epoch = core.MaxKeyEpoch + 1 })},
	} {
		if err := tok.LoadKeySets(bg, sets); err == nil {
			t.Errorf("%s was loaded", what)
		}
	}
	k := core.Key{Tenant: "default", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt}
	if _, _, err := tok.Generate(bg, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassN, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw}); err != nil {
		t.Errorf("the tenant's own keys, after the attacks: %v", err)
	}
}

// A row that names the CKA_ID of a KEK as its resident key gets no handle of it,
// and an order to destroy that CKA_ID destroys nothing.
func TestRowsDoNotReachKEKs(t *testing.T) {
	tok, set := siteToken(t)
	before, err := tok.Labels(bg)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []int64{0, set.Number} {
		for _, purpose := range core.KeyPurposes {
			var id []byte
			err := tok.do(bg, "look", func(s p11.SessionHandle) error {
				found, err := tok.findLabel(s, setLabel(tok.installation, number, purpose), nil)
				if err != nil {
					return err
				}
				as, err := tok.lib.GetAttributeValue(s, found[0], []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)})
				id = as[0].Value
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			k := core.Key{Tenant: "default", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt | core.MaskWrapKey}
			k.Material = &core.Material{Mode: core.ModeResident, Class: core.ClassN, Kind: core.KeyAES, Length: 32, Token: id}
			n, err := tok.of("default")
			if err != nil {
				t.Fatal(err)
			}
			k.Material.MAC = n.seal(k)
			if _, err := tok.use(bg, k); core.CodeOf(err) != core.TokenUnavailable {
				t.Errorf("key %s of set %d as a client's resident key: %v", purpose, number, err)
			}
			tok.DestroyObject(bg, core.TokenObject{Tenant: k.Tenant, ID: k.ID, Token: id}) // all are counted below
		}
	}
	if after, err := tok.Labels(bg); err != nil || !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
		t.Errorf("of %d objects %d are left, %v", len(before), len(after), err)
	}
}

// No tenant and no Unique Identifier makes the label of a set, or that of
// another object.
func TestLabelsCannotBeForged(t *testing.T) {
	id := strings.Repeat("ab", 16)
	sets := map[string]bool{}
	for n := range int64(20) {
		for _, p := range core.KeyPurposes {
			sets[setLabel(id, n, p)] = true
		}
	}
	seen := map[string]string{}
	names := []string{"", "a", "/", "a/b", "b", "..", "../0", "%2F", "%2f", "0", "0/N", "object", "../../0/N", "a%2Fb", "é", "\x00", "\xff", " "}
	for _, tenant := range names {
		for _, object := range names {
			l := objectLabel(id, tenant, object)
			if sets[l] || strings.Count(l, "/") != 4 {
				t.Errorf("tenant %q and object %q make the label %q", tenant, object, l)
			}
			if was, ok := seen[l]; ok {
				t.Errorf("%q and %q make one label %q", was, tenant+"|"+object, l)
			}
			seen[l] = tenant + "|" + object
			if _, ok := systemSetOf(l); ok {
				t.Errorf("%q is taken for a system set", l)
			}
		}
	}
}

// R signs its fixed texts alone; a set that a crash left half made is finished by
// the keys that it lacks, and no key is made a second time.
func TestHalfMadeSetIsFinished(t *testing.T) {
	tok, _ := siteToken(t)
	whole := madeSet(t, tok, 30, "half")
	labels := func() (ids map[string]string) {
		ids = map[string]string{}
		objects, err := tok.labelled(bg, setLabel(tok.installation, 30, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			ids[o.label] = string(o.id)
		}
		return ids
	}
	before := labels()
	err := tok.do(bg, "lose some", func(s p11.SessionHandle) error {
		for _, p := range []string{"R", "V", "S"} {
			found, err := tok.findLabel(s, setLabel(tok.installation, 30, p), nil)
			if err != nil {
				return err
			}
			if err := tok.lib.DestroyObject(s, found[0]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.LoadKeySets(bg, []core.KeySet{whole}); err == nil {
		t.Error("a set that lacks three keys was loaded")
	}
	again := madeSet(t, tok, 30, "half")
	if err := tok.LoadKeySets(bg, []core.KeySet{again}); err != nil {
		t.Error(err)
	}
	after := labels()
	for label, id := range before {
		if kept := after[label] == id; kept == strings.ContainsAny(label[len(label)-1:], "RVS") {
			t.Errorf("key %s was kept: %v", label, kept)
		}
	}
}

// A token that copies KEKs with changes gets them made in place, not copyable,
// and they are held to that.
func TestKeysMadeInPlace(t *testing.T) {
	tok, _ := siteToken(t)
	tok.inPlace = true
	for _, purpose := range []string{"N", "X"} {
		err := tok.do(bg, "test", func(s p11.SessionHandle) error {
			if got := tok.tryBreaches(s, purpose); len(got) > 0 {
				t.Errorf("class %s made in place: the token %q", purpose, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	set := madeSet(t, tok, 40, "inplace")
	if err := tok.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Error(err)
	}
	tok.inPlace = false
	copied := madeSet(t, tok, 41, "copied")
	tok.inPlace = true
	if err := tok.LoadKeySets(bg, []core.KeySet{copied}); !errors.Is(err, errNotAsMade) {
		t.Errorf("keys that can be copied on a token that copies with changes: %v", err)
	}
}
