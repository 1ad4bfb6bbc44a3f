package soft

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// rawRSA is what a token's CKM_RSA_X_509 gives.
func rawRSA(k *rsa.PrivateKey, in []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(in), k.D, k.N).FillBytes(make([]byte, k.Size()))
}

var oaepHashes = []core.HashingAlgorithm{core.HashSHA1, core.HashSHA224, core.HashSHA256, core.HashSHA384, core.HashSHA512}

// OAEP by each pair of hashes: crypto/rsa encrypts and DecodeOAEP reads, and
// what EncryptPublic made DecryptPrivate reads, with labels and without.
func TestOAEP(t *testing.T) {
	k := keystest.RSAKey(2048)
	for _, h := range oaepHashes {
		for _, mgf := range oaepHashes {
			for _, label := range [][]byte{nil, []byte("label")} {
				p := core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: h, MaskGeneratorHashing: mgf, PSource: label}
				plan, err := ResolveEncryption(p)
				if err != nil {
					t.Fatal(err)
				}
				most := k.Size() - 2*plan.Hash.Size() - 2
				for _, n := range []int{0, 1, most} {
					data := bytes.Repeat([]byte{byte(n)}, n)
					sealed, err := EncryptPublic(keystest.SPKI(t, &k.PublicKey), plan, data)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := DecodeOAEP(plan, rawRSA(k, sealed)); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%v, MGF1 %v, %d bytes: %x, %v", h, mgf, n, got, err)
					}
				}
				if _, err := EncryptPublic(keystest.SPKI(t, &k.PublicKey), plan, make([]byte, most+1)); core.CodeOf(err) != core.CryptographicFailure {
					t.Errorf("%d bytes are encrypted: %v", most+1, err)
				}
			}
		}
	}
	plan, _ := ResolveEncryption(core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256})
	sealed, err := EncryptPublic(keystest.SPKI(t, &k.PublicKey), plan, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecryptPrivate(keystest.PKCS8(t, k), plan, sealed); err != nil || string(got) != "data" {
		t.Errorf("%q, %v", got, err)
	}
}

