package core

import "context"

// UsageTable reads the usage of tenants.
type UsageTable interface {
	// Usage returns the usage of a tenant, as the stored changes counted it.
	Usage(ctx context.Context, tenant string) (Usage, error)
}

// AddUsage adds to the usage of a tenant. Negative numbers subtract.
type AddUsage struct {
	Tenant string
	Usage  Usage
}

// ForTenant implements [Write].
func (w AddUsage) ForTenant() string { return w.Tenant }
