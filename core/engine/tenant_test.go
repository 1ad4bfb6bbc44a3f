package engine

import (
	"strings"
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

// A pending set that a crash left is finished, by its own number, and nothing in
// the token is destroyed; a set that cannot be finished is given up for another.
func TestPendingSetIsFinished(t *testing.T) {
	w := newWorld(t)
	w.store.sets = []core.KeySet{{Number: 4, Tenant: "default", Epoch: 1, State: core.KeySetPending}}
	if err := w.EnsureTenant(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	if s := w.store.sets; len(s) != 1 || s[0].Number != 4 || s[0].State != core.KeySetActive || len(s[0].Checks) == 0 {
		t.Errorf("the sets are %+v, want number 4 active", s)
	}
	w.store.sets = append(w.store.sets, core.KeySet{Number: 5, Tenant: "broken", Epoch: 1, State: core.KeySetPending})
	w.hsm.making = func() {
		w.hsm.fail = nil
		if s := w.store.sets; s[len(s)-1].Number == 5 && s[len(s)-1].State == core.KeySetPending {
			w.hsm.fail = core.Errorf(core.ObjectAlreadyExists, "a key is half made")
		}
	}
	if err := w.EnsureTenant(ctx, "broken"); err != nil {
		t.Fatal(err)
	}
	last := w.store.sets[len(w.store.sets)-1]
	if w.store.sets[1].State != core.KeySetRetired || last.Number != 6 || last.Epoch != 2 || last.State != core.KeySetActive {
		t.Errorf("the sets are %+v", w.store.sets)
	}
	if len(w.hsm.destroyed) > 0 {
		t.Errorf("%d token objects were destroyed", len(w.hsm.destroyed))
	}
}

// A set that another node has begun and never finished is given up after a time:
// if both made its keys, the token would have them twice.
func TestPendingSetOfAnotherNode(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	w.Engine = New(w.Options)
	w.store.sets = []core.KeySet{{Number: 4, Tenant: "default", Epoch: 1, State: core.KeySetPending}}
	if err := w.EnsureTenant(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	if s := w.store.sets; len(s) != 2 || s[0].State != core.KeySetRetired || s[1].State != core.KeySetActive || s[1].Epoch != 2 || w.hsm.sets[4] {
		t.Errorf("the sets are %+v; keys of set 4 were made: %v", s, w.hsm.sets[4])
	}
}

// No set ever serves a second tenant: a number that the token has keys of is not
// taken, though its row is gone, as in a database from a backup.
func TestSetNumbersAreNotUsedAgain(t *testing.T) {
	w := newWorld(t)
	for n := range int64(4) {
		w.hsm.sets[n] = true
	}
	if err := w.EnsureTenant(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if s := w.store.sets; len(s) != 1 || s[0].Number != 4 {
		t.Errorf("the sets are %+v, want number 4", s)
	}
}

// Naming tenants does not fill the token: from a bound on, a new one is refused,
// and those there are go on.
func TestTenantsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.Options.MaxTenants = 3
	w.Engine = New(w.Options)
	refused := 0
	for i := range 10 {
		switch err := w.EnsureTenant(ctx, "tenant"+itoa(i)); {
		case core.CodeOf(err) == core.PermissionDenied && strings.Contains(err.Error(), "hsm.max_tenants"):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	if refused != 7 || len(w.hsm.sets) != 3 {
		t.Errorf("%d of 10 tenants were refused, and the token has %d sets; want 7 and 3", refused, len(w.hsm.sets))
	}
	if err := New(w.Options).EnsureTenant(ctx, "tenant0"); err != nil {
		t.Errorf("a tenant that has keys: %v", err)
	}
}
