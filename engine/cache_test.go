package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// However large the objects are, and whatever is large about them, the cache keeps
// to its bytes, its count is right, and small objects stay useful beside large ones.
func TestCacheIsBoundedInBytes(t *testing.T) {
	c := newCache(0)
	text := core.Attributes{{Vendor: "x", Name: "a", Value: core.Text(strings.Repeat("a", 12<<10))}}
	for i := range 40_000 {
		o := &core.ManagedObject{Tenant: fmt.Sprint("t", i%3), ID: fmt.Sprint("o", i%20_000), Version: int64(1 + i/20_000)}
		switch i % 4 {
		case 0:
			o.Attributes = text
		case 1:
			o.Material.Blob = make([]byte, 20<<10)
		case 2:
			o.Material.Blob = make([]byte, 100<<10)
		}
		c.putStored(o)
	}
	kept := 0
	for i := range c.shards {
		s := &c.shards[i]
		sum, counted := 0, 0
		for _, e := range s.objects {
			sum += snapshotSize(e.object)
		}
		for _, n := range s.perTenant {
			counted += n
		}
		if sum != s.bytes || sum > shardBytes || counted != len(s.objects) {
			t.Errorf("shard %d holds %d bytes, counts %d, may have %d; %d objects, counted %d", i, sum, s.bytes, shardBytes, len(s.objects), counted)
		}
		kept += len(s.objects)
	}
	if kept < cacheShards*32 {
		t.Errorf("only %d objects are kept", kept)
	}
}

// A tenant with very many objects drives its own snapshots out of memory, not
// the few of another tenant.
func TestSnapshotsAreShared(t *testing.T) {
	c := newCache(0)
	put := func(tenant string) string {
		o := &core.ManagedObject{Tenant: tenant, ID: NewID(), Version: 1}
		c.putStored(o)
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
		if o, _ := c.lookUp("quiet", id, 0); o == nil {
			t.Fatal("a snapshot of the other tenant was driven out")
		}
	}
	total := 0
	for i := range c.shards {
		s := &c.shards[i]
		total += len(s.objects)
		if sum := s.perTenant["quiet"] + s.perTenant["flood"]; sum != len(s.objects) || len(s.objects) > shardCapacity {
			t.Errorf("shard %d has %d snapshots and counts %d", i, len(s.objects), sum)
		}
	}
	if total < cacheShards*shardCapacity*9/10 {
		t.Errorf("%d snapshots are kept", total)
	}
	for _, id := range few {
		c.forget("quiet", id)
	}
	for i := range c.shards {
		if n, there := c.shards[i].perTenant["quiet"]; there {
			t.Errorf("shard %d counts %d of a tenant that has none", i, n)
		}
	}
}
