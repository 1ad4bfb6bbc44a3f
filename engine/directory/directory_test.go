package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

var ctx = context.Background()

// site is one SQLite database, its store, and a second connection like that of an
// attacker.
type site struct {
	t     *testing.T
	store *failingStore
	db    *sql.DB
	clock *handClock
}

// failingStore is a store that other nodes share, as far as a directory can tell, and that
// can be unavailable.
type failingStore struct {
	core.Store
	shared bool
	down   atomic.Bool
}

func (s *failingStore) Shared() bool { return s.shared }

func (s *failingStore) outage() error {
	if s.down.Load() {
		return core.Errorf(core.StoreUnavailable, "the database is down")
	}
	return nil
}

func (s *failingStore) DirectoryChanges(ctx context.Context, after int64, limit int) (core.DirectoryPage, error) {
	if err := s.outage(); err != nil {
		return core.DirectoryPage{}, err
	}
	return s.Store.DirectoryChanges(ctx, after, limit)
}

func (s *failingStore) DirectoryVersions(ctx context.Context, after core.DirectoryName, limit int) ([]core.DirectoryVersion, error) {
	if err := s.outage(); err != nil {
		return nil, err
	}
	return s.Store.DirectoryVersions(ctx, after, limit)
}

// handClock stands still until a test moves it.
type handClock struct{ mono atomic.Int64 }

func (c *handClock) Now() int64      { return 1_700_000_000 }
func (c *handClock) NowMicro() int64 { return 1_700_000_000_000_000 }
func (c *handClock) Mono() int64     { return c.mono.Load() }

