package cache

import (
	"fmt"
	"sync"
	"testing"
)

// A tenant with very many keys drives out its own, whatever goroutine asks, and a key of
// another tenant that looks the same is another key.
func TestSharedIsFair(t *testing.T) {
	s := NewShared[string](1600)
	keyOf := func(i int) []byte { return fmt.Append(nil, "key", i) }
	for i := range 10 {
		s.Put("small", keyOf(i), fmt.Sprint("small", i))
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := w; i < 8000; i += 4 {
				s.Put("large", keyOf(i), fmt.Sprint("large", i))
				if v, ok := s.Get("large", keyOf(i)); ok && v != fmt.Sprint("large", i) {
					t.Errorf("key %d has the value %q", i, v)
				}
			}
		})
	}
	writers.Wait()
	for i := range 10 {
		if v, ok := s.Get("small", keyOf(i)); !ok || v != fmt.Sprint("small", i) {
			t.Errorf("key %d of the small tenant: %q, %v; the large one drove it out", i, v, ok)
		}
	}
	if n := s.Len(); n > 1600 || n < 1200 {
		t.Errorf("%d values are kept; want at most 1600, and most of them", n)
	}
	if v, ok := s.Get("nobody", keyOf(1)); ok {
		t.Errorf("a tenant without values gets %q", v)
	}
	if s.Put("small", keyOf(1), "new"); s.Len() == 0 {
		t.Error("nothing is kept")
	}
	if v, _ := s.Get("small", keyOf(1)); v != "new" {
		t.Errorf("a replaced value is %q", v)
	}
	key := keyOf(1)
	if n := testing.AllocsPerRun(100, func() { s.Get("small", key) }); n != 0 {
		t.Errorf("a look-up costs %v allocations", n)
	}
}

// No two keys share a number, also when there are more keys than numbers are kept, and a key
// that is known keeps its number.
func TestNumbersDiffer(t *testing.T) {
	n, seen := NewNumbers(160), map[uint64]string{}
	for _, tenant := range []string{"t", "u"} {
		for i := range 1000 {
			key := fmt.Sprint(i)
			number := n.NumberOf(tenant, []byte(key))
			if again := n.NumberOf(tenant, []byte(key)); again != number {
				t.Errorf("the key %s/%s has the numbers %d and %d", tenant, key, number, again)
			}
			if other := seen[number]; other != "" {
				t.Errorf("%s/%s has the number of %s", tenant, key, other)
			}
			seen[number] = tenant + "/" + key
		}
	}
}
