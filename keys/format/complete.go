package format

import (
	"crypto/rand"
	"encoding/binary"
)

// Bounds on computing what does not come with an RSA key.
const (
	maxFactored = 4096 // bits of a Modulus whose primes are computed
	maxBases    = 24   // tried; each finds the primes of a valid key with probability 1/2 or more
)

// completeRSA checks that the numbers of an RSA key belong together, and computes the
// missing ones (KMIP 1.4 §2.1.7.4, 2.1 §3.1.2). The primes must be the factors of the
// Modulus and pass Fermat's test to the base 2. The Private Exponent must be the inverse
// of the public one for each prime. A composite number can be made that passes the test;
// such a key fails when it signs. Every buffer is zeroed except the numbers themselves;
// see forgetMade.
//
// The time depends on the lengths of all numbers and on which check fails. If the primes
// are computed, it also depends on the number of bases tried and on the power of two in
// e·d-1.
func (k *privateKey) completeRSA() error {
	n, e := k.rsa[modulus], k.rsa[publicExponent]
	if size := bitLen(n); size < minModulus || size > maxModulus {
		return invalid("the RSA key has %d bits; it may have %d to %d", size, minModulus, maxModulus)
	}
	if bitLen(e) > maxExponent || bitLen(e) < 2 {
		return invalid("the public exponent has %d bits; it may have 2 to %d", bitLen(e), maxExponent)
	}
	for _, b := range k.rsa {
		if len(b) > len(n) {
			return errTogether
		}
	}
	if n[len(n)-1]&e[len(e)-1]&1 == 0 {
		return errTogether
	}
	a := &arena{}
	defer a.zeroAll()
	c := completion{arena: a, k: k, n: a.readNumber(n, limbsFor(n)), e: a.readNumber(e, 1)}
	if err := c.findPrimes(); err != nil {
		return err
	}
	if err := c.findExponents(); err != nil {
		return err
	}
	return k.checkRSA()
}

// completion is an RSA key that is being checked and completed.
type completion struct {
	*arena
	k    *privateKey
	n, e limbs // e has one word
	p, q limbs // of equal lengths
}

// findPrimes reads or computes the two primes, and checks that they are prime.
func (c *completion) findPrimes() (err error) {
	p, q := c.givenNumber(prime1), c.givenNumber(prime2)
	switch {
	case p != nil:
		q, err = c.cofactor(p)
	case q != nil:
		p, err = c.cofactor(q)
	default:
		if p, err = c.findFactor(); err != nil {
			return err
		}
		if q, err = c.cofactor(p); err == nil {
			p.conditionalSwap(q, p.isLess(q)) // most software takes the greater prime as P
		}
	}
	if err != nil {
		return err
	}
	if err := c.keepOrCompare(map[int]limbs{prime1: p, prime2: q}); err != nil {
		return err
	}
	words := max(limbsFor(c.k.rsa[prime1]), limbsFor(c.k.rsa[prime2]))
	c.p, c.q = c.readNumber(c.k.rsa[prime1], words), c.readNumber(c.k.rsa[prime2], words)
	for _, prime := range []limbs{c.p, c.q} {
		if c.montgomery(prime).exponentiate(2, c.minusOne(prime)).isWord(1) == 0 {
			return errTogether
		}
	}
	return nil
}

// givenNumber returns a number of the key, or nil if the client did not send it.
func (c *completion) givenNumber(at int) limbs {
	if c.k.rsa[at] == nil {
		return nil
	}
	return c.readNumber(c.k.rsa[at], limbsFor(c.k.rsa[at]))
}

// minusOne returns x-1.
func (c *completion) minusOne(x limbs) limbs {
	y := c.newNumber(len(x))
	copy(y, x)
	y.conditionalSubtract(limbs{1}, 1)
	return y
}

// cofactor returns the Modulus divided by p. It fails unless p is a factor and neither
// of the two is 1.
func (c *completion) cofactor(p limbs) (limbs, error) {
	q, rest := c.divide(c.n, p)
	if rest.isWord(0)&^(p.isWord(1)|q.isWord(1)) == 0 {
		return nil, errTogether
	}
	return q, nil
}