func newSite(t *testing.T, shared bool) *site {
	t.Helper()
	path := filepath.Join(t.TempDir(), "directory.db")
	s, err := store.Create(ctx, "sqlite:"+path, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &site{t, &failingStore{Store: s, shared: shared}, db, &handClock{}}
}

// unopened returns a directory of another node.
func (s *site) unopened() *Directory {
	return New(Ports{Store: s.store, Clock: s.clock, Log: slog.New(slog.DiscardHandler)})
}

func (s *site) node() *Directory {
	s.t.Helper()
	d := s.unopened()
	if err := d.Open(ctx); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *site) attack(query string, args ...any) {
	s.t.Helper()
	r, err := s.db.Exec(query, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	if n, _ := r.RowsAffected(); n == 0 && !strings.HasPrefix(query, "CREATE") {
		s.t.Fatalf("%s touched no row", query)
	}
}

func version(id string, n int64) *core.DirectoryEntry {
	return storetest.DirectoryEntry(core.EntryPolicy, "alpha", id, n)
}

func (s *site) save(d *Directory, entries ...*core.DirectoryEntry) {
	s.t.Helper()
	for _, e := range entries {
		if err := d.Save(ctx, e); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) read(d *Directory) {
	s.t.Helper()
	if err := d.readChanges(ctx); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) compare(d *Directory) {
	s.t.Helper()
	if err := d.compareAll(ctx); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) wantVersion(d *Directory, id string, n int64) {
	s.t.Helper()
	if e, err := d.Get(core.EntryPolicy, "alpha", id); err != nil || !reflect.DeepEqual(e, version(id, n)) {
		s.t.Errorf("%s is %+v, %v; want version %d", id, e, err, n)
	}
}

func (s *site) wantCode(d *Directory, id string, code core.Code) {
	s.t.Helper()
	if e, err := d.Get(core.EntryPolicy, "alpha", id); e != nil || err == nil || core.CodeOf(err) != code {
		s.t.Errorf("%s is %+v, %v; want code %v", id, e, err, code)
	}
}

// What one node stores, it answers at once. Another node does after it has read the
// changes, and a node that starts does too.
func TestChangesReachEveryNode(t *testing.T) {
	s := newSite(t, true)
	one, two := s.node(), s.node()
	s.save(one, version("p", 1), version("q", 1), version("p", 2))
	s.wantVersion(one, "p", 2)
	s.wantCode(two, "p", core.ItemNotFound)
	s.read(two)
	three := s.node()
	for _, d := range []*Directory{two, three} {
		s.wantVersion(d, "p", 2)
		s.wantVersion(d, "q", 1)
	}
	gone := version("p", 3)
	gone.Deleted, gone.Body = true, nil
	s.save(two, gone)
	s.read(one)
	for _, d := range []*Directory{one, two, s.node()} {
		s.wantCode(d, "p", core.ItemNotFound)
		if n := d.NextVersion(core.EntryPolicy, "alpha", "p"); n != 4 {
			t.Errorf("the next version of a deleted entry is %d, want 4", n)
		}
	}
	s.save(one, version("p", 4))
	s.read(two)
	s.wantVersion(two, "p", 4)
	for _, wrong := range []core.DirectoryName{{Tenant: "beta", Kind: core.EntryPolicy, ID: "q"}, {Tenant: "alpha", Kind: core.EntryRole, ID: "q"}, {Tenant: "alpha", Kind: core.EntryPolicy, ID: "Q"}} {
		if e, err := two.Get(wrong.Kind, wrong.Tenant, wrong.ID); e != nil || core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("%v is %+v, %v; want ItemNotFound", wrong, e, err)
		}
	}
}

// A node that follows sees a change without being asked to, and the period in which it
// reads leaves the promise of a second whole.
func TestFollowReadsByItself(t *testing.T) {
	if most := readEvery + core.SnapshotLeaseMS*time.Millisecond; most > time.Second {
		t.Errorf("a node reads every %v and may answer %d ms from memory, which is %v; at most a second", readEvery, core.SnapshotLeaseMS, most)
	}
	s := newSite(t, true)
	one, two := s.node(), s.unopened()
	seen := make(chan *core.DirectoryEntry, 1)
	two.Watch(core.EntryPolicy, func(e *core.DirectoryEntry) { seen <- e })
	if err := two.Open(ctx); err != nil {
		t.Fatal(err)
	}
	following, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { two.Follow(following); close(ended) }()
	s.save(one, version("p", 1))
	if e := <-seen; !reflect.DeepEqual(e, version("p", 1)) {
		t.Errorf("a watcher saw %+v", e)
	}
	s.wantVersion(two, "p", 1)
	stop()
	<-ended
}

// A watcher gets each version once: what Open loads, what this node stores, and what others
// store.
func TestWatchersGetEachVersionOnce(t *testing.T) {
	s := newSite(t, true)
	one, two := s.node(), s.unopened()
	s.save(one, version("p", 1))
	var seen []string
	two.Watch(core.EntryPolicy, func(e *core.DirectoryEntry) { seen = append(seen, fmt.Sprint(e.ID, e.Version)) })
	if err := two.Open(ctx); err != nil {
		t.Fatal(err)
	}
	s.save(two, version("p", 2), storetest.DirectoryEntry(core.EntryRole, "alpha", "role", 1))
	s.save(one, version("q", 1))
	for range 2 {
		s.read(two)
		s.compare(two)
	}
	if want := []string{"p1", "p2", "q1"}; !reflect.DeepEqual(seen, want) {
		t.Errorf("a watcher saw %v, want %v", seen, want)
	}
}

// If two nodes store the same version, one gets Conflict and has the other's version then.
func TestLostRaces(t *testing.T) {
	s := newSite(t, true)
	one, two := s.node(), s.node()
	s.save(one, version("p", 1))
	record := core.AppendEntry{Entry: &core.Entry{Tenant: "alpha", Time: 1, Body: []byte("lost")}}
	if err := two.Save(ctx, version("p", 1), record); core.CodeOf(err) != core.Conflict {
		t.Errorf("the second first version: %v, want Conflict", err)
	}
	s.wantVersion(two, "p", 1)
	if records, err := s.store.Records(ctx, core.RecordQuery{Tenant: "alpha"}); err != nil || len(records) > 0 {
		t.Errorf("the record of the lost change is stored: %v, %v", records, err)
	}
	nodes := []*Directory{one, two}
	coretest.AtOnce(8, func(i int) {
		d := nodes[i%2]
		for stored, tries := 0, 0; stored < 5; tries++ {
			if tries > 1000 {
				t.Error("each of 1,000 versions was lost to somebody else")
				return
			}
			err := d.Save(ctx, version("p", d.NextVersion(core.EntryPolicy, "alpha", "p")))
			if err == nil {
				stored++
			} else if core.CodeOf(err) != core.Conflict {
				t.Error(err)
				return
			}
		}
	})
	for _, d := range []*Directory{one, two, s.node()} {
		s.read(d)
		s.wantVersion(d, "p", 41)
	}
}

// During an outage a directory of a shared store refuses as soon as its lease has ended,
// and answers again after it. The only process of a store goes on.
func TestOutage(t *testing.T) {
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) {
			s := newSite(t, shared)
			d := s.node()
			s.save(d, version("p", 1))
			s.store.down.Store(true)
			s.clock.mono.Add(core.SnapshotLeaseMS * 1000)
			s.wantVersion(d, "p", 1)
			if err := d.readChanges(ctx); core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("a read during the outage: %v", err)
			}
			s.clock.mono.Add(1)
			if !shared {
				s.wantVersion(d, "p", 1)
				return
			}
			s.wantCode(d, "p", core.StoreUnavailable)
			s.wantCode(d, "absent", core.StoreUnavailable)
			if list, err := d.List(core.EntryPolicy, "alpha", "", 10); len(list) > 0 || core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("the list during the outage: %v, %v", list, err)
			}
			if err := d.compareAll(ctx); core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("a comparison during the outage: %v", err)
			}
			s.store.down.Store(false)
			s.read(d)
			s.wantVersion(d, "p", 1)
		})
	}
}

