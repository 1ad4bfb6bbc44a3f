package engine_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// tenantRows has a row for some tenants; unknown is the error about all.
type tenantRows struct {
	rows    map[string]*core.Tenant
	unknown error
}

func (r *tenantRows) Tenant(name string) (*core.Tenant, error) {
	if row := r.rows[name]; row != nil || r.unknown != nil {
		return row, r.unknown
	}
	return core.TenantWithoutRow, nil
}

// lay gives the tenant default a row, which the engine reads.
func (w *world) lay(row *core.Tenant) *tenantRows {
	rows := &tenantRows{rows: map[string]*core.Tenant{"default": row}}
	w.Ports.TenantRows = rows
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	return rows
}

// No operation is answered for a tenant that is not active, or whose row cannot be relied on;
// the other tenant is answered.
func TestEveryOperationOfADisabledTenantIsRefused(t *testing.T) {
	for action, e := range every {
		for _, row := range []*core.Tenant{{State: core.TenantDisabled}, {State: core.TenantDeleting, DeleteAfter: 1}, {State: core.TenantDeleted}, nil} {
			w := newWorld(t)
			id := w.inState(core.Active)
			if e.object {
				id = w.objectOf(e)
			}
			rows, want := w.lay(row), core.PermissionDenied
			if row == nil {
				rows.unknown, want = core.Errorf(core.Tampered, "test"), core.PolicyUnavailable
			}
			if err := e.do(w, w.alice, id); core.CodeOf(err) != want {
				t.Errorf("%v of a tenant with the row %+v: %v; want %v", action, row, err, want)
			}
			rows.unknown = nil
			if _, err := w.Create(ctx, w.out, aesInput()); err != nil {
				t.Errorf("another tenant is refused too: %v", err)
			}
		}
	}
}

// An operation that is under way when its tenant is disabled is not answered.
func TestATenantIsDisabledDuringAnOperation(t *testing.T) {
	w := newWorld(t)
	row := &core.Tenant{State: core.TenantActive}
	rows := w.lay(row)
	w.hsm.made = func() {
		rows.rows["default"] = &core.Tenant{State: core.TenantDisabled}
		w.clock.now += 2
	}
	if _, err := w.Create(ctx, w.alice, residentInput()); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a key was made: %v", err)
	}
}

// A tenant's quota counts in place of the server's, whether it is smaller or greater, and for
// this tenant alone.
func TestQuotasOfTheRow(t *testing.T) {
	for _, c := range []struct{ server, own, made int64 }{{0, 3, 3}, {5, 3, 3}, {3, 5, 5}, {3, 0, 3}} {
		w := newWorld(t)
		w.Settings.Quota = core.Quota{Objects: c.server}
		w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Objects: c.own}})
		made := int64(0)
		for range 6 {
			if _, err := w.Create(ctx, w.alice, aesInput()); err == nil {
				made++
			} else if core.CodeOf(err) != core.QuotaExceeded {
				t.Fatal(err)
			}
		}
		if made != c.made {
			t.Errorf("the server's quota is %d and the tenant's %d: %d objects; want %d", c.server, c.own, made, c.made)
		}
		others := int64(0)
		for range 6 {
			if _, err := w.Create(ctx, w.out, aesInput()); err == nil {
				others++
			}
		}
		if want := min(6, cmp.Or(c.server, 6)); others != want {
			t.Errorf("the server's quota is %d, and another tenant has %d objects; want %d", c.server, others, want)
		}
	}
}

// A quota of requests is in force from the next request, and so is a greater one.
func TestRequestsOfTheRow(t *testing.T) {
	w := newWorld(t)
	rows := w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Requests: 2}})
	refused := func() (n int) {
		for range 5000 { // more than a second's, however slow the machine
			if err := every[core.ActionQuery].do(w, w.alice, ""); core.CodeOf(err) == core.TooManyRequests {
				n++
			}
		}
		return n
	}
	if refused() == 0 {
		t.Error("no request is refused")
	}
	// One for each nanosecond, so that no request is faster than what is permitted.
	rows.rows["default"] = &core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Requests: 1_000_000_000}}
	if n := refused(); n > 1000 {
		t.Errorf("with a great quota %d of 5000 requests are refused", n)
	}
}

// What the row says of revoked keys and of new objects counts before the settings of the
// server.
func TestDefaultsOfTheRow(t *testing.T) {
	for _, server := range []bool{true, false} {
		for _, own := range []*bool{nil, new(true), new(false)} {
			w := newWorld(t)
			w.Settings.Defaults.Sensitive, w.Settings.Defaults.NotExtractable = server, !server
			w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Sensitive: own, NotExtractable: own}})
			o, err := w.store.Object(ctx, "default", w.aesKey())
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprint(server, !server)
			if own != nil {
				want = fmt.Sprint(*own, *own)
			}
			if got := fmt.Sprint(o.Attributes.Bool(core.TagSensitive), !o.Attributes.Bool(core.TagExtractable)); got != want {
				t.Errorf("the server says %v, the row %v: the key has Sensitive and not Extractable %s; want %s", server, own, got, want)
			}
		}
	}
}

