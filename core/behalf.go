package core

import "context"

type behalfKey struct{}

// OnBehalfOf returns a context with the principal for whom the work is done, so that
// HSM, store and search can share their capacity fairly. It returns ctx itself if ctx
// has p already: a door that sets the principal once per connection makes every later
// call free.
func OnBehalfOf(ctx context.Context, p *Principal) context.Context {
	if p == nil || PrincipalOf(ctx) == p {
		return ctx
	}
	return context.WithValue(ctx, behalfKey{}, p)
}

// PrincipalOf returns the principal for whom the work is done. It is nil for the
// server's own work, such as health checks and the reconciler.
func PrincipalOf(ctx context.Context) *Principal {
	p, _ := ctx.Value(behalfKey{}).(*Principal)
	return p
}

// OwnWork is the name under which the server's own work is counted, as a tenant and
// as a principal.
const OwnWork = ""

// ShareOf returns the names under which work in ctx is counted: the tenant, and the
// principal within it.
func ShareOf(ctx context.Context) (tenant, principal string) {
	if p := PrincipalOf(ctx); p != nil {
		return p.Tenant, p.ID
	}
	return OwnWork, OwnWork
}
