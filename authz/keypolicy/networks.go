package keypolicy

import (
	"math/bits"
	"net/netip"

	"github.com/keyreeve/keyreeve/core"
)

// prefixLengths are the lengths of the ranges that conditions name, one bit each. With
// them, the ranges that contain an address are found by look-ups and need no parsing.
type prefixLengths struct {
	v4 uint64    // 0 to 32
	v6 [3]uint64 // 0 to 128
}

// networksOf returns the networks that contain an address, in the form of the ranges. Among
// them are its country and its continent if a condition names such a place.
func (c *concern) networksOf(address netip.Addr) ([]string, error) {
	networks := c.lengths.networksOf(address)
	if c.locate == nil || !address.IsValid() {
		return networks, nil
	}
	places, err := c.locate(address)
	if err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the country of the address cannot be found")
	}
	return append(networks, places...), nil
}

// addRanges adds the lengths of ranges. A country or continent has none. One that is malformed
// has none either: it contains no address, and match.rego denies by it.
func (l *prefixLengths) addRanges(ranges []string) {
	for _, text := range ranges {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
		case p.Addr().Is4():
			l.v4 |= 1 << p.Bits()
		default:
			l.v6[p.Bits()/64] |= 1 << (p.Bits() % 64)
		}
	}
}

func (l *prefixLengths) addLengths(other *prefixLengths) {
	l.v4 |= other.v4
	for i := range l.v6 {
		l.v6[i] |= other.v6[i]
	}
}

// networksOf returns the networks of these lengths that contain an address, in the form
// of the ranges.
func (l *prefixLengths) networksOf(address netip.Addr) (networks []string) {
	words := l.v6[:]
	switch {
	case !address.IsValid():
		return nil
	case address.Is4():
		words = []uint64{l.v4}
	}
	for i, word := range words {
		for ; word != 0; word &= word - 1 {
			if p, err := address.Prefix(64*i + bits.TrailingZeros64(word)); err == nil {
				networks = append(networks, p.String())
			}
		}
	}
	return networks
}
