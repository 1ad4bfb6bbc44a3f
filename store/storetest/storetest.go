// Package storetest is the contract of core.Store as a test suite, and starts
// the PostgreSQL that tests need.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Run holds a store to the contract. open opens it, the same each time within
// one test function's life, so that what was stored is still there.
func Run(t *testing.T, open func(t *testing.T) core.Store) {
	for name, f := range map[string]func(*testing.T, core.Store){"usage": usage,
		"round trip": roundTrip, "tenants": tenants, "conflicts": conflicts, "atomic": allOrNothing, "locate": locate, "paging": paging,
		"keys and intents": keysAndIntents, "installation": installation, "records": records, "many writers": manyWriters,
		"hostile bytes": hostileBytes, "foreign seq": foreignSeq, "row hashes": rowHashes, "key states": keyStates, "late birth": lateBirth, "due dates": dueDates, "superset": superset, "destroyed residents": destroyedResidents,
	} {
		t.Run(name, func(t *testing.T) { s := open(t); defer s.Close(); f(t, s) })
	}
	t.Run("reopen", func(t *testing.T) { reopen(t, open) })
	t.Run("counted records", func(t *testing.T) { countedRecords(t, open) })
	t.Run("counting nodes", func(t *testing.T) { countingNodes(t, open) })
}

var ctx = context.Background()

// Object makes an object with one attribute of every kind.
func Object(tenant, id string) *core.ManagedObject {
	return &core.ManagedObject{Tenant: tenant, ID: id, Type: core.ObjectTypeSymmetricKey, Owner: "alice", Group: "g", Version: 1,
		Attributes: core.Attributes{
			{Tag: core.TagUniqueIdentifier, Value: core.Text(id)},
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)},
			{Tag: core.TagCryptographicLength, Value: core.Int(256)},
			{Tag: core.TagState, Value: core.Enum(core.PreActive)},
			{Tag: core.TagInitialDate, Value: core.Date(1_700_000_000)},
			{Tag: core.TagName, Value: Name("first")}, {Tag: core.TagName, Index: 1, Value: Name("zweiter \u00fc\u4e16")},
			{Tag: core.TagFresh, Value: core.Bool(true)}, {Tag: core.TagLeaseTime, Value: core.Interval(3600)},
			{Tag: core.TagUsageLimits, Value: core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(1 << 40)})},
			{Tag: core.TagDigest, Value: core.Structure(core.Field{Tag: core.TagDigestValue, Value: core.Bytes([]byte{0, 255, 10})})},
			{Vendor: "x", Name: "Site", Value: core.Text("Basel")}, {Vendor: "x", Name: "Slot", Value: core.Int(-7)},
			{Vendor: "x", Name: "Big", Value: core.BigInt([]byte{0x80, 0, 0, 0, 0, 0, 0, 1})}, {Vendor: "acme", Name: "Empty", Value: core.Bytes([]byte{})},
		},
		Material: core.Material{Mode: core.ModeWrapped, Class: core.ClassX, Epoch: 3, Wrap: "aes-kw", Kind: core.KeyAES, Format: core.KeyFormatTypeRaw,
			Length: 32, Blob: []byte{1, 0, 2}, TTLV: []byte{9}, MAC: []byte{7, 7}}}
}

// Name makes a Name's value.
func Name(s string) core.Value {
	return core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text(s)}, core.Field{Tag: core.TagNameType, Value: core.Enum(core.NameTypeUninterpretedTextString)})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, what string, err error, c core.Code) {
	t.Helper()
	if err == nil || core.CodeOf(err) != c {
		t.Errorf("%s: got %v, want code %v", what, err, c)
	}
}

// insertions is a change that inserts objects.
func insertions(objects ...*core.ManagedObject) *core.Change {
	c := &core.Change{}
	for _, o := range objects {
		c.Add(core.InsertObject{Object: o})
	}
	return c
}

func insert(t *testing.T, s core.Store, objects ...*core.ManagedObject) {
	t.Helper()
	must(t, s.Commit(ctx, insertions(objects...)))
}

