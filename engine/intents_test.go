package engine_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/upkeep"
)

// socket is a command over the admin socket.
var socket = &core.Caller{Principal: &core.Principal{Tenant: "system", ID: "socket", Roles: []string{"system"}, Method: "system"}, Door: core.DoorAdmin}

// resident creates a key of alice's in the token and returns its row.
func (w *world) resident() *core.ManagedObject {
	w.t.Helper()
	out, err := w.createResident()
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.store.Object(ctx, "default", out.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) createResident() (operation.CreateOutput, error) {
	return w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: append(attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)), core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")})})
}

// leave puts an intent into the database as another process, or an attacker, does.
func (w *world) leave(kind core.IntentKind, o *core.ManagedObject) core.Intent {
	i := w.NewIntent(kind, o.Tenant, o.ID, o.Material.CKAID, 1)
	i.Process = "another"
	w.store.intents[i.ID] = i
	return i
}

// strange puts an object into the token that no row names.
func (w *world) strange(id string) *core.ManagedObject {
	token := engine.NewCKAID()
	w.hsm.tokens[string(token)] = true
	w.hsm.of[string(token)] = core.TokenObject{Tenant: "default", ID: id}
	return &core.ManagedObject{Tenant: "default", ID: id, Material: core.Material{CKAID: token}}
}

// Whatever intents and rows the database holds, nothing that this process did not
// begin is destroyed: neither at start nor later, neither a key in use nor what a
// creation or a Destroy of an earlier process left.
func TestRowsDestroyNothing(t *testing.T) {
	w := newWorld(t)
	inUse, restored, deleted, gone := w.resident(), w.resident(), w.resident(), w.resident()
	w.leave(core.IntentDestroyObject, inUse)
	w.leave(core.IntentCreateObject, restored)
	w.leave(core.IntentDestroyObject, deleted)
	delete(w.store.objects, storedKey{"default", deleted.ID})
	destroyed := gone.Successor()
	destroyed.Material.CKAID, destroyed.Attributes = nil, gone.Attributes.Set(core.TagState, core.Enum(core.Destroyed))
	w.store.objects[storedKey{"default", gone.ID}] = destroyed
	w.leave(core.IntentDestroyObject, gone)
	died := w.strange("died")
	w.leave(core.IntentCreateObject, died)
	w.strange("stranger")
	absent := &core.ManagedObject{Tenant: "default", ID: "absent", Material: core.Material{CKAID: engine.NewCKAID()}}
	w.leave(core.IntentCreateObject, absent)
	for _, atStart := range []bool{true, false, false} {
		n, err := w.Reconcile(ctx, atStart)
		if err != nil || n.Removed != 0 || len(w.hsm.destroyed) != 0 {
			t.Fatalf("the reconciler did %+v, %v; destroyed %x", n, err, w.hsm.destroyed)
		}
		w.clock.now += 2 * engine.IntentAgeSeconds
	}
	for _, o := range []*core.ManagedObject{inUse, restored, absent} {
		if _, open := w.store.intents[engine.IntentID(o.Material.CKAID)]; open {
			t.Errorf("the intent about %s is open; a row names its object, or the token has none", o.ID)
		}
	}
	if len(w.store.intents) != 3 || w.PendingDestroys() != 3 {
		t.Errorf("%d intents are open and %d destroys pending, want 3 each", len(w.store.intents), w.PendingDestroys())
	}
	orphans, err := w.Orphans(ctx)
	if err != nil || len(orphans) != 4 {
		t.Errorf("%d orphans are listed, want 4: %+v, %v", len(orphans), orphans, err)
	}
	for _, o := range orphans {
		if o.ID == inUse.ID || o.ID == restored.ID || !o.Purgeable || !o.InToken || o.Why == "" {
			t.Errorf("listed is %+v", o)
		}
	}
}

