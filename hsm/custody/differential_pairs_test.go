package custody_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

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
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pairAlike(t, token, fmt.Sprint("RSA-", bits), core.KeyRSA, core.AlgorithmRSA, bits, k))
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pairAlike(t, token, c.Params().Name, core.KeyEC, core.AlgorithmECDSA, c.Params().BitSize, k))
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
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