// Two nodes on one PostgreSQL: one sees what the other stores, both refuse when the server
// is gone, and both answer again when it is back, with what was stored.
func TestNodesOnPostgres(t *testing.T) {
	server := storetest.StartPostgres(t)
	sealer, clock := new(storetest.Sealer), &handClock{}
	var nodes [2]*Directory
	for i := range nodes {
		s, err := store.Create(ctx, server.URL, sealer)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		nodes[i] = New(Ports{Store: s, Clock: clock, Log: slog.New(slog.DiscardHandler)})
		if err := nodes[i].Open(ctx); err != nil {
			t.Fatal(err)
		}
	}
	want := func(id string, code core.Code, n int64) {
		t.Helper()
		for i, d := range nodes {
			if e, err := d.Get(core.EntryPolicy, "alpha", id); err == nil && (code != 0 || e.Version != n) || err != nil && core.CodeOf(err) != code {
				t.Errorf("node %d answers %+v, %v; want version %d, code %v", i, e, err, n, code)
			}
		}
	}
	read := func() (err error) {
		for _, d := range nodes {
			err = errors.Join(err, d.readChanges(ctx))
		}
		return err
	}
	for n := int64(1); n <= 3; n++ {
		if err := nodes[n%2].Save(ctx, version("p", n)); err != nil {
			t.Fatal(err)
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
		want("p", 0, n)
	}
	server.Crash()
	clock.mono.Add(core.SnapshotLeaseMS*1000 + 1)
	if err := read(); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("a read without a server: %v", err)
	}
	want("p", core.StoreUnavailable, 0)
	server.Start()
	for tries := 0; read() != nil && tries < 100; tries++ {
		time.Sleep(50 * time.Millisecond) // the pools connect again
	}
	want("p", 0, 3)
}

// A directory that is not open refuses.
func TestUnopenedRefuses(t *testing.T) {
	for _, shared := range []bool{true, false} {
		s := newSite(t, shared)
		s.wantCode(s.unopened(), "p", core.StoreUnavailable)
	}
}

