package engine

import (
	"context"
	"sync"

	"golang.org/x/time/rate"

	"github.com/keyreeve/keyreeve/core"
)

// usageAge is how long, in microseconds, the usage that a shared store told is
// reckoned with: other nodes count too. That of a store of our own is kept up to
// date here.
const usageAge = 1_000_000

// rowBytes is what a row takes beside its attributes and blobs, about.
const rowBytes = 512

// maxBuckets bounds the request buckets that are kept; more start again, full.
const maxBuckets = 8192

// quotas holds tenants to what they may have and ask for. Safe for concurrent use.
//
// What is about to be stored is held first, so that operations at the same time do
// not pass a quota together. Several nodes can, by what each stores within a
// second.
type quotas struct {
	core.Quota

	mu      sync.Mutex
	tenants map[string]*tenantUsage
	buckets map[bucketKey]*rate.Limiter
}

type tenantUsage struct {
	mu     sync.Mutex
	stored core.Usage
	held   core.Usage // by operations under way
	known  bool
	asOf   int64 // by Clock.Mono
}

// bucketKey names a principal's bucket, or with principal "" a tenant's.
type bucketKey struct{ tenant, principal string }

func newQuotas(q core.Quota) *quotas {
	return &quotas{Quota: q, tenants: map[string]*tenantUsage{}, buckets: map[bucketKey]*rate.Limiter{}}
}

func (q *quotas) usageOfTenant(tenant string) *tenantUsage {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.tenants[tenant]
	if u == nil {
		u = &tenantUsage{}
		q.tenants[tenant] = u
	}
	return u
}

// admitRequest refuses an operation of a tenant or principal that has asked for too many
// within a second.
func (q *quotas) admitRequest(p *core.Principal) error {
	if p == nil || (q.TenantRequests == 0 && q.PrincipalRequests == 0) {
		return nil
	}
	if q.PrincipalRequests > 0 && !q.requestBucket(bucketKey{p.Tenant, p.ID}, q.PrincipalRequests).Allow() {
		return core.Errorf(core.TooManyRequests, "this principal may ask for %d operations a second (quotas.principal_requests); try again later", q.PrincipalRequests)
	}
	if q.TenantRequests > 0 && !q.requestBucket(bucketKey{p.Tenant, ""}, q.TenantRequests).Allow() {
		return core.Errorf(core.TooManyRequests, "this tenant may ask for %d operations a second (quotas.tenant_requests); try again later", q.TenantRequests)
	}
	return nil
}

func (q *quotas) requestBucket(k bucketKey, perSecond int64) *rate.Limiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.buckets[k]
	if b == nil {
		if len(q.buckets) >= maxBuckets {
			clear(q.buckets)
		}
		b = rate.NewLimiter(rate.Limit(perSecond), int(perSecond))
		q.buckets[k] = b
	}
	return b
}

// usageOf is what one object counts for. A destroyed one still has its row.
func usageOf(o *core.ManagedObject) core.Usage {
	u := core.Usage{Objects: 1, Bytes: rowBytes + int64(o.Attributes.Size()+len(o.Material.Blob)+len(o.Material.TTLV))}
	if o.Material.Mode == core.ModeResident && o.Material.CKAID != nil {
		u.ResidentKeys = 1
	}
	return u
}

// growing are the operations beside births that can make an object larger, by as
// much as the client likes.
var growing = map[core.Action]bool{core.ActionAddAttribute: true, core.ActionModifyAttribute: true, core.ActionSetAttribute: true}

// holdUsage sets aside what the operation is about to store, or refuses it. What it
// held before counts: only the rest is asked for.
func (k *Call) holdUsage(wanted core.Usage) error {
	more := wanted.Sub(k.held)
	more = core.Usage{Objects: max(0, more.Objects), ResidentKeys: max(0, more.ResidentKeys), Bytes: max(0, more.Bytes)}
	if more == (core.Usage{}) {
		return nil
	}
	u := k.Engine.quotas.usageOfTenant(k.Caller.Principal.Tenant)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := k.refreshUsage(u); err != nil {
		return err
	}
	if err := k.Engine.quotas.checkQuota(u.stored.Add(u.held), more); err != nil {
		return err
	}
	u.held, k.held = u.held.Add(more), k.held.Add(more)
	return nil
}

// HoldObject asks for one more object before anything is made in the token.
func (k *Call) HoldObject() error {
	return k.holdUsage(k.held.Add(core.Usage{Objects: 1, Bytes: rowBytes}))
}

// refreshUsage asks the store for the tenant's usage, if what is known is too old.
func (k *Call) refreshUsage(u *tenantUsage) error {
	now := k.Ports.Clock.Mono()
	if u.known && (!k.Ports.Store.Shared() || now-u.asOf < usageAge) {
		return nil
	}
	stored, err := k.Ports.Store.Usage(context.WithoutCancel(k.Ctx), k.Caller.Principal.Tenant)
	if err != nil {
		return err
	}
	u.stored, u.known, u.asOf = stored, true, now
	return nil
}

// checkQuota refuses what would exceed a quota.
func (q *quotas) checkQuota(has, more core.Usage) error {
	for _, c := range []struct {
		what             string
		has, more, limit int64
	}{
		{"objects, destroyed ones included", has.Objects, more.Objects, q.Objects},
		{"resident keys", has.ResidentKeys, more.ResidentKeys, q.ResidentKeys},
		{"bytes of objects", has.Bytes, more.Bytes, q.Bytes},
	} {
		if c.more > 0 && c.limit > 0 && c.has+c.more > c.limit {
			return core.Errorf(core.QuotaExceeded, "the tenant has %d %s, and %d more would exceed its quota of %d; the server's operator can raise it (quotas in the configuration)", c.has, c.what, c.more, c.limit)
		}
	}
	return nil
}

// releaseUsage gives back what the operation held; stored is what of it, more or less,
// the store has now. An outcome that is not known makes the store be asked again.
func (k *Call) releaseUsage(stored core.Usage, known bool) {
	if k.Caller == nil || k.Caller.Principal == nil || (k.held == (core.Usage{}) && stored == (core.Usage{}) && known) {
		return
	}
	u := k.Engine.quotas.usageOfTenant(k.Caller.Principal.Tenant)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held, u.stored = u.held.Sub(k.held), u.stored.Add(stored)
	u.known = u.known && known
	k.held = core.Usage{}
}