func roundTrip(t *testing.T, s core.Store) {
	o := Object("t", "round")
	insert(t, s, o)
	got, err := s.Object(ctx, "t", "round")
	must(t, err)
	if !reflect.DeepEqual(got, o) {
		t.Errorf("stored\n%+v\nread\n%+v", o, got)
	}
	next := *o
	next.Version, next.Attributes = 2, o.Attributes.Set(core.TagState, core.Enum(core.Active))
	next.Material = core.Material{Mode: core.ModeResident, Class: core.ClassN, Token: []byte("0123456789abcdef")}
	must(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})))
	got, err = s.Object(ctx, "t", "round")
	must(t, err)
	if !reflect.DeepEqual(got, &next) {
		t.Errorf("changed to\n%+v\nread\n%+v", &next, got)
	}
	named, err := s.Residents(ctx, [][]byte{next.Material.Token, []byte("nobody")})
	must(t, err)
	if !named[string(next.Material.Token)] || named["nobody"] {
		t.Errorf("Residents says %v", named)
	}
}

func tenants(t *testing.T, s core.Store) {
	insert(t, s, Object("a", "same"), Object("b", "same"))
	wantCode(t, "another tenant's object", second(s.Object(ctx, "c", "same")), core.ItemNotFound)
	found, err := s.Candidates(ctx, "a", core.Filter{Everyone: true, Attributes: core.Attributes{{Tag: core.TagName, Value: Name("first")}}}, 0, 10)
	must(t, err)
	if len(found) != 1 || found[0].Tenant != "a" {
		t.Errorf("a search in tenant a found %d rows", len(found))
	}
	foreign := Object("b", "same")
	foreign.Tenant, foreign.Version = "c", 2
	wantCode(t, "a change under another tenant", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: foreign})), core.Conflict)
	must(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "a", Time: 1, Body: []byte("of a")}})))
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "b"})
	must(t, err)
	for _, r := range records {
		if r.Tenant != "b" {
			t.Errorf("tenant b sees a record of %s", r.Tenant)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func conflicts(t *testing.T, s core.Store) {
	o := Object("conf", "contested")
	insert(t, s, o)
	wantCode(t, "the same id again", s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: Object("conf", "contested")})), core.ObjectAlreadyExists)
	a, b := *o, *o
	a.Version, b.Version = 2, 2
	must(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &a})))
	wantCode(t, "a change of an old version", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &b})), core.Conflict)
	wantCode(t, "deleting an old version", s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: o})), core.Conflict)
	must(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &a})))
	wantCode(t, "what was deleted", second(s.Object(ctx, "conf", "contested")), core.ItemNotFound)
	found, err := s.Candidates(ctx, "conf", core.Filter{Everyone: true, Attributes: core.Attributes{{Vendor: "x", Name: "Site", Value: core.Text("Basel")}}}, 0, 10)
	must(t, err)
	if len(found) != 0 {
		t.Error("the search table still has what was deleted")
	}
}

// A change that fails leaves nothing of itself, and takes nobody else with it.
func allOrNothing(t *testing.T, s core.Store) {
	insert(t, s, Object("t", "taken"))
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			id := fmt.Sprintf("atomic %d", i)
			c := core.ChangeOf(core.InsertObject{Object: Object("t", id)}, core.BeginIntent{Intent: core.Intent{ID: id, Tenant: "t", Token: []byte(id)}}, core.AppendEntry{Entry: &core.Entry{Tenant: "atomic", Time: int64(i + 1), Body: []byte(id)}})
			if i%3 == 0 {
				c.Add(core.InsertObject{Object: Object("t", "taken")})
			}
			if err := s.Commit(ctx, c); (err != nil) != (i%3 == 0) {
				t.Errorf("commit %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range 30 {
		_, err := s.Object(ctx, "t", fmt.Sprintf("atomic %d", i))
		if (err != nil) != (i%3 == 0) {
			t.Errorf("afterwards object %d: %v", i, err)
		}
	}
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "atomic"})
	must(t, err)
	intents, _, err := s.Intents(ctx)
	must(t, err)
	if len(records) != 20 || len(intents) != 20 {
		t.Errorf("%d records and %d intents are there, want 20 each", len(records), len(intents))
	}
}

