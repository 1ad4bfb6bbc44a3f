package custody_test

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"hash"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// The Go twin is RFC 5649 itself.
func TestWrapKWPIsTheRFC(t *testing.T) {
	kek := []byte{0x58, 0x40, 0xdf, 0x6e, 0x29, 0xb0, 0x2a, 0xf1, 0xab, 0x49, 0x3b, 0x70, 0x5b, 0xf1, 0x6e, 0xa1, 0xae, 0x83, 0x38, 0xf4, 0xdc, 0xc1, 0x76, 0xa8}
	key := []byte{0xc3, 0x7b, 0x7e, 0x64, 0x92, 0x58, 0x43, 0x40, 0xbe, 0xd1, 0x22, 0x07, 0x80, 0x89, 0x41, 0x15, 0x50, 0x68, 0xf7, 0x38}
	if got := fmt.Sprintf("%x", keystest.WrapKWP(t, kek, key)); got != "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a" {
		t.Errorf("the example of RFC 5649 is %s", got)
	}
}

// transportKey makes a transport key, and returns its public half too.
func transportKey(t *testing.T, token *hsmtest.Token, transport core.Transport) (core.Key, *rsa.PublicKey) {
	t.Helper()
	k := core.Key{Tenant: "default", ID: fmt.Sprintf("transport %v", transport), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskUnwrapKey, Bits: 3072}
	m, spki, err := token.MakeTransportKey(t.Context(), k, transport)
	k = keep(t, k, m, err)
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	return k, public.(*rsa.PublicKey)
}

func encryptOAEP(t *testing.T, h hash.Hash, public *rsa.PublicKey, b []byte) []byte {
	t.Helper()
	out, err := rsa.EncryptOAEP(h, rand.Reader, public, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wrapFor wraps bytes as a client of a transport key does.
func wrapFor(t *testing.T, transport core.Transport, public *rsa.PublicKey, b []byte) []byte {
	t.Helper()
	if !transport.AES {
		return encryptOAEP(t, sha1.New(), public, b)
	}
	kek := make([]byte, 32)
	rand.Read(kek)
	return append(encryptOAEP(t, sha1.New(), public, kek), keystest.WrapKWP(t, kek, b)...)
}

// A symmetric key that comes under a transport key is the same key, in every class and mode, and
// leaves nothing else in the HSM.
func TestImportTransported(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	before, err := token.Labels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	sum, resident := sha256.Sum256(secret), 0
	for _, transport := range []core.Transport{{Hash: core.HashSHA1}, {Hash: core.HashSHA1, AES: true}} {
		with, public := transportKey(t, token, transport)
		wrapped := wrapFor(t, transport, public, secret)
		for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
			for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
				k, s := aesKey(fmt.Sprint(transport, class, mode)), spec(core.KeyAES, class, mode, 256)
				if mode == core.ModeResident {
					s.CKAID = []byte(k.ID)
					resident++
				}
				m, facts, err := token.ImportTransported(t.Context(), k, s, with, transport, wrapped)
				k = keep(t, k, m, err)
				if facts.SHA256 != nil && !bytes.Equal(facts.SHA256, sum[:]) || m.Length != 32 {
					t.Errorf("%s is another key: %x, %d bytes", k.ID, facts.SHA256, m.Length)
				}
				out, err := token.Encrypt(t.Context(), k, &core.Cipher{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}, Data: secret[:16]})
				block, _ := aes.NewCipher(secret)
				want := make([]byte, 16)
				block.Encrypt(want, secret[:16])
				if err != nil || !bytes.Equal(out.Data[:16], want) {
					t.Errorf("%s encrypts as another key: %v", k.ID, err)
				}
				if _, err := token.Clear(t.Context(), k, nil); (err == nil) != (class == core.ClassC) {
					t.Errorf("%s: Clear: %v", k.ID, err)
				}
			}
		}
		if _, err := token.Clear(t.Context(), with, nil); core.CodeOf(err) != core.Sensitive {
			t.Errorf("the transport key in clear: %v; want Sensitive", err)
		}
	}
	after, err := token.Labels(t.Context())
	if err != nil || len(after) != len(before)+resident {
		t.Errorf("%d token objects after %d, %v; want the %d resident keys more", len(after), len(before), err, resident)
	}
}

