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
		c.put(o)
	}
	kept := 0
	for i := range c.shards {
		s := &c.shards[i]
		sum, counted := 0, 0
		for _, e := range s.objects {
			sum += snapshotSize(e.object)
		}
		for _, n := range s.counts {
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
