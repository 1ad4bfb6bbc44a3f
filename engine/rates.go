package engine

import (
	"maps"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// maxRateCounts bounds the counts of all tenants. If they are full, a tenant that has its
// share of them is refused: a count that is forgotten would let too much pass.
const maxRateCounts = 200_000

// rates count the uses that statements bound, on this node. Safe for concurrent use.
type rates struct {
	mu     sync.Mutex
	counts map[string]map[rateKey]*ratewindow.Count // by tenant
	total  int
	swept  int64 // Unix seconds of the last look for counts that bound nothing
}

// rateKey is what is counted: a new version of a policy counts from 0.
type rateKey struct{ statement, principal, object string }

// giveBack takes back a use that take has counted at a time.
func (r *rates) giveBack(tenant string, key rateKey, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count := r.counts[tenant][key]; count != nil {
		count.GiveBack(at)
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
			r.counts[tenant] = map[rateKey]*ratewindow.Count{}
		}
		count = ratewindow.New(at, terms.Per)
		r.counts[tenant][key] = count
		r.total++
	}
	if !count.Take(terms.Uses, at) {
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
		maps.DeleteFunc(counts, func(_ rateKey, c *ratewindow.Count) bool { return c.IsOver(at) })
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
