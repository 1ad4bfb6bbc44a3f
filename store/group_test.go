package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// slowGroup commits when gate opens, and counts the changes.
type slowGroup struct {
	groupCommitter
	gate    chan struct{}
	begun   chan struct{}
	decided atomic.Int64
}

func newSlowGroup(wait time.Duration) *slowGroup {
	s := &slowGroup{gate: make(chan struct{}), begun: make(chan struct{}, 100)}
	s.init(func(all []*pendingChange) {
		s.begun <- struct{}{}
		<-s.gate
		s.decided.Add(int64(len(all)))
	})
	s.wait = wait
	return s
}

func wantUnavailable(t *testing.T, what string, err error, sentence string) {
	t.Helper()
	if core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), sentence) {
		t.Errorf("%s: got %v, want StoreUnavailable with %q", what, err, sentence)
	}
}

// awaitWaiting waits until n changes wait for the next batch.
func (g *groupCommitter) awaitWaiting(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		g.mu.Lock()
		now := 0
		if g.next != nil {
			now = g.next.live
		}
		g.mu.Unlock()
		if now == n {
			return
		}
	}
	t.Fatalf("%d changes never waited", n)
}

// If a caller leaves before its turn, its change is not committed, and another caller gets
// the lead.
func TestWithdrawnIsNotStored(t *testing.T) {
	s := newSlowGroup(10 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.commitWithOthers(context.Background(), &core.Change{}); err != nil {
			t.Error(err)
		}
	})
	<-s.begun
	ctx, cancel := context.WithCancel(context.Background())
	for range 5 {
		wg.Go(func() {
			wantUnavailable(t, "a withdrawn change", s.commitWithOthers(ctx, &core.Change{}), "is not stored")
		})
	}
	s.awaitWaiting(t, 5)
	cancel()
	s.awaitWaiting(t, 0)
	wg.Go(func() {
		if err := s.commitWithOthers(context.Background(), &core.Change{}); err != nil {
			t.Error(err)
		}
	})
	s.awaitWaiting(t, 1)
	close(s.gate)
	wg.Wait()
	if n := s.decided.Load(); n != 2 {
		t.Errorf("%d changes were committed, want 2", n)
	}
	wantUnavailable(t, "a context that has ended", s.commitWithOthers(ctx, &core.Change{}), "is not stored")
	if s.leading || s.decided.Load() != 2 {
		t.Error("somebody still leads")
	}
}

// Once the turn of a change has begun, its caller gets the true outcome, even if its
// context ends.
func TestBegunIsTold(t *testing.T) {
	s := newSlowGroup(10 * time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan error, 2)
	go func() { told <- s.commitWithOthers(context.Background(), &core.Change{}) }()
	<-s.begun
	go func() { told <- s.commitWithOthers(ctx, &core.Change{}) }()
	go func() { told <- s.commitWithOthers(ctx, &core.Change{}) }()
	s.awaitWaiting(t, 2)
	s.gate <- struct{}{}
	<-s.begun
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(s.gate)
	for range 3 {
		if err := <-told; err != nil {
			t.Errorf("a committed change was told %v", err)
		}
	}
}

// If a database does not answer, a waiting change is withdrawn, a change that has begun
// has an unknown outcome, and a later one is refused at once.
func TestStuckDatabase(t *testing.T) {
	s := newSlowGroup(60 * time.Millisecond)
	var wg sync.WaitGroup
	wg.Go(func() { s.commitWithOthers(context.Background(), &core.Change{}) })
	<-s.begun
	wantUnavailable(t, "no turn", s.commitWithOthers(context.Background(), &core.Change{}), "is not stored")
	time.Sleep(70 * time.Millisecond)
	began := time.Now()
	wantUnavailable(t, "refused", s.commitWithOthers(context.Background(), &core.Change{}), "has not finished a commit")
	wantUnavailable(t, "health", s.health(), "has not finished a commit")
	if d := time.Since(began); d > 50*time.Millisecond {
		t.Errorf("refusing took %v", d)
	}
	s.gate <- struct{}{}
	wg.Wait()
	if err := s.health(); err != nil {
		t.Errorf("when the database is back: %v", err)
	}
	close(s.gate)
	if err := s.commitWithOthers(context.Background(), &core.Change{}); err != nil {
		t.Errorf("when the database is back: %v", err)
	}
}

func TestUnknownOutcomeIsSaid(t *testing.T) {
	s := newSlowGroup(60 * time.Millisecond)
	told := make(chan error, 3)
	go func() { s.commitWithOthers(context.Background(), &core.Change{}); told <- nil }()
	<-s.begun
	for range 2 { // one leads and stays with its batch, the other is told
		go func() { told <- s.commitWithOthers(context.Background(), &core.Change{}) }()
	}
	s.awaitWaiting(t, 2)
	s.gate <- struct{}{}
	<-told
	<-s.begun
	wantUnavailable(t, "in the middle", <-told, "not known")
	close(s.gate)
	<-told
}

