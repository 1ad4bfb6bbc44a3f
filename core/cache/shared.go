package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const shardCount = 16 // each with its own lock

// Shared keeps values as [Bounded] does, without a limit of time. Their keys are bytes, which
// are compared as a whole. Safe for concurrent use.
type Shared[V any] struct {
	seed   maphash.Seed
	shards [shardCount]shard[V]
}

type shard[V any] struct {
	mu   sync.RWMutex
	kept *Bounded[V]
	_    [32]byte // keeps two locks off one cache line
}

// NewShared makes a cache of capacity values, at least shardCount.
func NewShared[V any](capacity int) *Shared[V] {
	s := &Shared[V]{seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].kept = New(capacity/shardCount, 0, func(V) {})
	}
	return s
}

func (s *Shared[V]) shardOf(key []byte) *shard[V] {
	return &s.shards[maphash.Bytes(s.seed, key)%shardCount]
}

// Get returns the value of a key of a tenant. It allocates nothing.
func (s *Shared[V]) Get(tenant string, key []byte) (value V, ok bool) {
	at := s.shardOf(key)
	at.mu.RLock()
	e, ok := at.kept.entries[name{tenant, string(key)}]
	at.mu.RUnlock()
	return e.value, ok
}

// Put keeps a value in place of the one that the key had.
func (s *Shared[V]) Put(tenant string, key []byte, value V) {
	at := s.shardOf(key)
	at.mu.Lock()
	defer at.mu.Unlock()
	at.kept.Put(tenant, string(key), value)
}

// Len returns how many values are kept.
func (s *Shared[V]) Len() (n int) {
	for i := range s.shards {
		s.shards[i].mu.RLock()
		n += s.shards[i].kept.Len()
		s.shards[i].mu.RUnlock()
	}
	return n
}

// Numbers gives keys numbers, which are shorter. No two keys ever have the same number. A key
// that was not asked for long can get another one. Safe for concurrent use.
type Numbers struct {
	kept *Shared[uint64]
	last atomic.Uint64
}

// NewNumbers makes numbers for capacity keys.
func NewNumbers(capacity int) *Numbers {
	return &Numbers{kept: NewShared[uint64](capacity)}
}

// NumberOf returns the number of a key of a tenant. It allocates nothing if it knows the key.
func (n *Numbers) NumberOf(tenant string, key []byte) uint64 {
	if number, ok := n.kept.Get(tenant, key); ok {
		return number
	}
	number := n.last.Add(1)
	n.kept.Put(tenant, key, number)
	return number
}
