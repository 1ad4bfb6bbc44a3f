package format

import (
	"encoding/binary"
	"math/bits"
)

// limbs is a number that is not negative: 64-bit words, the lowest first. Its length
// is part of its type and does not depend on its value.
//
// What is computed with limbs takes a time, and reads memory at addresses, that
// depend on the lengths of the numbers alone, unless the doc comment says otherwise.
// math/big is not used for secret numbers: it keeps copies that nobody can zero.
type limbs []uint64

const limbBits = 64

// arena makes numbers and zeroes all of them at once. Only the words in registers
// and on the stack escape it, one or two of a number at a time.
type arena struct{ made []limbs }

func (a *arena) make(n int) limbs {
	x := make(limbs, n)
	a.made = append(a.made, x)
	return x
}

func (a *arena) wipe() {
	for _, x := range a.made {
		clear(x)
	}
}

// limbsFor is how many words hold b.
func limbsFor(b []byte) int { return (len(b) + 7) / 8 }

// read makes a number of n words from big-endian bytes, which must fit.
func (a *arena) read(b []byte, n int) limbs {
	x := a.make(n)
	for i := range b {
		x[i/8] |= uint64(b[len(b)-1-i]) << (i % 8 * 8)
	}
	return x
}

// word is a number of n words that is small.
func (a *arena) word(v uint64, n int) limbs {
	x := a.make(n)
	x[0] = v
	return x
}

// bytes writes x as big-endian bytes without leading zeros. The caller zeroes them.
// The time tells the length.
func (x limbs) bytes() []byte {
	b := make([]byte, 8*len(x))
	for i, w := range x {
		binary.BigEndian.PutUint64(b[8*(len(x)-1-i):], w)
	}
	return trimZeros(b)
}

// mask is all ones if bit is 1, and 0 if it is 0.
func mask(bit uint64) uint64 { return -bit }

// isZero is 1 for a word that is 0, and 0 for others.
func isZero(w uint64) uint64 { return 1 ^ (w|-w)>>(limbBits-1) }

// equal is 1 if x and y, of equal lengths, are the same number.
func (x limbs) equal(y limbs) uint64 {
	var differ uint64
	for i := range x {
		differ |= x[i] ^ y[i]
	}
	return isZero(differ)
}

// isWord is 1 if x is the word v.
func (x limbs) isWord(v uint64) uint64 {
	differ := x[0] ^ v
	for _, w := range x[1:] {
		differ |= w
	}
	return isZero(differ)
}

// add adds y, or nothing if on is 0, and returns the carry. y may be shorter.
func (x limbs) add(y limbs, on uint64) (carry uint64) {
	m := mask(on)
	for i := range x {
		var w uint64
		if i < len(y) {
			w = y[i] & m
		}
		x[i], carry = bits.Add64(x[i], w, carry)
	}
	return carry
}

// sub subtracts y, or nothing if on is 0, and returns the borrow. y may be shorter.
func (x limbs) sub(y limbs, on uint64) (borrow uint64) {
	m := mask(on)
	for i := range x {
		var w uint64
		if i < len(y) {
			w = y[i] & m
		}
		x[i], borrow = bits.Sub64(x[i], w, borrow)
	}
	return borrow
}

// less is 1 if x < y, of equal lengths.
func (x limbs) less(y limbs) (borrow uint64) {
	for i := range x {
		_, borrow = bits.Sub64(x[i], y[i], borrow)
	}
	return borrow
}

// swap exchanges x and y, of equal lengths, if on is 1.
func (x limbs) swap(y limbs, on uint64) {
	m := mask(on)
	for i := range x {
		d := (x[i] ^ y[i]) & m
		x[i] ^= d
		y[i] ^= d
	}
}

// half shifts x right by one bit, with top as its new highest bit.
func (x limbs) half(top uint64) {
	for i := len(x) - 1; i >= 0; i-- {
		low := x[i] & 1
		x[i] = x[i]>>1 | top<<(limbBits-1)
		top = low
	}
}

// product is x times y.
func (a *arena) product(x, y limbs) limbs {
	z := a.make(len(x) + len(y))
	for i, w := range x {
		z[i+len(y)] = multiplyAdd(z[i:i+len(y)], y, w)
	}
	return z
}

// multiplyAdd adds y times w to z, of equal lengths, and returns the carry.
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

// divide is x by m, bit by bit, and what remains. m is not zero.
func (a *arena) divide(x, m limbs) (quotient, rest limbs) {
	quotient, rest = a.make(len(x)), a.make(len(m)+1) // one word more, since rest < 2m before it is reduced
	reduced := a.make(len(rest))
	for i := len(x)*limbBits - 1; i >= 0; i-- {
		in := x[i/limbBits] >> (i % limbBits) & 1
		for j, w := range rest {
			rest[j] = w<<1 | in
			in = w >> (limbBits - 1)
		}
		copy(reduced, rest)
		fits := 1 ^ reduced.sub(m, 1)
		rest.swap(reduced, fits)
		quotient[i/limbBits] |= fits << (i % limbBits)
	}
	return quotient, rest[:len(m)]
}

// invert returns the greatest common divisor of x and the odd number m, and, where
// that is 1, the inverse of x modulo m. x is below m and has as many words.
func (a *arena) invert(x, m limbs) (divisor, inverse limbs) {
	n := len(m)
	u, v := a.make(n), a.make(n)
	copy(u, x)
	copy(v, m)
	s, t := a.word(1, n), a.make(n) // u = s·x and v = t·x modulo m
	for range 2 * n * limbBits {    // each round takes a bit from u or v
		odd := u[0] & 1
		exchange := odd & u.less(v)
		u.swap(v, exchange)
		s.swap(t, exchange)
		u.sub(v, odd)
		s.add(m, s.sub(t, odd))
		u.half(0)
		s.half(s.add(m, s[0]&1))
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
	inverse := m[0] // right to 3 bits; each step doubles them
	for range 5 {
		inverse *= 2 - m[0]*inverse
	}
	r := a.make(2*len(m) + 1)
	r[2*len(m)] = 1
	_, square := a.divide(r, m)
	return &montgomery{a, m, -inverse, square, a.make(len(m) + 1)}
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
	above := g.sum[n] | (1 ^ z.less(g.m))
	z.sub(g.m, above)
}

// in and out bring a number into Montgomery's form and back.
func (g *montgomery) in(x limbs) limbs {
	g.multiply(x, x, g.square)
	return x
}

func (g *montgomery) out(x limbs) limbs {
	g.multiply(x, x, g.arena.word(1, len(g.m)))
	return x
}

// power is base to the exponent, over windows of four bits.
func (g *montgomery) power(base uint64, exponent limbs) limbs {
	const window, size = 4, 1 << 4
	a, n := g.arena, len(g.m)
	table := make([]limbs, size)
	table[0], table[1] = g.in(a.word(1, n)), g.in(a.word(base, n))
	for i := 2; i < size; i++ {
		table[i] = a.make(n)
		g.multiply(table[i], table[i-1], table[1])
	}
	z, chosen := a.make(n), a.make(n)
	copy(z, table[0])
	for i := len(exponent)*limbBits - window; i >= 0; i -= window {
		for range window {
			g.multiply(z, z, z)
		}
		digit := exponent[i/limbBits] >> (i % limbBits) & (size - 1)
		clear(chosen)
		for j, entry := range table { // all of them, since an address tells the digit
			on := mask(isZero(uint64(j) ^ digit))
			for l := range chosen {
				chosen[l] |= entry[l] & on
			}
		}
		g.multiply(z, z, chosen)
	}
	return g.out(z)
}
