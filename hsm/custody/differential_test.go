package custody_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// outcome is what a caller sees of one operation.
type outcome struct {
	code core.Code
	data string
}

func outcomeOf(err error, parts ...[]byte) outcome {
	if err != nil {
		return outcome{code: core.CodeOf(err)}
	}
	return outcome{data: fmt.Sprintf("%x", parts)}
}

// custody is how a key is kept.
type custody struct {
	class core.Class
	mode  core.Mode
}

// custodies are compared with the first.
var custodies = []custody{{core.ClassC, core.ModeWrapped}, {core.ClassX, core.ModeWrapped}, {core.ClassN, core.ModeWrapped}, {core.ClassX, core.ModeResident}, {core.ClassN, core.ModeResident}}

// keptAlike are keys of the same bytes. Data is not resident.
type keptAlike map[custody]core.Key

// sameInEveryClass runs one operation with each key and compares. UnsupportedByHSM
// is a difference that is documented: a token may lack what software has.
func (keys keptAlike) sameInEveryClass(t *testing.T, what string, run func(core.Key) outcome) {
	t.Helper()
	want := run(keys[custodies[0]])
	for _, c := range custodies[1:] {
		k, kept := keys[c]
		if !kept {
			continue
		}
		if got := run(k); got != want && got.code != core.UnsupportedByHSM {
			t.Errorf("%s: class %s %s answers code %v and %s, class C code %v and %s", what, c.class, c.mode, got.code, got.data, want.code, want.data)
		}
	}
}

// keepAlike imports the same bytes in each custody.
func keepAlike(t *testing.T, token *hsmtest.Token, k core.Key, kind core.KeyKind, key []byte) keptAlike {
	t.Helper()
	out := keptAlike{}
	for _, c := range custodies {
		if c.mode == core.ModeResident && kind == core.KeyData || c.mode == core.ModeWrapped && c.class != core.ClassC && kind == core.KeyEd25519 {
			continue // SoftHSM2 does not wrap Ed25519 keys
		}
		k := k
		k.Tenant, k.ID = "default", fmt.Sprintf("%v-%d-%s-%s", k.Algorithm, k.Bits, c.class, c.mode)
		m, _, err := token.Import(t.Context(), k, spec(kind, c.class, c.mode, k.Bits), key)
		if err != nil {
			t.Fatalf("%v of %d bits, class %s %s: %v", k.Algorithm, k.Bits, c.class, c.mode, err)
		}
		k.Material = &m
		out[c] = k
	}
	return out
}

// symmetricAlike is keepAlike of a symmetric key.
func symmetricAlike(t *testing.T, token *hsmtest.Token, alg core.CryptographicAlgorithm, kind core.KeyKind, key []byte) keptAlike {
	t.Helper()
	return keepAlike(t, token, core.Key{Type: core.ObjectTypeSymmetricKey, Algorithm: alg, Bits: 8 * len(key),
		Mask: core.MaskEncrypt | core.MaskDecrypt | core.MaskMACGenerate | core.MaskMACVerify}, kind, key)
}

// The class of a key decides where it is used, and not what a client is answered:
// ciphers, with every mode, padding, length of data, IV and tag that is of interest.
func TestCiphersAreTheSameInEveryClass(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	tag := func(n int32) *int32 { return &n }
	for _, key := range []struct {
		alg  core.CryptographicAlgorithm
		kind core.KeyKind
		n    int
	}{{core.AlgorithmAES, core.KeyAES, 16}, {core.AlgorithmAES, core.KeyAES, 32}, {core.AlgorithmDES3, core.KeyDES3, 24}, {core.AlgorithmAES, core.KeyData, 40}, {core.AlgorithmBlowfish, core.KeyData, 16}, {core.AlgorithmHMACSHA256, core.KeyGeneric, 32}} {
		keys := symmetricAlike(t, token, key.alg, key.kind, []byte("0123456789abcdefghijklmnopqrstuvwxyzABCD")[:key.n])
		for _, mode := range []core.BlockCipherMode{0, core.BlockCipherModeECB, core.BlockCipherModeCBC, core.BlockCipherModeCTR, core.BlockCipherModeGCM, core.BlockCipherModeXTS} {
			for _, padding := range []core.PaddingMethod{0, core.PaddingMethodNone, core.PaddingMethodPKCS5, core.PaddingMethodOAEP} {
				for _, n := range []int{0, 1, 8, 16, 33} {
					for _, iv := range []int{0, 8, 12, 16} {
						for _, tagLength := range []*int32{nil, tag(12), tag(1)} {
							if mode != core.BlockCipherModeGCM && tagLength != nil && n != 16 {
								continue // bounded: once for each mode
							}
							for _, asked := range []core.CryptographicAlgorithm{key.alg, core.AlgorithmAES, core.AlgorithmDES3, core.AlgorithmHMACSHA1} {
								if asked != key.alg && (n != 16 || tagLength != nil || padding > core.PaddingMethodNone) {
									continue
								}
								p := core.CryptographicParameters{CryptographicAlgorithm: asked, BlockCipherMode: mode, PaddingMethod: padding, TagLength: tagLength}
								cipherInEveryClass(t, token, keys, p, bytes.Repeat([]byte{7}, n), bytes.Repeat([]byte{9}, iv))
							}
						}
					}
				}
			}
		}
	}
}

