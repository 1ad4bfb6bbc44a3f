package format

import (
	"encoding/binary"
	"math/bits"
)

// limbs is a number that is not negative: 64-bit words, the lowest first. Its length
// does not depend on its value.
//
// The time of each computation, and the memory addresses that it reads, depend only on
// the lengths of the numbers, unless the doc comment says otherwise. math/big is not
// used for secret numbers: it keeps copies that nobody can zero.
type limbs []uint64

const limbBits = 64

// arena makes numbers and zeroes all of them at once. It cannot zero the one or two
// words of a number that are in registers or on the stack.
type arena struct{ made []limbs }

func (a *arena) newNumber(n int) limbs {
	x := make(limbs, n)
	a.made = append(a.made, x)
	return x
}

func (a *arena) zeroAll() {
	for _, x := range a.made {
		clear(x)
	}
}

// limbsFor returns how many words hold b.
func limbsFor(b []byte) int { return (len(b) + 7) / 8 }

// readNumber makes a number of n words from big-endian bytes, which must fit.
func (a *arena) readNumber(b []byte, n int) limbs {
	x := a.newNumber(n)
	for i := range b {
		x[i/8] |= uint64(b[len(b)-1-i]) << (i % 8 * 8)
	}
	return x
}

// smallNumber makes a number of n words with the value v.
func (a *arena) smallNumber(v uint64, n int) limbs {
	x := a.newNumber(n)
	x[0] = v
	return x
}

// bigEndian writes x as big-endian bytes without leading zeros. The caller zeroes them.
// The time depends on the number of leading zeros.
func (x limbs) bigEndian() []byte {
	b := make([]byte, 8*len(x))
	for i, w := range x {
		binary.BigEndian.PutUint64(b[8*(len(x)-1-i):], w)
	}
	return trimZeros(b)
}

// maskOf returns all ones if bit is 1, and 0 if it is 0.
func maskOf(bit uint64) uint64 { return -bit }

// isZero returns 1 for a word that is 0, and 0 for others.
func isZero(w uint64) uint64 { return 1 ^ (w|-w)>>(limbBits-1) }

// isEqual returns 1 if x and y are the same number. They have equal lengths.
func (x limbs) isEqual(y limbs) uint64 {
	var differ uint64
	for i := range x {
		differ |= x[i] ^ y[i]
	}
	return isZero(differ)
}

// isWord returns 1 if x is the word v.
func (x limbs) isWord(v uint64) uint64 {
	differ := x[0] ^ v
	for _, w := range x[1:] {
		differ |= w
	}
	return isZero(differ)
}

// wordAt returns word i, or 0 if x is shorter. Lengths are not secret.
func (x limbs) wordAt(i int) uint64 {
	if i < len(x) {
		return x[i]
	}
	return 0
}

// conditionalAdd adds y, or nothing if on is 0, and returns the carry. y may be shorter.
func (x limbs) conditionalAdd(y limbs, on uint64) (carry uint64) {
	m := maskOf(on)
	for i := range x {
		x[i], carry = bits.Add64(x[i], y.wordAt(i)&m, carry)
	}
	return carry
}

// conditionalSubtract subtracts y, or nothing if on is 0, and returns the borrow. y may be shorter.
func (x limbs) conditionalSubtract(y limbs, on uint64) (borrow uint64) {
	m := maskOf(on)
	for i := range x {
		x[i], borrow = bits.Sub64(x[i], y.wordAt(i)&m, borrow)
	}
	return borrow
}

// isLess returns 1 if x < y. They have equal lengths.
func (x limbs) isLess(y limbs) (borrow uint64) {
	for i := range x {
		_, borrow = bits.Sub64(x[i], y[i], borrow)
	}
	return borrow
}

// conditionalSwap exchanges x and y if on is 1. They have equal lengths.
func (x limbs) conditionalSwap(y limbs, on uint64) {
	m := maskOf(on)
	for i := range x {
		d := (x[i] ^ y[i]) & m
		x[i] ^= d
		y[i] ^= d
	}
}

// shiftRight shifts x right by one bit, with top as its new highest bit.
func (x limbs) shiftRight(top uint64) {
	for i := len(x) - 1; i >= 0; i-- {
		low := x[i] & 1
		x[i] = x[i]>>1 | top<<(limbBits-1)
		top = low
	}
}

// product returns x times y.
func (a *arena) product(x, y limbs) limbs {
	z := a.newNumber(len(x) + len(y))
	for i, w := range x {
		z[i+len(y)] = multiplyAdd(z[i:i+len(y)], y, w)
	}
	return z
}

// multiplyAdd adds y times w to z and returns the carry. z and y have equal lengths.
func multiplyAdd(z, y limbs, w uint64) (carry uint64) {
	for i := range y {
		high, low := bits.Mul64(y[i], w)
		var c uint64
		low, c = bits.Add64(low, z[i], 0)
		high += c
		z[i], c = bits.Add64(low, carry, 0)
		carry = high + c
	}
	return carry
}

