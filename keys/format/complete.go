package format

import (
	"crypto/rand"
	"encoding/binary"
)

// Bounds on computing what does not come with an RSA key.
const (
	maxFactored = 4096 // bits of a Modulus whose primes are computed
	maxBases    = 24   // tried; each finds the primes of a true key in half of the cases or more
)

// complete checks that the numbers of an RSA key belong together and computes those
// that did not come (KMIP 1.4 §2.1.7.4, 2.1 §3.1.2). The primes must be the factors of
// the Modulus and pass Fermat's test to the base 2, and the Private Exponent must undo
// the public one for each. A composite number can be made that passes the test: it shows
// when the key signs. Every buffer is zeroed but the numbers themselves; see forget.
//
// The time depends on the lengths of all numbers, on what is refused, and, where the
// primes are computed, on the number of bases tried and the power of two in e·d-1.
func (k *private) complete() error {
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
	defer a.wipe()
	c := completion{arena: a, k: k, n: a.read(n, limbsFor(n)), e: a.read(e, 1)}
	if err := c.primes(); err != nil {
		return err
	}
	if err := c.exponents(); err != nil {
		return err
	}
	return k.checkRSA()
}

// completion is an RSA key that is being checked and completed.
type completion struct {
	*arena
	k    *private
	n, e limbs // e has one word
	p, q limbs // of equal lengths
}

// primes reads or computes the two primes, and checks that they are.
func (c *completion) primes() (err error) {
	p, q := c.given(prime1), c.given(prime2)
	switch {
	case p != nil:
		q, err = c.cofactor(p)
	case q != nil:
		p, err = c.cofactor(q)
	default:
		if p, err = c.factor(); err != nil {
			return err
		}
		if q, err = c.cofactor(p); err == nil {
			p.swap(q, p.less(q)) // P is the greater one, as most software has it
		}
	}
	if err != nil {
		return err
	}
	if err := c.keep(map[int]limbs{prime1: p, prime2: q}); err != nil {
		return err
	}
	words := max(limbsFor(c.k.rsa[prime1]), limbsFor(c.k.rsa[prime2]))
	c.p, c.q = c.read(c.k.rsa[prime1], words), c.read(c.k.rsa[prime2], words)
	for _, prime := range []limbs{c.p, c.q} {
		if c.montgomery(prime).power(2, c.lessOne(prime)).isWord(1) == 0 {
			return errTogether
		}
	}
	return nil
}

// given is a number that came; nil for one that did not.
func (c *completion) given(at int) limbs {
	if c.k.rsa[at] == nil {
		return nil
	}
	return c.read(c.k.rsa[at], limbsFor(c.k.rsa[at]))
}

// lessOne is x-1.
func (c *completion) lessOne(x limbs) limbs {
	y := c.make(len(x))
	copy(y, x)
	y.sub(limbs{1}, 1)
	return y
}

// cofactor is the Modulus divided by one of its factors, neither of which is 1.
func (c *completion) cofactor(p limbs) (limbs, error) {
	q, rest := c.divide(c.n, p)
	if rest.isWord(0)&^(p.isWord(1)|q.isWord(1)) == 0 {
		return nil, errTogether
	}
	return q, nil
}

// factor finds a prime of the Modulus by the Private Exponent (NIST SP 800-56B
// revision 2 appendix C.1): e·d-1 is even and a multiple of the order of every base, so
// one of its halves leads to a square root of 1, which, if it is not ±1, tells a factor.
func (c *completion) factor() (limbs, error) {
	if bitLen(c.k.rsa[modulus]) > maxFactored {
		return nil, invalid("the primes of RSA keys of up to %d bits are computed; this one has %d: give P and Q too", maxFactored, bitLen(c.k.rsa[modulus]))
	}
	d := c.read(c.k.rsa[privateExponent], len(c.n))
	odd := c.product(d, c.e)
	odd.sub(limbs{1}, 1)
	halves := 0
	for ; odd[0]&1 == 0 && halves < len(odd)*limbBits; halves++ {
		odd.half(0)
	}
	if halves == 0 || d.less(c.n) == 0 {
		return nil, errTogether
	}
	last := c.lessOne(c.n)
	g := c.montgomery(c.n)
	for tried := range maxBases {
		p, err := c.tryBase(g, odd, last, halves)
		if p != nil || err != nil {
			return p, err
		}
		if tried == 0 && c.ofOnePrime(g) {
			break // no base tells anything
		}
	}
	return nil, errTogether
}