func cipherInEveryClass(t *testing.T, token *hsmtest.Token, keys keptAlike, p core.CryptographicParameters, data, iv []byte) {
	t.Helper()
	what := fmt.Sprintf("%v key of %d bits, %v, mode %v, padding %v, %d bytes, IV of %d, tag %v", keys[custodies[0]].Algorithm, keys[custodies[0]].Bits, p.CryptographicAlgorithm, p.BlockCipherMode, p.PaddingMethod, len(data), len(iv), p.TagLength)
	var sealed core.Ciphered
	keys.sameInEveryClass(t, "Encrypt with "+what, func(k core.Key) outcome {
		out, err := token.Encrypt(t.Context(), k, &core.Cipher{Parameters: p, Data: data, IV: iv})
		if err == nil && len(out.IV) > 0 {
			return outcome{data: fmt.Sprintf("an IV of %d bytes, %d bytes and a tag of %d", len(out.IV), len(out.Data), len(out.Tag))}
		}
		if err == nil && k.ID == keys[custodies[0]].ID {
			sealed = out
		}
		if err == nil && out.Data == nil {
			t.Errorf("Encrypt with %s, object %s: success without Data", what, k.ID)
		}
		return outcomeOf(err, out.Data, out.Tag)
	})
	tries := []core.Cipher{{Data: sealed.Data, Tag: sealed.Tag}, {Data: data}, {Data: append(bytes.Clone(data), 1)}}
	if p.BlockCipherMode == core.BlockCipherModeGCM {
		tries = append(tries, core.Cipher{Data: sealed.Data, Tag: []byte("wrong tag 01234")}, core.Cipher{Data: sealed.Data, Tag: []byte("short")})
	}
	for _, c := range tries {
		keys.sameInEveryClass(t, "Decrypt with "+what, func(k core.Key) outcome {
			in := core.Cipher{Parameters: p, Data: bytes.Clone(c.Data), Tag: bytes.Clone(c.Tag), IV: iv}
			out, err := token.Decrypt(t.Context(), k, &in)
			return outcomeOf(err, out.Data)
		})
	}
}

// MACs likewise: every algorithm with every kind of key and length of data.
func TestMACsAreTheSameInEveryClass(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	hmacs := []core.CryptographicAlgorithm{core.AlgorithmHMACSHA1, core.AlgorithmHMACSHA256, core.AlgorithmHMACSHA512}
	for _, key := range []struct {
		alg  core.CryptographicAlgorithm
		kind core.KeyKind
		n    int
	}{{core.AlgorithmAES, core.KeyAES, 16}, {core.AlgorithmDES3, core.KeyDES3, 24}, {core.AlgorithmHMACSHA256, core.KeyGeneric, 16}, {core.AlgorithmHMACSHA256, core.KeyGeneric, 32},
		{core.AlgorithmHMACSHA512, core.KeyGeneric, 64}, {core.AlgorithmHMACSHA1, core.KeyGeneric, 72}, {core.AlgorithmBlowfish, core.KeyData, 16}} {
		keys := symmetricAlike(t, token, key.alg, key.kind, bytes.Repeat([]byte("0123456789abcdef"), 5)[:key.n])
		for _, n := range []int{0, 1, 16, 100} {
			for _, asked := range append([]core.CryptographicAlgorithm{0, core.AlgorithmAES, core.AlgorithmDES3, core.AlgorithmChaCha20}, hmacs...) {
				for _, hash := range []core.HashingAlgorithm{0, core.HashSHA256, core.HashSHA3_256} {
					p := core.CryptographicParameters{CryptographicAlgorithm: asked, HashingAlgorithm: hash}
					what := fmt.Sprintf("a %v key of %d bytes, %v and %v, %d bytes", key.alg, key.n, asked, hash, n)
					var mac []byte
					keys.sameInEveryClass(t, "MAC with "+what, func(k core.Key) outcome {
						out, _, err := token.MAC(t.Context(), k, p, make([]byte, n))
						mac = out
						return outcomeOf(err, out)
					})
					for _, given := range [][]byte{mac, append([]byte{1}, mac...), {}} {
						keys.sameInEveryClass(t, "MAC Verify with "+what, func(k core.Key) outcome {
							ok, _, err := token.MACVerify(t.Context(), k, p, make([]byte, n), given)
							return outcomeOf(err, []byte(fmt.Sprint(ok)))
						})
					}
				}
			}
		}
	}
}

