package engine

import (
	"context"
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// usageAge is how long, in microseconds, the usage that a shared store returned is used,
// because other nodes change it too. The usage of an unshared store is kept up to date
// here.
const usageAge = 1_000_000

// rowBytes is about the size of a row without attributes and blobs.
const rowBytes = 512

// quotas enforces the quotas of tenants and the request rates. Safe for concurrent use.
//
// An operation reserves usage before it stores, so that concurrent operations do not
// exceed a quota together. Several nodes can exceed it, by as much as each stores
// within a second.
type quotas struct {
	core.Quota

	mu      sync.Mutex
	tenants map[string]*tenantUsage
	buckets ratewindow.Buckets // of principals, and of the whole tenant if the principal is ""
}

type tenantUsage struct {
	mu     sync.Mutex
	stored core.Usage
	held   core.Usage // reserved by operations under way
	known  bool
	asOf   int64 // by Clock.Mono
}

func newQuotas(q core.Quota) *quotas {
	return &quotas{Quota: q, tenants: map[string]*tenantUsage{}}
}

// usageOfTenant returns the usage of a tenant, which it adds if there is none.
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

// admitRequest fails with TooManyRequests if the tenant or the principal has made too
// many requests within a second. row is the tenant's.
func (q *quotas) admitRequest(p *core.Principal, row *core.Tenant) error {
	if q.PrincipalRequests > 0 && !q.buckets.Take(p.Tenant, p.ID, q.PrincipalRequests) {
		return core.Errorf(core.TooManyRequests, "this principal may ask for %d operations a second (quotas.principal_requests); try again in a second", q.PrincipalRequests)
	}
	if most := q.quotaOf(row).TenantRequests; most > 0 && !q.buckets.Take(p.Tenant, "", most) {
		return core.Errorf(core.TooManyRequests, "this tenant may ask for %d operations a second (quotas.tenant_requests, or requests in the settings of the tenant); try again in a second", most)
	}
	return nil
}

// UsageOf returns what one object counts for. A destroyed object still has its row.
func UsageOf(o *core.ManagedObject) core.Usage {
	u := core.Usage{Objects: 1, Bytes: rowBytes + int64(o.Attributes.Size()+len(o.Material.Blob)+len(o.Material.TTLV))}
	if o.Material.Mode == core.ModeResident && o.Material.CKAID != nil {
		u.ResidentKeys = 1
	}
	return u
}

// growingActions are the operations that can make an existing object much larger.
var growingActions = map[core.Action]bool{core.ActionAddAttribute: true, core.ActionModifyAttribute: true, core.ActionSetAttribute: true}

// holdUsage reserves usage until the operation has reserved wanted in all. It fails with
// QuotaExceeded if a quota would be exceeded.
func (k *Call) holdUsage(wanted core.Usage) error {
	more := wanted.Sub(k.heldUsage)
	more = core.Usage{Objects: max(0, more.Objects), ResidentKeys: max(0, more.ResidentKeys), Bytes: max(0, more.Bytes)}
	if more == (core.Usage{}) {
		return nil
	}
	row, err := RowOfCaller(k)
	if err != nil {
		return err
	}
	u := k.Engine.quotas.usageOfTenant(k.Caller.Principal.Tenant)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := k.refreshUsage(u); err != nil {
		return err
	}
	if err := checkQuota(k.Engine.quotas.quotaOf(row), u.stored.Add(u.held), more); err != nil {
		return err
	}
	u.held, k.heldUsage = u.held.Add(more), k.heldUsage.Add(more)
	return nil
}

// HoldObject reserves usage for one more object, before anything is made in the token.
// It fails with QuotaExceeded.
func (k *Call) HoldObject() error {
	return k.holdUsage(k.heldUsage.Add(core.Usage{Objects: 1, Bytes: rowBytes}))
}

// refreshUsage reads the tenant's usage from the store if the known one is too old.
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

// checkQuota fails with QuotaExceeded if more usage would exceed a quota.
func checkQuota(q core.Quota, has, more core.Usage) error {
	for _, c := range []struct {
		what             string
		has, more, limit int64
	}{
		{"objects, destroyed ones included", has.Objects, more.Objects, q.Objects},
		{"resident keys", has.ResidentKeys, more.ResidentKeys, q.ResidentKeys},
		{"bytes of objects", has.Bytes, more.Bytes, q.Bytes},
	} {
		if c.more > 0 && c.limit > 0 && c.has+c.more > c.limit {
			return core.Errorf(core.QuotaExceeded, "the tenant has %d %s, and %d more would exceed its quota of %d; the server's operator can raise it (quotas in the configuration, or in the settings of the tenant)", c.has, c.what, c.more, c.limit)
		}
	}
	return nil
}

// releaseUsage ends the operation's reservation. stored is the change of usage that the
// store now has. known is false if the outcome is not known; the next operation then
// reads the usage again.
func (k *Call) releaseUsage(stored core.Usage, known bool) {
	if k.Caller == nil || k.Caller.Principal == nil || (k.heldUsage == (core.Usage{}) && stored == (core.Usage{}) && known) {
		return
	}
	u := k.Engine.quotas.usageOfTenant(k.Caller.Principal.Tenant)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held, u.stored = u.held.Sub(k.heldUsage), u.stored.Add(stored)
	u.known = u.known && known
	k.heldUsage = core.Usage{}
}
