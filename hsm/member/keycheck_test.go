package member

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/custody"
)

// plant makes a token object as an attacker would who can use the token: by the
// template that he gives, with the label that he gives.
func (site *testSite) plant(t *testing.T, typ hsm.KeyType, tmpl []*p11.Attribute, label string, modifiable bool) {
	t.Helper()
	site.inSession(t, func(s p11.SessionHandle) error {
		h, err := site.module.conn.ctx.GenerateKey(s, generatorOf(typ), append(slices.Clone(tmpl), p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_ID, []byte("planted"))))
		if err != nil {
			return err
		}
		change := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}
		if !modifiable {
			change = append(change, unmodifiable())
		}
		_, err = site.module.conn.ctx.CopyObject(s, h, change)
		return err
	})
}

// changed is a template with one attribute replaced, or left out with nil.
func changed(tmpl []*p11.Attribute, typ uint, a *p11.Attribute) []*p11.Attribute {
	out := withoutAttribute(tmpl, typ)
	if a != nil {
		out = append(out, a)
	}
	return out
}

// Every line of every template is compared: a key with its own label that
// differs in one of them is refused, and an untouched one is taken.
func TestEveryLineOfATemplateIsCompared(t *testing.T) {
	site, _ := newTenantSite(t)
	number := 100
	try := func(purpose, what string, typ hsm.KeyType, tmpl []*p11.Attribute, modifiable, taken bool) {
		t.Helper()
		number++
		k := setKey(strconv.Itoa(number), purpose)
		site.plant(t, typ, tmpl, k.Label, modifiable)
		var err error
		site.inSession(t, func(s p11.SessionHandle) error {
			c, cerr := newChecker(site.module.conn, s, false, core.TokenUnavailable)
			if cerr != nil {
				return cerr
			}
			defer c.destroyKeys()
			found, ferr := site.module.conn.findLabel(s, k.Label, nil)
			if ferr != nil {
				return ferr
			}
			defer site.module.conn.ctx.DestroyObject(s, found[0]) // the next search is quicker
			_, err = c.checkKey(found[0], &k)
			return nil
		})
		if taken != (err == nil) || (!taken && !errors.Is(err, hsm.ErrNotAsMade)) {
			t.Errorf("key %s with %s: %v", purpose, what, err)
		}
	}
	for _, purpose := range core.KeyPurposes {
		s := custody.SetTemplate(purpose)
		mech, tmpl := s.Type, setKeyAttributes(s)
		try(purpose, "its own template", mech, tmpl, false, true)
		try(purpose, "CKA_MODIFIABLE", mech, tmpl, true, false)
		try(purpose, "CKA_EXTRACTABLE", mech, changed(tmpl, p11.CKA_EXTRACTABLE, p11.NewAttribute(p11.CKA_EXTRACTABLE, true)), false, false)
		try(purpose, "no CKA_SENSITIVE", mech, changed(tmpl, p11.CKA_SENSITIVE, p11.NewAttribute(p11.CKA_SENSITIVE, false)), false, false)
		for _, use := range secretUses {
			typ := useAttributes[use]
			try(purpose, fmt.Sprintf("another use %#x", typ), mech, changed(tmpl, typ, p11.NewAttribute(typ, s.Uses&use == 0)), false, false)
		}
		try(purpose, "any mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, nil), false, false)
		try(purpose, "one more mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, mechanismList(uint64(s.Mechanism), p11.CKM_AES_ECB)), false, false)
		try(purpose, "another mechanism", mech, changed(tmpl, p11.CKA_ALLOWED_MECHANISMS, mechanismList(p11.CKM_AES_CTR)), false, false)
		try(purpose, "another length", mech, changed(tmpl, p11.CKA_VALUE_LEN, p11.NewAttribute(p11.CKA_VALUE_LEN, 16)), false, false)
		if s.Type != hsm.AES {
			continue
		}
		lines := func(fs []flag, drop int, flip bool) *p11.Attribute {
			fs = slices.Clone(fs)
			if flip {
				fs[drop].value = !fs[drop].value
			} else {
				fs = slices.Delete(fs, drop, drop+1)
			}
			return p11.NewAttribute(p11.CKA_UNWRAP_TEMPLATE, nestedTemplate(append(fs, flag{p11.CKA_DERIVE, false})...))
		}
		for i := range s.Unwraps {
			try(purpose, "a line less in its unwrap template", mech, changed(tmpl, p11.CKA_UNWRAP_TEMPLATE, lines(flagsOf(s.Unwraps), i, false)), false, false)
			try(purpose, "a line turned in its unwrap template", mech, changed(tmpl, p11.CKA_UNWRAP_TEMPLATE, lines(flagsOf(s.Unwraps), i, true)), false, false)
		}
		more := append(flagsOf(s.Unwraps), flag{p11.CKA_DECRYPT, true})
		try(purpose, "a line more in its unwrap template", mech, changed(tmpl, p11.CKA_UNWRAP_TEMPLATE, p11.NewAttribute(p11.CKA_UNWRAP_TEMPLATE, nestedTemplate(more...))), false, false)
		if s.Unwraps != nil {
			try(purpose, "no unwrap template", mech, changed(tmpl, p11.CKA_UNWRAP_TEMPLATE, nil), false, false)
		}
		if s.Wraps != nil {
			try(purpose, "no wrap template", mech, changed(tmpl, p11.CKA_WRAP_TEMPLATE, nil), false, false)
		} else {
			try(purpose, "a wrap template", mech, changed(tmpl, p11.CKA_WRAP_TEMPLATE, p11.NewAttribute(p11.CKA_WRAP_TEMPLATE, nestedTemplate(flag{p11.CKA_SENSITIVE, true}))), false, false)
		}
	}
}

// A key that imitates a KEK in every line is not used: not under a client's
// label, not beside the KEK, and not in its place.
func TestImitationsAreRefused(t *testing.T) {
	site, set := newTenantSite(t)
	for _, purpose := range core.KeyPurposes {
		s := custody.SetTemplate(purpose)
		site.plant(t, s.Type, setKeyAttributes(s), site.ObjectLabel("default", "imitation"), false)
		own := site.makeSet(t, int64(10+len(purpose)+int(purpose[0])), "victim"+purpose)
		label := setKey(strconv.FormatInt(own.Number, 10), purpose).Label
		site.plant(t, s.Type, setKeyAttributes(s), label, false)
		if err := site.LoadKeySets(bg, []core.KeySet{own}); core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "2 objects") {
			t.Errorf("%s: two objects of one label: %v", purpose, err)
		}
		site.inSession(t, func(s p11.SessionHandle) error {
			found, err := site.module.conn.findLabel(s, label, nil)
			for _, h := range found {
				as, aerr := site.module.conn.ctx.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)})
				if aerr == nil && string(as[0].Value) != "planted" {
					err = site.module.conn.ctx.DestroyObject(s, h)
				}
			}
			return err
		})
		if err := site.LoadKeySets(bg, []core.KeySet{own}); !errors.Is(err, hsm.ErrNotAsMade) {
			t.Errorf("%s: a key of the same template in the place of the one that was made: %v", purpose, err)
		}
	}
	if err := site.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Errorf("the set that nobody touched: %v", err)
	}
}

