package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Object returns an object with an attribute of each kind.
func Object(tenant, id string) *core.ManagedObject {
	return &core.ManagedObject{Tenant: tenant, ID: id, Type: core.ObjectTypeSymmetricKey, Owner: "alice", Group: "g", Version: 1,
		Attributes: core.Attributes{
			{Tag: core.TagUniqueIdentifier, Value: core.Text(id)},
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)},
			{Tag: core.TagCryptographicLength, Value: core.Int(256)},
			{Tag: core.TagState, Value: core.Enum(core.PreActive)},
			{Tag: core.TagInitialDate, Value: core.Date(1_700_000_000)},
			{Tag: core.TagName, Value: core.PlainName("first").Value()}, {Tag: core.TagName, Index: 1, Value: core.PlainName("zweiter \u00fc\u4e16").Value()},
			{Tag: core.TagFresh, Value: core.Bool(true)}, {Tag: core.TagLeaseTime, Value: core.Interval(3600)},
			{Tag: core.TagUsageLimits, Value: core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(1 << 40)})},
			{Tag: core.TagDigest, Value: core.Structure(core.Field{Tag: core.TagDigestValue, Value: core.Bytes([]byte{0, 255, 10})})},
			{Vendor: "x", Name: "Site", Value: core.Text("Basel")}, {Vendor: "x", Name: "Slot", Value: core.Int(-7)},
			{Vendor: "x", Name: "Big", Value: core.BigInt([]byte{0x80, 0, 0, 0, 0, 0, 0, 1})}, {Vendor: "acme", Name: "Empty", Value: core.Bytes([]byte{})},
		},
		Material: core.Material{Mode: core.ModeWrapped, Class: core.ClassX, Epoch: 3, Wrap: "aes-kw", Kind: core.KeyAES, Format: core.KeyFormatTypeRaw,
			Length: 32, Blob: []byte{1, 0, 2}, TTLV: []byte{9}, MAC: []byte{7, 7}}}
}

func roundTrip(t *testing.T, s core.Store) {
	o := Object("t", "round")
	insert(t, s, o)
	got, err := s.Object(ctx, "t", "round")
	mustSucceed(t, err)
	if !reflect.DeepEqual(got, o) {
		t.Errorf("stored\n%+v\nread\n%+v", o, got)
	}
	next := *o
	next.Version, next.Attributes = 2, o.Attributes.Set(core.TagState, core.Enum(core.Active))
	next.Material = core.Material{Mode: core.ModeResident, Class: core.ClassN, CKAID: []byte("0123456789abcdef")}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})))
	got, err = s.Object(ctx, "t", "round")
	mustSucceed(t, err)
	if !reflect.DeepEqual(got, &next) {
		t.Errorf("changed to\n%+v\nread\n%+v", &next, got)
	}
	named, err := s.Residents(ctx, [][]byte{next.Material.CKAID, []byte("nobody")})
	mustSucceed(t, err)
	if !named[string(next.Material.CKAID)] || named["nobody"] {
		t.Errorf("Residents says %v", named)
	}
}

func tenants(t *testing.T, s core.Store) {
	insert(t, s, Object("a", "same"), Object("b", "same"))
	wantCode(t, "another tenant's object", second(s.Object(ctx, "c", "same")), core.ItemNotFound)
	found, err := s.Candidates(ctx, "a", core.Filter{WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagName, Value: core.PlainName("first").Value()}}}, 0, 10)
	mustSucceed(t, err)
	if len(found) != 1 || found[0].Tenant != "a" {
		t.Errorf("a search in tenant a found %d rows", len(found))
	}
	foreign := Object("b", "same")
	foreign.Tenant, foreign.Version = "c", 2
	wantCode(t, "a change under another tenant", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: foreign})), core.Conflict)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "a", Time: 1, Body: []byte("of a")}})))
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "b"})
	mustSucceed(t, err)
	for _, r := range records {
		if r.Tenant != "b" {
			t.Errorf("tenant b sees a record of %s", r.Tenant)
		}
	}
}

// The rows of one tenant are removed in order, with what belongs to them, and none of another.
func removedRows(t *testing.T, s core.Store) {
	var mine [3]*core.ManagedObject
	for i := range mine {
		mine[i] = Object("removed", fmt.Sprint(i))
		insert(t, s, mine[i])
	}
	other := Object("kept", "0")
	insert(t, s, other)
	due := core.DueDate{Tenant: "removed", ID: "0", Tag: core.TagActivationDate, At: 5}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AddDueDate{DueDate: due}, core.AddUsage{Tenant: "removed", Usage: core.Usage{Objects: 3}}, core.AddUsage{Tenant: "kept", Usage: core.Usage{Objects: 1}})))
	for _, want := range []int{2, 1, 0} {
		rows, err := s.OldestRows(ctx, "removed", 2)
		mustSucceed(t, err)
		if rows.Count != want {
			t.Fatalf("%d rows are counted, want %d", rows.Count, want)
		}
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.RemoveRows{Tenant: "removed", UpTo: rows.LastSeq})))
	}
	for _, o := range mine {
		wantCode(t, "an object whose row was removed", second(s.Object(ctx, "removed", o.ID)), core.ItemNotFound)
	}
	found, err := s.Candidates(ctx, "removed", core.Filter{WholeTenant: true}, 0, 10)
	mustSucceed(t, err)
	dates, err := s.DueDates(ctx, core.DueAttributes, 5, core.DueDate{At: -1}, 1000)
	mustSucceed(t, err)
	usage, err := s.Usage(ctx, "removed")
	mustSucceed(t, err)
	if len(found) != 0 || slices.Contains(dates, due) || usage != (core.Usage{}) {
		t.Errorf("after the removal a search finds %d objects, the dates are %v, the usage is %+v", len(found), dates, usage)
	}
	mustSucceed(t, second(s.Object(ctx, "kept", "0")))
	if usage, err := s.Usage(ctx, "kept"); err != nil || usage.Objects != 1 {
		t.Errorf("the usage of another tenant is %+v, %v", usage, err)
	}
}