// What creations of this process left in the token is removed, once they are old
// enough; those that never reached the token are closed without asking it for each.
func TestOwnCreationsAreFinished(t *testing.T) {
	w := newWorld(t)
	w.aesKey()
	const many = 500
	w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
	for range many {
		if _, err := w.createResident(); err == nil {
			t.Fatal("a key was made without the token")
		}
	}
	w.hsm.fail = nil
	w.hsm.made = func() { w.store.refuse = errors.New("the database is away") }
	if _, err := w.createResident(); err == nil {
		t.Fatal("a key was made without the database")
	}
	w.hsm.made, w.store.refuse = nil, nil
	if n, err := w.Reconcile(ctx, false); err != nil || n != (upkeep.Reconciled{}) {
		t.Errorf("at once the reconciler did %+v, %v", n, err)
	}
	w.clock.now += engine.IntentAgeSeconds
	n, err := w.Reconcile(ctx, false)
	if err != nil || n != (upkeep.Reconciled{Finished: many + 1, Removed: 1}) || len(w.store.intents) != 0 || len(w.hsm.destroyed) != 1 {
		t.Errorf("the reconciler did %+v, %v; %d intents are open, %d objects destroyed", n, err, len(w.store.intents), len(w.hsm.destroyed))
	}
}

// A Destroy of this process that is still pending is not carried out when the row
// is gone, was changed, or lives again.
func TestPendingDestroyAsksTheRow(t *testing.T) {
	for what, change := range map[string]func(w *world, o *core.ManagedObject){
		"the row is gone":   func(w *world, o *core.ManagedObject) { delete(w.store.objects, storedKey{"default", o.ID}) },
		"the key is undone": func(w *world, o *core.ManagedObject) { w.store.objects[storedKey{"default", o.ID}] = o },
		"the row is forged": func(w *world, o *core.ManagedObject) { w.store.forged = o.ID },
	} {
		w := newWorld(t)
		o := w.resident()
		w.hsm.fail = core.Errorf(core.TokenUnavailable, "read-only")
		if err := w.step(w.alice, "destroy", o.ID); err != nil {
			t.Fatal(err)
		}
		w.hsm.fail = nil
		change(w, o)
		w.clock.now += engine.IntentAgeSeconds
		if n, _ := w.Reconcile(ctx, false); n.Removed != 0 || len(w.hsm.destroyed) != 0 {
			t.Errorf("%s: the reconciler did %+v", what, n)
		}
	}
}

// The command destroys what it is told to and nothing else, and leaves records of
// the beginning and of the end. A row that was changed may be that of a key in use.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	inUse, forged := w.resident(), w.resident()
	orphan, other := w.strange("orphan"), w.strange("other")
	w.leave(core.IntentCreateObject, orphan)
	w.store.forged = forged.ID
	changed := forged.Successor()
	changed.Material.CKAID = nil // so that no search by CKA_ID finds the row
	w.store.objects[storedKey{"default", forged.ID}] = changed
	for what, id := range map[string]string{"a key in use": engine.IntentID(inUse.Material.CKAID), "a key whose row was changed": engine.IntentID(forged.Material.CKAID), "nothing": "00", "no id": ""} {
		if out, err := w.Purge(ctx, socket, []string{id}, "user 0"); err == nil || len(out) > 0 || len(w.hsm.destroyed) > 0 {
			t.Errorf("%s was purged: %+v, %v", what, out, err)
		}
	}
	out, err := w.Purge(ctx, socket, []string{engine.IntentID(orphan.Material.CKAID)}, "user 0")
	if err != nil || len(out) != 1 || len(w.hsm.destroyed) != 1 || !bytes.Equal(w.hsm.destroyed[0], orphan.Material.CKAID) || len(w.store.intents) != 0 {
		t.Errorf("purged %+v, %v; destroyed %x; %d intents are open", out, err, w.hsm.destroyed, len(w.store.intents))
	}
	var records []string
	for _, e := range w.store.entries {
		if strings.HasPrefix(string(e.Body), "Purge Token Object allowed") {
			records = append(records, string(e.Body))
		}
	}
	if len(records) != 2 || !strings.Contains(records[0], "begins") || !strings.Contains(records[1], "destroyed") || !strings.Contains(records[1], "user 0") {
		t.Errorf("the records are %q", records)
	}
	w.store.refuse = errors.New("no room for a record")
	if _, err := w.Purge(ctx, socket, []string{engine.IntentID(other.Material.CKAID)}, "user 0"); core.CodeOf(err) != core.AuditUnavailable || len(w.hsm.destroyed) != 1 {
		t.Errorf("without a record: %v", err)
	}
}

