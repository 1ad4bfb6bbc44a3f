package ratewindow

import (
	"maps"
	"sync"
)

// maxCounts bounds the counts of all tenants. If they are full, a tenant that has its share
// of them gets no more: a count that is forgotten would let too much pass.
const maxCounts = 200_000

// Key is what is counted.
type Key struct{ Statement, Principal, Object string }

// Table has the counts of all tenants. The zero value is ready to use. Safe for concurrent
// use.
type Table struct {
	mu     sync.Mutex
	counts map[string]map[Key]*Count // by tenant
	total  int
	swept  int64 // Unix seconds of the last look for counts that bound nothing
}

// Verdict says whether a use was counted, and why not.
type Verdict int

// The verdicts of [Table.Take].
const (
	Counted Verdict = iota
	Exceeded
	NoRoom // to count the key at all
)

// GiveBack takes back a use that Take has counted at a time.
func (t *Table) GiveBack(tenant string, key Key, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if count := t.counts[tenant][key]; count != nil {
		count.GiveBack(at)
	}
}

// Take counts a use if there are fewer than so many uses in per seconds. If there are as many, it
// returns the seconds to wait.
func (t *Table) Take(tenant string, key Key, uses, per, at int64) (v Verdict, wait int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := t.counts[tenant][key]
	if count == nil {
		if !t.hasRoomLocked(tenant, at) {
			return NoRoom, 0
		}
		if t.counts == nil {
			t.counts = map[string]map[Key]*Count{}
		}
		if t.counts[tenant] == nil {
			t.counts[tenant] = map[Key]*Count{}
		}
		count = New(at, per)
		t.counts[tenant][key] = count
		t.total++
	}
	if !count.Take(uses, at) {
		return Exceeded, count.Wait(uses, at)
	}
	return Counted, 0
}

// hasRoomLocked reports whether a tenant may have one more count. The caller holds t.mu.
func (t *Table) hasRoomLocked(tenant string, at int64) bool {
	if t.total < maxCounts {
		return true
	}
	if at != t.swept {
		t.sweepLocked(at)
	}
	return t.total < maxCounts || len(t.counts[tenant]) < maxCounts/max(1, len(t.counts))
}

// sweepLocked drops the counts that bound nothing any more. The caller holds t.mu.
func (t *Table) sweepLocked(at int64) {
	t.swept, t.total = at, 0
	for name, counts := range t.counts {
		maps.DeleteFunc(counts, func(_ Key, c *Count) bool { return c.IsOver(at) })
		if t.total += len(counts); len(counts) == 0 {
			delete(t.counts, name)
		}
	}
}
