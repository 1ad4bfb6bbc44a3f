package engine_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

const day = 24 * 3600

// What each operation may do with an Active key that is disabled, archived, deleted softly, or
// purged after that: y allowed, s wrong state, a archived, d destroyed.
var lifeTable = map[string]string{
	"activate":           "sass",
	"cease":              "yass",
	"compromise":         "yayy",
	"destroy":            "sadd",
	"get":                "sadd",
	"get attributes":     "yyyy",
	"get attribute list": "yyyy",
	"add name":           "yayy",
	"modify attribute":   "yayy",
	"set attribute":      "yayy",
	"delete attribute":   "yayy",
	"encrypt":            "sadd",
	"decrypt":            "sadd",
	"sign":               "sadd",
	"signature verify":   "sadd",
	"mac":                "sadd",
	"mac verify":         "sadd",
	"re-key":             "sadd",
	"derive":             "sadd",
	"check":              "sadd",
	"disable":            "sadd",
	"enable":             "yadd",
	"soft delete":        "yadd",
	"restore":            "sayd",
	"purge":              "sayd",
	"archive":            "yadd",
	"recover":            "yydd",
	"wrap":               "sadd",
}

// lifeSteps lead to the columns of lifeTable.
var lifeSteps = [][]string{{"disable"}, {"archive"}, {"soft delete"}, {"soft delete", "purge"}}

// led makes an Active key of alice's and does some steps with it.
func (w *world) led(steps ...string) string {
	w.t.Helper()
	id := w.inState(core.Active)
	for _, step := range steps {
		if err := w.step(w.alice, step, id); err != nil {
			w.t.Fatalf("%s: %v", step, err)
		}
	}
	return id
}

// Every operation is tried on a key in every situation that is no State.
func TestOperationsByLife(t *testing.T) {
	codes := map[byte][]core.Code{'s': {core.WrongState}, 'a': {core.ObjectArchived, core.WrappingObjectArchived}, 'd': {core.ObjectDestroyed, core.WrappingObjectDestroyed}}
	for op := range stateTable {
		if lifeTable[op] == "" {
			t.Errorf("%s is not in lifeTable", op)
		}
	}
	for op, row := range lifeTable {
		for i, steps := range lifeSteps {
			w := newWorld(t)
			err := w.step(w.alice, op, w.led(steps...))
			want := row[i]
			if want == 'y' && err != nil {
				t.Errorf("%s after %v: %v; it is allowed", op, steps, err)
			} else if want != 'y' && (err == nil || !slices.Contains(codes[want], core.CodeOf(err))) {
				t.Errorf("%s after %v: %v; want one of %v", op, steps, err, codes[want])
			}
		}
	}
}

// The wrapping key that unwraps is looked at as the one that wraps.
func TestUnwrappingKeyIsAvailable(t *testing.T) {
	for step, want := range map[string]core.Code{"disable": core.WrongState, "archive": core.WrappingObjectArchived, "soft delete": core.WrappingObjectDestroyed} {
		w := newWorld(t)
		_, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
			Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)),
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 128, Wrapped: make([]byte, 24),
				Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: wrappedWith(w.led(step))}}}})
		if core.CodeOf(err) != want {
			t.Errorf("unwrapping under a key after %s: %v; want %v", step, err, want)
		}
	}
}

// stripped returns what must be the same after a change was taken back.
func stripped(w *world, id string) core.ManagedObject {
	w.t.Helper()
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	out := *o
	out.Version, out.Attributes = 0, o.Attributes.Without(core.AttributeName{Tag: core.TagLastChangeDate})
	return out
}

func sameObject(a, b *core.ManagedObject) bool {
	same := func(x, y core.Attribute) bool {
		return x.Ref() == y.Ref() && x.Index == y.Index && x.Value.Equal(y.Value)
	}
	sorted := func(as core.Attributes) core.Attributes {
		return slices.SortedStableFunc(slices.Values(as), func(x, y core.Attribute) int {
			return strings.Compare(x.Ref().String(), y.Ref().String())
		})
	}
	return slices.EqualFunc(sorted(a.Attributes), sorted(b.Attributes), same) && slices.Equal(a.Material.Blob, b.Material.Blob) && slices.Equal(a.Material.CKAID, b.Material.CKAID) && a.Material.Class == b.Material.Class
}

