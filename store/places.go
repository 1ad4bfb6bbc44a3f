package store

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Bounds of waiting for a connection to the database.
const (
	maxWaitingReads    = 4096 // calls of one tenant
	maxWaitingSearches = 256
	placeWait          = 10 * time.Second
)

// places shares the database's connections among tenants. Searches, which can take
// long, have connections or places of their own: a read of one object never waits
// behind one.
type places struct {
	reads    *fair.Slots
	searches *fair.Slots
}

// newPlaces makes places for as many reads and searches at once. One tenant gets
// readsEach of the reads, and half of the searches, at most.
func newPlaces(reads, readsEach, searches int) places {
	return places{
		reads:    fair.New(fair.Config{Name: "connections to the database", Slots: reads, PerTenant: readsEach, Waiting: maxWaitingReads, Wait: placeWait}),
		searches: fair.New(fair.Config{Name: "connections for searches", Slots: searches, PerTenant: max(1, searches/2), Waiting: maxWaitingSearches, Wait: placeWait}),
	}
}

// forTenant names in a context who a change is made for: the context of a commit
// names nobody, since it does not end with its request.
func forTenant(ctx context.Context, tenant string) context.Context {
	if tenant == core.OwnWork {
		return ctx
	}
	return core.OnBehalfOf(ctx, &core.Principal{Tenant: tenant})
}
