package authz

import (
	"hash/maphash"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

const (
	memoShards    = 16   // each with its own lock
	memoShardSize = 4096 // answers; a shard that is full forgets them all
)

// memo keeps the answers of a policy that reads neither time nor address. Its
// key is the whole of the rest of the input, so an answer never outlives what
// it was given for; nothing has to be invalidated, and a new policy has a new
// memo. Errors are not kept. Safe for concurrent use.
type memo struct {
	seed   maphash.Seed
	shards [memoShards]memoShard
}

type memoShard struct {
	mu sync.RWMutex
	m  map[question]core.Decision
	_  [32]byte // keeps two locks off one cache line
}

func newMemo() *memo {
	m := &memo{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].m = map[question]core.Decision{}
	}
	return m
}

func (m *memo) shard(q *question) *memoShard {
	return &m.shards[(maphash.String(m.seed, q.object)^uint64(q.operation))%memoShards]
}

func (m *memo) get(q *question) (core.Decision, bool) {
	s := m.shard(q)
	s.mu.RLock()
	d, ok := s.m[*q]
	s.mu.RUnlock()
	return d, ok
}

func (m *memo) put(q *question, d core.Decision) {
	s := m.shard(q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= memoShardSize {
		clear(s.m)
	}
	s.m[*q] = d
}