// What can be taken back brings the object back as it was, from every State.
func TestLifeIsTakenBack(t *testing.T) {
	for back, step := range map[string]string{"enable": "disable", "recover": "archive", "restore": "soft delete"} {
		for s := core.PreActive; s <= core.Compromised; s++ {
			w := newWorld(t)
			id := w.inState(s)
			before := stripped(w, id)
			for _, op := range []string{step, back} {
				w.clock.now += 3600
				if err := w.step(w.alice, op, id); err != nil {
					t.Fatalf("%s of an object that is %v: %v", op, s, err)
				}
			}
			if after := stripped(w, id); !sameObject(&before, &after) {
				t.Errorf("%v, %s and %s:\n%+v\nbecame\n%+v", s, step, back, before, after)
			}
		}
	}
}

// A deletion keeps what was disabled, and a date that is reached meanwhile counts afterwards.
func TestRestoreGoesOnWithTheClock(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey(core.TagActivationDate, core.Date(w.clock.now+100), core.TagDeactivationDate, core.Date(w.clock.now+10*day))
	for _, op := range []string{"disable", "soft delete"} {
		if err := w.step(w.alice, op, id); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.now += 200
	if err := w.step(w.alice, "restore", id); err != nil {
		t.Fatal(err)
	}
	o, _ := w.store.Object(ctx, "default", id)
	if o.StateAt(w.clock.now) != core.Active || !o.Disabled() {
		t.Errorf("restored after its Activation Date the key is %v, disabled %v; want Active and disabled", o.StateAt(w.clock.now), o.Disabled())
	}
}

// A date that the clock reaches while a key is deleted is not recorded as reached.
func TestDatesOfADeletedKey(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	deleted := w.aesKey(core.TagDeactivationDate, core.Date(w.clock.now+100))
	restored := w.aesKey(core.TagDeactivationDate, core.Date(w.clock.now+100))
	for _, step := range []struct{ op, id string }{{"soft delete", deleted}, {"soft delete", restored}, {"restore", restored}} {
		if err := w.step(w.alice, step.op, step.id); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.now += 200
	if err := w.RecordReachedDates(ctx); err != nil {
		t.Fatal(err)
	}
	if got := reached(j); len(got) != 1 || !strings.HasPrefix(got[0], restored) {
		t.Errorf("recorded are %v; want only the date of the restored key", got)
	}
}

// A key that is revoked for a compromise while it is deleted comes back Compromised.
func TestCompromisedWhileDeleted(t *testing.T) {
	w := newWorld(t)
	id := w.led("soft delete", "compromise")
	if o, _ := w.store.Object(ctx, "default", id); o.StateAt(w.clock.now) != core.DestroyedCompromised {
		t.Errorf("the key is %v", o.StateAt(w.clock.now))
	}
	if err := w.step(w.alice, "restore", id); err != nil {
		t.Fatal(err)
	}
	if o, _ := w.store.Object(ctx, "default", id); o.StateAt(w.clock.now) != core.Compromised {
		t.Errorf("the restored key is %v; want Compromised", o.StateAt(w.clock.now))
	}
}

// A deleted key can be restored until its retention is over, and not afterwards.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		asked int64
		lasts int64 // 0: refused
	}{{0, 30 * day}, {day, day}, {3650 * day, 3650 * day}, {day - 1, 0}, {3650*day + 1, 0}, {-1, 0}} {
		id := w.inState(core.Active)
		out, err := w.SoftDelete(ctx, w.alice, &operation.SoftDeleteInput{ID: core.ID(id), Retention: c.asked})
		if c.lasts == 0 {
			if core.CodeOf(err) != core.InvalidField {
				t.Errorf("a retention of %d s: %v; want InvalidField", c.asked, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if until, _ := rules.DateOf(out.Changed, rules.PurgeAtAttribute); until != w.clock.now+c.lasts {
			t.Errorf("a retention of %d s lasts %d s; want %d", c.asked, until-w.clock.now, c.lasts)
		}
		deleted := w.clock.now
		w.clock.now = deleted + c.lasts
		if err := w.step(w.alice, "restore", id); core.CodeOf(err) != core.WrongState {
			t.Errorf("restored when the retention is over: %v", err)
		}
		w.clock.now = deleted + c.lasts - 1
		if err := w.step(w.alice, "restore", id); err != nil {
			t.Errorf("restored a second before the retention is over: %v", err)
		}
		w.clock.now = deleted
	}
	w.Settings.Defaults.Retention = 7 * day * 1e9
	id := w.led("soft delete")
	if o, _ := w.store.Object(ctx, "default", id); !purgeIsAt(o, w.clock.now+7*day) {
		t.Errorf("the setting does not count: %+v", o.Attributes)
	}
}

// The setting of the tenant counts before that of the server.
func TestRetentionOfATenant(t *testing.T) {
	w := newWorld(t)
	w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{RetentionDays: 3}})
	w.Settings.Defaults.Retention = 7 * day * 1e9
	if o, _ := w.store.Object(ctx, "default", w.led("soft delete")); !purgeIsAt(o, w.clock.now+3*day) {
		t.Errorf("the setting of the tenant does not count: %+v", o.Attributes)
	}
}

func purgeIsAt(o *core.ManagedObject, want int64) bool {
	until, ok := rules.DateOf(o, rules.PurgeAtAttribute)
	return ok && until == want
}

// The clock purges a key when its sealed row says so: not before, not twice, and no key that was
// restored or never deleted. The record is durable before the HSM removes the key.
func TestPurgeByTheClock(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	o := w.resident()
	token := string(o.Material.CKAID)
	alive := w.inState(core.Active)
	if err := w.step(w.alice, "soft delete", o.ID); err != nil {
		t.Fatal(err)
	}
	if !w.hsm.tokens[token] {
		t.Fatal("the token object of a key that can be restored is gone")
	}
	for what, c := range map[string]struct {
		id   string
		want core.Code
	}{"before its time": {o.ID, core.WrongState}, "never deleted": {alive, core.WrongState}, "destroyed": {w.inState(core.Destroyed), core.ObjectDestroyed}, "nobody": {"nobody", core.ItemNotFound}} {
		if err := w.PurgeReached(ctx, "default", c.id); core.CodeOf(err) != c.want || err == nil {
			t.Errorf("%s: %v; want %v", what, err, c.want)
		}
	}
	w.clock.now += 30 * day
	w.store.refuse = core.Errorf(core.StoreUnavailable, "away")
	if err := w.PurgeReached(ctx, "default", o.ID); err == nil || !w.hsm.tokens[token] {
		t.Errorf("without a record: %v; the token object is there: %v", err, w.hsm.tokens[token])
	}
	w.store.refuse, w.store.forged = nil, o.ID
	if err := w.PurgeReached(ctx, "default", o.ID); core.CodeOf(err) != core.Tampered || !w.hsm.tokens[token] {
		t.Errorf("a row that was changed behind the server: %v; the token object is there: %v", err, w.hsm.tokens[token])
	}
	w.store.forged = ""
	if err := w.PurgeReached(ctx, "default", o.ID); err != nil {
		t.Fatal(err)
	}
	if r := j.last(); r.Action != core.ActionPurge || r.Door != core.DoorClock || r.Object != o.ID || r.Outcome != core.Allowed || r.Principal != "keyreeve" {
		t.Errorf("the record is %+v", r)
	}
	if w.hsm.tokens[token] || len(w.store.intents) != 0 {
		t.Errorf("the token object is there: %v; %d intents are open", w.hsm.tokens[token], len(w.store.intents))
	}
	gone, _ := w.store.Object(ctx, "default", o.ID)
	if _, dated := gone.Attributes.Date(core.TagDestroyDate); !dated || gone.StateAt(w.clock.now) != core.Destroyed || gone.Material.CKAID != nil || rules.IsRestorable(gone) {
		t.Errorf("the purged object is %+v", gone)
	}
	if err := w.PurgeReached(ctx, "default", o.ID); core.CodeOf(err) != core.ObjectDestroyed {
		t.Errorf("a second time: %v", err)
	}
}

// forgetful is a store whose hint about token objects knows none.
type forgetful struct{ core.Store }

func (forgetful) Residents(context.Context, [][]byte) (map[string]bool, error) { return nil, nil }

// The token object of a key that can be restored is no orphan, whatever intents name it and
// whatever the hint of the store says.
func TestDeletedKeyIsNoOrphan(t *testing.T) {
	w := newWorld(t)
	o := w.resident()
	if err := w.step(w.alice, "soft delete", o.ID); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []core.IntentKind{core.IntentCreateObject, core.IntentDestroyObject} {
		w.leave(kind, o)
		w.clock.now += 2 * engine.IntentAgeSeconds
		for _, atStart := range []bool{true, false} {
			if n, err := w.Reconcile(ctx, atStart); err != nil || n.Removed != 0 || n.Orphans != 0 {
				t.Errorf("the reconciler did %+v, %v", n, err)
			}
		}
		if orphans, err := w.Orphans(ctx); err != nil || len(orphans) != 0 || w.PendingDestroys() != 0 {
			t.Errorf("orphans are %+v, %v; %d destroys pending", orphans, err, w.PendingDestroys())
		}
	}
	if out, err := w.upkeepVerbs.Purge(ctx, socket, []string{engine.IntentID(o.Material.CKAID)}, "user 0"); err == nil || len(out) > 0 {
		t.Errorf("hsm orphans purge took %+v, %v", out, err)
	}
	w.Ports.Store = forgetful{w.store}
	if orphans, err := w.Orphans(ctx); err != nil || len(orphans) != 0 {
		t.Errorf("without the hint orphans are %+v, %v", orphans, err)
	}
	w.Ports.Store = w.store
	if err := w.step(w.alice, "restore", o.ID); err != nil {
		t.Error(err)
	}
	if err := w.step(w.alice, "activate", o.ID); err != nil {
		t.Error(err)
	}
	if err := w.step(w.alice, "encrypt", o.ID); err != nil {
		t.Errorf("the restored key: %v", err)
	}
}

// Each change of a batch is undone with it: the object is then as it was.
func TestUndoOfLife(t *testing.T) {
	prior := map[string]string{"enable": "disable", "recover": "archive", "restore": "soft delete", "purge": "soft delete"}
	for _, op := range []string{"disable", "enable", "soft delete", "restore", "purge", "archive", "recover"} {
		w := newWorld(t)
		o := w.resident()
		if prior[op] != "" {
			if err := w.step(w.alice, prior[op], o.ID); err != nil {
				t.Fatal(err)
			}
		}
		before := stripped(w, o.ID)
		c := *w.alice
		c.Undo = &core.Undo{}
		if err := w.step(&c, op, o.ID); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		if err := w.UndoBatch(ctx, &c, c.Undo); err != nil {
			t.Errorf("the undo of %s: %v", op, err)
		}
		if after := stripped(w, o.ID); !sameObject(&before, &after) || !w.hsm.tokens[string(o.Material.CKAID)] {
			t.Errorf("the undo of %s:\n%+v\nbecame\n%+v; the token object is there: %v", op, before, after, w.hsm.tokens[string(o.Material.CKAID)])
		}
	}
}

// What another node disables, archives or deletes is refused here within a second.
func TestLifeOnAnotherNode(t *testing.T) {
	for step, want := range map[string]core.Code{"disable": core.WrongState, "archive": core.ObjectArchived, "soft delete": core.ObjectDestroyed} {
		w := newWorld(t)
		w.store.shared = true
		here, there := newNode(engine.New(w.Ports, w.Settings)), newNode(engine.New(w.Ports, w.Settings))
		id := w.inState(core.Active)
		for _, s := range []struct {
			at   node
			step string
		}{{here, "encrypt"}, {there, step}} {
			w.serve(s.at)
			if err := w.step(w.alice, s.step, id); err != nil {
				t.Fatal(err)
			}
		}
		w.serve(here)
		w.clock.now++
		if err := w.step(w.alice, "encrypt", id); core.CodeOf(err) != want {
			t.Errorf("a second after %s on another node: %v; want %v", step, err, want)
		}
	}
}

// Clients cannot set, change or delete the attributes that describe the life of a key, however
// they split the name.
func TestLifeIsTheServers(t *testing.T) {
	for _, steps := range [][]string{{"disable"}, {"soft delete"}, {"activate"}} {
		for _, name := range []string{"disabled", "deleted-at", "purge-at", "state-before"} {
			for _, vendor := range []string{"x", "x-keyreeve", ""} {
				w := newWorld(t)
				id := w.inState(core.PreActive)
				for _, step := range steps {
					if err := w.step(w.alice, step, id); err != nil {
						t.Fatal(err)
					}
				}
				a := core.Attribute{Vendor: vendor, Name: name, Value: core.Bool(true)}
				if vendor == "x" {
					a.Name = "keyreeve-" + name
				} else if vendor == "" {
					a.Vendor, a.Name = "y", "keyreeve-"+name
				}
				create := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)).Add(a)
				for what, try := range map[string]func() error{
					"Create": func() error {
						_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: create})
						return err
					},
					"Add Attribute": func() error {
						_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: a})
						return err
					},
					"Set Attribute": func() error {
						_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: a})
						return err
					},
					"Modify Attribute": func() error {
						_, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: a.Ref(), New: a})
						return err
					},
					"Delete Attribute": func() error {
						_, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: a.Ref()})
						return err
					},
				} {
					if code := core.CodeOf(try()); code != core.AttributeReadOnly && code != core.AttributeNotFound {
						t.Errorf("%s of %s after %v: code %v; want AttributeReadOnly", what, a.Ref(), steps, code)
					}
				}
			}
		}
	}
}

