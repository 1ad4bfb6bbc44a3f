package member

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// SelfTest implements [hsm.Member].
func (m *Module) SelfTest(ctx context.Context, data hsm.KeyTemplate, keks []hsm.KeyTemplate) (breaches []string, err error) {
	if err := m.conn.checkMechanisms(); err != nil {
		return nil, err
	}
	err = m.perform(ctx, call{doing: "test the token", turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		if err := m.testKeyWrap(s); err != nil {
			return err
		}
		if err := m.testGCM(s, data); err != nil {
			return err
		}
		breaches = m.keys.chooseInPlace(s, keks)
		return nil
	}})
	return breaches, err
}

// chooseInPlace decides how keys of sets come into the token, and returns the breaches.
// The keys are copied into it. They are made in place if only copies have breaches.
func (r *keyRing) chooseInPlace(s p11.SessionHandle, keks []hsm.KeyTemplate) []string {
	copied := r.findAllBreaches(s, keks)
	if len(copied) == 0 {
		return nil
	}
	r.inPlace = true
	inPlace := r.findAllBreaches(s, keks)
	if r.inPlace = len(inPlace) == 0; r.inPlace {
		return nil
	}
	return copied
}

func (r *keyRing) findAllBreaches(s p11.SessionHandle, keks []hsm.KeyTemplate) (out []string) {
	for _, t := range keks {
		for _, breach := range r.findBreaches(s, t) {
			out = append(out, "under "+t.Purpose+" the token "+breach)
		}
	}
	return out
}

// testKeyWrap compares key wrap with the known answer of RFC 3394 §4.6.
func (m *caller) testKeyWrap(s p11.SessionHandle) error {
	kek, _ := hex.DecodeString("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
	data, _ := hex.DecodeString("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
	want, _ := hex.DecodeString("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
	k, err := m.conn.glue.createSecret(s, attributesOf(hsm.Template{Type: hsm.AES, Sensitive: true, Uses: hsm.Wrap}), kek)
	if err != nil {
		return err
	}
	defer m.conn.ctx.DestroyObject(s, k)
	d, err := m.conn.glue.createSecret(s, attributesOf(wrappableSecret), data)
	if err != nil {
		return err
	}
	defer m.conn.ctx.DestroyObject(s, d)
	got, err := m.conn.ctx.WrapKey(s, keyWrap, k, d)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return core.Errorf(core.TokenUnavailable, "token %q does not wrap keys by RFC 3394, so its blobs could not be moved to another HSM; it is not used", m.conn.cfg.Label)
	}
	return nil
}

// testGCM encrypts under a throw-away data key, and decrypts only with the data that would
// be stored. If a token makes IVs itself and does not tell them, nothing could be decrypted
// again. If a token accepts other associated data, rows could be swapped.
func (m *caller) testGCM(s p11.SessionHandle, data hsm.KeyTemplate) error {
	d, err := m.conn.ctx.GenerateKey(s, generatorOf(data.Type), setKeyAttributes(data))
	if err != nil {
		return err
	}
	defer m.conn.ctx.DestroyObject(s, d)
	refuse := func(why string) error {
		return core.Errorf(core.TokenUnavailable, "token %q fails the test of AES-GCM: %s; data that it encrypts could be lost or forged, so it is not used. See hsm.module and the firmware of the HSM", m.conn.cfg.Label, why)
	}
	text, aad := []byte("keyreeve self-test"), []byte("bound to a row")
	var sealed [2][]byte
	for i := range sealed {
		iv := make([]byte, gcmIVBytes)
		rand.Read(iv)
		if sealed[i], err = sealGCM(m.conn.ctx, s, d, iv, aad, text); err != nil {
			return err
		}
		got, err := openGCM(m.conn.ctx, s, d, sealed[i], aad)
		if err != nil || !bytes.Equal(got, text) {
			return refuse(fmt.Sprintf("its ciphertext does not decrypt with the IV that it reports (%v)", err))
		}
	}
	if bytes.Equal(sealed[0][:gcmIVBytes], sealed[1][:gcmIVBytes]) {
		return refuse("it uses one IV twice")
	}
	broken := bytes.Clone(sealed[0])
	broken[len(broken)-1] ^= 1
	for what, c := range map[string]struct{ sealed, aad []byte }{
		"it decrypts with other associated data": {sealed[0], []byte("bound to another row")},
		"it decrypts with a wrong tag":           {broken, aad},
	} {
		own, err := m.conn.openSession() // a failure may leave it inside an operation
		if err != nil {
			return err
		}
		_, err = openGCM(m.conn.ctx, own, d, c.sealed, c.aad)
		m.conn.ctx.CloseSession(own)
		if err == nil {
			return refuse(what)
		}
	}
	return nil
}
