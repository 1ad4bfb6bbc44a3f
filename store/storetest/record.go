package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func records(t *testing.T, s core.Store) {
	for i := range 7 {
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "rec", Time: int64(100 + i), Body: fmt.Appendf(nil, "r%d", i)}})))
	}
	page, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Limit: 3})
	mustSucceed(t, err)
	if len(page) != 3 || string(page[0].Body) != "r6" {
		t.Fatalf("the newest page is %v", page)
	}
	rest, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Before: page[2].Number})
	mustSucceed(t, err)
	if len(rest) != 3 || string(rest[2].Body) != "r1" {
		t.Errorf("the rest is %v", rest)
	}
}

// If many callers write at once, everything is stored, and no version is used twice.
func manyWriters(t *testing.T, s core.Store) {
	o := Object("many", "counter")
	insert(t, s, o)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 10 {
				mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "many", Time: int64(w*10 + i + 1), Body: []byte{byte(w), byte(i)}}})))
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
	mustSucceed(t, err)
	if now.Version != 33 {
		t.Errorf("32 changes made version %d, want 33", now.Version)
	}
	got, err := s.Records(ctx, core.RecordQuery{Tenant: "many"})
	mustSucceed(t, err)
	if len(got) != 320 {
		t.Errorf("%d records are stored, want 320", len(got))
	}
}

// writer identifies a series of counts.
type writer struct {
	node   string
	number int64
}

// Counts tests that the counts of the records in a store have no gap, and returns the
// number of records of each node.
func Counts(t testing.TB, s core.Store) map[string]int64 {
	t.Helper()
	seen := map[writer]map[int64]bool{}
	for q := (core.RecordQuery{Limit: 1000}); ; {
		page, err := s.Records(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			w := writer{r.Node, r.Writer}
			if seen[w] == nil {
				seen[w] = map[int64]bool{}
			}
			if seen[w][r.Count] {
				t.Errorf("count %d of %v was given twice", r.Count, w)
			}
			seen[w][r.Count] = true
			q.Before = r.Number
		}
		if len(page) < q.Limit {
			break
		}
	}
	all := map[string]int64{}
	for w, counts := range seen {
		all[w.node] += int64(len(counts))
		for n := range int64(len(counts)) {
			if !counts[n+1] {
				t.Errorf("%v has %d records and none with the count %d", w, len(counts), n+1)
				break
			}
		}
	}
	return all
}

// recordOf returns an entry of a node.
func recordOf(node string) core.Entry {
	return core.Entry{Node: node, Tenant: "counts", Time: 1, Body: []byte("{}")}
}

// hammer commits records of a node from many callers: alone, with changes that succeed,
// and with changes that are refused. It returns how many records were stored.
func hammer(t *testing.T, s core.Store, node, run string) int64 {
	t.Helper()
	const callers, rounds = 12, 9
	var all sync.WaitGroup
	for w := range callers {
		all.Go(func() {
			for i := range rounds {
				c := core.ChangeOf(core.AppendEntry{Entry: new(recordOf(node))}, core.AppendEntry{Entry: new(recordOf(node))})
				for range i % 3 { // the second one has the same id
					c.Add(core.InsertObject{Object: Object("counts", fmt.Sprintf("%s-%s-%d-%d", node, run, w, i))})
				}
				if err := s.Commit(ctx, c); (err != nil) != (i%3 == 2) {
					t.Errorf("commit %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	return callers * rounds * 2 * 2 / 3
}

// Records get their counts when they are committed. A refused record leaves no gap, and
// the counts continue when the store is opened again.
func countedRecords(t *testing.T, open func(t *testing.T) core.Store) {
	s := open(t)
	want := hammer(t, s, "one", "first")
	if got := Counts(t, s)["one"]; got != want {
		t.Errorf("%d records are counted, want %d", got, want)
	}
	mustSucceed(t, s.Close())
	s = open(t)
	defer s.Close()
	want += hammer(t, s, "one", "second")
	if got := Counts(t, s)["one"]; got != want {
		t.Errorf("after it was opened again %d records are counted, want %d", got, want)
	}
}

// Two nodes on one database have separate counts. Two nodes with the same name do not
// use a count twice.
func countingNodes(t *testing.T, open func(t *testing.T) core.Store) {
	a := open(t)
	defer a.Close()
	if !a.Shared() {
		t.Skip("one process writes to this store")
	}
	b := open(t)
	defer b.Close()
	var all sync.WaitGroup
	var left, right, twins [2]int64
	for i, s := range []core.Store{a, b} {
		all.Go(func() { left[i] = hammer(t, s, fmt.Sprint("node ", i), "first") })
		all.Go(func() { twins[i] = hammer(t, s, "twin", fmt.Sprint("of ", i)) })
	}
	all.Wait()
	for i, s := range []core.Store{b, a} { // on the other store
		right[i] = hammer(t, s, fmt.Sprint("node ", i), "second")
	}
	counts := Counts(t, a)
	for i := range 2 {
		if got, want := counts[fmt.Sprint("node ", i)], left[i]+right[i]; got != want {
			t.Errorf("node %d has %d records, want %d", i, got, want)
		}
	}
	if got, want := counts["twin"], twins[0]+twins[1]; got != want {
		t.Errorf("two nodes of one name have %d records, want %d", got, want)
	}
}
