package bounds_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/server/bounds"
)

func from(a, b, c byte) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, a, b, c), Port: 1} }

var slotLimits = bounds.SlotLimits{Connections: 16, PerPeer: 6, Waiting: 12, WaitingPerNet: 8, PerPrincipal: 4, PerTenant: 100}

// Silent connections take no slot from clients that work: if the slots before
// authentication are full, the oldest of the one that has most of them is dropped.
func TestSilentConnectionsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bounds.NewSlots(slotLimits)
		var mu sync.Mutex
		var dropped []string
		enter := func(name string, a net.Addr) (*bounds.Slot, string) {
			slot, full := s.Enter(a, func() { mu.Lock(); dropped = append(dropped, name); mu.Unlock() })
			synctest.Wait()
			return slot, full
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if fmt.Sprint(dropped) != fmt.Sprint(want) {
				t.Errorf("%s: dropped are %v, want %v", what, dropped, want)
			}
			dropped = nil
		}
		single, _ := enter("single", from(0, 0, 9))
		for i := range 6 {
			enter(fmt.Sprint("flood", i), from(0, 0, 1))
		}
		if _, full := enter("more", from(0, 0, 1)); full != "peer" {
			t.Errorf("a seventh connection of one address, at once: %q", full)
		}
		expect("one address")
		time.Sleep(2 * time.Second)
		if _, full := enter("late", from(0, 0, 1)); full != "" {
			t.Errorf("a seventh connection of one address, after the others were silent: %q", full)
		}
		expect("one address, later", "flood0")
		enter("second", from(0, 0, 2))
		expect("the network is full now")
		enter("third", from(0, 0, 3))
		expect("one more from the network", "flood1")
		for i := range 4 {
			enter(fmt.Sprint("other", i), from(0, byte(1+i), 1))
		}
		expect("all slots are full now")
		enter("last", from(0, 9, 9))
		expect("one more from anywhere", "flood2")
		if full := single.Pass("t", "p"); full != "" {
			t.Errorf("a client that was there before the flood: %q", full)
		}
	})
}

// Nobody takes all connections: a principal and a tenant have their bounds, and an
// eighth is left for others whatever the setting says.
func TestSlotsOfPrincipalsAndTenants(t *testing.T) {
	s := bounds.NewSlots(slotLimits)
	host := byte(0)
	pass := func(tenant, principal string) string {
		host++
		slot, full := s.Enter(from(1, host, 1), func() {})
		if full != "" {
			t.Fatal(full)
		}
		if full = slot.Pass(tenant, principal); full != "" {
			slot.Leave()
		}
		return full
	}
	for i := range 4 {
		if full := pass("a", "a"); full != "" {
			t.Fatalf("connection %d: %q", i, full)
		}
	}
	if full := pass("a", "a"); full != "principal" {
		t.Errorf("a fifth connection of a principal: %q", full)
	}
	for i := range 10 {
		if full := pass("a", fmt.Sprint(i)); full != "" {
			t.Fatalf("connection %d of the tenant: %q", 4+i, full)
		}
	}
	if full := pass("a", "more"); full != "tenant" {
		t.Errorf("a tenant takes the last eighth: %q", full)
	}
	for range 2 {
		if full := pass("b", "b"); full != "" {
			t.Errorf("another tenant: %q", full)
		}
	}
	if full := pass("c", "c"); full != "connections" {
		t.Errorf("connection 17 of 16: %q", full)
	}
}

// The bound of a tenant's own replaces that of the settings, downwards and upwards, and leaves
// an eighth for others too.
func TestSlotsOfATenantWithABoundOfItsOwn(t *testing.T) {
	own := 0
	s := bounds.NewSlots(bounds.SlotLimits{Connections: 16, PerPeer: 16, Waiting: 16, WaitingPerNet: 16, PerPrincipal: 16, PerTenant: 4,
		OfTenant: func(tenant string) int { return map[string]int{"a": own}[tenant] }})
	for _, c := range []struct{ own, want int }{{0, 4}, {2, 2}, {9, 9}, {100, 14}} {
		own = c.own
		var passed []*bounds.Slot
		for i := range 16 {
			slot, full := s.Enter(from(1, byte(i), 1), func() {})
			if full != "" {
				t.Fatal(full)
			}
			if slot.Pass("a", fmt.Sprint(i)) == "" {
				passed = append(passed, slot)
			} else {
				slot.Leave()
			}
		}
		if len(passed) != c.want {
			t.Errorf("with a bound of %d the tenant has %d connections; want %d", c.own, len(passed), c.want)
		}
		for _, slot := range passed {
			slot.Leave()
		}
	}
}

// A connection whose principal changes counts for the new one, and for the old one
// as before if the new one may have no more.
func TestSlotOfAnotherPrincipal(t *testing.T) {
	s := bounds.NewSlots(bounds.SlotLimits{Connections: 16, PerPeer: 6, Waiting: 12, WaitingPerNet: 8, PerPrincipal: 1, PerTenant: 10})
	enter := func(host byte) *bounds.Slot {
		slot, full := s.Enter(from(1, host, 1), func() {})
		if full != "" {
			t.Fatal(full)
		}
		return slot
	}
	first, second := enter(1), enter(2)
	expect := func(slot *bounds.Slot, principal, want string) {
		t.Helper()
		if full := slot.Pass("t", principal); full != want {
			t.Errorf("passing as %s: %q, want %q", principal, full, want)
		}
	}
	expect(first, "a", "")
	expect(second, "a", "principal")
	expect(first, "b", "")
	expect(second, "a", "")
	expect(second, "b", "principal")
	first.Leave()
	expect(enter(3), "a", "principal") // it still counts as a
	expect(second, "b", "")
	expect(enter(4), "a", "")
}

// Whatever connections do, the counts balance: afterwards all slots are free.
func TestSlotsBalance(t *testing.T) {
	s := bounds.NewSlots(slotLimits)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for range 500 {
				slot, full := s.Enter(from(2, byte(r.IntN(3)), byte(r.IntN(6))), func() {})
				if full != "" {
					continue
				}
				if r.IntN(2) == 0 {
					for range 1 + r.IntN(2) {
						slot.Pass(fmt.Sprint(r.IntN(2)), fmt.Sprint(r.IntN(9)))
					}
				}
				slot.Leave()
				slot.Leave()
			}
		})
	}
	wg.Wait()
	for i := range slotLimits.WaitingPerNet {
		if _, full := s.Enter(from(3, 0, byte(i)), func() { t.Error("a connection was dropped while slots are free") }); full != "" {
			t.Fatal(full)
		}
	}
}
