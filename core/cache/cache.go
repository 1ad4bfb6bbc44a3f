// Package cache bounds what is kept in memory about the objects of tenants.
//
// Its caches have one rule: if a cache is full, a tenant that has at least its share
// of it loses an entry. So a tenant with very many objects drives out its own.
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
	return &Bounded[V]{capacity, lifetime, dropped, map[name]entry[V]{}, map[string]int{}}
}

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
	share := b.capacity / max(1, len(b.counts))
	for victim := range b.entries { // in random order
		if b.counts[victim.tenant] >= share {
			b.Drop(victim.tenant, victim.id)
			return
		}
	}
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