// ofOnePrime reports whether the Modulus is a prime or a power of one: 2 to the Modulus,
// less 2, is then a multiple of the prime.
func (c *completion) ofOnePrime(g *montgomery) bool {
	x := g.power(2, c.n)
	x.add(c.n, x.sub(limbs{2}, 1))
	divisor, _ := c.invert(x, c.n)
	return divisor.isWord(1) == 0
}

// tryBase tries one random base; nil is one that tells nothing.
func (c *completion) tryBase(g *montgomery, odd, last limbs, halves int) (limbs, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	x := g.power(max(2, binary.NativeEndian.Uint64(random[:])), odd)
	if x.isWord(1)|x.equal(last) == 1 {
		return nil, nil
	}
	y := c.make(len(c.n))
	for range halves {
		copy(y, x)
		g.multiply(y, g.in(y), x) // x²
		switch {
		case y.isWord(1) == 1:
			x.sub(limbs{1}, 1)
			p, _ := c.invert(x, c.n)
			return p, nil
		case y.equal(last) == 1:
			return nil, nil
		}
		x, y = y, x
	}
	return nil, errTogether // the Private Exponent does not undo the public one
}

// exponents computes the Private Exponent, those of the primes and the CRT
// Coefficient, and checks that the Private Exponent undoes the public one.
func (c *completion) exponents() (err error) {
	d := c.given(privateExponent)
	if d == nil {
		if d, err = c.undo(c.product(c.lessOne(c.p), c.lessOne(c.q))); err != nil {
			return err
		}
	}
	forP, undoesP := c.forPrime(d, c.p)
	forQ, undoesQ := c.forPrime(d, c.q)
	_, q := c.divide(c.q, c.p)
	divisor, inverse := c.invert(q, c.p)
	if undoesP&undoesQ&divisor.isWord(1) == 0 {
		return errTogether
	}
	return c.keep(map[int]limbs{privateExponent: d, exponent1: forP, exponent2: forQ, coefficient: inverse})
}

// undo is the inverse of e modulo m: (1 + k·m)/e, where k is -1/m modulo e.
func (c *completion) undo(m limbs) (limbs, error) {
	_, rest := c.divide(m, c.e)
	divisor, k := c.invert(rest, c.e)
	if divisor.isWord(1) == 0 {
		return nil, errTogether
	}
	negated := c.word(c.e[0], 1)
	negated.sub(k, 1)
	whole := c.product(m, negated)
	whole.add(limbs{1}, 1)
	d, _ := c.divide(whole, c.e)
	return d, nil
}

// forPrime is the Private Exponent modulo a prime less 1; undoes is 1 if it undoes
// the public one.
func (c *completion) forPrime(d, prime limbs) (exponent limbs, undoes uint64) {
	order := c.lessOne(prime)
	_, exponent = c.divide(d, order)
	_, one := c.divide(c.product(exponent, c.e), order)
	return exponent, one.isWord(1)
}

// keep takes numbers over that did not come, and compares the others.
func (c *completion) keep(numbers map[int]limbs) error {
	same := uint64(1)
	for at, x := range numbers {
		given := c.k.rsa[at]
		switch {
		case given == nil:
			c.k.rsa[at] = x.bytes()
			c.k.made = append(c.k.made, c.k.rsa[at])
		case limbsFor(given) > len(x):
			same = 0
		default:
			same &= x.equal(c.read(given, len(x)))
		}
	}
	if same == 0 {
		return errTogether
	}
	return nil
}

// forget zeroes the numbers that complete made.
func (k *private) forget() {
	for _, b := range k.made {
		clear(b)
	}
}
