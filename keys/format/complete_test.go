package format

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
)

var allClasses = []core.Class{core.ClassN, core.ClassX, core.ClassC}

// parts is a Transparent RSA Private Key of some numbers: pairs of a tag and a number.
func parts(pairs ...any) core.KeyBlock {
	kb := core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey, Algorithm: core.AlgorithmRSA}
	for i := 0; i < len(pairs); i += 2 {
		kb.Transparent = append(kb.Transparent, core.Field{Tag: pairs[i].(core.Tag), Value: core.BigInt(positive(pairs[i+1].(*big.Int).Bytes()))})
	}
	return kb
}

const (
	tagN, tagE, tagD = core.TagModulus, core.TagPublicExponent, core.TagPrivateExponent
	tagP, tagQ       = core.TagP, core.TagQ
)

// KMIP 1.4 §2.1.7.4: a Transparent RSA Private Key may come without its primes, or
// without its Private Exponent. It is completed in each class and is the same key.
func TestPartialRSAKeysAreCompleted(t *testing.T) {
	for _, size := range []int{1024, 1026, 1536, 2048, 3072} {
		key := must(rsa.GenerateKey(rand.Reader, size))
		e, p, q := big.NewInt(int64(key.E)), key.Primes[0], key.Primes[1]
		phi := new(big.Int).Mul(new(big.Int).Sub(p, big.NewInt(1)), new(big.Int).Sub(q, big.NewInt(1)))
		byPhi := new(big.Int).ModInverse(e, phi) // where crypto/rsa uses the least common multiple
		for what, kb := range map[string]core.KeyBlock{
			"N, d, e":                parts(tagN, key.N, tagD, key.D, tagE, e),
			"N, d by phi, e":         parts(tagN, key.N, tagD, byPhi, tagE, e),
			"N, d":                   parts(tagN, key.N, tagD, key.D),
			"N, P, Q, e":             parts(tagN, key.N, tagP, p, tagQ, q, tagE, e),
			"N, P, e":                parts(tagN, key.N, tagP, p, tagE, e),
			"N, Q, e":                parts(tagN, key.N, tagQ, q, tagE, e),
			"N, d, P, e":             parts(tagN, key.N, tagD, key.D, tagP, p, tagE, e),
			"N, d, P, Q, e":          parts(tagN, key.N, tagD, key.D, tagP, p, tagQ, q, tagE, e),
			"all but d":              parts(tagN, key.N, tagP, p, tagQ, q, tagE, e, core.TagPrimeExponentP, key.Precomputed.Dp, core.TagPrimeExponentQ, key.Precomputed.Dq, core.TagCRTCoefficient, key.Precomputed.Qinv),
			"N, Q, e, exponent of Q": parts(tagN, key.N, tagQ, q, tagE, e, core.TagPrimeExponentQ, key.Precomputed.Dq),
		} {
			for _, class := range allClasses {
				got, err := normalize(kb, class)
				if err != nil || got.Length != size || got.Kind != core.KeyRSA {
					t.Errorf("%d bits by %s in class %s: %+v, %v", size, what, class, got.Length, err)
					continue
				}
				back, err := x509.ParsePKCS8PrivateKey(got.Bytes)
				k, ok := back.(*rsa.PrivateKey)
				if err != nil || !ok || !k.PublicKey.Equal(&key.PublicKey) || k.Validate() != nil || k.D.Cmp(key.D) != 0 && k.D.Cmp(byPhi) != 0 {
					t.Errorf("%d bits by %s in class %s: another key is kept, %v", size, what, class, err)
				}
				if again := must(x509.MarshalPKCS8PrivateKey(back)); !bytes.Equal(again, got.Bytes) {
					t.Errorf("%d bits by %s in class %s: kept as %x, where crypto/x509 writes %x", size, what, class, got.Bytes, again)
				}
			}
		}
	}
}