// findFactor finds a prime of the Modulus from the Private Exponent (NIST SP 800-56B
// revision 2 appendix C.1). e·d-1 is even and a multiple of the order of every base.
// Halving it again and again therefore leads to a square root of 1; a root other than
// ±1 gives a factor.
func (c *completion) findFactor() (limbs, error) {
	if bitLen(c.k.rsa[modulus]) > maxFactored {
		return nil, invalid("the primes of RSA keys of up to %d bits are computed; this one has %d: give P and Q too", maxFactored, bitLen(c.k.rsa[modulus]))
	}
	d := c.readNumber(c.k.rsa[privateExponent], len(c.n))
	odd := c.product(d, c.e)
	odd.conditionalSubtract(limbs{1}, 1)
	halves := 0
	for ; odd[0]&1 == 0 && halves < len(odd)*limbBits; halves++ {
		odd.shiftRight(0)
	}
	if halves == 0 || d.isLess(c.n) == 0 {
		return nil, errTogether
	}
	last := c.minusOne(c.n)
	g := c.montgomery(c.n)
	for tried := range maxBases {
		p, err := c.tryBase(g, odd, last, halves)
		if p != nil || err != nil {
			return p, err
		}
		if tried == 0 && c.ofOnePrime(g) {
			break // no base gives a factor
		}
	}
	return nil, errTogether
}

// ofOnePrime reports whether the Modulus is a prime or a power of one. Then the prime
// divides 2 to the power of the Modulus, minus 2.
func (c *completion) ofOnePrime(g *montgomery) bool {
	x := g.exponentiate(2, c.n)
	x.conditionalAdd(c.n, x.conditionalSubtract(limbs{2}, 1))
	divisor, _ := c.invert(x, c.n)
	return divisor.isWord(1) == 0
}

// tryBase tries one random base. It returns nil if the base gives no factor.
func (c *completion) tryBase(g *montgomery, odd, last limbs, halves int) (limbs, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	x := g.exponentiate(max(2, binary.NativeEndian.Uint64(random[:])), odd)
	if x.isWord(1)|x.isEqual(last) == 1 {
		return nil, nil
	}
	y := c.newNumber(len(c.n))
	for range halves {
		copy(y, x)
		g.multiply(y, g.toMontgomery(y), x) // x²
		switch {
		case y.isWord(1) == 1:
			x.conditionalSubtract(limbs{1}, 1)
			p, _ := c.invert(x, c.n)
			return p, nil
		case y.isEqual(last) == 1:
			return nil, nil
		}
		x, y = y, x
	}
	return nil, errTogether // the Private Exponent is not the inverse of the public one
}

// findExponents computes the Private Exponent, the exponents of the primes and the CRT
// Coefficient. It fails unless the Private Exponent is the inverse of the public one.
func (c *completion) findExponents() (err error) {
	d := c.givenNumber(privateExponent)
	if d == nil {
		if d, err = c.invertExponent(c.product(c.minusOne(c.p), c.minusOne(c.q))); err != nil {
			return err
		}
	}
	forP, inverseP := c.exponentForPrime(d, c.p)
	forQ, inverseQ := c.exponentForPrime(d, c.q)
	_, q := c.divide(c.q, c.p)
	divisor, inverse := c.invert(q, c.p)
	if inverseP&inverseQ&divisor.isWord(1) == 0 {
		return errTogether
	}
	return c.keepOrCompare(map[int]limbs{privateExponent: d, exponent1: forP, exponent2: forQ, coefficient: inverse})
}

// invertExponent returns the inverse of e modulo m: (1 + k·m)/e, where k is -1/m modulo e.
func (c *completion) invertExponent(m limbs) (limbs, error) {
	_, rest := c.divide(m, c.e)
	divisor, k := c.invert(rest, c.e)
	if divisor.isWord(1) == 0 {
		return nil, errTogether
	}
	negated := c.smallNumber(c.e[0], 1)
	negated.conditionalSubtract(k, 1)
	whole := c.product(m, negated)
	whole.conditionalAdd(limbs{1}, 1)
	d, _ := c.divide(whole, c.e)
	return d, nil
}

// exponentForPrime returns the Private Exponent modulo the order, a prime minus 1.
// inverse is 1 if that is the inverse of the public exponent, else 0.
func (c *completion) exponentForPrime(d, prime limbs) (exponent limbs, inverse uint64) {
	order := c.minusOne(prime)
	_, exponent = c.divide(d, order)
	_, one := c.divide(c.product(exponent, c.e), order)
	return exponent, one.isWord(1)
}

// keepOrCompare stores the numbers that the client did not send, and compares the others.
func (c *completion) keepOrCompare(numbers map[int]limbs) error {
	same := uint64(1)
	for at, x := range numbers {
		given := c.k.rsa[at]
		switch {
		case given == nil:
			c.k.rsa[at] = x.bigEndian()
			c.k.made = append(c.k.made, c.k.rsa[at])
		case limbsFor(given) > len(x):
			same = 0
		default:
			same &= x.isEqual(c.readNumber(given, len(x)))
		}
	}
	if same == 0 {
		return errTogether
	}
	return nil
}

// forgetMade zeroes the numbers that completeRSA made.
func (k *privateKey) forgetMade() {
	for _, b := range k.made {
		clear(b)
	}
}