func conflicts(t *testing.T, s core.Store) {
	o := Object("conf", "contested")
	insert(t, s, o)
	wantCode(t, "the same id again", s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: Object("conf", "contested")})), core.ObjectAlreadyExists)
	a, b := *o, *o
	a.Version, b.Version = 2, 2
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &a})))
	wantCode(t, "a change of an old version", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &b})), core.Conflict)
	wantCode(t, "deleting an old version", s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: o})), core.Conflict)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &a})))
	wantCode(t, "what was deleted", second(s.Object(ctx, "conf", "contested")), core.ItemNotFound)
	found, err := s.Candidates(ctx, "conf", core.Filter{WholeTenant: true, Attributes: core.Attributes{{Vendor: "x", Name: "Site", Value: core.Text("Basel")}}}, 0, 10)
	mustSucceed(t, err)
	if len(found) != 0 {
		t.Error("the search table still has what was deleted")
	}
}

// A change must name the Seq of its row. With the Seq of another row, it would change the
// search rows of the other object, and the seal would cover the wrong Seq.
func foreignSeq(t *testing.T, s core.Store) {
	mine, theirs := Object("seq a", "mine"), Object("seq b", "theirs")
	insert(t, s, mine, theirs)
	next, gone := *mine, *mine
	next.Version, next.Seq, gone.Seq = 2, theirs.Seq, theirs.Seq
	wantCode(t, "a change under another row's Seq", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})), core.Conflict)
	wantCode(t, "a deletion under another row's Seq", s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &gone})), core.Conflict)
	f := core.Filter{WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagName, Value: core.PlainName("first").Value()}}}
	for _, tenant := range []string{"seq a", "seq b"} {
		found, err := s.Candidates(ctx, tenant, f, 0, 10)
		mustSucceed(t, err)
		if len(found) != 1 {
			t.Errorf("%s finds %d objects by name, want 1", tenant, len(found))
		}
	}
}

// The hash of a row depends only on its version and content. It is the same before and
// after the row is stored.
func rowHashes(t *testing.T, s core.Store) {
	o := Object("hash", "one")
	before, err := s.RowHash(o)
	mustSucceed(t, err)
	insert(t, s, o)
	stored, err := s.Object(ctx, "hash", "one")
	mustSucceed(t, err)
	after, err := s.RowHash(stored)
	mustSucceed(t, err)
	if len(before) != sha256.Size || !bytes.Equal(before, after) {
		t.Errorf("the hash was %x before the row was stored and is %x now", before, after)
	}
	seen := map[string]string{string(after): "as it is"}
	for what, edit := range map[string]func(o *core.ManagedObject){
		"version": func(o *core.ManagedObject) { o.Version++ }, "owner": func(o *core.ManagedObject) { o.Owner = "eve" }, "group": func(o *core.ManagedObject) { o.Group = "" },
		"state": func(o *core.ManagedObject) { o.Attributes = o.Attributes.Set(core.TagState, core.Enum(core.Active)) },
		"class": func(o *core.ManagedObject) { o.Material.Class = core.ClassC }, "MAC": func(o *core.ManagedObject) { o.Material.MAC = []byte{8} },
		"no MAC": func(o *core.ManagedObject) { o.Material.MAC = nil }, "tenant": func(o *core.ManagedObject) { o.Tenant = "hasho" }, "id": func(o *core.ManagedObject) { o.ID = "ne" },
	} {
		changed := *stored
		edit(&changed)
		h, err := s.RowHash(&changed)
		mustSucceed(t, err)
		if other, twice := seen[string(h)]; twice {
			t.Errorf("another %s has the hash of %s", what, other)
		}
		seen[string(h)] = what
	}
}

func restorableResidents(t *testing.T, s core.Store) {
	for i, state := range []core.State{core.PreActive, core.Destroyed, core.DestroyedCompromised} {
		o := Object("res", fmt.Sprintf("r%d", i))
		o.Attributes = o.Attributes.Set(core.TagState, core.Enum(state))
		o.Material = core.Material{Mode: core.ModeResident, CKAID: fmt.Appendf(nil, "res-token-%d", i)}
		insert(t, s, o)
	}
	named, err := s.Residents(ctx, [][]byte{[]byte("res-token-0"), []byte("res-token-1"), []byte("res-token-2")})
	mustSucceed(t, err)
	if len(named) != 3 {
		t.Errorf("Residents says %v; each token object is named by a row, and a destroyed object that can be restored names its own", named)
	}
}