// lopsided is a key of two primes of these lengths with this public exponent.
func lopsided(t *testing.T, e int64, sizes ...int) (n, d, p, q *big.Int) {
	t.Helper()
	for {
		p, q = must(rand.Prime(rand.Reader, sizes[0])), must(rand.Prime(rand.Reader, sizes[1]))
		phi := new(big.Int).Mul(new(big.Int).Sub(p, big.NewInt(1)), new(big.Int).Sub(q, big.NewInt(1)))
		if d := new(big.Int).ModInverse(big.NewInt(e), phi); d != nil && p.Cmp(q) != 0 {
			return new(big.Int).Mul(p, q), d, p, q
		}
	}
}

// Primes of unequal lengths and unusual exponents are computed as math/big does.
func TestUnusualRSAKeysAreCompleted(t *testing.T) {
	for _, sizes := range [][]int{{700, 324}, {324, 700}, {512, 513}, {640, 641}, {960, 64}} {
		for _, e := range []int64{3, 17, 255, 65537, 1<<31 - 1} {
			n, d, p, q := lopsided(t, e, sizes...)
			for what, kb := range map[string]core.KeyBlock{"N, d, e": parts(tagN, n, tagD, d, tagE, big.NewInt(e)), "N, P, Q, e": parts(tagN, n, tagP, p, tagQ, q, tagE, big.NewInt(e))} {
				k, err := readPrivate(&kb)
				if err == nil {
					err = k.completeRSA()
				}
				if err != nil {
					t.Errorf("primes of %v bits, e of %d by %s: %v", sizes, e, what, err)
					continue
				}
				if p := new(big.Int).SetBytes(k.rsa[prime1]); new(big.Int).Rem(n, p).Sign() != 0 {
					t.Errorf("P is %x", p)
				}
				if what == "N, P, Q, e" && new(big.Int).SetBytes(k.rsa[privateExponent]).Cmp(d) != 0 {
					t.Errorf("primes of %v bits, e of %d: the Private Exponent is %x, not %x", sizes, e, k.rsa[privateExponent], d)
				}
				k.forgetMade()
				for _, b := range k.made {
					if anyByte(b) {
						t.Error("a computed number is left")
					}
				}
			}
		}
	}
}

