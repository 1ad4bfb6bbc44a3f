package soft

import (
	"math/big"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds on computing what a partial RSA key lacks.
const (
	maxPartial = 4096 // bits of a modulus that is factored: it takes an exponentiation or a few
	maxBases   = 64   // tried; each finds the primes of a true key with one half or more
)

// complete computes what did not come with an RSA key: the primes from the Private
// Exponent (NIST SP 800-56B appendix C), or the Private Exponent from the primes
// (KMIP 1.4 §2.1.7.4, 2.1 §3.1.2). It is for class C alone: math/big leaves copies of
// what it computes with.
func (k *private) complete(class core.Class) error {
	if class != core.ClassC {
		return invalid("an RSA private key that shall be Sensitive or not Extractable needs Private Exponent, P, Q, Prime Exponent P, Prime Exponent Q and CRT Coefficient: to compute them here would leave copies of the key in memory")
	}
	number := func(i int) *big.Int { return new(big.Int).SetBytes(k.rsa[i]) }
	n, e := number(modulus), number(publicExponent)
	if size := n.BitLen(); size < minModulus || size > maxPartial || e.BitLen() > maxExponent || e.BitLen() < 2 {
		return invalid("a partial RSA key has a Modulus of %d to %d bits and a Public Exponent of 2 to %d; this one has %d and %d", minModulus, maxPartial, maxExponent, size, e.BitLen())
	}
	p := number(prime1)
	if p.Sign() == 0 {
		p = number(prime2)
	}
	d := number(privateExponent)
	if p.Sign() == 0 {
		if p = primeOf(n, e, d); p == nil {
			return errTogether
		}
	}
	q, rest := new(big.Int).QuoRem(n, p, new(big.Int))
	one := big.NewInt(1)
	if rest.Sign() != 0 || p.Cmp(one) <= 0 || q.Cmp(one) <= 0 {
		return errTogether
	}
	if given := number(prime2); k.rsa[prime1] != nil && given.Sign() != 0 && given.Cmp(q) != 0 {
		return errTogether
	}
	if d.Sign() == 0 {
		lambda := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d = d.ModInverse(e, lambda); d == nil {
			return errTogether
		}
	}
	if k.rsa[prime1] == nil && k.rsa[prime2] == nil {
		k.rsa[exponent1], k.rsa[exponent2], k.rsa[coefficient] = nil, nil, nil // they mean primes that did not come
	}
	k.rsa[privateExponent], k.rsa[prime1], k.rsa[prime2] = d.Bytes(), p.Bytes(), q.Bytes()
	return k.checkRSA()
}

// primeOf finds a prime factor of n by a Private Exponent; nil if d is none for n
// and e.
func primeOf(n, e, d *big.Int) *big.Int {
	one := big.NewInt(1)
	if d.Cmp(one) <= 0 || d.Cmp(n) >= 0 {
		return nil
	}
	odd := new(big.Int).Sub(new(big.Int).Mul(d, e), one)
	squarings := odd.TrailingZeroBits()
	if squarings == 0 {
		return nil
	}
	odd.Rsh(odd, squarings)
	last := new(big.Int).Sub(n, one)
	for base := int64(2); base < 2+maxBases; base++ {
		x := new(big.Int).Exp(big.NewInt(base), odd, n)
		for range squarings {
			y := new(big.Int).Mul(x, x)
			if y.Mod(y, n); y.Cmp(one) == 0 && x.Cmp(one) != 0 && x.Cmp(last) != 0 {
				return x.GCD(nil, nil, x.Sub(x, one), n)
			}
			x = y
		}
		if x.Cmp(one) != 0 {
			return nil // d does not undo e
		}
	}
	return nil
}

// forget zeroes the secret numbers that complete made.
func (k *private) forget() {
	for _, i := range []int{privateExponent, prime1, prime2} {
		clear(k.rsa[i])
	}
}
