package engine

import (
	"hash/maphash"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the cache of object snapshots: 64 shards of 256 objects.
const (
	cacheShards   = 64
	shardCapacity = 256
)

// Bounds of the cache in bytes: of one snapshot, attributes and sealed material
// together, and of all those of one shard. A larger one is read again for each use.
const (
	maxSnapshot = 32 * 1024
	shardBytes  = 1 << 20
)

// snapshotBytes is what a snapshot takes beside its attributes and its material.
const snapshotBytes = 512

func snapshotSize(o *core.ManagedObject) int {
	m := &o.Material
	return snapshotBytes + AnswerBytes(o) + len(m.Blob) + len(m.TTLV) + len(m.CKAID) + len(m.MAC)
}

// cache keeps immutable object snapshots. A snapshot is never replaced by an
// older one, and one read from the store before a change is not kept after it.
type cache struct {
	lease  int64 // microseconds a snapshot may be used; 0: until changed
	seed   maphash.Seed
	shards [cacheShards]shard
}

type shard struct {
	mu      sync.Mutex
	drawing sync.Mutex // held while Usage Limits of an object here are drawn upon
	gen     uint64     // counts changes, so that a slow reader does not put back what a writer dropped
	objects map[objectKey]snapshot
	counts  map[string]int // snapshots of each tenant
	bytes   int            // of all
}

type objectKey struct{ tenant, id string }

type snapshot struct {
	object *core.ManagedObject
	until  int64 // Unix microseconds; 0: no end
	bytes  int
}

func newCache(leaseMicro int64) *cache {
	c := &cache{lease: leaseMicro, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].objects, c.shards[i].counts = map[objectKey]snapshot{}, map[string]int{}
	}
	return c
}

func (c *cache) shardOf(id string) *shard {
	return &c.shards[maphash.String(c.seed, id)%cacheShards]
}

// lookUp returns the snapshot, or nil and the generation to give to fill.
func (c *cache) lookUp(tenant, id string, nowMicro int64) (*core.ManagedObject, uint64) {
	s := c.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.objects[objectKey{tenant, id}]; ok && (e.until == 0 || nowMicro < e.until) {
		return e.object, s.gen
	}
	return nil, s.gen
}

// fillFromStore keeps what was read from the store, unless the shard has changed since
// get gave gen. readMicro is the time BEFORE the read: a lease runs from there.
func (c *cache) fillFromStore(o *core.ManagedObject, gen uint64, readMicro int64) {
	s := c.shardOf(o.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen == gen {
		s.setSnapshot(o, c.leaseEnd(readMicro))
	}
}

// putStored keeps what was just committed. On a shared store it is dropped instead:
// when the lease began is not known here.
func (c *cache) putStored(o *core.ManagedObject) {
	s := c.shardOf(o.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	key := objectKey{o.Tenant, o.ID}
	if c.lease != 0 {
		s.removeSnapshot(key)
	} else if old, ok := s.objects[key]; !ok || old.object.Version < o.Version {
		s.setSnapshot(o, 0)
	}
}

func (c *cache) forget(tenant, id string) {
	s := c.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	s.removeSnapshot(objectKey{tenant, id})
}

func (c *cache) leaseEnd(readMicro int64) int64 {
	if c.lease == 0 {
		return 0
	}
	return readMicro + c.lease
}

// setSnapshot evicts objects when the shard is full.
func (s *shard) setSnapshot(o *core.ManagedObject, until int64) {
	key := objectKey{o.Tenant, o.ID}
	s.removeSnapshot(key)
	size := snapshotSize(o)
	if size > maxSnapshot {
		return
	}
	for len(s.objects) >= shardCapacity || s.bytes+size > shardBytes {
		s.evictSome()
	}
	s.objects[key] = snapshot{o, until, size}
	s.counts[o.Tenant]++
	s.bytes += size
}

// evictSome drops an object of a tenant that has at least its share here, so that a
// tenant with very many objects drives out its own. Map order is random enough.
func (s *shard) evictSome() {
	share := min(shardCapacity, len(s.objects)) / max(1, len(s.counts))
	for k := range s.objects {
		if s.counts[k.tenant] >= share {
			s.removeSnapshot(k)
			return
		}
	}
}

func (s *shard) removeSnapshot(k objectKey) {
	old, there := s.objects[k]
	if !there {
		return
	}
	delete(s.objects, k)
	s.bytes -= old.bytes
	if s.counts[k.tenant]--; s.counts[k.tenant] <= 0 {
		delete(s.counts, k.tenant)
	}
}

// forgetAll drops what a failed commit touched. Nobody knows whether it took effect,
// so nobody may go on with an old snapshot.
func (c *cache) forgetAll(ch *core.Change) {
	for _, o := range ch.Objects() {
		c.forget(o.Tenant, o.ID)
	}
}