// Private keys come under a transport key with an AES key, and sign.
func TestImportTransportedPrivateKeys(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	transport := core.Transport{Hash: core.HashSHA1, AES: true}
	with, public := transportKey(t, token, transport)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kind := func(kind core.KeyKind, bits int, curve core.RecommendedCurve, class core.Class) core.KeySpec {
		return core.KeySpec{Kind: kind, Class: class, Mode: core.ModeWrapped, Bits: bits, Curve: curve, Format: core.KeyFormatTypePKCS8}
	}
	digest := sha256.Sum256([]byte("a message"))
	for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		wrapped := wrapFor(t, transport, public, keystest.PKCS8(t, rsaKey))
		k := core.Key{Tenant: "default", ID: "rsa " + string(class), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskSign, Bits: 2048}
		m, _, err := token.ImportTransported(t.Context(), k, kind(core.KeyRSA, 2048, 0, class), with, transport, wrapped)
		k = keep(t, k, m, err)
		sig, _, err := token.Sign(t.Context(), k, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256}, digest[:], true)
		if err != nil || rsa.VerifyPKCS1v15(&rsaKey.PublicKey, 5, digest[:], sig) != nil {
			t.Errorf("RSA, class %s: the signature is wrong, %v", class, err)
		}
		k = core.Key{Tenant: "default", ID: "ec " + string(class), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmEC, Mask: core.MaskSign, Bits: 256}
		m, _, err = token.ImportTransported(t.Context(), k, kind(core.KeyEC, 256, core.RecommendedCurveP256, class), with, transport, wrapFor(t, transport, public, keystest.PKCS8(t, ecKey)))
		k = keep(t, k, m, err)
		sig, _, err = token.Sign(t.Context(), k, core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, digest[:], true)
		if err != nil || !ecdsa.VerifyASN1(&ecKey.PublicKey, digest[:], sig) {
			t.Errorf("EC, class %s: the signature is wrong, %v", class, err)
		}
		if class == core.ClassC {
			der, err := token.Clear(t.Context(), k, nil)
			if back, parseErr := x509.ParsePKCS8PrivateKey(der); err != nil || parseErr != nil || !ecKey.Equal(back) {
				t.Errorf("the class C key came back as another: %v, %v", err, parseErr)
			}
		}
		for what, s := range map[string]core.KeySpec{"RSA of 3072 bits": kind(core.KeyRSA, 3072, 0, class), "EC": kind(core.KeyEC, 256, core.RecommendedCurveP256, class)} {
			if _, _, err := token.ImportTransported(t.Context(), aesKey("in"), s, with, transport, wrapped); err == nil {
				t.Errorf("an RSA key of 2048 bits was taken as %s", what)
			}
		}
	}
}