// Locate finds a key by where it is: on-line, archived, or destroyed, which a deleted key is.
func TestLocateByStorage(t *testing.T) {
	w := newWorld(t)
	ids := map[string]string{"on-line": w.led(), "disabled": w.led("disable"), "archived": w.led("archive"), "deleted": w.led("soft delete"), "purged": w.led("soft delete", "purge")}
	const online, archival, gone = core.StorageStatusMaskOnLineStorage, core.StorageStatusMaskArchivalStorage, core.StorageStatusMaskDestroyedStorage
	for _, c := range []struct {
		mask  core.StorageStatusMask
		state core.State // 0: none
		want  []string
	}{
		{0, 0, []string{"disabled", "on-line"}}, {online, 0, []string{"disabled", "on-line"}}, {archival, 0, []string{"archived"}}, {gone, 0, []string{"deleted", "purged"}},
		{online | archival | gone, 0, []string{"archived", "deleted", "disabled", "on-line", "purged"}}, {0, core.Active, []string{"disabled", "on-line"}}, {0, core.Destroyed, []string{"deleted", "purged"}},
		{archival, core.Active, []string{"archived"}}, {online, core.Destroyed, nil},
	} {
		in := &operation.LocateInput{MaximumItems: -1, StorageStatus: uint32(c.mask)}
		if c.state != 0 {
			in.Attributes = attrs(core.TagState, core.Enum(c.state))
		}
		out, err := w.Locate(ctx, w.alice, in)
		var found []string
		for _, name := range slices.Sorted(maps.Keys(ids)) {
			if slices.Contains(out.IDs, ids[name]) {
				found = append(found, name)
			}
		}
		if err != nil || !slices.Equal(found, c.want) {
			t.Errorf("mask %d and state %v find %v, %v; want %v", c.mask, c.state, found, err, c.want)
		}
	}
}