func locate(t *testing.T, s core.Store) {
	for i := range 20 {
		o := Object("loc", fmt.Sprintf("o%02d", i))
		o.Owner = []string{"alice", "bob"}[i%2]
		o.Group = []string{"g", "h", ""}[i%3]
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text(o.Owner)}).
			Add(core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(int32(i % 3))})
		insert(t, s, o)
	}
	by := func(as ...core.Attribute) core.Attributes { return as }
	for what, c := range map[string]struct {
		f    core.Filter
		want int
	}{
		"everything":     {core.Filter{Everyone: true}, 20},
		"a name":         {core.Filter{Everyone: true, Attributes: by(core.Attribute{Tag: core.TagName, Value: Name("first")})}, 20},
		"no such name":   {core.Filter{Everyone: true, Attributes: by(core.Attribute{Tag: core.TagName, Value: Name("none")})}, 0},
		"an x text":      {core.Filter{Everyone: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob")})}, 10},
		"an x number":    {core.Filter{Everyone: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(0)})}, 7},
		"two of them":    {core.Filter{Everyone: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob")}, core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(1)})}, 4},
		"an algorithm":   {core.Filter{Everyone: true, Attributes: by(core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmDES3)})}, 0},
		"an identifier":  {core.Filter{Everyone: true, Attributes: by(core.Attribute{Tag: core.TagUniqueIdentifier, Value: core.Text("o07")})}, 1},
		"bob's":          {core.Filter{Owner: "bob"}, 10},
		"bob's or h's":   {core.Filter{Owner: "bob", Groups: []string{"h"}}, 13},
		"nobody's":       {core.Filter{Owner: "carol", Groups: []string{"z"}}, 0},
		"quotes in text": {core.Filter{Everyone: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob' OR '1'='1")})}, 0},
	} {
		found, err := s.Candidates(ctx, "loc", c.f, 0, 100)
		must(t, err)
		c.f.OldestFirst = true
		oldest, err := s.Candidates(ctx, "loc", c.f, 0, 100)
		must(t, err)
		slices.Reverse(oldest)
		if !slices.EqualFunc(found, oldest, func(a, b *core.ManagedObject) bool { return a.ID == b.ID }) {
			t.Errorf("%s: oldest first it is not the same turned round", what)
		}
		n := 0
		for i, o := range found {
			if c.f.Matches(o) {
				n++
			}
			if i > 0 && o.Seq >= found[i-1].Seq {
				t.Errorf("%s: not the newest first", what)
			}
		}
		if n != c.want {
			t.Errorf("%s: %d of %d candidates match, want %d", what, n, len(found), c.want)
		}
	}
}

func paging(t *testing.T, s core.Store) {
	for i := range 25 {
		insert(t, s, Object("page", fmt.Sprintf("p%02d", i)))
	}
	for _, f := range []core.Filter{{Everyone: true}, {Everyone: true, OldestFirst: true}, {Owner: "alice"}, {Owner: "alice", OldestFirst: true}} {
		var ids []string
		for beyond := int64(0); ; {
			page, err := s.Candidates(ctx, "page", f, beyond, 10)
			must(t, err)
			for _, o := range page {
				ids = append(ids, o.ID)
				beyond = o.Seq
			}
			if len(page) < 10 {
				break
			}
		}
		if !f.OldestFirst {
			slices.Reverse(ids)
		}
		for i, id := range ids {
			if id != fmt.Sprintf("p%02d", i) {
				t.Fatalf("page by page, %+v: %v", f, ids)
			}
		}
		if len(ids) != 25 {
			t.Errorf("%d objects in pages, want 25", len(ids))
		}
	}
}

func keysAndIntents(t *testing.T, s core.Store) {
	k := core.KeySet{Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetPending}
	must(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
	k.State, k.Checks = core.KeySetActive, []byte("check values")
	must(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
	for what, rival := range map[string]core.KeySet{
		"the set for another tenant":          {Number: 7, Tenant: "rival", Epoch: 1, State: core.KeySetPending},
		"the set for another epoch":           {Number: 7, Tenant: "kt", Epoch: 2, State: core.KeySetPending},
		"another set in the same place":       {Number: 8, Tenant: "kt", Epoch: 1, State: core.KeySetPending},
		"an active set that is pending again": {Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetPending},
		"an active set that is retired":       {Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetRetired},
	} {
		wantCode(t, what, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: rival})), core.Conflict)
	}
	got, err := s.KeySets(ctx, "kt")
	must(t, err)
	if len(got) != 1 || !reflect.DeepEqual(got[0], k) {
		t.Errorf("sets are %+v", got)
	}
	all, err := s.KeySets(ctx, "")
	must(t, err)
	if len(all) == 0 {
		t.Error("the sets of all tenants are none")
	}
	i := core.Intent{ID: "abc", Tenant: "kt", Kind: "create-token-object", Token: []byte("t"), Object: "o", Label: "l", Time: 5, Process: "p", Nonce: "n"}
	must(t, s.Commit(ctx, core.ChangeOf(core.BeginIntent{Intent: i})))
	open, _, err := s.Intents(ctx)
	must(t, err)
	if !contains(open, i) {
		t.Errorf("open intents are %+v", open)
	}
	must(t, s.Commit(ctx, core.ChangeOf(core.FinishIntent{ID: "abc"})))
	if open, _, _ = s.Intents(ctx); contains(open, i) {
		t.Error("the intent is still open")
	}
}

