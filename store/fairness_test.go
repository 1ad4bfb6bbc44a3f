package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

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