// pair is a key pair whose private half is kept in each custody.
type pair struct {
	what    string
	private keptAlike
	public  core.Key
	spki    []byte
}

func pairAlike(t *testing.T, token *hsmtest.Token, what string, kind core.KeyKind, alg core.CryptographicAlgorithm, bits int, key crypto.Signer) pair {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := core.Key{Tenant: "default", ID: what, Type: core.ObjectTypePublicKey, Algorithm: alg, Bits: bits, Mask: core.MaskVerify | core.MaskEncrypt}
	m, _, err := token.Import(t.Context(), public, spec(core.KeyPublic, core.ClassC, core.ModeWrapped, bits), spki)
	if err != nil {
		t.Fatal(err)
	}
	public.Material = &m
	private := core.Key{Type: core.ObjectTypePrivateKey, Algorithm: alg, Bits: bits, Mask: core.MaskSign | core.MaskDecrypt}
	return pair{what, keepAlike(t, token, private, kind, pkcs8), public, spki}
}

func pairsAlike(t *testing.T, token *hsmtest.Token) (all []pair) {
	t.Helper()
	for _, bits := range []int{1024, 2048} {
		k := keystest.RSAKey(bits)
		all = append(all, pairAlike(t, token, fmt.Sprint("RSA-", bits), core.KeyRSA, core.AlgorithmRSA, bits, k))
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k := keystest.ECKey(t, c)
		all = append(all, pairAlike(t, token, c.Params().Name, core.KeyEC, core.AlgorithmECDSA, c.Params().BitSize, k))
	}
	ed := keystest.Ed25519Key(t)
	return append(all, pairAlike(t, token, "Ed25519", core.KeyEd25519, core.AlgorithmEd25519, 256, ed))
}

// signParameters are combinations of all that says how to sign.
func signParameters() (all []core.CryptographicParameters) {
	length := func(n int32) *int32 { return &n }
	for _, padding := range []core.PaddingMethod{0, core.PaddingMethodPKCS1V1_5, core.PaddingMethodPSS, core.PaddingMethodOAEP, core.PaddingMethodNone} {
		for _, hash := range []core.HashingAlgorithm{0, core.HashSHA1, core.HashSHA256, core.HashSHA512, core.HashSHA3_256, core.HashMD5} {
			for _, scheme := range []core.DigitalSignatureAlgorithm{0, core.DigitalSignatureAlgorithmSHA256WithRSAEncryption, core.DigitalSignatureAlgorithmRSASSAPSS,
				core.DigitalSignatureAlgorithmECDSAWithSHA256, core.DigitalSignatureAlgorithmDSAWithSHA1} {
				p := core.CryptographicParameters{PaddingMethod: padding, HashingAlgorithm: hash, DigitalSignatureAlgorithm: scheme}
				all = append(all, p)
				if padding != core.PaddingMethodPSS || scheme != 0 {
					continue
				}
				for _, salt := range []*int32{nil, length(0), length(20), length(32), length(200), length(-1)} {
					for _, mgf := range []core.HashingAlgorithm{0, core.HashSHA256} {
						p.SaltLength, p.MaskGeneratorHashing = salt, mgf
						all = append(all, p)
					}
				}
			}
		}
	}
	return all
}