// After a panic, no caller gets success, and later commits work.
func TestPanicIsNoSuccess(t *testing.T) {
	var g groupCommitter
	g.init(func([]*pendingChange) { panic("disk on fire") })
	for range 2 {
		wantUnavailable(t, "a panic", g.commitWithOthers(context.Background(), &core.Change{}), "not known")
	}
	g.closeAndWait()
	wantUnavailable(t, "closed", g.commitWithOthers(context.Background(), &core.Change{}), "closed")
}

func TestQueueIsBounded(t *testing.T) {
	s := newSlowGroup(10 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() { s.commitWithOthers(context.Background(), &core.Change{}) })
	<-s.begun
	for range maxWaiting {
		wg.Go(func() {
			if err := s.commitWithOthers(context.Background(), &core.Change{}); err != nil {
				t.Error(err)
			}
		})
	}
	s.awaitWaiting(t, maxWaiting)
	wantUnavailable(t, "one more", s.commitWithOthers(context.Background(), &core.Change{}), "4096")
	close(s.gate)
	wg.Wait()
	if n := s.decided.Load(); n != maxWaiting+1 {
		t.Errorf("%d changes were committed, want %d", n, maxWaiting+1)
	}
}

// newSQLite makes a database that is closed and removed after the test.
func newSQLite(t *testing.T) *sqliteStore {
	t.Helper()
	opened, err := Create(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "k.db"), new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened.(*sqliteStore)
}

// With a full disk, commits fail as a whole, with a sentence. They work again when there is
// space.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	s := newSQLite(t)
	_, err := s.writeConn.ExecContext(ctx, "PRAGMA max_page_count = 60")
	if err != nil {
		t.Fatal(err)
	}
	record := func(n int) core.AppendEntry {
		return core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: make([]byte, n)}}
	}
	stored := 0
	for {
		c := core.ChangeOf(record(3000), core.BeginIntent{Intent: core.Intent{ID: strings.Repeat("i", stored+1), Tenant: "t", CKAID: []byte("t")}})
		if err = s.Commit(ctx, c); err != nil || stored > 200 {
			break
		}
		stored++
	}
	wantUnavailable(t, "a full disk", err, "full")
	wantUnavailable(t, "a record alone", s.Commit(ctx, core.ChangeOf(record(9000))), "full")
	for what, count := range map[string]func() (int, error){
		"records": func() (int, error) { l, err := s.Records(ctx, core.RecordQuery{}); return len(l), err },
		"intents": func() (int, error) { l, _, err := s.Intents(ctx); return len(l), err }} {
		if n, err := count(); err != nil || n != stored {
			t.Errorf("%d %s are there, %v; %d were acknowledged", n, what, err, stored)
		}
	}
	if _, err := s.writeConn.ExecContext(ctx, "PRAGMA max_page_count = 6000"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, core.ChangeOf(record(9000))); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// If one change of a batch fails, it is rolled back as a whole, and the others are stored
// with the Seq of their own rows.
func TestOneOfABatchFails(t *testing.T) {
	ctx := context.Background()
	s := newSQLite(t)
	object := func(id string) *core.ManagedObject {
		return &core.ManagedObject{Tenant: "t", ID: id, Version: 1, Type: core.ObjectTypeSymmetricKey,
			Attributes: core.Attributes{{Tag: core.TagObjectGroup, Value: core.Text("of " + id)}}}
	}
	birth := func(record string, ids ...string) *pendingChange {
		c := core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: []byte(record)}})
		for _, id := range ids {
			c.Add(core.InsertObject{Object: object(id)})
		}
		return &pendingChange{change: c}
	}
	batch := []*pendingChange{birth("1", "a"), birth("2", "b", "a"), birth("3", "c"), {change: core.ChangeOf(core.UpdateObject{Object: object("c")})}, birth("5", "d")}
	s.commitGroup(batch)
	for i, want := range []core.Code{0, core.ObjectAlreadyExists, 0, core.Conflict, 0} {
		if got := core.CodeOf(batch[i].err); (batch[i].err == nil) != (want == 0) || (want != 0 && got != want) {
			t.Errorf("change %d: %v; want the code %v", i+1, batch[i].err, want)
		}
	}
	for i, id := range map[int]string{0: "a", 2: "c", 4: "d"} {
		o, err := s.Object(ctx, "t", id)
		if err != nil || len(batch[i].seqs) != 1 || o.Seq != batch[i].seqs[0] {
			t.Errorf("object %s: %+v, %v; the batch said %v", id, o, err, batch[i].seqs)
		}
	}
	if _, err := s.Object(ctx, "t", "b"); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("b was born with a change that failed: %v", err)
	}
	found, err := s.Candidates(ctx, "t", core.Filter{WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagObjectGroup, Value: core.Text("of b")}}}, 0, 9)
	if err != nil || len(found) != 0 {
		t.Errorf("b can be found: %v, %v", found, err)
	}
	if records, err := s.Records(ctx, core.RecordQuery{}); err != nil || len(records) != 3 {
		t.Errorf("%d records, %v; want those of the three that were stored", len(records), err)
	}
}

