package uses

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// However many take at once, and while more is reserved, no more is taken than was reserved.
func TestAllotmentGivesEachOnce(t *testing.T) {
	const callers, each, reserved = 16, 5_000, 40_000
	var a allotment
	var taken atomic.Int64
	var all sync.WaitGroup
	a.left.Store(reserved / 2)
	for range callers {
		all.Go(func() {
			for range each {
				if a.take() {
					taken.Add(1)
				}
			}
		})
	}
	a.left.Add(reserved / 2)
	all.Wait()
	for a.take() {
		taken.Add(1)
	}
	if n := taken.Load(); n > reserved || n < reserved-callers {
		t.Errorf("%d were taken of %d", n, reserved)
	}
}

// The reservations of a node are bounded. A tenant with very many keys drives out its own.
func TestAllotmentsAreBounded(t *testing.T) {
	nonces := newNonceTable()
	other := nonces.of(&core.ManagedObject{Tenant: "other", ID: "key"})
	for i := range maxAllotments + 1000 {
		nonces.of(&core.ManagedObject{Tenant: "many", ID: fmt.Sprint(i)})
	}
	if n := nonces.allotments.Len(); n > maxAllotments {
		t.Errorf("%d keys have a reservation; at most %d", n, maxAllotments)
	}
	if nonces.of(&core.ManagedObject{Tenant: "other", ID: "key"}) != other {
		t.Error("the keys of one tenant drove out that of another")
	}
}

// BenchmarkCount is what a use of a key pays for the count, if nothing has to be reserved.
func BenchmarkCount(b *testing.B) {
	nonces, o := newNonceTable(), &core.ManagedObject{Tenant: "t", ID: "6f1e2a34-9c0b-4f0e-8d57-3f1f6f0f7a10"}
	nonces.of(o).left.Store(1 << 62)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := nonces.count(nil, o, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}
