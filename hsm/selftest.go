package hsm

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// The self-test makes throw-away keys with the very templates of the tenants'
// keys and tries what class N and X promise that nobody can do. A token that
// lets one attempt through gets no class N and X keys in mode wrapped.

const notEnforced = "classes N and X are refused in mode wrapped: "

func (t *Token) refusedClasses() []string {
	var out []string
	for _, r := range t.refusals {
		if s, ok := strings.CutPrefix(r, notEnforced); ok {
			out = append(out, s)
		}
	}
	return out
}

// selfTest fails only where nothing at all could be kept safely.
func (t *Token) selfTest(ctx context.Context) error {
	for _, m := range []struct {
		mech, use uint
		name      string
	}{{ckmAESKeyWrap, p11.CKF_WRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {ckmAESKeyWrap, p11.CKF_UNWRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {p11.CKM_AES_GCM, p11.CKF_ENCRYPT, "CKM_AES_GCM"},
		{p11.CKM_SHA256_HMAC, p11.CKF_SIGN, "CKM_SHA256_HMAC"}, {p11.CKM_AES_KEY_GEN, p11.CKF_GENERATE, "CKM_AES_KEY_GEN"}} {
		if !t.has(m.mech, m.use) {
			return core.Errorf(core.TokenUnavailable, "token %q lacks the mechanism %s, without which keys cannot be kept; see docs/DESIGN.md, Custody", t.cfg.Label, m.name)
		}
	}
	err := t.do(ctx, "test the token", func(sh p11.SessionHandle) error {
		t.admin.Lock()
		defer t.admin.Unlock()
		if err := t.knownAnswer(sh); err != nil {
			return err
		}
		for _, purpose := range []string{"N", "X"} {
			for _, breach := range t.tryBreaches(sh, purpose) {
				t.refusals = append(t.refusals, notEnforced+"under "+purpose+" the token "+breach)
			}
		}
		return nil
	})
	return err
}

// knownAnswer holds key wrap to RFC 3394 §4.6.
func (t *Token) knownAnswer(sh p11.SessionHandle) error {
	kek, _ := hex.DecodeString("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
	data, _ := hex.DecodeString("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
	want, _ := hex.DecodeString("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
	k, err := t.glue.createSecret(sh, template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, map[uint]bool{p11.CKA_WRAP: true}), kek)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, k)
	d, err := t.glue.createSecret(sh, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil), data)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, d)
	got, err := t.lib.WrapKey(sh, []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}, k, d)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return core.Errorf(core.TokenUnavailable, "token %q wraps keys in another way than RFC 3394, so its blobs could not be moved", t.cfg.Label)
	}
	return nil
}

// tryBreaches makes a KEK of a class and a key under it and returns what the
// token wrongly allowed.
func (t *Token) tryBreaches(sh p11.SessionHandle, purpose string) []string {
	kw := []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}
	mech, tmpl, err := tenantTemplate(purpose)
	if err != nil {
		return []string{err.Error()}
	}
	first, err := t.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
	if err != nil {
		return []string{fmt.Sprintf("does not take the KEK's template (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, first)
	kek, err := t.lib.CopyObject(sh, first, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false), unmodifiable()})
	if err != nil {
		return []string{fmt.Sprintf("does not make the KEK unmodifiable (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, kek)
	key, err := t.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)},
		template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, true, nil, p11.NewAttribute(p11.CKA_VALUE_LEN, 32)))
	if err != nil {
		return []string{fmt.Sprintf("makes no key (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, key)
	blob, err := t.lib.WrapKey(sh, kw, kek, key)
	if err != nil {
		return []string{fmt.Sprintf("does not wrap under the KEK (%v)", err)}
	}
	return t.attempts(sh, purpose, kek, key, blob)
}

// attempts lists what went through though it must not.
func (t *Token) attempts(sh p11.SessionHandle, purpose string, kek, known p11.ObjectHandle, blob []byte) (breaches []string) {
	kw := []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}
	must := func(what string, err error) {
		if err == nil {
			breaches = append(breaches, what)
		}
	}
	aes := func(sensitive, extractable bool) []*p11.Attribute {
		return template(p11.CKO_SECRET_KEY, p11.CKK_AES, sensitive, extractable, nil)
	}
	unwrapAs := func(what string, tmpl []*p11.Attribute) {
		h, err := t.lib.UnwrapKey(sh, kw, kek, blob, tmpl)
		if err == nil {
			t.lib.DestroyObject(sh, h)
		}
		must(what, err)
	}
	must("lets the KEK encrypt", t.lib.EncryptInit(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_ECB, nil)}, kek))
	must("lets the KEK decrypt", t.lib.DecryptInit(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_ECB, nil)}, kek))
	_, err := t.lib.GetAttributeValue(sh, kek, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
	must("lets the KEK be read", err)
	_, err = t.lib.WrapKey(sh, kw, kek, kek)
	must("lets the KEK be wrapped", err)
	for name, a := range map[string]*p11.Attribute{"DECRYPT": p11.NewAttribute(p11.CKA_DECRYPT, true), "EXTRACTABLE": p11.NewAttribute(p11.CKA_EXTRACTABLE, true),
		"SENSITIVE": p11.NewAttribute(p11.CKA_SENSITIVE, false), "MODIFIABLE": p11.NewAttribute(p11.CKA_MODIFIABLE, true)} {
		must("lets CKA_"+name+" of the KEK be changed", t.lib.SetAttributeValue(sh, kek, []*p11.Attribute{a}))
		h, err := t.lib.CopyObject(sh, kek, []*p11.Attribute{a})
		if err == nil {
			t.lib.DestroyObject(sh, h)
		}
		must("lets the KEK be copied with another CKA_"+name, err)
	}
	unwrapAs("unwraps a key readable", aes(false, true))
	unwrapAs("unwraps a key that is not sensitive", aes(false, false))
	if purpose == "N" {
		unwrapAs("unwraps a key extractable", aes(true, true))
	}
	return append(breaches, t.kept(sh, kek, blob)...)
}

// kept looks at a key that is unwrapped as it should be: some tokens take the
// template and ignore it.
func (t *Token) kept(sh p11.SessionHandle, kek p11.ObjectHandle, blob []byte) []string {
	h, err := t.lib.UnwrapKey(sh, []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}, kek, blob,
		template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, nil, unmodifiable()))
	if err != nil {
		return []string{fmt.Sprintf("does not unwrap its own blob (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, h)
	var breaches []string
	if _, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)}); err == nil {
		breaches = append(breaches, "lets an unwrapped key be read")
	}
	got, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_SENSITIVE, nil), p11.NewAttribute(p11.CKA_EXTRACTABLE, nil)})
	if err != nil || !bytes.Equal(got[0].Value, []byte{1}) || !bytes.Equal(got[1].Value, []byte{0}) {
		breaches = append(breaches, "ignores CKA_SENSITIVE or CKA_EXTRACTABLE when it unwraps")
	}
	return breaches
}

var errNoSoftHSM = errors.New("the library libsofthsm2.so is nowhere to be found")
