package store

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Bounds of the wait for a connection to the database.
const (
	maxWaitingReads    = 4096 // calls of one tenant
	maxWaitingSearches = 256
	connectionWait     = 10 * time.Second
)

// connections shares the database's connections among tenants. Searches can take long,
// so they have slots of their own: a read of one object never waits behind a search.
type connections struct {
	reads    *fair.Slots
	searches *fair.Slots
}

// newConnections returns connections for so many reads and searches at once. One
// tenant may have readsEach reads and half of the searches.
func newConnections(reads, readsEach, searches int) connections {
	return connections{
		reads:    fair.New(fair.Config{Name: "connections to the database", Slots: reads, PerTenant: readsEach, Waiting: maxWaitingReads, Wait: connectionWait}),
		searches: fair.New(fair.Config{Name: "connections for searches", Slots: searches, PerTenant: max(1, searches/2), Waiting: maxWaitingSearches, Wait: connectionWait}),
	}
}

// forTenant returns a context for work on behalf of a tenant. The context of a commit
// names no tenant, because a commit does not end with its request.
func forTenant(ctx context.Context, tenant string) context.Context {
	if tenant == core.OwnWork {
		return ctx
	}
	return core.OnBehalfOf(ctx, &core.Principal{Tenant: tenant})
}
