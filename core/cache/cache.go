// Package cache bounds what is kept in memory about the objects of tenants.
//
// Its caches have one rule: if a cache is full, a tenant that has at least its share
// of it loses an entry. So a tenant with very many objects drives out its own.
// A cache made with [NewRanked] also keeps what is worth most to its owner.
// The package relies on nothing. Start at [Bounded], or at [Shared] for many goroutines.
package cache

import "time"

// Bounded keeps a bounded number of values by tenant and id, each for a limited time.
// It is not safe for concurrent use, but Get changes nothing, so a read lock is enough
// for it.
type Bounded[V any] struct {
	capacity int
	lifetime time.Duration
	dropped  func(V)
	worth    func(V) int // nil: all values are worth the same
	entries  map[name]entry[V]
	counts   map[string]int // entries of each tenant
}

type name struct{ tenant, id string }

type entry[V any] struct {
	value   V
	expires time.Time
}

// New makes a cache of capacity values, each kept for a lifetime; 0: without end. dropped is
// called with each value that leaves it and may not use the cache.
func New[V any](capacity int, lifetime time.Duration, dropped func(V)) *Bounded[V] {
	return &Bounded[V]{capacity: capacity, lifetime: lifetime, dropped: dropped, entries: map[name]entry[V]{}, counts: map[string]int{}}
}

// NewRanked is [New] for values of different worth, which is at least 0. If the cache is full,
// it looks at a few values that it may drop and drops the one that is worth least. A value whose
// time is over is worth less than any other.
func NewRanked[V any](capacity int, lifetime time.Duration, worth func(V) int) *Bounded[V] {
	b := New(capacity, lifetime, func(V) {})
	b.worth = worth
	return b
}

// comparedValues is how many values a ranked cache looks at. If it looked at all, someone who
// fills the cache with values of some worth would drive out each new one at once. With four, a
// new one stays for a quarter of the time that it would stay without a ranking.
const comparedValues = 4

// Get returns the value of an object, unless it has expired. It allocates nothing.
func (b *Bounded[V]) Get(tenant, id string) (value V, ok bool) {
	e, ok := b.entries[name{tenant, id}]
	if !ok || b.lifetime != 0 && time.Now().After(e.expires) {
		return value, false
	}
	return e.value, true
}

// MakeRoom drops the value of an object, and another one if the cache is full.
func (b *Bounded[V]) MakeRoom(tenant, id string) {
	b.Drop(tenant, id)
	if len(b.entries) < b.capacity {
		return
	}
	victim := b.chooseVictim()
	b.Drop(victim.tenant, victim.id)
}

// chooseVictim returns a value of a tenant that has at least its share of the full cache.
func (b *Bounded[V]) chooseVictim() (victim name) {
	share := b.capacity / max(1, len(b.counts))
	now := time.Now()
	compared, least := 0, 0
	for candidate, e := range b.entries { // in random order
		if b.counts[candidate.tenant] < share {
			continue
		}
		if b.worth == nil {
			return candidate
		}
		worth := b.worth(e.value)
		if b.lifetime != 0 && now.After(e.expires) {
			worth = -1
		}
		if compared == 0 || worth < least {
			victim, least = candidate, worth
		}
		if compared++; compared == comparedValues {
			break
		}
	}
	return victim
}

// Put keeps a value in place of the one that the object had.
func (b *Bounded[V]) Put(tenant, id string, value V) {
	b.MakeRoom(tenant, id)
	b.entries[name{tenant, id}] = entry[V]{value, time.Now().Add(b.lifetime)}
	b.counts[tenant]++
}

// Drop drops the value of an object, if there is one.
func (b *Bounded[V]) Drop(tenant, id string) {
	key := name{tenant, id}
	e, ok := b.entries[key]
	if !ok {
		return
	}
	delete(b.entries, key)
	if b.counts[tenant]--; b.counts[tenant] <= 0 {
		delete(b.counts, tenant)
	}
	b.dropped(e.value)
}

// DropTenant drops all values of a tenant. It is cheap if there are none.
func (b *Bounded[V]) DropTenant(tenant string) {
	if b.counts[tenant] == 0 {
		return
	}
	for key := range b.entries {
		if key.tenant == tenant {
			b.Drop(key.tenant, key.id)
		}
	}
}

// Expire drops the values whose time is over.
func (b *Bounded[V]) Expire(now time.Time) {
	for key, e := range b.entries {
		if b.lifetime != 0 && now.After(e.expires) {
			b.Drop(key.tenant, key.id)
		}
	}
}

// Clear drops every value.
func (b *Bounded[V]) Clear() {
	for key := range b.entries {
		b.Drop(key.tenant, key.id)
	}
}

// Len returns how many values are kept.
func (b *Bounded[V]) Len() int { return len(b.entries) }

// ExpireInterval is how often an owner drops old values that nobody asks for.
const ExpireInterval = 5 * time.Second