// What an attacker does to rows makes the entry refused, on a node that runs; the others
// stay. When the rows are as before, it is answered again.
func TestTamperedRows(t *testing.T) {
	for what, attack := range map[string][]string{
		"a changed row":        {"UPDATE directory_entry SET reason = 'x' WHERE id = 'p' AND version = 2"},
		"a deleted row":        {"DELETE FROM directory_entry WHERE id = 'p' AND version = 2"},
		"all rows deleted":     {"DELETE FROM directory_entry WHERE id = 'p'"},
		"a row renamed":        {"DELETE FROM directory_entry WHERE id = 'p' AND version = 1", "UPDATE directory_entry SET id = 'pp' WHERE id = 'p'"},
		"a row of the future":  {"UPDATE directory_entry SET version = 3 WHERE id = 'p' AND version = 2"},
		"another seal":         {"UPDATE directory_entry SET seal = (SELECT seal FROM directory_entry WHERE id = 'q') WHERE id = 'p' AND version = 2"},
		"an older body and at": {"UPDATE directory_entry SET body = (SELECT body FROM kept WHERE id = 'p' AND version = 1), at = 1700000001 WHERE id = 'p' AND version = 2"},
		"a forged version":     {"INSERT INTO directory_entry SELECT tenant, kind, id, 3, at, author, reason, deleted, body, seal, change + 9 FROM kept WHERE id = 'p' AND version = 2"},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, true)
			d := s.node()
			s.save(d, version("p", 1), version("q", 1), version("p", 2))
			s.attack("CREATE TABLE kept AS SELECT * FROM directory_entry")
			for _, query := range attack {
				s.attack(query)
			}
			d.after = 0 // so that changed rows are also read as changes
			s.read(d)
			s.compare(d)
			s.wantCode(d, "p", core.Tampered)
			if list, err := d.List(core.EntryPolicy, "alpha", "", 10); len(list) != 1 || list[0].ID != "q" || core.CodeOf(err) != core.Tampered {
				t.Errorf("the list has %d entries, %v; want the other one, and Tampered", len(list), err)
			}
			refused := int64(1)
			if what == "a row renamed" {
				refused = 2 // under the old name and the new one
			}
			if n, problem := d.Refused(); n != refused || problem == "" {
				t.Errorf("%d entries are refused, because %q; want %d with a reason", n, problem, refused)
			}
			if err := s.unopened().Open(ctx); !strings.Contains(what, "deleted") && core.CodeOf(err) != core.Tampered {
				t.Errorf("a node that starts: %v, want Tampered", err)
			}
			s.wantVersion(d, "q", 1)
			s.attack("DELETE FROM directory_entry")
			s.attack("INSERT INTO directory_entry SELECT * FROM kept")
			s.compare(d)
			s.wantVersion(d, "p", 2)
			if n, problem := d.Refused(); n != 0 || problem != "" {
				t.Errorf("after the rows are back %d entries are refused: %s", n, problem)
			}
		})
	}
}

// A row that is changed after a node has read it, with its change number as before, is
// noticed when the node reads all rows again.
func TestRowsAreVerifiedAgain(t *testing.T) {
	s := newSite(t, true)
	d := s.node()
	for i := range pageRows + 5 {
		s.save(d, version(fmt.Sprintf("p%03d", i), 1))
	}
	last := fmt.Sprintf("p%03d", pageRows+4)
	verify := func() {
		t.Helper()
		if err := d.verifyAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	verify()
	s.wantVersion(d, last, 1)
	s.attack("UPDATE directory_entry SET author = 'eve' WHERE id = $1", last)
	s.compare(d)
	s.wantVersion(d, last, 1) // the one in memory is right
	verify()
	s.wantCode(d, last, core.Tampered)
	s.wantVersion(d, "p000", 1)
	s.attack("UPDATE directory_entry SET author = $1 WHERE id = $2", version(last, 1).Author, last)
	verify()
	s.wantVersion(d, last, 1)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.verifyAll(ended); err == nil {
		t.Error("it does not end with its context")
	}
}

// Change numbers are not sealed. If someone changes them, the comparison with the table
// finds what the list of changes hides.
func TestForgedChangeNumbers(t *testing.T) {
	for what, attack := range map[string]string{
		"of a new row":      "UPDATE directory_entry SET change = 0 WHERE id = 'p' AND version = 2",
		"of an old row":     "UPDATE directory_entry SET change = 9223372036854775807 WHERE id = 'q'",
		"the count lowered": "UPDATE directory_change SET last = -5",
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, true)
			one := s.node()
			s.save(one, version("p", 1), version("q", 1))
			two := s.node()
			if what == "of a new row" {
				s.save(one, version("p", 2))
			}
			s.attack(attack)
			s.read(two)
			if what != "of a new row" {
				s.save(one, version("p", 2))
			}
			s.read(two)
			s.wantVersion(two, "p", 1) // hidden
			s.compare(two)
			s.wantVersion(two, "p", 2)
			s.save(one, version("p", 3))
			s.read(two)
			if what != "of an old row" { // its forged number is the highest there is
				s.wantVersion(two, "p", 3)
			}
			s.compare(two)
			s.wantVersion(two, "p", 3)
		})
	}
}