// Templates have no State: they can be archived, and then no object is made from them.
func TestLifeOfTemplates(t *testing.T) {
	w := newWorld(t)
	id, err := w.keep(core.V1_4, attrs(core.TagName, name("pattern")), attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES)))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"disable", "soft delete"} {
		if err := w.step(w.alice, op, id); core.CodeOf(err) != core.IllegalOperation {
			t.Errorf("%s of a Template: %v", op, err)
		}
	}
	create := func() error {
		_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"pattern"}, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.alice, "archive", id); err != nil {
		t.Fatal(err)
	}
	if err := create(); core.CodeOf(err) != core.ObjectArchived {
		t.Errorf("an object from an archived Template: %v", err)
	}
}

// A Name that another object took while its key was deleted is not given back.
func TestRestoreWithUniqueNames(t *testing.T) {
	w := newWorld(t)
	w.Settings.Defaults.UniqueNames = true
	id := w.aesKey(core.TagName, name("one"))
	if err := w.step(w.alice, "soft delete", id); err != nil {
		t.Fatal(err)
	}
	other := w.aesKey(core.TagName, name("one"))
	if err := w.step(w.alice, "restore", id); core.CodeOf(err) != core.NonUniqueNameAttribute {
		t.Errorf("restored beside another object of its name: %v", err)
	}
	if err := w.step(w.alice, "destroy", other); err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.alice, "restore", id); err != nil {
		t.Error(err)
	}
}