func contains(list []core.Intent, want core.Intent) bool {
	for _, i := range list {
		if reflect.DeepEqual(i, want) {
			return true
		}
	}
	return false
}

func records(t *testing.T, s core.Store) {
	for i := range 7 {
		must(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "rec", Time: int64(100 + i), Body: fmt.Appendf(nil, "r%d", i)}})))
	}
	page, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Limit: 3})
	must(t, err)
	if len(page) != 3 || string(page[0].Body) != "r6" {
		t.Fatalf("the newest page is %v", page)
	}
	rest, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Before: page[2].Number})
	must(t, err)
	if len(rest) != 3 || string(rest[2].Body) != "r1" {
		t.Errorf("the rest is %v", rest)
	}
}

// What many write at once is all there, and each version is counted once.
func manyWriters(t *testing.T, s core.Store) {
	o := Object("many", "counter")
	insert(t, s, o)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 10 {
				must(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "many", Time: int64(w*10 + i + 1), Body: []byte{byte(w), byte(i)}}})))
			}
			for {
				now, err := s.Object(ctx, "many", "counter")
				if err != nil {
					t.Error(err)
					return
				}
				next := *now
				next.Version++
				if err := s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})); err == nil {
					return
				} else if core.CodeOf(err) != core.Conflict {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	now, err := s.Object(ctx, "many", "counter")
	must(t, err)
	if now.Version != 33 {
		t.Errorf("32 changes made version %d, want 33", now.Version)
	}
	got, err := s.Records(ctx, core.RecordQuery{Tenant: "many"})
	must(t, err)
	if len(got) != 320 {
		t.Errorf("%d records are there, want 320", len(got))
	}
}

func reopen(t *testing.T, open func(t *testing.T) core.Store) {
	s := open(t)
	insert(t, s, Object("again", "kept"))
	must(t, s.Close())
	s = open(t)
	defer s.Close()
	if _, err := s.Object(ctx, "again", "kept"); err != nil {
		t.Errorf("after closing and opening: %v", err)
	}
	must(t, s.Health(ctx))
}