// Whatever is wrong with wrapped bytes has one answer, whichever step finds it.
func TestImportTransportedHasOneError(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	secret := bytes.Repeat([]byte{3}, 32)
	for _, transport := range []core.Transport{{Hash: core.HashSHA1}, {Hash: core.HashSHA1, AES: true}} {
		with, public := transportKey(t, token, transport)
		good := wrapFor(t, transport, public, secret)
		flipped := func(at int) []byte {
			b := bytes.Clone(good)
			b[at] ^= 1
			return b
		}
		bad := map[string][]byte{"a flipped bit of the RSA part": flipped(100), "a flipped last bit": flipped(len(good) - 1), "zeros": make([]byte, len(good)),
			"a shorter key": wrapFor(t, transport, public, secret[:16]), "a key of 29 bytes": wrapFor(t, transport, public, secret[:29]), "a longer key": wrapFor(t, transport, public, append(secret, secret[:8]...))}
		outer := secret
		if transport.AES {
			outer = bytes.Repeat([]byte{7}, 32)
			bad["an AES key of 20 bytes"] = append(encryptOAEP(t, sha1.New(), public, outer[:20]), keystest.WrapKWP(t, outer, secret)...)
			bad["another AES key"] = append(encryptOAEP(t, sha1.New(), public, outer), keystest.WrapKWP(t, secret, secret)...)
			bad["OAEP with SHA-256"] = append(encryptOAEP(t, sha256.New(), public, outer), keystest.WrapKWP(t, outer, secret)...)
		} else {
			bad["OAEP with SHA-256"] = encryptOAEP(t, sha256.New(), public, secret)
		}
		texts := map[string]bool{}
		for what, wrapped := range bad {
			_, _, err := token.ImportTransported(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), with, transport, wrapped)
			if core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%v, %s: %v; want CryptographicFailure", transport, what, err)
				continue
			}
			texts[err.Error()] = true
		}
		if len(texts) != 1 {
			t.Errorf("%v has %d answers: %v", transport, len(texts), texts)
		}
		for _, wrapped := range [][]byte{nil, good[:1], good[:len(good)-1], good[:383], append(bytes.Clone(good), 1)} {
			if _, _, err := token.ImportTransported(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), with, transport, wrapped); core.CodeOf(err) != core.InvalidField {
				t.Errorf("%v, %d bytes: %v; want InvalidField", transport, len(wrapped), err)
			}
		}
		if _, _, err := token.ImportTransported(t.Context(), aesKey("in"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), with, transport, good); err != nil {
			t.Errorf("%v: the good one: %v", transport, err)
		}
	}
}

// A transport whose hash the HSM lacks is refused when its key is made, by name.
func TestTransportNeedsItsHash(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	for _, transport := range []core.Transport{{Hash: core.HashSHA256}, {Hash: core.HashSHA256, AES: true}} {
		k := core.Key{Tenant: "default", ID: "transport", Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskUnwrapKey, Bits: 3072}
		if _, _, err := token.MakeTransportKey(t.Context(), k, transport); core.CodeOf(err) != core.UnsupportedByHSM {
			t.Errorf("%v: %v; want UnsupportedByHSM", transport, err)
		}
	}
}

// AES Key Wrap Padding does not show the last bytes of the length, so it is measured.
func TestPaddedKeysHaveTheLengthThatIsSaid(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	with, kek := clientKEK(t, token)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeAESKeyWrapPadding}
	for n := 25; n <= 32; n++ {
		_, _, err := token.ImportWrapped(t.Context(), aesKey(fmt.Sprint("in ", n)), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), with, p, keystest.WrapKWP(t, kek, bytes.Repeat([]byte{3}, n)))
		if (err == nil) != (n == 32) || (err != nil && core.CodeOf(err) != core.CryptographicFailure) {
			t.Errorf("%d bytes, said to be 32: %v", n, err)
		}
	}
}

// A key leaves by AES Key Wrap Padding as it is, or not at all: SoftHSM2 would put zeros behind it.
func TestPaddedKeysLeaveWithTheirLength(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	with, kek := clientKEK(t, token)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeAESKeyWrapPadding}
	for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
		for n := 9; n <= 33; n++ {
			secret, s := bytes.Repeat([]byte{3}, n), spec(core.KeyGeneric, core.ClassC, mode, 8*n)
			k := aesKey(fmt.Sprint("out ", mode, n))
			if mode == core.ModeResident {
				s.CKAID = []byte(k.ID)
			}
			m, _, err := token.Import(t.Context(), k, s, secret)
			k = keep(t, k, m, err)
			blob, err := token.WrapOut(t.Context(), k, with, p, nil)
			switch {
			case err != nil && (core.CodeOf(err) != core.KeyWrapTypeNotSupported || (n%8 == 0 && n >= 16)):
				t.Errorf("%s: %v", k.ID, err)
			case err == nil && !bytes.Equal(blob, keystest.WrapKWP(t, kek, secret)):
				t.Errorf("%s: another key leaves", k.ID)
			}
		}
	}
}
