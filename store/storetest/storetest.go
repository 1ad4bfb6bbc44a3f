// Package storetest has the contract of [core.Store] as a test suite, and starts the
// PostgreSQL that tests need. Start at [Run] and [Postgres].
package storetest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Run tests that a store keeps the contract. Each call of open within one test must open
// the same database, so that everything that was stored is still in it.
func Run(t *testing.T, open func(t *testing.T) core.Store) {
	for name, f := range map[string]func(*testing.T, core.Store){"usage": usageAddsUp,
		"round trip": roundTrip, "tenants": tenants, "conflicts": conflicts, "removed rows": removedRows, "atomic": allOrNothing, "locate": locate, "paging": paging,
		"key sets": keySets, "intents": intents, "installation": installation, "records": records, "many writers": manyWriters,
		"hostile bytes": hostileBytes, "foreign seq": foreignSeq, "row hashes": rowHashes, "key states": keyStates, "closed intent": closedIntent, "due dates": dueDates, "superset": superset,
		"aliases": aliases, "alias races": aliasRaces,
		"restorable residents": restorableResidents,
		"directory":            directory, "directory conflicts": directoryConflicts, "directory races": directoryRaces, "directory prunes": directoryPrunes, "directory fences": directoryFences, "directory keeps versions": directoryKeepsVersions, "directory bounds": directoryBounds,
	} {
		t.Run(name, func(t *testing.T) { s := open(t); defer s.Close(); f(t, s) })
	}
	t.Run("reopen", func(t *testing.T) { reopen(t, open) })
	t.Run("counted records", func(t *testing.T) { countedRecords(t, open) })
	t.Run("counting nodes", func(t *testing.T) { countingNodes(t, open) })
}

var ctx = context.Background()

func mustSucceed(t *testing.T, err error) {
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

// insertions returns a change that inserts objects.
func insertions(objects ...*core.ManagedObject) *core.Change {
	c := &core.Change{}
	for _, o := range objects {
		c.Add(core.InsertObject{Object: o})
	}
	return c
}

func insert(t *testing.T, s core.Store, objects ...*core.ManagedObject) {
	t.Helper()
	mustSucceed(t, s.Commit(ctx, insertions(objects...)))
}

func second[T any](_ T, err error) error { return err }

// A change that fails stores nothing, and does not make other changes fail.
func allOrNothing(t *testing.T, s core.Store) {
	insert(t, s, Object("t", "taken"))
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			id := fmt.Sprintf("atomic %d", i)
			c := core.ChangeOf(core.InsertObject{Object: Object("t", id)}, core.BeginIntent{Intent: core.Intent{ID: id, Tenant: "t", CKAID: []byte(id)}}, core.AppendEntry{Entry: &core.Entry{Tenant: "atomic", Time: int64(i + 1), Body: []byte(id)}})
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
	mustSucceed(t, err)
	intents, _, err := s.Intents(ctx)
	mustSucceed(t, err)
	if len(records) != 20 || len(intents) != 20 {
		t.Errorf("%d records and %d intents are stored, want 20 each", len(records), len(intents))
	}
}

func reopen(t *testing.T, open func(t *testing.T) core.Store) {
	s := open(t)
	insert(t, s, Object("again", "kept"))
	mustSucceed(t, s.Close())
	s = open(t)
	defer s.Close()
	if _, err := s.Object(ctx, "again", "kept"); err != nil {
		t.Errorf("after closing and opening: %v", err)
	}
	mustSucceed(t, s.Health(ctx))
}

// Any bytes that a client sends are stored as they are, or match nothing. They never
// cause an error of the database.
func hostileBytes(t *testing.T, s core.Store) {
	for i, x := range []string{"\xff\xfe", "a\x00b", "\xc3(", "\u0000", "quote\"back\\slash\n\x1f\x7f", "\u2028\U0001f511"} {
		o := Object("hostile", fmt.Sprintf("h%d", i))
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x", Name: "Text", Value: core.Text(x)}).
			Add(core.Attribute{Vendor: "x", Name: "Raw", Value: core.Bytes([]byte(x))}).Add(core.Attribute{Vendor: "x" + x, Name: x, Value: core.Int(1)})
		insert(t, s, o)
		got, err := s.Object(ctx, "hostile", o.ID)
		mustSucceed(t, err)
		if !reflect.DeepEqual(got, o) {
			t.Errorf("%q: stored\n%+v\nread\n%+v", x, o.Attributes, got.Attributes)
		}
		for _, a := range o.Attributes[len(o.Attributes)-3:] {
			f := core.Filter{WholeTenant: true, Attributes: core.Attributes{a}}
			found, err := s.Candidates(ctx, "hostile", f, 0, 10)
			mustSucceed(t, err)
			if len(found) != 1 || !f.Matches(found[0]) {
				t.Errorf("%q in %v finds %d objects, want 1", x, a.Ref(), len(found))
			}
		}
	}
	for _, x := range []string{"a\x00b", "\xff", string(make([]byte, 100_000))} {
		wantCode(t, "a hostile identifier", second(s.Object(ctx, "hostile", x)), core.ItemNotFound)
		wantCode(t, "a hostile tenant", second(s.Object(ctx, x, "h0")), core.ItemNotFound)
		for what, f := range map[string]core.Filter{
			"name":       {WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagName, Value: core.PlainName(x).Value()}}},
			"identifier": {WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagUniqueIdentifier, Value: core.Text(x)}}},
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