// A token that was pruned is absent on every node. Nothing is reported as tampered with.
func TestPrunedEntries(t *testing.T) {
	s := newSite(t, true)
	one, two := s.node(), s.node()
	token := storetest.DirectoryEntry(core.EntryToken, "alpha", "t", 1)
	s.save(one, token, version("p", 1))
	s.read(two)
	if err := one.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: token.Name()})); err != nil {
		t.Fatal(err)
	}
	s.compare(two)
	for _, d := range []*Directory{one, two} {
		if e, err := d.Get(core.EntryToken, "alpha", "t"); e != nil || core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("a pruned token is %+v, %v", e, err)
		}
		if n, problem := d.Refused(); n != 0 {
			t.Errorf("%d entries are refused: %s", n, problem)
		}
		s.wantVersion(d, "p", 1)
	}
}

// Entries of a tenant that was deleted are removed for good, on every node and also if a node has
// not read yet that it was deleted. The same rows of another tenant are refused if they are
// missing, and so are those of a tenant that only waits for its deletion.
func TestEntriesOfADeletedTenant(t *testing.T) {
	s := newSite(t, true)
	one, two := s.node(), s.node()
	late := s.node()
	policy := func(tenant string, n int64) *core.DirectoryEntry {
		return storetest.DirectoryEntry(core.EntryPolicy, tenant, "p", n)
	}
	row := func(tenant string, n int64, state core.TenantState) *core.DirectoryEntry {
		body, err := core.EncodeBody(&core.Tenant{State: state, DeleteAfter: map[core.TenantState]int64{core.TenantDeleting: 1}[state]})
		if err != nil {
			t.Fatal(err)
		}
		e := storetest.DirectoryEntry(core.EntryTenant, "", tenant, n)
		e.Body = body
		return e
	}
	for _, tenant := range []string{"gone", "waits", "alive"} {
		s.save(one, policy(tenant, 1), policy(tenant, 2))
	}
	s.read(two)
	s.read(late)
	s.save(one, row("gone", 1, core.TenantDisabled), row("gone", 2, core.TenantDeleted), row("waits", 1, core.TenantDeleting))
	s.read(two)
	if n := len(one.NamesOf("gone", 10)); n != 1 {
		t.Fatalf("the deleted tenant has %d entries", n)
	}
	if err := one.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: policy("gone", 1).Name(), TenantDeleted: true})); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Directory{two, late} {
		s.compare(d)
	}
	for what, d := range map[string]*Directory{"the node that removed it": one, "another node": two, "a node that has not read the row of the tenant": late, "a node that starts": s.node()} {
		if e, err := d.Get(core.EntryPolicy, "gone", "p"); e != nil || core.CodeOf(err) != core.ItemNotFound || len(d.NamesOf("gone", 10)) > 0 {
			t.Errorf("%s: the policy of a deleted tenant is %+v, %v", what, e, err)
		}
		if n, problem := d.Refused(); n != 0 {
			t.Errorf("%s: %d entries are refused: %s", what, n, problem)
		}
	}
	s.attack("DELETE FROM directory_entry WHERE tenant IN ('waits', 'alive')")
	s.compare(two)
	for _, tenant := range []string{"waits", "alive"} {
		if e, err := two.Get(core.EntryPolicy, tenant, "p"); e != nil || core.CodeOf(err) != core.Tampered {
			t.Errorf("a policy of the tenant %s that is missing is %+v, %v; want that it is refused", tenant, e, err)
		}
	}
}