// A key that a tenant does not allow is made by no operation.
func TestAllowListsHoldForEveryNewKey(t *testing.T) {
	w := newWorld(t)
	key, pair := w.aesKey(core.TagActivationDate, core.Date(1)), w.keyPair()
	w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Algorithms: map[string][]int{"HMAC-SHA256": nil}}})
	for action, key := range map[core.Action]string{core.ActionCreate: "", core.ActionCreateKeyPair: "", core.ActionReKey: key, core.ActionReKeyKeyPair: pair.PrivateID} {
		if err := every[action].do(w, w.alice, key); core.CodeOf(err) != core.PermissionDenied || !strings.Contains(err.Error(), "algorithms") {
			t.Errorf("%v of an algorithm that is not allowed: %v", action, err)
		}
	}
	w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Classes: []core.Class{core.ClassN}}})
	if _, err := w.Create(ctx, w.alice, aesInput()); core.CodeOf(err) != core.PermissionDenied || !strings.Contains(err.Error(), "classes") {
		t.Errorf("a class that is not allowed: %v", err)
	}
	if _, err := w.Create(ctx, w.alice, aesInput(core.TagExtractable, core.Bool(false))); err != nil {
		t.Errorf("a class that is allowed: %v", err)
	}
}

// A new key is its maker's. It is shared with the group that the request names, or else with
// that of the client, of the tenant or of the server; always only if the maker is a member.
func TestGroupOfANewKey(t *testing.T) {
	for _, c := range []struct{ asked, client, row, server, want string }{
		{want: ""}, // also if the maker is in groups
		{asked: "g", client: "ops", row: "dev", server: "dev", want: "g"},
		{asked: "strangers", client: "ops", row: "g", server: "g", want: "ops"},
		{client: "strangers", row: "ops", server: "g", want: "ops"},
		{row: "strangers", server: "dev", want: "dev"},
		{asked: "strangers", client: "strangers", row: "strangers", server: "strangers", want: ""},
	} {
		w := newWorld(t)
		w.alice.Principal.Groups, w.alice.Principal.KeyGroup = []string{"g", "ops", "dev"}, c.client
		w.Settings.Defaults.KeyGroup = c.server
		w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{KeyGroup: c.row}})
		var more []any
		if c.asked != "" {
			more = []any{core.TagObjectGroup, core.Text(c.asked)}
		}
		o, err := w.store.Object(ctx, "default", w.aesKey(more...))
		if err != nil || o.Group != c.want {
			t.Errorf("%+v: the group is %q, %v", c, o.Group, err)
		}
	}
}

// A tenant that forbids software is told so to the HSM at each use and each new pair; others are not.
func TestSoftwareOfTheRow(t *testing.T) {
	for _, own := range []*bool{nil, new(true), new(false)} {
		w := newWorld(t)
		key := w.inState(core.Active)
		w.lay(&core.Tenant{State: core.TenantActive, TenantSettings: core.TenantSettings{Software: own}})
		want := own != nil && !*own
		for _, action := range []core.Action{core.ActionEncrypt, core.ActionDecrypt, core.ActionMAC, core.ActionSign, core.ActionCreateKeyPair, core.ActionDeriveKey} {
			w.hsm.noSoftware.Store(!want)
			if err := every[action].do(w, w.alice, key); err != nil {
				t.Errorf("%v: %v", action, err)
			}
			if got := w.hsm.noSoftware.Load(); got != want {
				t.Errorf("%v with software %v: the HSM is told %v; want %v", action, own, got, want)
			}
		}
	}
}