// Numbers that are no key's are refused in every class, and quickly.
func TestNumbersThatAreNoRSAKey(t *testing.T) {
	key, other := must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048))
	e, one, two := big.NewInt(int64(key.E)), big.NewInt(1), big.NewInt(2)
	mul := func(a *big.Int, b int64) *big.Int { return new(big.Int).Mul(a, big.NewInt(b)) }
	p, q := key.Primes[0], key.Primes[1]
	square := new(big.Int).Mul(p, p)
	ofSquare := new(big.Int).ModInverse(e, new(big.Int).Mul(p, new(big.Int).Sub(p, one)))
	cube := new(big.Int).Mul(square, p)
	ofCube := new(big.Int).ModInverse(e, new(big.Int).Mul(square, new(big.Int).Sub(p, one)))
	prime := must(rand.Prime(rand.Reader, 1024))
	ofPrime := new(big.Int).ModInverse(e, new(big.Int).Sub(prime, one))
	for ofPrime == nil {
		prime = must(rand.Prime(rand.Reader, 1024))
		ofPrime = new(big.Int).ModInverse(e, new(big.Int).Sub(prime, one))
	}
	three, ofThree := new(big.Int).Mul(key.N, other.Primes[0]), new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	ofThree.Mul(ofThree, new(big.Int).Sub(other.Primes[0], one)).ModInverse(e, ofThree)
	huge := new(big.Int).Lsh(one, 400_000)
	for what, kb := range map[string]core.KeyBlock{
		"another's d":                parts(tagN, key.N, tagD, other.D, tagE, e),
		"d of 0":                     parts(tagN, key.N, tagD, new(big.Int), tagE, e),
		"d of 1":                     parts(tagN, key.N, tagD, one, tagE, e),
		"d of N":                     parts(tagN, key.N, tagD, key.N, tagE, e),
		"d not below N":              parts(tagN, key.N, tagD, new(big.Int).Add(key.N, key.D), tagE, e),
		"d less 2":                   parts(tagN, key.N, tagD, new(big.Int).Sub(key.D, two), tagP, p, tagQ, q, tagE, e),
		"an even modulus":            parts(tagN, new(big.Int).Add(key.N, one), tagD, key.D, tagE, e),
		"an even modulus of P and Q": parts(tagN, mul(p, 2), tagP, p, tagQ, two, tagE, e),
		"another's P":                parts(tagN, key.N, tagP, other.Primes[0], tagQ, q, tagE, e),
		"another's Q":                parts(tagN, key.N, tagP, p, tagQ, other.Primes[1], tagE, e),
		"P of 1 and Q of N":          parts(tagN, key.N, tagP, one, tagQ, key.N, tagE, e),
		"P of N and Q of 1":          parts(tagN, key.N, tagP, key.N, tagQ, one, tagE, e),
		"P of 0":                     parts(tagN, key.N, tagP, new(big.Int), tagQ, new(big.Int), tagE, e),
		"P equal to Q":               parts(tagN, square, tagP, p, tagQ, p, tagE, e),
		"the square of a prime, d":   parts(tagN, square, tagD, ofSquare, tagE, e),
		"the cube of a prime, d":     parts(tagN, cube, tagD, ofCube, tagE, e),
		"a prime modulus, d":         parts(tagN, prime, tagD, ofPrime, tagE, e),
		"three primes, d":            parts(tagN, three, tagD, ofThree, tagE, e),
		"no prime":                   parts(tagN, mul(key.N, 15), tagP, mul(p, 3), tagQ, mul(q, 5), tagE, e),
		"N alone":                    parts(tagN, key.N, tagE, e),
		"no N":                       parts(tagD, key.D, tagP, p, tagQ, q),
		"a modulus of 1":             parts(tagN, one, tagD, key.D, tagE, e),
		"an exponent of 1":           parts(tagN, key.N, tagD, key.D, tagE, one),
		"an even exponent":           parts(tagN, key.N, tagP, p, tagQ, q, tagE, big.NewInt(65538)),
		"an exponent too long":       parts(tagN, key.N, tagP, p, tagQ, q, tagE, big.NewInt(1<<32+1)),
		"a huge exponent":            parts(tagN, key.N, tagD, key.D, tagE, huge),
		"a huge P":                   parts(tagN, key.N, tagP, huge, tagE, e),
		"a huge d":                   parts(tagN, key.N, tagD, huge, tagE, e),
		"a huge modulus":             parts(tagN, huge, tagD, huge, tagE, e),
		"a modulus too long":         parts(tagN, new(big.Int).Add(new(big.Int).Lsh(key.N, 7000), one), tagD, key.D, tagE, e),
		"another's public exponent":  parts(tagN, key.N, tagD, key.D, tagE, big.NewInt(257)),
		"another's exponent of P":    parts(tagN, key.N, tagP, p, tagQ, q, tagE, e, core.TagPrimeExponentP, key.Precomputed.Dq),
		"another's coefficient":      parts(tagN, key.N, tagD, key.D, tagP, p, tagQ, q, tagE, e, core.TagCRTCoefficient, key.Precomputed.Dq),
		"a huge coefficient":         parts(tagN, key.N, tagD, key.D, tagP, p, tagQ, q, tagE, e, core.TagCRTCoefficient, huge),
		"PKCS#1 with another's d":    pkcs1Of(key, other.D),
	} {
		for _, class := range allClasses {
			start := coretest.ProcessorTime(t)
			got, err := normalize(kb, class)
			if core.CodeOf(err) != core.InvalidField || got.Bytes != nil && anyByte(got.Bytes) {
				t.Errorf("%s in class %s: %v; want Invalid Field", what, class, err)
			}
			if took := coretest.ProcessorTime(t) - start; took > 5*time.Second {
				t.Errorf("%s took %v of a processor", what, took)
			}
		}
	}
}

func pkcs1Of(k *rsa.PrivateKey, d *big.Int) core.KeyBlock {
	return core.KeyBlock{Format: core.KeyFormatTypePKCS1, Material: der(func(b *cryptobyte.Builder) {
		addRSA(b, 0, k.N, big.NewInt(int64(k.E)), d, k.Primes[0], k.Primes[1], k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv)
	})}
}

