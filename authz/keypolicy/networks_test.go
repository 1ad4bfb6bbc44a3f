package keypolicy

import (
	"net/netip"
	"slices"
	"testing"
)

// The networks of an address are its prefixes of the lengths that are named, for its
// family alone.
func TestNetworksOf(t *testing.T) {
	var l prefixLengths
	l.addRanges([]string{"10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "::/0", "2001:db8::/63", "2001:db8::/64", "2001:db8::1/128", "nonsense", "10.0.0.0/33"})
	var other prefixLengths
	other.addRanges([]string{"10.1.0.0/16"})
	l.addLengths(&other)
	for address, want := range map[string][]string{
		"10.1.2.3":       {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"},
		"2001:db8:0:1::": {"::/0", "2001:db8::/63", "2001:db8:0:1::/64", "2001:db8:0:1::/128"},
	} {
		if got := l.networksOf(netip.MustParseAddr(address)); !slices.Equal(got, want) {
			t.Errorf("the networks of %s are %v, want %v", address, got, want)
		}
	}
	if got := l.networksOf(netip.Addr{}); got != nil {
		t.Errorf("an unknown address is in %v", got)
	}
}