// The rows of a deleted tenant are removed when its keys are certainly gone, and not before. What
// an interruption leaves is removed later. Records and other tenants stay.
func TestRowsOfADeletedTenantAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.hsm.sets[1], w.hsm.sets[2] = true, true
	for range 3 {
		w.aesKey()
	}
	if _, err := w.Create(ctx, w.out, aesInput()); err != nil {
		t.Fatal(err)
	}
	remove := func(state core.TenantState) int {
		t.Helper()
		n, err := w.RemoveObjects(ctx, map[string]core.TenantState{"default": state})
		if err != nil && w.store.refuse == nil {
			t.Error(err)
		}
		return n
	}
	if n := remove(core.TenantDeleted); n != 0 {
		t.Errorf("%d rows are removed while the keys are there", n)
	}
	if _, err := w.Tenants.Shred(ctx, "default", "system/socket"); err != nil {
		t.Fatal(err)
	}
	w.hsm.sets[1] = true // the token has a key of the set after all
	if n := remove(core.TenantDeleted); n != 0 {
		t.Errorf("%d rows are removed though the token has a key", n)
	}
	delete(w.hsm.sets, 1)
	for _, state := range []core.TenantState{core.TenantDisabled, core.TenantDeleting} {
		if n := remove(state); n != 0 {
			t.Errorf("%d rows of a tenant that is %s are removed", n, state)
		}
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
	if n := remove(core.TenantDeleted); n != 0 {
		t.Errorf("%d rows are removed without a record", n)
	}
	w.store.refuse = nil
	before := len(w.store.entries)
	if n := remove(core.TenantDeleted); n != 3 || len(w.store.entries) != before+1 {
		t.Errorf("%d rows are removed with %d records; want 3 with one", n, len(w.store.entries)-before)
	}
	if n := remove(core.TenantDeleted); n != 0 || len(w.store.entries) != before+1 {
		t.Errorf("the second time %d rows are removed, with %d records", n, len(w.store.entries)-before-1)
	}
	if rows, _ := w.store.OldestRows(ctx, "other", 10); rows.Count != 1 {
		t.Errorf("another tenant has %d rows; want its one", rows.Count)
	}
}