// A changed byte of the encoded message, another label or hash and lengths that
// cannot be are all the same answer.
func TestOAEPRefuses(t *testing.T) {
	k := keystest.RSAKey(2048)
	plan, _ := ResolveEncryption(core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256, PSource: []byte("l")})
	sealed, err := EncryptPublic(keystest.SPKI(t, &k.PublicKey), plan, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	em := rawRSA(k, sealed)
	for i := range em {
		bad := bytes.Clone(em)
		bad[i] ^= 0x40
		got, err := DecodeOAEP(plan, bad)
		if err == nil && i < len(em)-4 || err != nil && (core.CodeOf(err) != core.CryptographicFailure || err.Error() != wrongPadding().Error()) {
			t.Errorf("byte %d changed: %x, %v", i, got, err)
		}
	}
	for n := range 2*32 + 3 {
		if _, err := DecodeOAEP(plan, make([]byte, n)); core.CodeOf(err) != core.CryptographicFailure {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	other := plan
	other.Label = nil
	if _, err := DecodeOAEP(other, bytes.Clone(em)); core.CodeOf(err) != core.CryptographicFailure {
		t.Errorf("another label: %v", err)
	}
	// Nothing but zeros behind the label's hash: no data begins anywhere.
	empty := make([]byte, 256)
	h := plan.Hash.New()
	h.Write(plan.Label)
	copy(empty[33:], h.Sum(nil))
	mgf1XOR(empty[33:], plan.MGF, empty[1:33])
	mgf1XOR(empty[1:33], plan.MGF, empty[33:])
	if _, err := DecodeOAEP(plan, empty); core.CodeOf(err) != core.CryptographicFailure {
		t.Errorf("no 1 before the data: %v", err)
	}
}

// PSS by each pair of hashes and several salts: what EncodePSS makes, signed
// raw, VerifyPublic takes, and crypto/rsa too where it can.
func TestPSS(t *testing.T) {
	for _, bits := range []int{2048, 1025, 1026} {
		k := keystest.RSAKey(bits)
		for _, h := range oaepHashes[:4] {
			for _, mgf := range oaepHashes {
				for _, salt := range []int32{0, 1, 20, 32} {
					p := core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, HashingAlgorithm: h, MaskGeneratorHashing: mgf, SaltLength: &salt}
					plan, err := ResolveSignature(p, core.AlgorithmRSA)
					if err != nil {
						t.Fatal(err)
					}
					digest, _ := Digest(h, []byte("data"))
					em, err := EncodePSS(&plan, digest, bits)
					if err != nil {
						t.Fatal(err)
					}
					sig := rawRSA(k, em)
					if ok, err := VerifyPublic(keystest.SPKI(t, &k.PublicKey), p, core.AlgorithmRSA, []byte("data"), false, sig); !ok || err != nil {
						t.Errorf("%d bits, %v, MGF1 %v, salt %d: %v, %v", bits, h, mgf, salt, ok, err)
					}
					if h == mgf {
						if err := rsa.VerifyPSS(&k.PublicKey, plan.Hash, digest, sig, &rsa.PSSOptions{SaltLength: int(salt)}); err != nil && salt > 0 {
							t.Errorf("%d bits, %v, salt %d: crypto/rsa: %v", bits, h, salt, err)
						}
					}
					sig[len(sig)/2] ^= 1
					if ok, _ := VerifyPublic(keystest.SPKI(t, &k.PublicKey), p, core.AlgorithmRSA, []byte("data"), false, sig); ok {
						t.Errorf("a changed signature was taken")
					}
				}
			}
		}
	}
	if _, err := EncodePSS(&SignaturePlan{Hash: crypto.SHA512, MGF: crypto.SHA512, Salt: 64}, make([]byte, 64), 1024); core.CodeOf(err) != core.InvalidField {
		t.Errorf("SHA-512 with a salt of 64 in 1,024 bits: %v", err)
	}
}

// An encoded message has no bit above its length (RFC 8017 §8.1.2), which
// differs from the modulus' by a byte when that has 8n+1 bits.
func TestPSSIntegerTooLarge(t *testing.T) {
	k := keystest.RSAKey(1025)
	salt := int32(0)
	p := core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, HashingAlgorithm: core.HashSHA256, MaskGeneratorHashing: core.HashSHA256, SaltLength: &salt}
	plan, _ := ResolveSignature(p, core.AlgorithmRSA)
	top := new(big.Int).Lsh(big.NewInt(1), 1024)
	for n := range 1000 {
		data := []byte{byte(n), byte(n >> 8)}
		digest, _ := Digest(core.HashSHA256, data)
		em, err := EncodePSS(&plan, digest, 1025)
		if err != nil {
			t.Fatal(err)
		}
		m := new(big.Int).Add(top, new(big.Int).SetBytes(em))
		if m.Cmp(k.N) >= 0 {
			continue
		}
		if ok, err := VerifyPublic(keystest.SPKI(t, &k.PublicKey), p, core.AlgorithmRSA, data, false, rawRSA(k, m.Bytes())); ok || err != nil {
			t.Errorf("a signature whose message has a bit too many: %v, %v", ok, err)
		}
		return
	}
	t.Error("no message was small enough")
}

