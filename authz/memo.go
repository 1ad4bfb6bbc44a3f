package authz

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

const (
	memoShards     = 16   // each with its own lock
	memoShardSize  = 4096 // answers; a full shard is cleared
	memoPrincipals = 4096 // principals; a full map is cleared
)

// memo keeps the answers of a policy that reads neither time nor address. Its key is
// the rest of the input, whole, so an answer is never used for another question and
// nothing must be invalidated. A new policy has a new memo. Errors are not kept. Safe
// for concurrent use.
type memo struct {
	seed   maphash.Seed
	shards [memoShards]memoShard

	mu         sync.RWMutex
	principals map[string]uint64 // number of each principal, by appendPrincipal
	lastNumber uint64            // last number; no number is used twice
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

// keyFor returns the question with a number in place of its principal.
func (m *memo) keyFor(q question) question {
	q.principalNumber, q.principal = m.principalNumber(q.principal), nil
	return q
}

// principalNumber returns the number of all principals that look the same to the
// policy. So a new connection, or the next request of a door that makes a principal for
// each, finds the answers of the last one. Principals that differ never share a number.
func (m *memo) principalNumber(p *core.Principal) uint64 {
	var room [512]byte // so that a usual principal allocates nothing
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

// appendPrincipal appends each field that the input has, with its length. What a token is
// narrowed to is not among them: [limitPermit] heeds it for each request, also for an answer
// that is remembered.
func appendPrincipal(b []byte, p *core.Principal) []byte {
	b = append(appendText(appendText(appendText(b, p.Tenant), p.ID), p.Method), byte(p.Strength))
	if c := p.ConnectionPrincipal(); c != nil {
		b = appendText(appendText(append(b, 1), c.Tenant), c.ID)
	} else {
		b = append(b, 0)
	}
	for _, names := range [...][]string{p.Groups, p.Roles} {
		b = binary.AppendUvarint(b, uint64(len(names)))
		for _, n := range names {
			b = appendText(b, n)
		}
	}
	return appendText(appendTexts(b, p.Attributes), p.TokenID)
}

// appendTexts appends a map in the order of its names.
func appendTexts(b []byte, texts map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	var room [16]string // so that a usual map allocates nothing
	names := room[:0]
	for n := range texts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		b = appendText(appendText(b, n), texts[n])
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