// divide divides x by m, bit by bit. m is not zero.
func (a *arena) divide(x, m limbs) (quotient, rest limbs) {
	quotient, rest = a.newNumber(len(x)), a.newNumber(len(m)+1) // one word more, since rest < 2m before it is reduced
	reduced := a.newNumber(len(rest))
	for i := len(x)*limbBits - 1; i >= 0; i-- {
		in := x[i/limbBits] >> (i % limbBits) & 1
		for j, w := range rest {
			rest[j] = w<<1 | in
			in = w >> (limbBits - 1)
		}
		copy(reduced, rest)
		fits := 1 ^ reduced.conditionalSubtract(m, 1)
		rest.conditionalSwap(reduced, fits)
		quotient[i/limbBits] |= fits << (i % limbBits)
	}
	return quotient, rest[:len(m)]
}

// invert returns the greatest common divisor of x and the odd number m. If that is 1, it
// also returns the inverse of x modulo m. x is below m and has as many words.
func (a *arena) invert(x, m limbs) (divisor, inverse limbs) {
	n := len(m)
	u, v := a.newNumber(n), a.newNumber(n)
	copy(u, x)
	copy(v, m)
	s, t := a.smallNumber(1, n), a.newNumber(n) // u = s·x and v = t·x modulo m
	for range 2 * n * limbBits {                // each round takes a bit from u or v
		odd := u[0] & 1
		exchange := odd & u.isLess(v)
		u.conditionalSwap(v, exchange)
		s.conditionalSwap(t, exchange)
		u.conditionalSubtract(v, odd)
		s.conditionalAdd(m, s.conditionalSubtract(t, odd))
		u.shiftRight(0)
		s.shiftRight(s.conditionalAdd(m, s[0]&1))
	}
	return v, t
}

// montgomery computes modulo an odd number (Montgomery 1985).
type montgomery struct {
	arena   *arena
	m       limbs
	negated uint64 // -1/m modulo 2⁶⁴
	square  limbs  // R² modulo m, where R is 2 to the bits of all words of m
	sum     limbs  // for multiply
}

func (a *arena) montgomery(m limbs) *montgomery {
	inverse := m[0] // correct to 3 bits; each step doubles them
	for range 5 {
		inverse *= 2 - m[0]*inverse
	}
	r := a.newNumber(2*len(m) + 1)
	r[2*len(m)] = 1
	_, square := a.divide(r, m)
	return &montgomery{a, m, -inverse, square, a.newNumber(len(m) + 1)}
}

// multiply sets z to x·y/R modulo m. z may be x or y.
func (g *montgomery) multiply(z, x, y limbs) {
	n := len(g.m)
	clear(g.sum)
	for _, w := range x {
		c1 := multiplyAdd(g.sum[:n], y, w)
		c2 := multiplyAdd(g.sum[:n], g.m, g.sum[0]*g.negated)
		top, over := bits.Add64(g.sum[n], c1, 0)
		top, more := bits.Add64(top, c2, 0)
		copy(g.sum, g.sum[1:n]) // the lowest word is 0 now
		g.sum[n-1], g.sum[n] = top, over+more
	}
	copy(z, g.sum[:n])
	above := g.sum[n] | (1 ^ z.isLess(g.m))
	z.conditionalSubtract(g.m, above)
}

// toMontgomery and fromMontgomery convert a number in place and return it.
func (g *montgomery) toMontgomery(x limbs) limbs {
	g.multiply(x, x, g.square)
	return x
}

func (g *montgomery) fromMontgomery(x limbs) limbs {
	g.multiply(x, x, g.arena.smallNumber(1, len(g.m)))
	return x
}

// exponentiate returns base to the exponent, over windows of four bits.
func (g *montgomery) exponentiate(base uint64, exponent limbs) limbs {
	const window, size = 4, 1 << 4
	a, n := g.arena, len(g.m)
	table := make([]limbs, size)
	table[0], table[1] = g.toMontgomery(a.smallNumber(1, n)), g.toMontgomery(a.smallNumber(base, n))
	for i := 2; i < size; i++ {
		table[i] = a.newNumber(n)
		g.multiply(table[i], table[i-1], table[1])
	}
	z, chosen := a.newNumber(n), a.newNumber(n)
	copy(z, table[0])
	for i := len(exponent)*limbBits - window; i >= 0; i -= window {
		for range window {
			g.multiply(z, z, z)
		}
		digit := exponent[i/limbBits] >> (i % limbBits) & (size - 1)
		clear(chosen)
		for j, entry := range table { // read all of them: a single address would tell the digit
			on := maskOf(isZero(uint64(j) ^ digit))
			for l := range chosen {
				chosen[l] |= entry[l] & on
			}
		}
		g.multiply(z, z, chosen)
	}
	return g.fromMontgomery(z)
}
