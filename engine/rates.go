package engine

import (
	"maps"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// maxRateCounts bounds the counts of all tenants. If they are full, a tenant that has its
// share of them is refused: a count that is forgotten would let too much pass.
const maxRateCounts = 200_000

// rates count the uses that statements bound, on this node. Safe for concurrent use.
type rates struct {
	mu     sync.Mutex
	counts map[string]map[rateKey]*rateCount // by tenant
	total  int
	swept  int64 // Unix seconds of the last look for counts that bound nothing
}

// rateKey is what is counted: a new version of a policy counts from 0.
type rateKey struct{ statement, principal, object string }

// rateCount has the uses of the current span and of the one before it.
type rateCount struct {
	began, per    int64 // seconds
	now, previous int64
}

// advance moves the count to the span of a time.
func (c *rateCount) advance(at int64) {
	switch spans := (at - c.began) / c.per; {
	case spans <= 0: // also if the clock was set back
	case spans == 1:
		c.began, c.previous, c.now = c.began+c.per, c.now, 0
	default:
		c.began, c.previous, c.now = at, 0, 0
	}
}

// take counts one use if the rate permits it. Uses of the span before count by the part of it
// that is less than a span ago, rounded up.
func (c *rateCount) take(uses, at int64) bool {
	c.advance(at)
	left := max(0, c.per-max(0, at-c.began))
	if c.now+(c.previous*left+c.per-1)/c.per >= uses {
		return false
	}
	c.now++
	return true
}

// giveBack takes back a use that was counted at a time.
func (c *rateCount) giveBack(at int64) {
	if at >= c.began {
		c.now = max(0, c.now-1)
	} else if at >= c.began-c.per {
		c.previous = max(0, c.previous-1)
	}
}

// giveBack takes back a use that take has counted at a time.
func (r *rates) giveBack(tenant string, key rateKey, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count := r.counts[tenant][key]; count != nil {
		count.giveBack(at)
	}
}

// take counts a use. It fails with TooManyRequests if the rate is exceeded, or if there is no
// room to count.
func (r *rates) take(tenant string, key rateKey, terms *core.RateTerms, at int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := r.counts[tenant][key]
	if count == nil {
		if !r.hasRoomLocked(tenant, at) {
			return core.Errorf(core.TooManyRequests, "this node counts the rates of too many keys and principals of the tenant; try again later")
		}
		if r.counts[tenant] == nil {
			r.counts[tenant] = map[rateKey]*rateCount{}
		}
		count = &rateCount{began: at, per: terms.Per}
		r.counts[tenant][key] = count
		r.total++
	}
	if !count.take(terms.Uses, at) {
		return core.Errorf(core.TooManyRequests, "the statement %s permits %d uses in %d s; try again later", key.statement, terms.Uses, terms.Per)
	}
	return nil
}

// hasRoomLocked reports whether a tenant may have one more count. The caller holds r.mu.
func (r *rates) hasRoomLocked(tenant string, at int64) bool {
	if r.total < maxRateCounts {
		return true
	}
	if at != r.swept {
		r.sweepLocked(at)
	}
	return r.total < maxRateCounts || len(r.counts[tenant]) < maxRateCounts/max(1, len(r.counts))
}

// sweepLocked drops the counts that bound nothing any more. The caller holds r.mu.
func (r *rates) sweepLocked(at int64) {
	r.swept, r.total = at, 0
	for name, counts := range r.counts {
		maps.DeleteFunc(counts, func(_ rateKey, c *rateCount) bool { return at-c.began >= 2*c.per })
		if r.total += len(counts); len(counts) == 0 {
			delete(r.counts, name)
		}
	}
}

// countRate counts a use of the object in k.access for a gate with a rate: once in an
// operation, also if it is decided again.
func countRate(k *Call, g *core.Gate) error {
	if g.Rate == nil {
		return nil
	}
	key := rateKey{statement: g.Statement, principal: k.Caller.Principal.ID}
	if o := k.access.Object; o != nil {
		key.object = o.ID
	}
	if slices.ContainsFunc(k.counted, func(use countedUse) bool { return use.key == key }) {
		return nil
	}
	if err := k.Engine.rates.take(k.Caller.Principal.Tenant, key, g.Rate, k.Now); err != nil {
		return err
	}
	k.counted = append(k.counted, countedUse{key, k.Now})
	return nil
}

// countedUse is a use that an operation has counted for a rate.
type countedUse struct {
	key rateKey
	at  int64 // Unix seconds
}

// giveBackRates takes back the uses that a failed operation has counted. If the HSM has used
// the key and refused the data, the use counts: such answers help to guess.
func giveBackRates(k *Call, err error) {
	if err == nil || core.CodeOf(err) == core.CryptographicFailure {
		return
	}
	for _, use := range k.counted {
		k.Engine.rates.giveBack(k.Caller.Principal.Tenant, use.key, use.at)
	}
}
