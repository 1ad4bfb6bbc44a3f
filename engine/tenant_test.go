package engine_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine"
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
			w.Ports.Store = slowStore{store}
			w.serve(newNode(engine.New(w.Ports, w.Settings)))
			nodes = append(nodes, w)
		}
		coretest.AtOnce(len(nodes), func(i int) {
			if _, err := nodes[i].Tenants.Declare(ctx, "new"); err != nil {
				t.Error(err)
			}
			if err := nodes[i].Tenants.Load(ctx, "new"); err != nil {
				t.Error(err)
			}
		})
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
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
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
	if _, err := w.Tenants.Declare(ctx, "default"); err != nil {
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
	if _, err := w.Tenants.Declare(ctx, "broken"); err != nil {
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
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	w.store.sets = []core.KeySet{{Number: 4, Tenant: "default", Epoch: 1, State: core.KeySetPending}}
	if _, err := w.Tenants.Declare(ctx, "default"); err != nil {
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
	w.store.sets = nil
	for n := range int64(4) {
		w.hsm.sets[n] = true
	}
	if _, err := w.Tenants.Declare(ctx, "new"); err != nil {
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
	w.store.sets = nil
	w.Settings.MaxTenants = 3
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	refused := 0
	for i := range 10 {
		switch _, err := w.Tenants.Declare(ctx, "tenant"+strconv.Itoa(i)); {
		case core.CodeOf(err) == core.PermissionDenied && strings.Contains(err.Error(), "hsm.max_tenants"):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	if refused != 7 || len(w.hsm.sets) != 3 {
		t.Errorf("%d of 10 tenants were refused, and the token has %d sets; want 7 and 3", refused, len(w.hsm.sets))
	}
	if _, err := newNode(engine.New(w.Ports, w.Settings)).Tenants.Declare(ctx, "tenant0"); err != nil {
		t.Errorf("a tenant that has keys: %v", err)
	}
}

// A tenant that nobody declared has no keys, and asking for it makes none.
func TestUndeclaredTenant(t *testing.T) {
	w := newWorld(t)
	for what, ask := range map[string]func(context.Context, string) error{"required": w.Tenants.RequireDeclared, "loaded": w.Tenants.Load} {
		if err := ask(ctx, "stranger"); core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(err.Error(), "keyreeve tenant create stranger") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(w.hsm.sets) > 0 || len(w.store.sets) != 2 {
		t.Errorf("keys were made: %v, rows %v", w.hsm.sets, w.store.sets)
	}
	if made, err := w.Tenants.Declare(ctx, "stranger"); !made || err != nil {
		t.Errorf("declared %v, %v", made, err)
	}
	if made, err := w.Tenants.Declare(ctx, "stranger"); made || err != nil {
		t.Errorf("declared again %v, %v", made, err)
	}
	if err := w.Tenants.RequireDeclared(ctx, "stranger"); err != nil {
		t.Error(err)
	}
}

// A start with many tenants loads none of their keys. The first use of one loads
// its keys once, for all who wait, and the use of another does not wait.
func TestKeysAreLoadedAtFirstUse(t *testing.T) {
	w := newWorld(t)
	for n := range int64(100) {
		w.store.sets = append(w.store.sets, core.KeySet{Number: n + 3, Tenant: "t" + strconv.Itoa(int(n)), Epoch: 1, State: core.KeySetActive})
	}
	if err := w.Tenants.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Reconcile(ctx, true); err != nil || w.hsm.loads != 0 || w.Tenants.Unchecked() != 102 {
		t.Fatalf("the start loaded %d sets, %v", w.hsm.loads, err)
	}
	w.Tenants.TakeTurn("t1") // its keys are being loaded
	coretest.AtOnce(8, func(int) {
		if err := w.Tenants.Load(ctx, "t0"); err != nil {
			t.Error(err)
		}
	})
	if w.hsm.loads != 1 {
		t.Errorf("the keys of one tenant were loaded %d times", w.hsm.loads)
	}
	brief, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := w.Tenants.Load(brief, "t1"); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("waiting for ever ends with %v", err)
	}
}

// Keys that are lost are noticed without a use of them, and again when they are there.
func TestTenantKeysAreChecked(t *testing.T) {
	w := newWorld(t)
	w.hsm.lost = "other"
	if err := w.Tenants.Check(ctx, 0); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("the check ends with %v", err)
	}
	if d := w.Tenants.Damaged(); len(d) != 1 || !strings.Contains(d[0], "tenant other") || w.Tenants.Unchecked() != 0 {
		t.Errorf("damaged are %v", d)
	}
	seen, err := w.ListTenants(ctx, w.alice, "", 100)
	if err != nil || len(seen) != 2 || !seen[0].Loaded || seen[1].Loaded || seen[1].Problem == "" {
		t.Errorf("seen are %+v, %v", seen, err)
	}
	w.hsm.lost = ""
	loads := w.hsm.loads
	if err := w.Tenants.Check(ctx, 0); err != nil || len(w.Tenants.Damaged()) != 0 || w.hsm.loads != loads+1 {
		t.Errorf("after the repair: %v, %v, %d loads", err, w.Tenants.Damaged(), w.hsm.loads-loads)
	}
}

// Who may declare a tenant is the policy's to say, and every answer is recorded.
func TestCreateTenantIsDecided(t *testing.T) {
	w := newWorld(t)
	made, err := w.CreateTenant(ctx, w.alice, "acme")
	if err != nil || !made {
		t.Errorf("created %v, %v", made, err)
	}
	w.Ports.Policy = closed{}
	if _, err := w.CreateTenant(ctx, w.alice, "bmce"); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("denied with %v", err)
	}
	if _, err := w.ListTenants(ctx, w.alice, "", 100); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("denied with %v", err)
	}
	var all []string
	for _, e := range w.store.entries {
		all = append(all, string(e.Body))
	}
	for _, want := range []string{"Create Tenant Keys allowed", "Create Tenant allowed", "Create Tenant denied", "List Tenants denied"} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("no record %q in %q", want, all)
		}
	}
}
