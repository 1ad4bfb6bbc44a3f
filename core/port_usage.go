package core

import "context"

// UsageTable reads what tenants have.
type UsageTable interface {
	// Usage returns what a tenant has, as the stored changes counted it.
	Usage(ctx context.Context, tenant string) (Usage, error)
}

// AddUsage counts what a tenant has more, or less, with the change.
type AddUsage struct {
	Tenant string
	Usage  Usage
}

// ForTenant implements [Write].
func (w AddUsage) ForTenant() string { return w.Tenant }