// Whatever bytes a client sends are kept as they are, or found by nobody; they
// never are an error of the database.
func hostileBytes(t *testing.T, s core.Store) {
	for i, x := range []string{"\xff\xfe", "a\x00b", "\xc3(", "\u0000", "quote\"back\\slash\n\x1f\x7f", "\u2028\U0001f511"} {
		o := Object("hostile", fmt.Sprintf("h%d", i))
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x", Name: "Text", Value: core.Text(x)}).
			Add(core.Attribute{Vendor: "x", Name: "Raw", Value: core.Bytes([]byte(x))}).Add(core.Attribute{Vendor: "x" + x, Name: x, Value: core.Int(1)})
		insert(t, s, o)
		got, err := s.Object(ctx, "hostile", o.ID)
		must(t, err)
		if !reflect.DeepEqual(got, o) {
			t.Errorf("%q: stored\n%+v\nread\n%+v", x, o.Attributes, got.Attributes)
		}
		for _, a := range o.Attributes[len(o.Attributes)-3:] {
			f := core.Filter{Everyone: true, Attributes: core.Attributes{a}}
			found, err := s.Candidates(ctx, "hostile", f, 0, 10)
			must(t, err)
			if len(found) != 1 || !f.Matches(found[0]) {
				t.Errorf("%q in %v finds %d objects, want 1", x, a.Ref(), len(found))
			}
		}
	}
	for _, x := range []string{"a\x00b", "\xff", string(make([]byte, 100_000))} {
		wantCode(t, "a hostile identifier", second(s.Object(ctx, "hostile", x)), core.ItemNotFound)
		wantCode(t, "a hostile tenant", second(s.Object(ctx, x, "h0")), core.ItemNotFound)
		for what, f := range map[string]core.Filter{
			"name":       {Everyone: true, Attributes: core.Attributes{{Tag: core.TagName, Value: Name(x)}}},
			"identifier": {Everyone: true, Attributes: core.Attributes{{Tag: core.TagUniqueIdentifier, Value: core.Text(x)}}},
			"owner":      {Owner: x, Groups: []string{x, ""}},
		} {
			if found, err := s.Candidates(ctx, "hostile", f, 0, 10); err != nil || len(found) != 0 {
				t.Errorf("a hostile %s finds %d objects, %v", what, len(found), err)
			}
		}
		wantCode(t, "an object of a hostile name", s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: Object("hostile", x)})), core.InvalidField)
		wantCode(t, "an entry of a hostile tenant", s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: x, Body: []byte("b")}})), core.InvalidField)
	}
}

// A change names the row by its Seq too: another's would change another's search
// rows, and the seal would bind it.
func foreignSeq(t *testing.T, s core.Store) {
	mine, theirs := Object("seq a", "mine"), Object("seq b", "theirs")
	insert(t, s, mine, theirs)
	next, gone := *mine, *mine
	next.Version, next.Seq, gone.Seq = 2, theirs.Seq, theirs.Seq
	wantCode(t, "a change under another row's Seq", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})), core.Conflict)
	wantCode(t, "a deletion under another row's Seq", s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &gone})), core.Conflict)
	f := core.Filter{Everyone: true, Attributes: core.Attributes{{Tag: core.TagName, Value: Name("first")}}}
	for _, tenant := range []string{"seq a", "seq b"} {
		found, err := s.Candidates(ctx, tenant, f, 0, 10)
		must(t, err)
		if len(found) != 1 {
			t.Errorf("%s finds %d objects by name, want 1", tenant, len(found))
		}
	}
}

// A row's hash is that of its version and content, whoever computes it and
// whether it is stored yet or not.
func rowHashes(t *testing.T, s core.Store) {
	o := Object("hash", "one")
	before, err := s.RowHash(o)
	must(t, err)
	insert(t, s, o)
	stored, err := s.Object(ctx, "hash", "one")
	must(t, err)
	after, err := s.RowHash(stored)
	must(t, err)
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
		must(t, err)
		if other, twice := seen[string(h)]; twice {
			t.Errorf("another %s has the hash of %s", what, other)
		}
		seen[string(h)] = what
	}
}