func heavy(tenant string) *core.Change {
	return core.ChangeOf(core.InsertObject{Object: &core.ManagedObject{Tenant: tenant}}, core.AppendEntry{Entry: &core.Entry{Tenant: tenant}})
}

// A tenant with hundreds of waiting changes does not fill the transactions: the change of
// another tenant is in the next one, and all changes are decided in the end.
func TestOneTenantDoesNotFillTheBatch(t *testing.T) {
	var g groupCommitter
	gate := make(chan struct{})
	var batches [][]string
	g.init(func(all []*pendingChange) {
		var tenants []string
		for _, p := range all {
			p.seqs = append(p.seqs, 1)
			tenants = append(tenants, p.change.ForTenant())
		}
		batches = append(batches, tenants)
		<-gate
	})
	var wg sync.WaitGroup
	commit := func(tenant string) {
		wg.Go(func() {
			if err := g.commitWithOthers(context.Background(), heavy(tenant)); err != nil {
				t.Errorf("%s: %v", tenant, err)
			}
		})
	}
	commit("flood") // this one holds the lead
	for g.leads() == false {
		time.Sleep(time.Millisecond)
	}
	for range 300 {
		commit("flood")
	}
	g.awaitWaiting(t, 300)
	commit("quiet")
	g.awaitWaiting(t, 301)
	close(gate)
	wg.Wait()
	total, quietIn := 0, -1
	for i, b := range batches {
		total += len(b)
		if strings.Contains(strings.Join(b, " "), "quiet") {
			quietIn = i
		}
		if len(b) > maxBatch/8 {
			t.Errorf("batch %d has %d changes", i, len(b))
		}
	}
	if quietIn != 1 || total != 302 {
		t.Errorf("the other tenant's change came in batch %d of %d, %d changes in all; want batch 1", quietIn, len(batches), total)
	}
}

func (g *groupCommitter) leads() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leading
}

// One tenant cannot fill the queue. Its next change is refused at once, and the change of
// another tenant is accepted.
func TestOneTenantDoesNotFillTheQueue(t *testing.T) {
	s := newSlowGroup(time.Minute)
	record := func(tenant string) *core.Change {
		return core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: tenant}})
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.commitWithOthers(context.Background(), record("flood")) })
	<-s.begun
	ctx, cancel := context.WithCancel(context.Background())
	for range maxTenant {
		wg.Go(func() { s.commitWithOthers(ctx, record("flood")) })
	}
	s.awaitWaiting(t, maxTenant)
	if err := s.commitWithOthers(context.Background(), record("flood")); core.CodeOf(err) != core.Busy {
		t.Errorf("one more of the tenant: %v", err)
	}
	done := make(chan error)
	go func() { done <- s.commitWithOthers(context.Background(), record("quiet")) }()
	s.awaitWaiting(t, maxTenant+1)
	cancel() // those of the flood leave the queue
	close(s.gate)
	if err := <-done; err != nil {
		t.Errorf("another tenant: %v", err)
	}
	wg.Wait()
}

// If a request ends, its search ends inside the database. Searches of one tenant leave
// room for the searches of another, and for reads of single objects.
func TestSearchesEndAndLeaveRoom(t *testing.T) {
	s := newSQLite(t)
	ctx, cancel := context.WithCancel(context.Background())
	endless := func(ctx context.Context) error {
		return s.queryRows(ctx, func(scanner) error { return nil }, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
	}
	ended := make(chan error)
	for range readers() {
		go func() { ended <- endless(ctx) }()
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := s.Object(context.Background(), "quiet", "none"); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a read beside endless searches: %v", err)
	}
	cancel()
	for range readers() {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("an endless search came to an end")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a search goes on after its request has ended")
		}
	}
	as := func(tenant string) context.Context {
		return core.OnBehalfOf(context.Background(), &core.Principal{Tenant: tenant, ID: fmt.Sprint(tenant, "'s")})
	}
	for range readers() / 2 { // all that one tenant can have
		if _, err := s.connections.searches.Acquire(as("flood")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Candidates(as("quiet"), "quiet", core.Filter{WholeTenant: true}, 0, 10); err != nil {
		t.Errorf("another tenant's search: %v", err)
	}
	short, stop := context.WithTimeout(as("flood"), 20*time.Millisecond)
	defer stop()
	if _, err := s.Candidates(short, "flood", core.Filter{WholeTenant: true}, 0, 10); core.CodeOf(err) != core.Busy {
		t.Errorf("one more search of a tenant that has its part: %v", err)
	}
}