// What SignPrivate makes VerifyPublic takes, by each scheme, over data and its
// digest; another key, data or scheme it does not take.
func TestSignAndVerify(t *testing.T) {
	ec := keystest.ECKey(t, elliptic.P384())
	ed := keystest.Ed25519Key(t)
	pub := ed.Public()
	k := keystest.RSAKey(2048)
	for what, c := range map[string]struct {
		private, public any
		alg             core.CryptographicAlgorithm
		p               core.CryptographicParameters
	}{
		"PKCS#1":  {k, &k.PublicKey, core.AlgorithmRSA, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256}},
		"PSS":     {k, &k.PublicKey, core.AlgorithmRSA, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, HashingAlgorithm: core.HashSHA256, MaskGeneratorHashing: core.HashSHA256}},
		"ECDSA":   {ec, &ec.PublicKey, core.AlgorithmEC, core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmECDSAWithSHA384}},
		"Ed25519": {ed, pub, core.AlgorithmEd25519, core.CryptographicParameters{}},
	} {
		data := []byte("data")
		sig, err := SignPrivate(keystest.PKCS8(t, c.private), c.p, c.alg, data, false)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		verify := func(data, sig []byte, digested bool) bool {
			ok, _ := VerifyPublic(keystest.SPKI(t, c.public), c.p, c.alg, data, digested, sig)
			return ok
		}
		if !verify(data, sig, false) || verify([]byte("Data"), sig, false) || verify(data, nil, false) || verify(data, append(sig, 0), false) {
			t.Errorf("%s: the signature is not judged rightly", what)
		}
		if plan, _ := ResolveSignature(c.p, c.alg); plan.Hash != 0 {
			w := plan.Hash.New()
			w.Write(data)
			if !verify(w.Sum(nil), sig, true) || verify(w.Sum(nil)[1:], sig, true) {
				t.Errorf("%s: Digested Data is not judged rightly", what)
			}
		} else if verify(data, sig, true) {
			t.Errorf("%s verifies Digested Data", what)
		}
	}
}

// The token's r|s becomes the shortest DER, whatever zeros it begins with.
func TestECDSAToDER(t *testing.T) {
	for _, size := range []int{32, 48, 66} {
		for _, lead := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			raw := bytes.Repeat([]byte{0xab}, 2*size)
			raw[0], raw[size] = lead, lead
			der, err := ECDSAToDER(raw)
			if err != nil {
				t.Fatal(err)
			}
			var s struct{ R, S *big.Int }
			rest, err := asn1.Unmarshal(der, &s)
			if err != nil || len(rest) > 0 || s.R.Cmp(new(big.Int).SetBytes(raw[:size])) != 0 || s.S.Cmp(new(big.Int).SetBytes(raw[size:])) != 0 {
				t.Errorf("%x becomes %x: %v", raw, der, err)
			}
		}
	}
	for _, n := range []int{0, 1, 65} {
		if _, err := ECDSAToDER(make([]byte, n)); core.CodeOf(err) != core.CryptographicFailure {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Parameters that contradict each other or the key are refused before anything is signed.
func TestSignatureParameters(t *testing.T) {
	trailer, negative, huge := int32(2), int32(-1), int32(513)
	for what, c := range map[string]struct {
		p   core.CryptographicParameters
		alg core.CryptographicAlgorithm
	}{
		"an ECDSA algorithm for RSA":  {core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmECDSAWithSHA256}, core.AlgorithmRSA},
		"an RSA algorithm for EC":     {core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmRSASSAPSS}, core.AlgorithmEC},
		"two hashes":                  {core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmSHA256WithRSAEncryption, HashingAlgorithm: core.HashSHA1}, core.AlgorithmRSA},
		"an unknown algorithm":        {core.CryptographicParameters{DigitalSignatureAlgorithm: 0x80000001}, core.AlgorithmRSA},
		"a key of AES":                {core.CryptographicParameters{}, core.AlgorithmAES},
		"a trailer of 2":              {core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, TrailerField: &trailer}, core.AlgorithmRSA},
		"a negative salt":             {core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, SaltLength: &negative}, core.AlgorithmRSA},
		"a salt of 513":               {core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, SaltLength: &huge}, core.AlgorithmRSA},
		"a mask generator but MGF1":   {core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, MaskGenerator: 0x80000001}, core.AlgorithmRSA},
		"an unknown hash":             {core.CryptographicParameters{HashingAlgorithm: 0x80000001}, core.AlgorithmRSA},
		"an unknown hash of the MGF1": {core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, MaskGeneratorHashing: 0x80000001}, core.AlgorithmRSA},
	} {
		if _, err := ResolveSignature(c.p, c.alg); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want InvalidField", what, err)
		}
	}
}