// So are its policies, users, roles, clients and all other entries, and not those of another tenant.
// The row of the tenant and the records stay.
func TestEntriesOfADeletedTenantAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.hsm.sets[1], w.hsm.sets[2] = true, true
	v, d := administered(t, w, 0)
	for i := range 150 {
		if _, err := v.SaveUser(ctx, w.alice, admin.SaveUserInput{Name: fmt.Sprint("u", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := savePolicy(w, v, `{"n":1}`, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.DeleteUser(ctx, w.alice, admin.Removal{Name: "u0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.SaveUser(ctx, w.out, admin.SaveUserInput{Name: "theirs"}); err != nil {
		t.Fatal(err)
	}
	body, err := core.EncodeBody(&core.Tenant{State: core.TenantDeleted})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Save(ctx, &core.DirectoryEntry{Kind: core.EntryTenant, ID: "default", Version: 1, At: 1, Author: "system/socket", Body: body}); err != nil {
		t.Fatal(err)
	}
	remove := func(state core.TenantState) int {
		t.Helper()
		n, err := w.RemoveEntries(ctx, d, map[string]core.TenantState{"default": state})
		if err != nil && w.store.refuse == nil {
			t.Error(err)
		}
		return n
	}
	if n := remove(core.TenantDeleted); n != 0 {
		t.Errorf("%d entries are removed while the keys are there", n)
	}
	if _, err := w.Tenants.Shred(ctx, "default", "system/socket"); err != nil {
		t.Fatal(err)
	}
	w.hsm.sets[1] = true // the token has a key of the set after all
	if n := remove(core.TenantDeleted); n != 0 {
		t.Errorf("%d entries are removed though the token has a key", n)
	}
	delete(w.hsm.sets, 1)
	for _, state := range []core.TenantState{core.TenantDisabled, core.TenantDeleting} {
		if n := remove(state); n != 0 {
			t.Errorf("%d entries of a tenant that is %s are removed", n, state)
		}
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
	if n := remove(core.TenantDeleted); n != 0 || len(d.NamesOf("default", 1000)) != 151 {
		t.Errorf("%d entries are removed without a record, and %d are left", n, len(d.NamesOf("default", 1000)))
	}
	w.store.refuse = nil
	before := len(w.store.entries)
	if n := remove(core.TenantDeleted); n != 151 || len(w.store.entries) != before+2 {
		t.Errorf("%d entries are removed with %d records; want 151 with one for each batch of 100", n, len(w.store.entries)-before)
	}
	if n := remove(core.TenantDeleted); n != 0 || len(w.store.entries) != before+2 {
		t.Errorf("the second time %d entries are removed, with %d records", n, len(w.store.entries)-before-2)
	}
	for _, name := range []core.DirectoryName{{Tenant: "default", Kind: core.EntryUser, ID: "u1"}, {Tenant: "default", Kind: core.EntryUser, ID: "u0"}, {Tenant: "default", Kind: core.EntryPolicy, ID: "p"}} {
		if left, err := w.store.DirectoryHistory(ctx, name, 0, 10); err != nil || len(left) > 0 {
			t.Errorf("%v: %d versions are left, %v", name, len(left), err)
		}
	}
	for _, name := range []core.DirectoryName{{Tenant: "other", Kind: core.EntryUser, ID: "theirs"}, {Kind: core.EntryTenant, ID: "default"}} {
		if left, err := w.store.DirectoryHistory(ctx, name, 0, 10); err != nil || len(left) != 1 {
			t.Errorf("%v: %d versions are left, %v; want one", name, len(left), err)
		}
	}
}

// What a node keeps unwrapped is dropped for each tenant that is not active, and for no other.
func TestKeysOfInactiveTenantsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.ForgetInactive(map[string]core.TenantState{"other": core.TenantDisabled})
	if len(w.hsm.forgot) != 1 || w.hsm.forgot[0] != "other" {
		t.Errorf("the keys of %v are forgotten; want those of the tenant other", w.hsm.forgot)
	}
}

// The keys of a deleted tenant are destroyed only after the record of it is stored. What fails
// is done by the next call, and the keys of another tenant stay.
func TestShredding(t *testing.T) {
	w := newWorld(t)
	w.hsm.sets[1], w.hsm.sets[2] = true, true
	if _, err := w.createResident(); err != nil {
		t.Fatal(err)
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
	if _, err := w.Tenants.Shred(ctx, "default", "system/socket"); err == nil || !w.hsm.sets[1] || len(w.hsm.tokens) != 1 {
		t.Errorf("without a record: %v, sets %v, %d resident keys; nothing may be destroyed", err, w.hsm.sets, len(w.hsm.tokens))
	}
	w.store.refuse = nil
	w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
	if _, err := w.Tenants.Shred(ctx, "default", "system/socket"); core.CodeOf(err) != core.TokenUnavailable || w.store.sets[0].State != core.KeySetActive {
		t.Errorf("with a token that fails: %v, the set is %s; it must not be called destroyed", err, w.store.sets[0].State)
	}
	w.hsm.fail = nil
	got, err := w.Tenants.Shred(ctx, "default", "system/socket")
	if err != nil || got.KeySets != 1 || got.ResidentKeys != 1 || got.Shredded != "online" || w.hsm.sets[1] || !w.hsm.sets[2] || w.store.sets[0].State != core.KeySetDestroyed {
		t.Errorf("%+v, %v; sets in the token %v, the row is %s", got, err, w.hsm.sets, w.store.sets[0].State)
	}
	if got, err := w.Tenants.Shred(ctx, "default", "system/socket"); err != nil || got.KeySets+got.ResidentKeys != 0 {
		t.Errorf("a second time: %+v, %v", got, err)
	}
	if _, err := w.Tenants.Declare(ctx, "default"); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("the name of the deleted tenant is declared again: %v", err)
	}
	if _, err := w.Create(ctx, w.out, aesInput()); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}

// A deletion does not end well if rows of the tenant's sets of keys are missing: all, one between
// others, or the newest one, whose keys are then in the HSM without a row. What rows name is destroyed
// all the same. The rows of the objects stay.
func TestShreddingWithMissingRowsIsNotComplete(t *testing.T) {
	set := func(number int64, epoch int) core.KeySet {
		return core.KeySet{Number: number, Tenant: "default", Epoch: epoch, State: core.KeySetActive}
	}
	other := core.KeySet{Number: 2, Tenant: "other", Epoch: 1, State: core.KeySetActive}
	for what, c := range map[string]struct {
		rows []core.KeySet
		says string
	}{
		"all rows":    {[]core.KeySet{other}, "epoch 1 of tenant default is missing"},
		"the first":   {[]core.KeySet{other, set(3, 2), set(4, 3)}, "epoch 1 of tenant default is missing"},
		"the second":  {[]core.KeySet{set(1, 1), other, set(4, 3)}, "epoch 2 of tenant default is missing"},
		"the newest":  {[]core.KeySet{set(1, 1), other, set(3, 2)}, "no row names set 4 of keys in the HSM"},
		"none of all": {[]core.KeySet{set(1, 1), other, set(3, 2), set(4, 3)}, ""},
	} {
		w := newWorld(t)
		w.aesKey()
		w.store.sets = c.rows
		for number := range int64(5) {
			w.hsm.sets[number] = true
			w.hsm.seen = append(w.hsm.seen, core.TokenKeySet{Own: true, Number: number})
		}
		w.hsm.seen = append(w.hsm.seen, core.TokenKeySet{Number: 77}) // of another installation
		_, err := w.Tenants.Shred(ctx, "default", "system/socket")
		if c.says == "" && err != nil || c.says != "" && (core.CodeOf(err) != core.Tampered || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "restore the table tenant_key")) {
			t.Errorf("without %s: %v; want %q", what, err, c.says)
		}
		for _, row := range c.rows {
			if gone := !w.hsm.sets[row.Number]; gone != (row.Tenant == "default") {
				t.Errorf("without %s: set %d of %s is destroyed: %v", what, row.Number, row.Tenant, gone)
			}
		}
		removed, err := w.RemoveObjects(ctx, map[string]core.TenantState{"default": core.TenantDeleted})
		if want := map[bool]int{true: 1}[c.says == ""]; removed != want || (err == nil) != (c.says == "") {
			t.Errorf("without %s: %d rows of objects are removed, %v; want %d", what, removed, err, want)
		}
	}
}
