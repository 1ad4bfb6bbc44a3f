package cache

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A tenant with very many objects drives out its own, and the values of others stay.
func TestManyObjectsDriveOutTheirOwn(t *testing.T) {
	dropped := 0
	c := New(100, time.Hour, func(int) { dropped++ })
	for i := range 10 {
		c.Put("small", fmt.Sprint(i), i)
	}
	for i := range 1000 {
		c.Put("large", fmt.Sprint(i), i)
		if c.Len() > 100 {
			t.Fatalf("%d values are kept", c.Len())
		}
	}
	for i := range 10 {
		if v, ok := c.Get("small", fmt.Sprint(i)); !ok || v != i {
			t.Errorf("value %d of the small tenant: %d, %v", i, v, ok)
		}
	}
	if want := 10 + 1000 - c.Len(); dropped != want {
		t.Errorf("%d values were dropped, want %d", dropped, want)
	}
}

// Each of many tenants gets its share of a full cache less one, also if others came
// first.
func TestTenantsGetTheirShare(t *testing.T) {
	c := New(60, time.Hour, func(int) {})
	for tenant := range 6 {
		for i := range 100 {
			c.Put(fmt.Sprint(tenant), fmt.Sprint(i), i)
		}
	}
	for tenant := range 6 {
		if n := c.counts[fmt.Sprint(tenant)]; n < 60/6-1 {
			t.Errorf("tenant %d has %d of 60 values", tenant, n)
		}
	}
}

// Every value that leaves is handed over once: replaced, dropped, expired or cleared.
func TestEveryValueThatLeavesIsHandedOver(t *testing.T) {
	var left []string
	c := New(10, time.Minute, func(v string) { left = append(left, v) })
	for _, v := range []string{"replaced", "kept"} {
		c.Put("t", "a", v)
	}
	c.Put("t", "b", "dropped")
	c.Drop("t", "b")
	c.Drop("t", "b")
	c.Drop("other", "a")
	c.Expire(time.Now())
	if v, ok := c.Get("t", "a"); !ok || v != "kept" || !slices.Equal(left, []string{"replaced", "dropped"}) {
		t.Errorf("kept is %q, %v; left are %q", v, ok, left)
	}
	c.Expire(time.Now().Add(time.Hour))
	c.Put("t", "c", "cleared")
	c.Clear()
	if want := []string{"replaced", "dropped", "kept", "cleared"}; !slices.Equal(left, want) || c.Len() != 0 || len(c.counts) != 0 {
		t.Errorf("left are %q, want %q; %d stay", left, want, c.Len())
	}
}

// A value whose time is over is not returned, although nobody has dropped it yet.
func TestExpiredValuesAreNotReturned(t *testing.T) {
	c := New(10, -time.Second, func(int) {})
	c.Put("t", "a", 1)
	if _, ok := c.Get("t", "a"); ok || c.Len() != 1 {
		t.Errorf("an expired value is returned: %v; %d are kept", ok, c.Len())
	}
}

// Get allocates nothing.
func TestGetAllocatesNothing(t *testing.T) {
	c := New(10, time.Hour, func([200]byte) {})
	c.Put("t", "a", [200]byte{})
	if n := testing.AllocsPerRun(100, func() { c.Get("t", "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A ranked cache keeps what is worth most, however many values that are worth less come. Values
// whose time is over make room first. The shares of tenants count before the worth.
func TestRankedCacheKeepsWorth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewRanked(1000, time.Hour, func(worth int) int { return worth })
		for i := range 10 {
			c.Put("t", fmt.Sprint("old", i), 9)
		}
		time.Sleep(time.Hour + time.Second)
		for i := range 10 {
			c.Put("t", fmt.Sprint("dear", i), 2)
			c.Put("small", fmt.Sprint(i), 0)
		}
		for i := range 20_000 {
			c.Put("t", fmt.Sprint(i), 1)
		}
		for i := range 10 {
			if _, ok := c.Get("t", fmt.Sprint("dear", i)); !ok {
				t.Errorf("value %d, which is worth more than those that came, is gone", i)
			}
			if _, ok := c.Get("small", fmt.Sprint(i)); !ok {
				t.Errorf("value %d of a tenant below its share is gone", i)
			}
			if _, kept := c.entries[name{"t", fmt.Sprint("old", i)}]; kept {
				t.Errorf("value %d is kept after its time", i)
			}
		}
		if c.Len() > 1000 {
			t.Errorf("%d values are kept, at most 1,000", c.Len())
		}
	})
}
