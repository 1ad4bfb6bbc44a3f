package storetest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Dates are listed from the time when they are reached until they are noted, page by
// page. If many callers note a date at once, one succeeds, and its record is stored.
func dueDates(t *testing.T, s core.Store) {
	due := func(id string, at int64) core.DueDate {
		return core.DueDate{Tenant: "due", ID: id, Tag: core.TagDeactivationDate, At: at}
	}
	a, b, later := due("a", 10), due("b", 10), due("a", 20)
	o := Object("due", "b")
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: Object("due", "a")}, core.InsertObject{Object: o}, core.AddDueDate{DueDate: b}, core.AddDueDate{DueDate: later}, core.AddDueDate{DueDate: a})))
	list := func(until int64, after core.DueDate, limit int, want ...core.DueDate) {
		t.Helper()
		got, err := s.DueDates(ctx, core.DueAttributes, until, after, limit)
		mustSucceed(t, err)
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("until %d after %v there are %v; want %v", until, after, got, want)
		}
	}
	first := core.DueDate{At: -1}
	list(9, first, 10)
	list(10, first, 10, a, b)
	list(30, first, 2, a, b)
	list(30, b, 2, later)
	var all sync.WaitGroup
	var mu sync.Mutex
	noted := 0
	for i := range 8 {
		all.Go(func() {
			err := s.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: a}, core.AppendEntry{Entry: &core.Entry{Tenant: "due", Time: 1, Body: fmt.Append(nil, i)}}))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				noted++
			} else if core.CodeOf(err) != core.Conflict {
				t.Error(err)
			}
		})
	}
	all.Wait()
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "due"})
	mustSucceed(t, err)
	if noted != 1 || len(records) != 1 {
		t.Errorf("%d noted one date, with %d records; want 1", noted, len(records))
	}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AddDueDate{DueDate: a}))) // from a node whose clock is behind
	list(10, first, 10, b)
	other := core.DueDate{Tenant: "due", ID: "b", Tag: 1, At: 10}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AddDueDate{DueDate: other})))
	list(10, first, 10, b) // other kinds are listed by themselves
	if got, err := s.DueDates(ctx, core.DueKinds{From: 1, To: 1}, 10, core.FirstDueDate, 10); err != nil || len(got) != 1 || got[0] != other {
		t.Errorf("the dates of another kind are %v, %v; want %v", got, err, other)
	}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: other})))
	wantCode(t, "note a date of another kind twice", s.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: other})), core.Conflict)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AddDueDate{DueDate: other}))) // the row was removed
	if got, err := s.DueDates(ctx, core.DueKinds{From: 1, To: 1}, 10, core.FirstDueDate, 10); err != nil || len(got) != 1 {
		t.Errorf("the dates of another kind are %v, %v; want %v", got, err, other)
	}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: o})))
	list(30, first, 10, later)
}
