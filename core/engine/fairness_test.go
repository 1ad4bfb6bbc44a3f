package engine

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

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
	w.ports.Store, w.settings.SearchTime = endlessStore{w.store}, time.Minute
	w.Engine = New(w.ports, w.settings)
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
	for w.pages.Usage().Waiting < 50 {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if found, err := w.Locate(ctx, w.out, &core.LocateInput{MaximumItems: -1}); err != nil || !slices.Equal(found.IDs, []string{out.ID}) {
			t.Errorf("another tenant finds %v, %v", found.IDs, err)
		}
	}
	if u := w.pages.Usage(); u.Waiting < 50 {
		t.Errorf("the searches were over before the others: %+v", u)
	}
	leave()
	all.Wait()
	if u := w.pages.Usage(); u.InUse != 0 || u.Waiting != 0 {
		t.Errorf("after the clients left: %+v", u)
	}

	w.settings.SearchTime = 30 * time.Millisecond
	w.Engine = New(w.ports, w.settings)
	if _, err := w.Locate(ctx, w.alice, nothing); core.CodeOf(err) != core.Busy || !strings.Contains(err.Error(), "more selective") {
		t.Errorf("a search that lasts too long: %v", err)
	}
}

// One tenant that searches without a pause has half of the places at most.
func TestSearchesOfOneTenantLeavePlaces(t *testing.T) {
	w := newWorld(t)
	w.ports.Store, w.settings.SearchTime = endlessStore{w.store}, 200*time.Millisecond
	w.Engine = New(w.ports, w.settings)
	var all sync.WaitGroup
	for _, c := range []*core.Caller{w.alice, w.bob, w.eve} {
		for range 10 {
			all.Go(func() {
				w.Locate(context.Background(), c, &core.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagComment, core.Text("x"))})
			})
		}
	}
	most := 0
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		most = max(most, w.pages.Usage().InUse)
	}
	all.Wait()
	if most != maxPages/2 {
		t.Errorf("one tenant had %d of %d places, want half", most, maxPages)
	}
}

// A tenant with very many objects drives its own snapshots out of memory, not
// the few of another tenant.
func TestSnapshotsAreShared(t *testing.T) {
	c := newCache(0)
	put := func(tenant string) string {
		o := &core.ManagedObject{Tenant: tenant, ID: newID(), Version: 1}
		c.put(o)
		return o.ID
	}
	var few []string
	for range 200 {
		few = append(few, put("quiet"))
	}
	for range 3 * cacheShards * shardCapacity {
		put("flood")
	}
	for _, id := range few {
		if o, _ := c.get("quiet", id, 0); o == nil {
			t.Fatal("a snapshot of the other tenant was driven out")
		}
	}
	total := 0
	for i := range c.shards {
		s := &c.shards[i]
		total += len(s.objects)
		if sum := s.counts["quiet"] + s.counts["flood"]; sum != len(s.objects) || len(s.objects) > shardCapacity {
			t.Errorf("shard %d has %d snapshots and counts %d", i, len(s.objects), sum)
		}
	}
	if total < cacheShards*shardCapacity*9/10 {
		t.Errorf("%d snapshots are kept", total)
	}
	for _, id := range few {
		c.drop("quiet", id)
	}
	for i := range c.shards {
		if n, there := c.shards[i].counts["quiet"]; there {
			t.Errorf("shard %d counts %d of a tenant that has none", i, n)
		}
	}
}
