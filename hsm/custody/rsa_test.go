package custody_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// rsaWrapper makes an RSA pair that wraps and unwraps.
func rsaWrapper(t *testing.T, token *hsmtest.Token, id string, mask core.UsageMask) (private, public core.Key) {
	t.Helper()
	private = core.Key{Tenant: "default", ID: id, Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: mask, Bits: 2048}
	public = core.Key{Tenant: "default", ID: id + " public", Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskWrapKey, Bits: 2048}
	s := core.KeySpec{Kind: core.KeyRSA, Class: core.ClassN, Mode: core.ModeWrapped, Bits: 2048, Format: core.KeyFormatTypePKCS8}
	m, pub, _, _, err := token.GeneratePair(t.Context(), private, public, s)
	if err != nil {
		t.Fatal(err)
	}
	private.Material, public.Material = &m, &pub
	return private, public
}

func oaep(hash, mgf core.HashingAlgorithm) core.CryptographicParameters {
	return core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: hash, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: mgf}
}

var pkcs1 = core.CryptographicParameters{PaddingMethod: core.PaddingMethodPKCS1V1_5}

// A key that leaves wrapped under RSA comes back into each class and is the same
// key: OAEP with SHA-1 and PKCS#1 v1.5, which this token has.
func TestWrapUnderRSA(t *testing.T) {
	cfg := hsmtest.Config(t)
	cfg.UnwrapPKCS1 = true
	token := hsmtest.Open(t, cfg, "default")
	private, public := rsaWrapper(t, token, "rsa", core.MaskUnwrapKey)
	want := []byte("0123456789abcdef0123456789abcdef")
	for _, p := range []core.CryptographicParameters{oaep(core.HashSHA1, core.HashSHA1), oaep(core.HashSHA1, 0), pkcs1} {
		for _, from := range []core.Class{core.ClassC, core.ClassX} {
			k := aesKey(fmt.Sprintf("from %s %v", from, p.PaddingMethod))
			m, _, err := token.Import(t.Context(), k, spec(core.KeyAES, from, core.ModeWrapped, 256), want)
			k = keep(t, k, m, err)
			wrapped, err := token.WrapOut(t.Context(), k, public, p, nil)
			if err != nil || len(wrapped) != 256 || bytes.Contains(wrapped, want) {
				t.Errorf("%v, class %s: wrapped into %d bytes, %v", p.PaddingMethod, from, len(wrapped), err)
				continue
			}
			for _, to := range []core.Class{core.ClassC, core.ClassX, core.ClassN} {
				for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
					back := aesKey(fmt.Sprintf("back %s %s %v", to, mode, p.PaddingMethod))
					m, _, err := token.ImportWrapped(t.Context(), back, spec(core.KeyAES, to, mode, 256), private, p, wrapped)
					if err != nil {
						t.Errorf("%v from %s to %s %s: %v", p.PaddingMethod, from, to, mode, err)
						continue
					}
					back.Material = &m
					c := core.Cipher{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}, Data: want}
					a, err := token.Encrypt(t.Context(), k, &c)
					b, err2 := token.Encrypt(t.Context(), back, &c)
					if err != nil || err2 != nil || !bytes.Equal(a.Data, b.Data) {
						t.Errorf("%v from %s to %s %s: another key came back, %v, %v", p.PaddingMethod, from, to, mode, err, err2)
					}
					if _, err := token.Clear(t.Context(), back, nil); (err == nil) != (to == core.ClassC) {
						t.Errorf("class %s: Clear: %v", to, err)
					}
				}
			}
		}
	}
}

// Hashes that the token lacks are named as such. Class C is wrapped with every hash,
// because its bytes may be seen; a TTLV Key Value likewise.
func TestWrapUnderRSANamesHashes(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	private, public := rsaWrapper(t, token, "rsa", core.MaskUnwrapKey|core.MaskDecrypt)
	for _, hash := range []core.HashingAlgorithm{core.HashSHA256, core.HashSHA384, core.HashSHA512} {
		p := oaep(hash, hash)
		for class, want := range map[core.Class]core.Code{core.ClassC: core.Internal, core.ClassX: core.UnsupportedByHSM} {
			k := aesKey(fmt.Sprintf("%v %s", hash, class))
			m, _, err := token.Generate(t.Context(), k, spec(core.KeyAES, class, core.ModeWrapped, 256))
			k = keep(t, k, m, err)
			wrapped, err := token.WrapOut(t.Context(), k, public, p, nil)
			if core.CodeOf(err) != want || (err == nil) != (want == core.Internal) {
				t.Errorf("%v, class %s: %v; want code %v", hash, class, err, want)
			}
			if err != nil {
				continue
			}
			clear, err := token.Clear(t.Context(), k, nil)
			if err != nil {
				t.Fatal(err)
			}
			opened, err := token.Decrypt(t.Context(), private, &core.Cipher{Parameters: p, Data: wrapped})
			if err != nil || !bytes.Equal(opened.Data, clear) {
				t.Errorf("%v: what was wrapped is not the key: %v", hash, err)
			}
			if _, _, err := token.ImportWrapped(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), private, p, wrapped); core.CodeOf(err) != core.UnsupportedByHSM {
				t.Errorf("%v: unwrapped: %v; want UnsupportedByHSM", hash, err)
			}
		}
	}
	ttlv := bytes.Repeat([]byte{8}, 64)
	k := aesKey("ttlv")
	m, _, err := token.Generate(t.Context(), k, spec(core.KeyAES, core.ClassC, core.ModeWrapped, 256))
	k = keep(t, k, m, err)
	wrapped, err := token.WrapOut(t.Context(), k, public, oaep(core.HashSHA1, 0), ttlv)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := token.Decrypt(t.Context(), private, &core.Cipher{Parameters: oaep(core.HashSHA1, 0), Data: wrapped}); err != nil || !bytes.Equal(out.Data, ttlv) {
		t.Errorf("the Key Value came back as %x, %v", out.Data, err)
	}
	if _, err := token.WrapOut(t.Context(), k, public, oaep(core.HashSHA1, 0), make([]byte, 256)); core.CodeOf(err) != core.KeyWrapTypeNotSupported {
		t.Errorf("256 bytes under 2048 bits: %v", err)
	}
	if _, err := token.WrapOut(t.Context(), k, private, oaep(core.HashSHA1, 0), nil); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("wrapped under a private key: %v", err)
	}
	if _, err := token.WrapOut(t.Context(), k, public, core.CryptographicParameters{PaddingMethod: core.PaddingMethodNone}, nil); core.CodeOf(err) != core.InvalidField {
		t.Errorf("raw RSA: %v; want InvalidField", err)
	}
}

