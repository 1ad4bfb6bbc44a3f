package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// searchPages is how many pages of searches are in memory at once.
const searchPages = 8

// endlessStore has a tenant, default, whose candidates never end and never match.
type endlessStore struct{ *memStore }

func (s endlessStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	if tenant != "default" {
		return s.memStore.Candidates(ctx, tenant, f, beyond, limit)
	}
	if err := ctx.Err(); err != nil {
		return nil, core.Wrap(core.StoreUnavailable, err, "ended")
	}
	time.Sleep(time.Millisecond)
	page := make([]*core.ManagedObject, limit)
	for i := range page {
		page[i] = &core.ManagedObject{Tenant: tenant, ID: "none", Owner: "alice", Type: core.ObjectTypeOpaqueObject, Seq: max(beyond, 1<<40) - int64(i) - 1, Version: 1}
	}
	return page, nil
}

// Searches without an end end all the same: with their request, or after the time
// that one may take, with an error that says what to do. Nobody else waits for
// them: another tenant's search is answered while a hundred of them are under way.
func TestSearchesEnd(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	out, err := w.Create(ctx, w.out, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses))})
	if err != nil {
		t.Fatal(err)
	}
	w.Ports.Store, w.Settings.SearchTime = endlessStore{w.store}, time.Minute
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	nothing := &core.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagContactInformation, core.Text("nobody"))}
	gone, leave := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := w.Locate(gone, w.alice, nothing); err == nil || core.CodeOf(err) == core.Internal {
				t.Errorf("a search whose client left: %v", err)
			}
		})
	}
	for w.SearchPages().Waiting < 50 {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if found, err := w.Locate(ctx, w.out, &core.LocateInput{MaximumItems: -1}); err != nil || !slices.Equal(found.IDs, []string{out.ID}) {
			t.Errorf("another tenant finds %v, %v", found.IDs, err)
		}
	}
	if u := w.SearchPages(); u.Waiting < 50 {
		t.Errorf("the searches were over before the others: %+v", u)
	}
	leave()
	all.Wait()
	if u := w.SearchPages(); u.InUse != 0 || u.Waiting != 0 {
		t.Errorf("after the clients left: %+v", u)
	}

	w.Settings.SearchTime = 30 * time.Millisecond
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	if _, err := w.Locate(ctx, w.alice, nothing); core.CodeOf(err) != core.Busy || !strings.Contains(err.Error(), "more selective") {
		t.Errorf("a search that lasts too long: %v", err)
	}
}

// One tenant that searches without a pause has at most half of the places.
func TestSearchesOfOneTenantLeavePlaces(t *testing.T) {
	w := newWorld(t)
	w.Ports.Store, w.Settings.SearchTime = endlessStore{w.store}, 200*time.Millisecond
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	var all sync.WaitGroup
	for _, c := range []*core.Caller{w.alice, w.bob, w.eve} {
		for range 10 {
			all.Go(func() {
				w.Locate(context.Background(), c, &core.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagComment, core.Text("x"))})
			})
		}
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	most := 0
	for searching := true; searching; {
		select {
		case <-ended:
			searching = false
		case <-time.After(time.Millisecond):
			most = max(most, w.SearchPages().InUse)
		}
	}
	if most != searchPages/2 {
		t.Errorf("one tenant had %d of %d places, want half", most, searchPages)
	}
}
