package core

import "context"

type behalfKey struct{}

// OnBehalfOf returns a context that names who the work is done for, so that HSM,
// store and search can share themselves out fairly. It returns ctx itself if ctx
// names p already: a door that names the principal once per connection makes
// every later call free.
func OnBehalfOf(ctx context.Context, p *Principal) context.Context {
	if p == nil || PrincipalOf(ctx) == p {
		return ctx
	}
	return context.WithValue(ctx, behalfKey{}, p)
}

// PrincipalOf returns who the work is done for. It is nil for the server's own
// work, such as health checks and the reconciler.
func PrincipalOf(ctx context.Context) *Principal {
	p, _ := ctx.Value(behalfKey{}).(*Principal)
	return p
}

// OwnWork is the tenant and the principal that the server's own work counts for.
const OwnWork = ""

// ShareOf returns the two names that work under ctx counts for: the tenant, and
// the principal within it.
func ShareOf(ctx context.Context) (tenant, principal string) {
	if p := PrincipalOf(ctx); p != nil {
		return p.Tenant, p.ID
	}
	return OwnWork, OwnWork
}
