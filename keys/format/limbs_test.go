package format

import (
	"crypto/rand"
	"math/big"
	"testing"
)

// randomNumber has up to n words; now and then it is small, or all ones.
func randomNumber(n int) *big.Int {
	b := make([]byte, 8*(1+mod(n)))
	rand.Read(b)
	switch mod(5) {
	case 0:
		clear(b[:len(b)-1])
	case 1:
		for i := range b {
			b[i] = 0xff
		}
	}
	return new(big.Int).SetBytes(b)
}

func (x limbs) big() *big.Int { return new(big.Int).SetBytes(x.bigEndian()) }

// Every operation answers what math/big answers.
func TestLimbsComputeAsMathBig(t *testing.T) {
	one := big.NewInt(1)
	for range 3000 {
		const words = 5
		x, y, m := randomNumber(words), randomNumber(words), randomNumber(words)
		m.SetBit(m, 0, 1)
		a := &arena{}
		X, Y, M := a.readNumber(x.Bytes(), words), a.readNumber(y.Bytes(), words), a.readNumber(m.Bytes(), limbsFor(m.Bytes()))
		check := func(what string, got limbs, want *big.Int) {
			t.Helper()
			if got.big().Cmp(want) != 0 {
				t.Fatalf("%s of %x, %x, %x: %x, not %x", what, x, y, m, got.big(), want)
			}
		}
		check("the number", X, x)
		check("the product", a.product(X, Y), new(big.Int).Mul(x, y))
		quotient, rest := a.divide(X, M)
		check("the quotient", quotient, new(big.Int).Quo(x, m))
		check("the rest", rest, new(big.Int).Rem(x, m))
		reduced := new(big.Int).Rem(x, m)
		divisor, inverse := a.invert(a.readNumber(reduced.Bytes(), len(M)), M)
		gcd := new(big.Int).GCD(nil, nil, reduced, m)
		check("the divisor", divisor, gcd)
		if gcd.Cmp(one) == 0 && m.Cmp(one) != 0 {
			check("the inverse", inverse, new(big.Int).ModInverse(reduced, m))
		}
		if m.Cmp(one) != 0 {
			base := y.Uint64()
			if len(M) == 1 {
				base %= m.Uint64()
			}
			check("the power", a.montgomery(M).exponentiate(base, X), new(big.Int).Exp(new(big.Int).SetUint64(base), x, m))
		}
		if X.isLess(Y) != truth(x.Cmp(y) < 0) || X.isEqual(Y) != truth(x.Cmp(y) == 0) || X.isEqual(X) != 1 || X.isWord(7) != truth(x.Cmp(big.NewInt(7)) == 0) ||
			X.isWord(x.Uint64()) != truth(x.IsUint64()) {
			t.Fatalf("%x and %x are compared wrongly", x, y)
		}
		a.zeroAll()
		for _, made := range a.made {
			if made.isWord(0) != 1 {
				t.Fatal("a number is left")
			}
		}
	}
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