// A set only leaves pending: a node that is late must not bring back one that
// another has given up, and of two nodes that begin one set a single one may go on.
func keyStates(t *testing.T, s core.Store) {
	states := []string{core.KeySetPending, core.KeySetActive, core.KeySetRetired}
	checks := map[string][]byte{core.KeySetActive: []byte("c")}
	for from, a := range states {
		for to, b := range states {
			n := 1 + from*3 + to
			k := core.KeySet{Number: int64(100 + n), Tenant: "states", Epoch: n, State: a, Checks: checks[a]}
			must(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
			k.State, k.Checks = b, checks[b]
			err := s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k}))
			if a != core.KeySetPending || b == a {
				wantCode(t, a+" to "+b, err, core.Conflict)
			} else if err != nil {
				t.Errorf("%s to %s: %v", a, b, err)
			}
		}
	}
}

// A database has one installation, which is written once.
func installation(t *testing.T, s core.Store) {
	wantCode(t, "an id before there is one", second(s.InstallationID(ctx)), core.ItemNotFound)
	wantCode(t, "the installation before there is one", second(s.Installation(ctx)), core.ItemNotFound)
	i := core.Installation{ID: "0123456789abcdef0123456789abcdef", Created: 5, Checks: []byte("checks")}
	must(t, s.Commit(ctx, core.ChangeOf(core.InsertInstallation{Installation: i})))
	if got, err := s.Installation(ctx); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("the installation is %+v, %v", got, err)
	}
	if id, err := s.InstallationID(ctx); err != nil || id != i.ID {
		t.Errorf("the id is %q, %v", id, err)
	}
	rival := i
	rival.ID = "ffffffffffffffffffffffffffffffff"
	wantCode(t, "a second installation", s.Commit(ctx, core.ChangeOf(core.InsertInstallation{Installation: rival})), core.Conflict)
}

// An object whose intent the reconciler has closed must not be born: its token
// object is gone.
func lateBirth(t *testing.T, s core.Store) {
	c := core.ChangeOf(core.InsertObject{Object: Object("late", "late")}, core.FinishIntent{ID: "closed", MustBeOpen: true})
	wantCode(t, "a birth after its intent was closed", s.Commit(ctx, c), core.Conflict)
	wantCode(t, "the object", second(s.Object(ctx, "late", "late")), core.ItemNotFound)
	must(t, s.Commit(ctx, core.ChangeOf(core.FinishIntent{ID: "closed"})))
}

func destroyedResidents(t *testing.T, s core.Store) {
	for i, state := range []core.State{core.PreActive, core.Destroyed, core.DestroyedCompromised} {
		o := Object("res", fmt.Sprintf("r%d", i))
		o.Attributes = o.Attributes.Set(core.TagState, core.Enum(state))
		o.Material = core.Material{Mode: core.ModeResident, Token: fmt.Appendf(nil, "res-token-%d", i)}
		insert(t, s, o)
	}
	named, err := s.Residents(ctx, [][]byte{[]byte("res-token-0"), []byte("res-token-1"), []byte("res-token-2")})
	must(t, err)
	if len(named) != 1 || !named["res-token-0"] {
		t.Errorf("Residents says %v; only res-token-0 belongs to an object that is not destroyed", named)
	}
}