// On a database that others share, what another node may be making just now is
// not purged.
func TestPurgeLeavesOtherNodesAlone(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	o := w.strange("young")
	i := w.leave(core.IntentCreateObject, o)
	i.Time = w.clock.now
	w.store.intents[i.ID] = i
	if _, err := w.Purge(ctx, socket, []string{i.ID}, "user 0"); core.CodeOf(err) != core.IllegalOperation || len(w.hsm.destroyed) > 0 {
		t.Errorf("the object of another node was purged: %v", err)
	}
	w.clock.now += engine.IntentAgeSeconds
	if _, err := w.Purge(ctx, socket, []string{i.ID}, "user 0"); err != nil || len(w.hsm.destroyed) != 1 {
		t.Errorf("an old one is not purged: %v", err)
	}
}

// A row of an intent that was changed behind the server is listed and named, and
// its token object stays. Others are listed and purged as if it were not there, and
// the reconciler closes what is finished.
func TestTamperedIntentBlocksOnlyItself(t *testing.T) {
	w := newWorld(t)
	w.aesKey()
	held, other := w.strange("held"), w.strange("other")
	w.store.forgedIntent = w.leave(core.IntentDestroyObject, held).ID
	w.leave(core.IntentDestroyObject, other)
	absent := &core.ManagedObject{Tenant: "default", ID: "absent", Material: core.Material{CKAID: engine.NewCKAID()}}
	w.leave(core.IntentCreateObject, absent)
	w.clock.now += 2 * engine.IntentAgeSeconds
	if _, err := w.Reconcile(ctx, false); core.CodeOf(err) != core.Tampered {
		t.Errorf("the reconciler answers %v; want that a row was changed", err)
	}
	if n, last := w.Tampered(); n != 1 || !strings.Contains(last, "hsm orphans list") {
		t.Errorf("%d rows were found changed, the last: %s", n, last)
	}
	if _, open := w.store.intents[engine.IntentID(absent.Material.CKAID)]; open {
		t.Error("a finished intent is open, because the row of another was changed")
	}
	list := func() map[string]upkeep.Orphan {
		all, err := w.Orphans(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]upkeep.Orphan{}
		for _, o := range all {
			out[o.ID] = o
		}
		return out
	}
	orphans := list()
	if o := orphans["held"]; o.Purgeable || !o.InToken || !strings.Contains(o.Why, "changed behind the server") {
		t.Errorf("the object of the changed row is %+v", o)
	}
	if o := orphans["other"]; len(orphans) != 2 || !o.Purgeable {
		t.Errorf("the others: %+v", orphans)
	}
	id := func(o *core.ManagedObject) []string { return []string{engine.IntentID(o.Material.CKAID)} }
	if purged, err := w.Purge(ctx, socket, id(held), "user 0"); err == nil || len(purged) > 0 || !strings.Contains(err.Error(), id(held)[0]) {
		t.Errorf("purge of the object of a changed row: %v, %v; want a refusal that names it", purged, err)
	}
	if purged, err := w.Purge(ctx, socket, id(other), "user 0"); err != nil || len(purged) != 1 {
		t.Errorf("purge of another: %v, %v", purged, err)
	}
	if o := list(); len(o) != 1 || len(w.hsm.destroyed) != 1 {
		t.Errorf("afterwards: %+v", o)
	}
}

// The policy has the last word: without its permit nothing is destroyed, and the
// refusal is recorded.
func TestPurgeAsksThePolicy(t *testing.T) {
	for what, policy := range map[string]core.Policy{"denies": nobody{}, "fails": tenantPolicy{fail: errors.New("broken")}} {
		w := newWorld(t)
		w.aesKey()
		id := engine.IntentID(w.strange("orphan").Material.CKAID)
		w.Ports.Policy = policy
		w.store.entries = nil
		if purged, err := w.Purge(ctx, socket, []string{id}, "user 0"); err == nil || len(purged) > 0 || len(w.hsm.destroyed) > 0 {
			t.Errorf("a policy that %s: %v, %v, and %x is destroyed", what, purged, err, w.hsm.destroyed)
		}
		if len(w.store.entries) != 1 || !strings.HasPrefix(string(w.store.entries[0].Body), "Purge Token Object ") || !strings.Contains(string(w.store.entries[0].Body), id) {
			t.Errorf("a policy that %s: there are %d records", what, len(w.store.entries))
		}
		if err := w.MayInspect(ctx, socket, core.ActionListTokenObjects); err == nil {
			t.Errorf("a policy that %s lets the orphans be listed", what)
		}
	}
}

// nobody is a policy that allows nothing.
type nobody struct{ tenantPolicy }

func (nobody) Decide(context.Context, *core.AccessRequest) (core.Decision, error) {
	return core.Decision{Reasons: []string{"nobody"}}, nil
}
