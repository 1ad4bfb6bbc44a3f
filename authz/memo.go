package authz

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

const (
	memoShards     = 16   // each with its own lock
	memoShardSize  = 4096 // answers; a shard that is full forgets them all
	memoPrincipals = 4096 // principals; a full list is begun again
)

// memo keeps the answers of a policy that reads neither time nor address. Its
// key is the whole of the rest of the input, so an answer never outlives what
// it was given for; nothing has to be invalidated, and a new policy has a new
// memo. Errors are not kept. Safe for concurrent use.
type memo struct {
	seed   maphash.Seed
	shards [memoShards]memoShard

	mu         sync.RWMutex
	principals map[string]uint64 // what the policy can see of a principal, numbered
	lastNumber uint64            // number given; never given again
}

type memoShard struct {
	mu      sync.RWMutex
	answers map[question]core.Decision
	_       [32]byte // keeps two locks off one cache line
}

func newMemo() *memo {
	m := &memo{seed: maphash.MakeSeed(), principals: map[string]uint64{}}
	for i := range m.shards {
		m.shards[i].answers = map[question]core.Decision{}
	}
	return m
}

// keyFor is the question with a number in place of its principal.
func (m *memo) keyFor(q question) question {
	q.principalNumber, q.principal = m.principalNumber(q.principal), nil
	return q
}

// principalNumber numbers a principal by what the policy can see of it, so that a new
// connection, or each request of a door that makes its principals again, finds
// the answers that the last one left. It is exact: no two share a number.
func (m *memo) principalNumber(p *core.Principal) uint64 {
	var room [512]byte // so that the usual principal costs no allocation
	b := appendPrincipal(room[:0], p)
	m.mu.RLock()
	n, ok := m.principals[string(b)]
	m.mu.RUnlock()
	if ok {
		return n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.principals[string(b)]; ok {
		return n
	}
	if len(m.principals) >= memoPrincipals {
		clear(m.principals)
	}
	m.lastNumber++
	m.principals[string(b)] = m.lastNumber
	return m.lastNumber
}

// appendPrincipal writes every field that input reads, each with its length.
func appendPrincipal(b []byte, p *core.Principal) []byte {
	b = appendText(appendText(appendText(b, p.Tenant), p.ID), p.Method)
	for _, names := range [...][]string{p.Groups, p.Roles} {
		b = binary.AppendUvarint(b, uint64(len(names)))
		for _, n := range names {
			b = appendText(b, n)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (m *memo) shardOf(q *question) *memoShard {
	return &m.shards[(maphash.String(m.seed, q.object)^uint64(q.action))%memoShards]
}

func (m *memo) recall(q *question) (core.Decision, bool) {
	s := m.shardOf(q)
	s.mu.RLock()
	d, ok := s.answers[*q]
	s.mu.RUnlock()
	return d, ok
}

func (m *memo) remember(q *question, d core.Decision) {
	s := m.shardOf(q)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) >= memoShardSize {
		clear(s.answers)
	}
	s.answers[*q] = d
}