// Every object that matches a filter is among its candidates: tried with filters
// made at random from what the objects have, over pages of random length.
func superset(t *testing.T, s core.Store) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []*core.ManagedObject
	for i := range 150 {
		o := &core.ManagedObject{Tenant: "superset", ID: fmt.Sprintf("s%03d", i), Type: core.ObjectType(1 + r.IntN(3)), Owner: fmt.Sprint("o", r.IntN(3)), Group: []string{"", "g", "h"}[r.IntN(3)], Version: 1}
		for range r.IntN(9) + 1 {
			if a := randomAttribute(r); a.Tag == 0 || a.Tag == core.TagName || !o.Attributes.Has(a.Tag) {
				o.Attributes = o.Attributes.Add(a)
			}
		}
		o.Attributes = o.Attributes.Set(core.TagUniqueIdentifier, core.Text(o.ID)).Set(core.TagObjectType, core.Enum(o.Type))
		all = append(all, o)
	}
	insert(t, s, all...)
	for i := 0; i < len(all); i += 3 { // changed rows must be found by what they are now
		next := *all[i]
		next.Version = 2
		a := randomAttribute(r)
		next.Attributes = next.Attributes.Without(core.AttributeName{Vendor: "x", Name: "Site"}).Without(a.Ref()).Set(core.TagState, core.Enum(core.State(1+r.IntN(6))))
		if a.Tag != core.TagState {
			next.Attributes = next.Attributes.Add(a)
		}
		must(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})))
		all[i] = &next
	}
	matched := 0
	for range 600 {
		f := core.Filter{Now: int64(r.IntN(12)), Owner: fmt.Sprint("o", r.IntN(4)), Groups: []string{"g", ""}[:r.IntN(3)], Everyone: r.IntN(2) == 0}
		for range r.IntN(4) {
			f.Attributes = append(f.Attributes, randomAttribute(r))
		}
		if r.IntN(8) == 0 {
			f.Attributes = append(f.Attributes, all[r.IntN(len(all))].Attributes[0])
		}
		got := idsOf(t, s, f, 1+r.IntN(200))
		for _, o := range all {
			mine := f.Everyone || o.Owner == f.Owner || (o.Group != "" && slices.Contains(f.Groups, o.Group))
			if !f.Everyone && !mine && got[o.ID] {
				t.Errorf("%s is neither the owner's nor the groups' and was given away by %+v", o.ID, f)
			}
			if mine && f.Matches(o) {
				matched++
				if !got[o.ID] {
					t.Errorf("%s matches %+v and is no candidate", o.ID, f)
				}
			}
		}
	}
	if matched < 500 {
		t.Errorf("the filters matched %d times, too seldom to show anything", matched)
	}
}

func idsOf(t *testing.T, s core.Store, f core.Filter, limit int) map[string]bool {
	out := map[string]bool{}
	for beyond := int64(0); ; {
		page, err := s.Candidates(ctx, "superset", f, beyond, limit)
		must(t, err)
		for _, o := range page {
			if out[o.ID] || (beyond != 0 && o.Seq >= beyond) {
				t.Errorf("%s comes twice or out of order for %+v", o.ID, f)
			}
			out[o.ID], beyond = true, o.Seq
		}
		if len(page) < limit {
			return out
		}
	}
}

func randomAttribute(r *rand.Rand) core.Attribute {
	dates := []core.Tag{core.TagInitialDate, core.TagActivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagDeactivationDate, core.TagDestroyDate, core.TagCompromiseDate, core.TagLastChangeDate}
	few := fmt.Sprint("v", r.IntN(4))
	switch r.IntN(12) {
	case 0:
		return core.Attribute{Tag: core.TagState, Value: core.Enum(core.State(1 + r.IntN(6)))}
	case 1:
		return core.Attribute{Tag: core.TagName, Value: Name(few)}
	case 2:
		return core.Attribute{Tag: core.TagName, Value: core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text(few)})}
	case 3:
		return core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.CryptographicAlgorithm(1 + r.IntN(3)))}
	case 4:
		return core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(int32(128 * (1 + r.IntN(2))))}
	case 5:
		return core.Attribute{Tag: core.TagCryptographicUsageMask, Value: core.Int(int32(r.IntN(8)))}
	case 6:
		return core.Attribute{Vendor: "x", Name: "Site", Value: []core.Value{core.Text(few), core.Int(int32(r.IntN(3))), core.Bytes([]byte(few)), core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text(few)})}[r.IntN(4)]}
	case 7:
		return core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(few)}
	case 8:
		fields := []core.Field{{Tag: core.TagApplicationNamespace, Value: core.Text("ns")}, {Tag: core.TagApplicationData, Value: core.Text(few)}}
		return core.Attribute{Tag: core.TagApplicationSpecificInformation, Value: core.Structure(fields[r.IntN(2):]...)}
	case 9:
		return core.Attribute{Tag: core.TagLink, Value: core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkType(0x101))}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: core.Text(few)})}
	}
	return core.Attribute{Tag: dates[r.IntN(len(dates))], Value: core.Date(int64(r.IntN(10)))}
}

