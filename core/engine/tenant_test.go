package engine

import (
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Nodes that meet a new tenant at the same moment come to the same keys, or
// else what one seals the other cannot open; none of them is told to try again.
func TestNodesShareATenantsKeys(t *testing.T) {
	for range 20 {
		store := newMemStore()
		store.shared = true
		var nodes []*world
		for range 3 {
			w := newWorld(t)
			w.hsm.making = func() { time.Sleep(200 * time.Microsecond) }
			w.Options.Store = slowStore{store}
			w.Engine = New(w.Options)
			nodes = append(nodes, w)
		}
		var all sync.WaitGroup
		for _, w := range nodes {
			all.Go(func() {
				if err := w.EnsureTenant(ctx, "new"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, w := range nodes {
			if len(w.hsm.loaded) != 1 || w.hsm.loaded[0].Number != nodes[0].hsm.loaded[0].Number {
				t.Fatalf("one node has loaded %v, another %v", w.hsm.loaded, nodes[0].hsm.loaded)
			}
		}
	}
}

// A node loads the keys that another made later when it meets an object that is
// sealed under them.
func TestNewerKeysAreLoaded(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	w.Engine = New(w.Options)
	id := w.inState(core.Active)
	w.store.sets = append(w.store.sets, core.KeySet{Number: 9, Tenant: "default", Epoch: 2, State: core.KeySetActive, Checks: []byte("c")})
	o, _ := w.store.Object(ctx, "default", id)
	o.Material.Epoch = 2
	w.clock.now++ // past the lease
	if err := w.step(w.alice, "get", id); err != nil {
		t.Fatal(err)
	}
	if len(w.hsm.loaded) != 2 {
		t.Errorf("%d sets are loaded, want the new one too", len(w.hsm.loaded))
	}
}
