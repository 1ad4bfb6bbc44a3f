package hsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
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

var classes = []core.Class{core.ClassC, core.ClassX, core.ClassN}

// sameInEveryClass runs one operation with the same key bytes in each class and
// compares. UnsupportedByHSM is a difference that is documented: a token may lack
// what software has.
func sameInEveryClass(t *testing.T, what string, run func(core.Class) outcome) {
	t.Helper()
	want := run(core.ClassC)
	for _, class := range classes[1:] {
		if got := run(class); got != want && got.code != core.UnsupportedByHSM {
			t.Errorf("%s: class %s answers code %v and %s, class C code %v and %s", what, class, got.code, got.data, want.code, want.data)
		}
	}
}

// keysOfEveryClass registers the same bytes once for each class.
func keysOfEveryClass(t *testing.T, token *hsm.Token, alg core.CryptographicAlgorithm, kind core.KeyKind, key []byte) map[core.Class]core.Key {
	t.Helper()
	out := map[core.Class]core.Key{}
	for _, class := range classes {
		k := core.Key{Tenant: "default", ID: fmt.Sprintf("%v-%d-%s", alg, len(key), class), Type: core.ObjectTypeSymmetricKey, Algorithm: alg,
			Mask: core.MaskEncrypt | core.MaskDecrypt | core.MaskMACGenerate | core.MaskMACVerify, Bits: 8 * len(key)}
		m, _, err := token.Import(t.Context(), k, core.KeySpec{Kind: kind, Class: class, Mode: core.ModeWrapped, Bits: k.Bits, Format: core.KeyFormatTypeRaw}, key)
		if err != nil {
			t.Fatalf("%v of %d bytes, class %s: %v", alg, len(key), class, err)
		}
		k.Material = &m
		out[class] = k
	}
	return out
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
		keys := keysOfEveryClass(t, token, key.alg, key.kind, []byte("0123456789abcdefghijklmnopqrstuvwxyzABCD")[:key.n])
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

func cipherInEveryClass(t *testing.T, token *hsm.Token, keys map[core.Class]core.Key, p core.CryptographicParameters, data, iv []byte) {
	t.Helper()
	what := fmt.Sprintf("%v key of %d bits, %v, mode %v, padding %v, %d bytes, IV of %d, tag %v", keys[core.ClassC].Algorithm, keys[core.ClassC].Bits, p.CryptographicAlgorithm, p.BlockCipherMode, p.PaddingMethod, len(data), len(iv), p.TagLength)
	var sealed core.Ciphered
	sameInEveryClass(t, "Encrypt with "+what, func(class core.Class) outcome {
		out, err := token.Encrypt(t.Context(), keys[class], &core.Cipher{Parameters: p, Data: data, IV: iv})
		if err == nil && len(out.IV) > 0 {
			return outcome{data: fmt.Sprintf("an IV of %d bytes, %d bytes and a tag of %d", len(out.IV), len(out.Data), len(out.Tag))}
		}
		if err == nil && class == core.ClassC {
			sealed = out
		}
		if err == nil && out.Data == nil {
			t.Errorf("Encrypt with %s, class %s: success without Data", what, class)
		}
		return outcomeOf(err, out.Data, out.Tag)
	})
	tries := []core.Cipher{{Data: sealed.Data, Tag: sealed.Tag}, {Data: data}, {Data: append(bytes.Clone(data), 1)}}
	if p.BlockCipherMode == core.BlockCipherModeGCM {
		tries = append(tries, core.Cipher{Data: sealed.Data, Tag: []byte("wrong tag 01234")}, core.Cipher{Data: sealed.Data, Tag: []byte("short")})
	}
	for _, c := range tries {
		sameInEveryClass(t, "Decrypt with "+what, func(class core.Class) outcome {
			in := core.Cipher{Parameters: p, Data: bytes.Clone(c.Data), Tag: bytes.Clone(c.Tag), IV: iv}
			out, err := token.Decrypt(t.Context(), keys[class], &in)
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
		keys := keysOfEveryClass(t, token, key.alg, key.kind, bytes.Repeat([]byte("0123456789abcdef"), 5)[:key.n])
		for _, n := range []int{0, 1, 16, 100} {
			for _, asked := range append([]core.CryptographicAlgorithm{0, core.AlgorithmAES, core.AlgorithmDES3, core.AlgorithmChaCha20}, hmacs...) {
				for _, hash := range []core.HashingAlgorithm{0, core.HashSHA256, core.HashSHA3_256} {
					p := core.CryptographicParameters{CryptographicAlgorithm: asked, HashingAlgorithm: hash}
					what := fmt.Sprintf("a %v key of %d bytes, %v and %v, %d bytes", key.alg, key.n, asked, hash, n)
					var mac []byte
					sameInEveryClass(t, "MAC with "+what, func(class core.Class) outcome {
						out, _, err := token.MAC(t.Context(), keys[class], p, make([]byte, n))
						mac = out
						return outcomeOf(err, out)
					})
					for _, given := range [][]byte{mac, append([]byte{1}, mac...), {}} {
						sameInEveryClass(t, "MAC Verify with "+what, func(class core.Class) outcome {
							ok, _, err := token.MACVerify(t.Context(), keys[class], p, make([]byte, n), given)
							return outcomeOf(err, []byte(fmt.Sprint(ok)))
						})
					}
				}
			}
		}
	}
}