// Fill stores n objects of a tenant, in large commits: each with a Name of its
// own, one of 1,000 x-ResourceIDs, one of 7 x-SystemIDs, an Initial Date a
// second after the last, and one in 1,000 of them Compromised.
func Fill(t testing.TB, s core.Store, tenant string, n int) {
	t.Helper()
	const atOnce = 200 // so that one transaction ends in time on a busy machine, too
	for from := 0; from < n; from += atOnce {
		var c core.Change
		for i := from; i < min(from+atOnce, n); i++ {
			c.Add(core.InsertObject{Object: numbered(tenant, i)})
		}
		if err := s.Commit(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
}

// FillBegan is the Initial Date of the first object of Fill.
const FillBegan = 1_700_000_000

func numbered(tenant string, i int) *core.ManagedObject {
	id, state := fmt.Sprintf("id-%07d", i), core.Active
	if i%1000 == 7 {
		state = core.Compromised
	}
	return &core.ManagedObject{Tenant: tenant, ID: id, Type: core.ObjectTypeSymmetricKey, Owner: fmt.Sprint("owner", i%1000), Group: fmt.Sprint("group", i%500), Version: 1,
		Attributes: core.Attributes{
			{Tag: core.TagUniqueIdentifier, Value: core.Text(id)}, {Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeSymmetricKey)},
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
			{Tag: core.TagState, Value: core.Enum(state)}, {Tag: core.TagInitialDate, Value: core.Date(FillBegan + int64(i))},
			{Tag: core.TagName, Value: Name(fmt.Sprintf("key-%07d", i))},
			{Vendor: "x", Name: "ResourceID", Value: core.Text(fmt.Sprint("res", i%1000))}, {Vendor: "x", Name: "SystemID", Value: core.Text(fmt.Sprint("sys", i%7))},
		}}
}

// usage is the sum of what stored changes counted: not of refused ones, not of
// other tenants, and none of many writers' gets lost.
func usage(t *testing.T, s core.Store) {
	born := func(tenant, id string) *core.Change {
		o := Object(tenant, id)
		return core.ChangeOf(core.InsertObject{Object: o}, core.AddUsage{Tenant: o.Tenant, Usage: core.Usage{Objects: 1, ResidentKeys: 1, Bytes: 100}})
	}
	has := func(tenant string, want core.Usage) {
		t.Helper()
		if got, err := s.Usage(ctx, tenant); err != nil || got != want {
			t.Errorf("tenant %s has %+v, %v; want %+v", tenant, got, err, want)
		}
	}
	has("usage", core.Usage{})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if err := s.Commit(ctx, born("usage", fmt.Sprint("u", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must(t, s.Commit(ctx, born("usage too", "u0")))
	wantCode(t, "an id that is there", s.Commit(ctx, born("usage", "u0")), core.ObjectAlreadyExists)
	has("usage", core.Usage{Objects: 50, ResidentKeys: 50, Bytes: 5000})
	has("usage too", core.Usage{Objects: 1, ResidentKeys: 1, Bytes: 100})
	o, err := s.Object(ctx, "usage", "u1")
	must(t, err)
	next := *o
	next.Version++
	must(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{ResidentKeys: -1, Bytes: -40}})))
	wantCode(t, "an old version", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{Bytes: -40}})), core.Conflict)
	must(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{Objects: -1, Bytes: -60}})))
	has("usage", core.Usage{Objects: 49, ResidentKeys: 49, Bytes: 4900})
}