// FuzzRSANumbers lays the arithmetic beside math/big: what is taken is one key's
// numbers, and a key's numbers are taken.
func FuzzRSANumbers(f *testing.F) {
	key := must(rsa.GenerateKey(rand.Reader, 1024))
	f.Add(key.N.Bytes(), key.D.Bytes(), []byte{}, []byte{}, uint32(key.E))
	f.Add(key.N.Bytes(), []byte{}, key.Primes[0].Bytes(), key.Primes[1].Bytes(), uint32(key.E))
	f.Add(key.N.Bytes(), key.D.Bytes(), key.Primes[0].Bytes(), []byte{}, uint32(key.E))
	f.Fuzz(func(t *testing.T, n, d, p, q []byte, e uint32) {
		if len(n) > 128 {
			return
		}
		k := &privateKey{kind: core.KeyRSA}
		k.rsa[modulus], k.rsa[privateExponent], k.rsa[prime1], k.rsa[prime2] = trimZeros(n), trimZeros(d), trimZeros(p), trimZeros(q)
		k.rsa[publicExponent] = trimZeros(binary.BigEndian.AppendUint32(nil, e))
		if k.rsa[modulus] == nil || k.rsa[publicExponent] == nil || (k.rsa[privateExponent] == nil && k.rsa[prime1] == nil && k.rsa[prime2] == nil) {
			return
		}
		refused := k.completeRSA()
		if refused == nil {
			d, p, q = k.rsa[privateExponent], k.rsa[prime1], k.rsa[prime2]
		}
		if want := belong(n, d, p, q, int64(e)); (refused == nil) != want {
			t.Errorf("refused %v, where math/big says that they belong together: %v", refused, want)
		}
	})
}

// belong reports by math/big whether numbers, of which some may be missing, are a
// key's. Without a prime it does not: what finds none may be right to refuse.
func belong(nb, db, pb, qb []byte, e int64) bool {
	n, d, p, q, one := new(big.Int).SetBytes(nb), new(big.Int).SetBytes(db), new(big.Int).SetBytes(pb), new(big.Int).SetBytes(qb), big.NewInt(1)
	switch {
	case p.Sign() == 0 && q.Sign() == 0:
		return false
	case p.Sign() == 0:
		p.Quo(n, q)
	case q.Sign() == 0:
		q.Quo(n, p)
	}
	if new(big.Int).Mul(p, q).Cmp(n) != 0 || n.BitLen() < minModulus || !p.ProbablyPrime(20) || !q.ProbablyPrime(20) || p.Cmp(q) == 0 || n.Bit(0) == 0 || e < 3 || e&1 == 0 || e >= 1<<31 {
		return false
	}
	forP, forQ := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	if d.Sign() == 0 {
		return new(big.Int).ModInverse(big.NewInt(e), new(big.Int).Mul(forP, forQ)) != nil
	}
	undone := new(big.Int).Sub(new(big.Int).Mul(d, big.NewInt(e)), one)
	return d.Cmp(n) < 0 && new(big.Int).Rem(undone, forP).Sign() == 0 && new(big.Int).Rem(undone, forQ).Sign() == 0
}

// BenchmarkCompleteRSA is the cost of checking a key, and of computing its primes.
func BenchmarkCompleteRSA(b *testing.B) {
	for _, size := range []int{2048, 4096} {
		n, d, p, q := benchNumbers(b, size)
		for what, kb := range map[string]core.KeyBlock{"primes given": parts(tagN, n, tagP, p, tagQ, q), "primes computed": parts(tagN, n, tagD, d)} {
			b.Run(fmt.Sprint(size, " ", what), func(b *testing.B) {
				for b.Loop() {
					k := must(readPrivate(&kb))
					if err := k.completeRSA(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchNumbers(b *testing.B, size int) (n, d, p, q *big.Int) {
	key := must(rsa.GenerateKey(rand.Reader, size))
	return key.N, key.D, key.Primes[0], key.Primes[1]
}

func anyByte(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return true
		}
	}
	return false
}
