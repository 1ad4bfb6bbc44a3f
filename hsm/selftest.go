package hsm

import (
	"bytes"
	"context"
	"crypto/rand"
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

// lacksMechanism names a mechanism without which no key can be kept.
func (t *Token) lacksMechanism() error {
	for _, m := range []struct {
		mech, use uint
		name      string
	}{{ckmAESKeyWrap, p11.CKF_WRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {ckmAESKeyWrap, p11.CKF_UNWRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {p11.CKM_AES_GCM, p11.CKF_ENCRYPT, "CKM_AES_GCM"},
		{p11.CKM_SHA256_HMAC, p11.CKF_SIGN, "CKM_SHA256_HMAC"}, {p11.CKM_AES_KEY_GEN, p11.CKF_GENERATE, "CKM_AES_KEY_GEN"}} {
		if !t.has(m.mech, m.use) {
			return core.Errorf(core.TokenUnavailable, "token %q lacks the mechanism %s, without which keys cannot be kept; see docs/DESIGN.md, Custody", t.cfg.Label, m.name)
		}
	}
	return nil
}

// selfTest fails only where nothing at all could be kept safely.
func (t *Token) selfTest(ctx context.Context) error {
	if err := t.lacksMechanism(); err != nil {
		return err
	}
	return t.do(ctx, "test the token", func(sh p11.SessionHandle) error {
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		if err := t.knownAnswer(sh); err != nil {
			return err
		}
		if err := t.gcmRoundTrip(sh); err != nil {
			return err
		}
		t.refusals = append(t.refusals, t.chooseBirth(sh)...)
		return nil
	})
}

// chooseBirth decides how keys of sets come into the token, and returns what it
// does not enforce. They are copied into it, unless that is what breaks the
// promise and making them in place does not.
func (t *Token) chooseBirth(sh p11.SessionHandle) []string {
	copied := t.breaches(sh)
	if len(copied) == 0 {
		return nil
	}
	t.inPlace = true
	inPlace := t.breaches(sh)
	if t.inPlace = len(inPlace) == 0; t.inPlace {
		return nil
	}
	return copied
}

func (t *Token) breaches(sh p11.SessionHandle) (out []string) {
	for _, purpose := range []string{"N", "X"} {
		for _, breach := range t.tryBreaches(sh, purpose) {
			out = append(out, notEnforced+"under "+purpose+" the token "+breach)
		}
	}
	return out
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

// gcmRoundTrip encrypts under a throw-away key like D, and decrypts by what would
// be stored. A token that makes IVs itself and does not tell which would seal
// data for good; one that takes other associated data would let rows be swapped.
func (t *Token) gcmRoundTrip(sh p11.SessionHandle) error {
	mech, tmpl, err := setAttributes("D")
	if err != nil {
		return err
	}
	d, err := t.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, d)
	refuse := func(what string) error {
		return core.Errorf(core.TokenUnavailable, "token %q fails the test of AES-GCM: %s; data that it encrypts could be lost or forged, so it is not used. See hsm.module and the firmware of the HSM", t.cfg.Label, what)
	}
	text, aad := []byte("keyreeve self-test"), []byte("bound to a row")
	var sealed [2][]byte
	for i := range sealed {
		iv := make([]byte, gcmIVBytes)
		rand.Read(iv)
		if sealed[i], err = t.gcmSeal(sh, d, iv, aad, text); err != nil {
			return err
		}
		got, err := t.gcmOpen(sh, d, sealed[i], aad)
		if err != nil || !bytes.Equal(got, text) {
			return refuse(fmt.Sprintf("what it encrypted does not decrypt with the IV that it says it used (%v)", err))
		}
	}
	if bytes.Equal(sealed[0][:gcmIVBytes], sealed[1][:gcmIVBytes]) {
		return refuse("it used one IV twice")
	}
	broken := bytes.Clone(sealed[0])
	broken[len(broken)-1] ^= 1
	for what, c := range map[string]struct{ sealed, aad []byte }{
		"it decrypts with other associated data": {sealed[0], []byte("bound to another row")},
		"it decrypts with a wrong tag":           {broken, aad},
	} {
		s, err := t.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION) // what fails may leave it in the middle
		if err != nil {
			return err
		}
		_, err = t.gcmOpen(s, d, c.sealed, c.aad)
		t.lib.CloseSession(s)
		if err == nil {
			return refuse(what)
		}
	}
	return nil
}

var errNoSoftHSM = errors.New("the library libsofthsm2.so is nowhere to be found")