// Signatures are made by the same rules in every class, and each verifies.
func TestSignaturesAreTheSameInEveryClass(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	signed := 0
	for _, pair := range pairsAlike(t, token) {
		for _, p := range signParameters() {
			for _, n := range []int{0, 20, 32, 100} {
				if n != 32 && p.DigitalSignatureAlgorithm != 0 {
					continue // bounded: the length of data and the name of a scheme have nothing to do with each other
				}
				for _, digested := range []bool{false, true} {
					if n != 32 && (!digested && n > 0 || pair.what == "RSA-2048") {
						continue // bounded: only a digest has a length that counts
					}
					data := bytes.Repeat([]byte{7}, n)
					what := fmt.Sprintf("%s, padding %v, hash %v, %v, salt %v, MGF1 %v, %d bytes, digested %v", pair.what, p.PaddingMethod, p.HashingAlgorithm, p.DigitalSignatureAlgorithm, number(p.SaltLength), p.MaskGeneratorHashing, n, digested)
					pair.private.sameInEveryClass(t, "Sign with "+what, func(k core.Key) outcome {
						sig, _, err := token.Sign(t.Context(), k, p, data, digested)
						if err != nil {
							return outcomeOf(err)
						}
						signed++
						ok, _, err := token.Verify(t.Context(), pair.public, p, data, digested, sig)
						return outcomeOf(err, []byte(fmt.Sprint("verifies: ", ok)))
					})
				}
			}
		}
	}
	if signed < 1000 {
		t.Errorf("%d signatures were made: the test tries too little", signed)
	}
}

// number is what an optional number is, for people.
func number(n *int32) any {
	if n == nil {
		return "left out"
	}
	return *n
}

// RSA decryption likewise: what was encrypted in the same way, in another, and what
// was not encrypted.
func TestRSADecryptionIsTheSameInEveryClass(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	decrypted := 0
	for _, pair := range pairsAlike(t, token) {
		for _, padding := range []core.PaddingMethod{0, core.PaddingMethodPKCS1V1_5, core.PaddingMethodOAEP, core.PaddingMethodPSS, core.PaddingMethodPKCS5} {
			for _, hash := range []core.HashingAlgorithm{0, core.HashSHA1, core.HashSHA256, core.HashSHA3_256} {
				for _, mgf := range []core.HashingAlgorithm{0, core.HashSHA256} {
					for _, label := range []string{"", "label"} {
						p := core.CryptographicParameters{PaddingMethod: padding, HashingAlgorithm: hash, MaskGeneratorHashing: mgf, PSource: []byte(label)}
						what := fmt.Sprintf("Decrypt with %s, padding %v, hash %v, MGF1 %v, label %q", pair.what, padding, hash, mgf, label)
						for _, c := range ciphertexts(t, token, pair, p) {
							pair.private.sameInEveryClass(t, fmt.Sprintf("%s, %d bytes", what, len(c)), func(k core.Key) outcome {
								out, err := token.Decrypt(t.Context(), k, &core.Cipher{Parameters: p, Data: bytes.Clone(c)})
								if err == nil {
									decrypted++
								}
								return outcomeOf(err, out.Data)
							})
						}
					}
				}
			}
		}
	}
	if decrypted < 50 {
		t.Errorf("%d times something was decrypted: the test tries too little", decrypted)
	}
}

// ciphertexts are what p encrypts, what other parameters encrypt, and what nobody
// encrypted: too short, too long, not below the Modulus.
func ciphertexts(t *testing.T, token *hsmtest.Token, pair pair, p core.CryptographicParameters) [][]byte {
	t.Helper()
	size := (pair.public.Bits + 7) / 8
	out := [][]byte{nil, {1}, make([]byte, size), bytes.Repeat([]byte{0xff}, size), make([]byte, size+1), bytes.Repeat([]byte{1}, size-1)}
	for _, by := range []core.CryptographicParameters{p, {PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA1}, {PaddingMethod: core.PaddingMethodPKCS1V1_5}} {
		for _, data := range []string{"", "data"} {
			if c, err := token.Encrypt(t.Context(), pair.public, &core.Cipher{Parameters: by, Data: []byte(data)}); err == nil {
				out = append(out, c.Data)
			}
		}
	}
	return out
}