// Whatever is wrong with wrapped bytes has one answer.
func TestUnwrapUnderRSAHasOneError(t *testing.T) {
	cfg := hsmtest.Config(t)
	cfg.UnwrapPKCS1 = true
	token := hsmtest.Open(t, cfg, "default")
	private, public := rsaWrapper(t, token, "rsa", core.MaskUnwrapKey)
	for _, p := range []core.CryptographicParameters{oaep(core.HashSHA1, 0), pkcs1} {
		wrap := func(n int) []byte {
			k := core.Key{Tenant: "default", ID: fmt.Sprintf("secret %d", n), Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmHMACSHA256}
			m, _, err := token.Import(t.Context(), k, core.KeySpec{Kind: core.KeyData, Class: core.ClassC, Mode: core.ModeData, Format: core.KeyFormatTypeRaw}, bytes.Repeat([]byte{3}, n))
			k = keep(t, k, m, err)
			out, err := token.WrapOut(t.Context(), k, public, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		good := wrap(32)
		flipped := bytes.Clone(good)
		flipped[100] ^= 1
		texts := map[string]bool{}
		for what, wrapped := range map[string][]byte{"a flipped bit": flipped, "zeros": make([]byte, 256), "a shorter key": wrap(16), "an odd key": wrap(13), "a longer key": wrap(40)} {
			start := time.Now()
			_, _, err := token.ImportWrapped(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), private, p, wrapped)
			if core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%v, %s: %v; want CryptographicFailure", p.PaddingMethod, what, err)
				continue
			}
			texts[err.Error()] = true
			if p.PaddingMethod == core.PaddingMethodPKCS1V1_5 && time.Since(start) < 50*time.Millisecond {
				t.Errorf("%s was answered after %v, before the time that all answers take", what, time.Since(start))
			}
		}
		if len(texts) != 1 {
			t.Errorf("%v has %d answers: %v", p.PaddingMethod, len(texts), texts)
		}
		if _, _, err := token.ImportWrapped(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), private, p, good[1:]); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%v: 255 bytes: %v; want InvalidField", p.PaddingMethod, err)
		}
	}
}

// PKCS#1 v1.5 unwraps only where the setting says so, under keys for nothing else,
// and not for ever.
func TestUnwrapPKCS1IsGuarded(t *testing.T) {
	for _, on := range []bool{false, true} {
		cfg := hsmtest.Config(t)
		cfg.UnwrapPKCS1 = on
		token := hsmtest.Open(t, cfg, "default")
		alone, _ := rsaWrapper(t, token, "alone", core.MaskUnwrapKey)
		other, _ := rsaWrapper(t, token, "other", core.MaskUnwrapKey|core.MaskDecrypt)
		try := func(k core.Key) error {
			_, _, err := token.ImportWrapped(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), k, pkcs1, make([]byte, 256))
			return err
		}
		if !on {
			if err := try(alone); core.CodeOf(err) != core.UnsupportedByHSM {
				t.Errorf("turned off: %v; want UnsupportedByHSM", err)
			}
			token.Close(t.Context())
			continue
		}
		if err := try(other); core.CodeOf(err) != core.IncompatibleUsageMask {
			t.Errorf("under a key that also decrypts: %v; want IncompatibleUsageMask", err)
		}
		failed := 0
		for core.CodeOf(try(alone)) == core.CryptographicFailure {
			if failed++; failed > 1000 {
				t.Fatal("1,000 failures did not stop it")
			}
		}
		if err := try(alone); failed != 32 || core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("after %d failures: %v; want PermissionDenied after 32", failed, err)
		}
	}
}