// What a row says of a set is not believed: the attacker can write tenant_key, or
// has the seal of an old row.
func TestRowsDoNotChooseKeys(t *testing.T) {
	site, set := newTenantSite(t)
	other := site.makeSet(t, 2, "other")
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
		if err := site.LoadKeySets(bg, sets); err == nil {
			t.Errorf("%s was loaded", what)
		}
	}
	k := core.Key{Tenant: "default", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt}
	if _, _, err := site.Generate(bg, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassN, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw}); err != nil {
		t.Errorf("the tenant's own keys, after the attacks: %v", err)
	}
}

// A token that copies KEKs with changes gets them made in place, not copyable,
// and they are held to that.
func TestKeysMadeInPlace(t *testing.T) {
	site, _ := newTenantSite(t)
	site.module.keys.inPlace = true
	for _, purpose := range []string{"N", "X"} {
		site.inSession(t, func(s p11.SessionHandle) error {
			if got := site.module.keys.findBreaches(s, custody.SetTemplate(purpose)); len(got) > 0 {
				t.Errorf("class %s made in place: the token %q", purpose, got)
			}
			return nil
		})
	}
	set := site.makeSet(t, 40, "inplace")
	if err := site.LoadKeySets(bg, []core.KeySet{set}); err != nil {
		t.Error(err)
	}
	site.module.keys.inPlace = false
	copied := site.makeSet(t, 41, "copied")
	site.module.keys.inPlace = true
	if err := site.LoadKeySets(bg, []core.KeySet{copied}); !errors.Is(err, hsm.ErrNotAsMade) {
		t.Errorf("keys that can be copied on a token that copies with changes: %v", err)
	}
}