// What follows entries sees the removal as a deletion.
func TestWatchersSeeRemovedEntries(t *testing.T) {
	s := newSite(t, false)
	d := s.unopened()
	var seen []string
	d.Watch(core.EntryPolicy, func(e *core.DirectoryEntry) { seen = append(seen, fmt.Sprint(e.ID, e.Version, e.Deleted)) })
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	s.save(d, version("p", 1))
	if err := d.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: version("p", 1).Name(), TenantDeleted: true})); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, ", "); got != "p1 false, p2 true" {
		t.Errorf("watchers have seen %s; want version 1, and then that it is deleted", got)
	}
}

// A list has the entries of one kind and tenant by ID, in pages.
func TestList(t *testing.T) {
	s := newSite(t, false)
	d := s.node()
	for i := range 7 {
		s.save(d, version(fmt.Sprint("p", i), 1))
	}
	gone := version("p3", 2)
	gone.Deleted = true
	s.save(d, gone, storetest.DirectoryEntry(core.EntryPolicy, "beta", "other", 1), storetest.DirectoryEntry(core.EntryRole, "alpha", "other", 1))
	var ids []string
	for after := ""; ; {
		page, err := d.List(core.EntryPolicy, "alpha", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			ids = append(ids, e.ID)
			after = e.ID
		}
	}
	if want := []string{"p0", "p1", "p2", "p4", "p5", "p6"}; !reflect.DeepEqual(ids, want) {
		t.Errorf("the list is %v, want %v", ids, want)
	}
	if none, err := d.List(core.EntryPolicy, "alpha", "", -1); err != nil || len(none) != 0 {
		t.Errorf("a list of -1 entries: %v, %v", none, err)
	}
}

// largeBody is a policy of 700 bytes, as an operator would write it.
func largeBody(n int) []byte {
	body := fmt.Appendf(nil, `{"name":"policy-%06d","keyId":"0f8fad5b-d9cb-469f-a165-%012d","statements":[{"sid":"AllowUse","principal":["user:alice%d","role:operator"],"actions":["encrypt","decrypt"],"effect":"allow",`+
		`"conditions":{"ipAddress":"10.%d.%d.0/24","time":{"notBefore":"2026-01-%02dT08:00:00Z","notAfter":"2027-01-01T00:00:00Z"}}},{"sid":"DenyDelete","principal":["*"],"actions":["delete","destroy"],"effect":"deny"},`+
		`{"sid":"AllowRotate","principal":["group:team%d"],"actions":["rotate"],"effect":"allow","conditions":{"tags":{"environment":"production","owner":"team%d"}}}]}`, n, n*7919, n%977, n%256, n/256%256, 1+n%28, n%311, n%311)
	return append(body, strings.Repeat(" ", max(0, 700-len(body)))...)
}

// 100,000 policies of 700 bytes take at most 64 MiB.
func TestMemory(t *testing.T) {
	const entries, most = 100_000, 64 << 20
	d := newSite(t, false).unopened()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range entries {
		d.acceptAll([]*core.DirectoryEntry{{Kind: core.EntryPolicy, Tenant: strings.Clone("alpha"), ID: fmt.Sprintf("0f8fad5b-d9cb-469f-a165-%012d", i), Version: 1, Author: fmt.Sprint("alpha/admin", i%5), Reason: fmt.Sprint("change request ", i%100), Body: largeBody(i)}})
	}
	used := heap() - before
	runtime.KeepAlive(d)
	t.Logf("%.1f MiB", float64(used)/(1<<20))
	if used > most {
		t.Errorf("%d entries with bodies of 700 bytes take %d bytes; at most %d", entries, used, most)
	}
}

