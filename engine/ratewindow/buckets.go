package ratewindow

import (
	"sync"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the buckets. If there are more, all start again, full.
const maxBuckets = 8192

// Buckets bound requests by the second. The zero value is ready to use. Safe for concurrent
// use.
type Buckets struct {
	mu  sync.Mutex
	all map[bucketKey]*rate.Limiter
}

type bucketKey struct{ tenant, principal string }

// Take takes one request out of the bucket of a principal, and reports whether there was one.
// A bucket is filled with so many requests a second.
func (b *Buckets) Take(tenant, principal string, perSecond int64) bool {
	return b.bucket(bucketKey{tenant, principal}, perSecond).Allow()
}

func (b *Buckets) bucket(k bucketKey, perSecond int64) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.all[k]
	if one == nil {
		if b.all == nil || len(b.all) >= maxBuckets {
			b.all = map[bucketKey]*rate.Limiter{}
		}
		one = rate.NewLimiter(rate.Limit(perSecond), int(perSecond))
		b.all[k] = one
	}
	if one.Limit() != rate.Limit(perSecond) { // the tenant's quota was changed
		one.SetLimit(rate.Limit(perSecond))
		one.SetBurst(int(perSecond))
	}
	return one
}
