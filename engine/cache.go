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

// Bounds of the cache in bytes: of one snapshot with attributes and sealed material,
// and of all snapshots of one shard. A larger object is read again for each use.
const (
	maxSnapshot = 32 * 1024
	shardBytes  = 1 << 20
)

// snapshotBytes is the size of a snapshot without its attributes and material.
const snapshotBytes = 512

// snapshotSize returns about how many bytes a snapshot of o takes.
func snapshotSize(o *core.ManagedObject) int {
	m := &o.Material
	return snapshotBytes + AnswerBytes(o) + len(m.Blob) + len(m.TTLV) + len(m.CKAID) + len(m.MAC)
}

// cache keeps immutable snapshots of objects. A snapshot is never replaced by an older
// one. A snapshot that was read before a change is not stored after it. Safe for
// concurrent use.
type cache struct {
	lease  int64 // how long a snapshot may be used, in microseconds; 0: until it is changed
	seed   maphash.Seed
	shards [cacheShards]shard
}

type shard struct {
	mu        sync.Mutex
	usageTurn sync.Mutex // held while the Usage Limits of an object of this shard are drawn upon
	gen       uint64     // counts changes, so that a slow reader does not store an outdated snapshot
	objects   map[objectKey]snapshot
	perTenant map[string]int // number of snapshots
	bytes     int            // of all
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
		c.shards[i].objects, c.shards[i].perTenant = map[objectKey]snapshot{}, map[string]int{}
	}
	return c
}

func (c *cache) shardOf(id string) *shard {
	return &c.shards[maphash.String(c.seed, id)%cacheShards]
}

// lookUp returns the snapshot, or nil and the generation to pass to fillFromStore.
func (c *cache) lookUp(tenant, id string, nowMicro int64) (*core.ManagedObject, uint64) {
	s := c.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.objects[objectKey{tenant, id}]; ok && (e.until == 0 || nowMicro < e.until) {
		return e.object, s.gen
	}
	return nil, s.gen
}

// fillFromStore keeps an object that was read from the store, unless the shard has
// changed since lookUp returned gen. readMicro is the time BEFORE the read, when the
// lease begins.
func (c *cache) fillFromStore(o *core.ManagedObject, gen uint64, readMicro int64) {
	s := c.shardOf(o.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen == gen {
		s.setSnapshot(o, c.leaseEnd(readMicro))
	}
}

// putStored keeps an object that was just committed. On a shared store it removes the
// snapshot instead, because the beginning of the lease is not known here.
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

// forget removes the snapshot of an object.
func (c *cache) forget(tenant, id string) {
	s := c.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	s.removeSnapshot(objectKey{tenant, id})
}

// leaseEnd returns when a snapshot expires that was read at a time; 0: never.
func (c *cache) leaseEnd(readMicro int64) int64 {
	if c.lease == 0 {
		return 0
	}
	return readMicro + c.lease
}

// setSnapshot stores a snapshot and evicts others if the shard is full.
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
	s.perTenant[o.Tenant]++
	s.bytes += size
}

// evictSome removes one snapshot of a tenant that has at least its share of the shard,
// so that a tenant with very many objects evicts its own. Map order is random enough.
func (s *shard) evictSome() {
	share := min(shardCapacity, len(s.objects)) / max(1, len(s.perTenant))
	for k := range s.objects {
		if s.perTenant[k.tenant] >= share {
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
	if s.perTenant[k.tenant]--; s.perTenant[k.tenant] <= 0 {
		delete(s.perTenant, k.tenant)
	}
}

// forgetChanged removes the snapshots of all objects of a failed commit. It is not known
// whether the commit took effect, so the snapshots may be outdated.
func (c *cache) forgetChanged(ch *core.Change) {
	for _, o := range ch.Objects() {
		c.forget(o.Tenant, o.ID)
	}
}
