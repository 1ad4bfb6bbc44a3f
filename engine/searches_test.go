package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// What may not be seen counts neither against Maximum Items nor as an offset,
// nor in Located Items.
func TestLocateCountsWhatItShows(t *testing.T) {
	w := newWorld(t)
	var mine []string
	for i := range 6 {
		mine = append(mine, w.aesKey())
		if i%2 == 0 {
			if _, err := w.Create(ctx, w.eve, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
				core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Reverse(mine) // the newest comes first
	for _, c := range []struct {
		max, offset int32
		ids         []string
		located     int32
	}{{-1, 0, mine, 6}, {10, 0, mine, 6}, {-1, 4, mine[4:], 6}, {10, 6, nil, 6}, {10, 60, nil, 6}, {2, 1, mine[1:3], 6}, {2, 0, mine[:2], -1}, {0, 0, nil, -1}} {
		out, err := w.Locate(ctx, w.bob, &operation.LocateInput{MaximumItems: c.max, OffsetItems: c.offset})
		if err != nil || !slices.Equal(out.IDs, c.ids) || out.Located != c.located {
			t.Errorf("at most %d after %d: %+v, %v; want %v and %d", c.max, c.offset, out, err, c.ids, c.located)
		}
	}
}

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
	out, err := w.Create(ctx, w.out, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses))})
	if err != nil {
		t.Fatal(err)
	}
	w.Ports.Store, w.Settings.SearchTime = endlessStore{w.store}, time.Minute
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	nothing := &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagContactInformation, core.Text("nobody"))}
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
		if found, err := w.Locate(ctx, w.out, &operation.LocateInput{MaximumItems: -1}); err != nil || !slices.Equal(found.IDs, []string{out.ID}) {
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
				w.Locate(context.Background(), c, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagComment, core.Text("x"))})
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

// countingStore counts how many read candidates at once.
type countingStore struct {
	*memStore
	counts *readerCounts
}

type readerCounts struct {
	sync.Mutex
	now, most int
}

func (c *readerCounts) add(n int) {
	c.Lock()
	defer c.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

func (s countingStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	s.counts.add(1)
	defer s.counts.add(-1)
	time.Sleep(time.Millisecond)
	return s.memStore.Candidates(ctx, tenant, f, beyond, limit)
}

// However many search at once, few pages are in memory, and all are answered.
func TestSearchesTakeTurns(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey()
	s := countingStore{w.store, new(readerCounts)}
	w.Ports.Store = s
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	coretest.AtOnce(100, func(int) {
		if out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1}); err != nil || !slices.Equal(out.IDs, []string{id}) {
			t.Errorf("%+v, %v", out, err)
		}
	})
	if n := s.counts.most; n > searchPages || n < 2 {
		t.Errorf("%d pages were read at once, want at most %d", n, searchPages)
	}
}
