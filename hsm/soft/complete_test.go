package soft

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// KMIP 1.4 §2.1.7.4: a Transparent RSA Private Key may come without its primes, or
// without its Private Exponent. It is completed for class C and is the same key.
func TestPartialRSAKeysAreCompleted(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e := big.NewInt(int64(key.E))
	one := big.NewInt(1)
	part := func(pairs ...any) core.KeyBlock {
		kb := core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey, Algorithm: core.AlgorithmRSA}
		for i := 0; i < len(pairs); i += 2 {
			kb.Transparent = append(kb.Transparent, core.Field{Tag: pairs[i].(core.Tag), Value: core.BigInt(positive(pairs[i+1].(*big.Int).Bytes()))})
		}
		return kb
	}
	n, d, p, q := core.TagModulus, core.TagPrivateExponent, core.TagP, core.TagQ
	for what, kb := range map[string]core.KeyBlock{
		"N, d, e":       part(n, key.N, d, key.D, core.TagPublicExponent, e),
		"N, d":          part(n, key.N, d, key.D),
		"N, P, Q, e":    part(n, key.N, p, key.Primes[0], q, key.Primes[1], core.TagPublicExponent, e),
		"N, P, e":       part(n, key.N, p, key.Primes[0], core.TagPublicExponent, e),
		"N, d, P, e":    part(n, key.N, d, key.D, p, key.Primes[0], core.TagPublicExponent, e),
		"N, d, P, Q, e": part(n, key.N, d, key.D, p, key.Primes[0], q, key.Primes[1], core.TagPublicExponent, e),
	} {
		got, err := Formats{}.Normalize(core.ObjectTypePrivateKey, &kb, core.ClassC)
		if err != nil || got.Length != 2048 || got.Kind != core.KeyRSA {
			t.Errorf("%s: %+v, %v", what, got.Length, err)
			continue
		}
		back, err := x509.ParsePKCS8PrivateKey(got.Bytes)
		if k, ok := back.(*rsa.PrivateKey); err != nil || !ok || !k.PublicKey.Equal(&key.PublicKey) || k.Validate() != nil {
			t.Errorf("%s: another key is kept, %v", what, err)
		}
		for _, class := range []core.Class{core.ClassX, core.ClassN} {
			if _, err := (Formats{}).Normalize(core.ObjectTypePrivateKey, &kb, class); core.CodeOf(err) != core.InvalidField {
				t.Errorf("%s in class %s: %v; want Invalid Field", what, class, err)
			}
		}
	}
	for what, kb := range map[string]core.KeyBlock{
		"another's d":        part(n, key.N, d, other.D, core.TagPublicExponent, e),
		"d of 1":             part(n, key.N, d, one, core.TagPublicExponent, e),
		"d not below N":      part(n, key.N, d, new(big.Int).Add(key.N, key.D), core.TagPublicExponent, e),
		"an even modulus":    part(n, new(big.Int).Add(key.N, one), d, key.D, core.TagPublicExponent, e),
		"another's P":        part(n, key.N, p, other.Primes[0], q, key.Primes[1], core.TagPublicExponent, e),
		"another's Q":        part(n, key.N, p, key.Primes[0], q, other.Primes[1], core.TagPublicExponent, e),
		"P of 1 and Q of N":  part(n, key.N, p, one, q, key.N, core.TagPublicExponent, e),
		"P of N and Q of 1":  part(n, key.N, p, key.N, q, one, core.TagPublicExponent, e),
		"no prime":           part(n, new(big.Int).Mul(key.N, big.NewInt(15)), p, new(big.Int).Mul(key.Primes[0], big.NewInt(3)), q, new(big.Int).Mul(key.Primes[1], big.NewInt(5)), core.TagPublicExponent, e),
		"N alone":            part(n, key.N, core.TagPublicExponent, e),
		"no N":               part(d, key.D, p, key.Primes[0], q, key.Primes[1]),
		"a modulus of 1":     part(n, one, d, key.D, core.TagPublicExponent, e),
		"an exponent of 1":   part(n, key.N, d, key.D, core.TagPublicExponent, one),
		"a modulus too long": part(n, new(big.Int).Lsh(key.N, 4000), d, key.D, core.TagPublicExponent, e),
		"another's exponent": part(n, key.N, d, key.D, core.TagPublicExponent, big.NewInt(257)),
	} {
		if got, err := (Formats{}).Normalize(core.ObjectTypePrivateKey, &kb, core.ClassC); core.CodeOf(err) != core.InvalidField || got.Bytes != nil && anyByte(got.Bytes) {
			t.Errorf("%s: %v; want Invalid Field", what, err)
		}
	}
}

func anyByte(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return true
		}
	}
	return false
}