// Get allocates nothing, whether there are ten entries or ten thousand, also for a large
// body that is in use, and for an entry that does not exist.
func TestGetAllocatesNothing(t *testing.T) {
	for _, entries := range []int{10, 10_000} {
		d := newSite(t, true).node()
		for i := range entries {
			e := version(fmt.Sprint("p", i), 1)
			if i == 5 {
				e.Body = largeBody(i)
			}
			d.acceptAll([]*core.DirectoryEntry{e})
		}
		large, err := d.Get(core.EntryPolicy, "alpha", "p5")
		if err != nil || string(large.Body) != string(largeBody(5)) {
			t.Fatalf("a large body is %q, %v", large.Body, err)
		}
		for _, id := range []string{"p1", "p5", "absent"} {
			if n := testing.AllocsPerRun(100, func() { d.Get(core.EntryPolicy, "alpha", id) }); n != 0 {
				t.Errorf("%s of %d entries: %v allocations", id, entries, n)
			}
		}
		runtime.KeepAlive(large)
	}
}

// Bodies of every length are the same after they were packed, also if many are unpacked
// at once.
func TestPackedBodies(t *testing.T) {
	random := make([]byte, core.MaxDirectoryBody)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	var bodies [][]byte
	for _, length := range []int{packAbove + 1, 700, 32 << 10, 33 << 10, core.MaxDirectoryBody} {
		bodies = append(bodies, random[:length], []byte(strings.Repeat("a", length)), append(largeBody(1), random[:length]...))
	}
	coretest.AtOnce(len(bodies), func(i int) {
		h := holdEntry(&core.DirectoryEntry{Body: bodies[i]})
		if e, err := h.wholeEntry(); h.packed == nil || err != nil || string(e.Body) != string(bodies[i]) {
			t.Errorf("a body of %d bytes: packed %v, %v, or it differs", len(bodies[i]), h.packed != nil, err)
		}
	})
	h := holdEntry(&core.DirectoryEntry{Body: largeBody(1)})
	h.packed = h.packed[:len(h.packed)/2]
	if e, err := h.wholeEntry(); e != nil || err == nil {
		t.Errorf("half a body is unpacked to %v", e)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{10, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			d := New(Ports{Store: &failingStore{}, Clock: &handClock{}, Log: slog.New(slog.DiscardHandler)})
			d.opened.Store(true)
			for i := range entries {
				d.acceptAll([]*core.DirectoryEntry{version(fmt.Sprint("p", i), 1)})
			}
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					d.Get(core.EntryPolicy, "alpha", "p7")
				}
			})
		})
	}
}

func BenchmarkHold(b *testing.B) {
	e := &core.DirectoryEntry{Kind: core.EntryPolicy, Tenant: "alpha", ID: "p", Body: largeBody(1)}
	for b.Loop() {
		holdEntry(e)
	}
}

func BenchmarkUnpack(b *testing.B) {
	h := holdEntry(&core.DirectoryEntry{Kind: core.EntryPolicy, Tenant: "alpha", ID: "p", Body: largeBody(1)})
	for b.Loop() {
		h.whole.Store(nil)
		h.wholeEntry()
	}
}

func BenchmarkOpen(b *testing.B) {
	const entries = 10_000
	s, err := store.Create(ctx, "sqlite:"+filepath.Join(b.TempDir(), "open.db"), new(storetest.Sealer))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for from := 0; from < entries; from += 100 {
		var change core.Change
		for i := range 100 {
			e := version(fmt.Sprint("p", from+i), 1)
			e.Body = largeBody(from + i)
			change.Add(core.SaveDirectoryEntry{Entry: e})
		}
		if err := s.Commit(ctx, &change); err != nil {
			b.Fatal(err)
		}
	}
	d := New(Ports{Store: s, Clock: &handClock{}, Log: slog.New(slog.DiscardHandler)})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			d = New(Ports{Store: s, Clock: &handClock{}, Log: slog.New(slog.DiscardHandler)})
			if err := d.Open(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			if err := d.compareAll(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
