package authz

import (
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// memoSize bounds the answers kept; when it is reached, all are forgotten.
const memoSize = 65536

// memo keeps answers of a policy that reads neither time nor address. The key
// holds everything else that the input is made of, so an answer cannot outlive
// a change: a principal is immutable and made anew per connection, an object's
// version grows with each change, and the state as of now is part of the key.
// A new policy has a new memo.
type memo struct {
	mu sync.RWMutex
	m  map[question]core.Decision
}

type question struct {
	principal *core.Principal
	operation core.Operation
	door      core.Door
	tenant    string
	object    string
	version   int64
	state     core.State
}

func newMemo() *memo { return &memo{m: map[question]core.Decision{}} }

func questionOf(r *core.AccessRequest) question {
	q := question{principal: r.Principal, operation: r.Operation, door: r.Door, state: r.State}
	if r.Object != nil {
		q.tenant, q.object, q.version = r.Object.Tenant, r.Object.ID, r.Object.Version
	}
	return q
}

func (m *memo) get(r *core.AccessRequest) (core.Decision, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d, ok := m.m[questionOf(r)]
	return d, ok
}

func (m *memo) put(r *core.AccessRequest, d core.Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.m) >= memoSize {
		clear(m.m)
	}
	m.m[questionOf(r)] = d
}
