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

// Usage counts what one tenant has stored. The transaction that changes it counts it.
// The row of the count has no seal: anyone who can write to the database can lift a
// quota, but gains nothing else.
type Usage struct {
	Objects      int64 // rows, those of destroyed objects included
	ResidentKeys int64 // token objects of keys that are not destroyed
	Bytes        int64 // of attributes and sealed key material, approximately
}

// Add returns the sum of both.
func (u Usage) Add(v Usage) Usage {
	return Usage{u.Objects + v.Objects, u.ResidentKeys + v.ResidentKeys, u.Bytes + v.Bytes}
}

// Sub returns the difference.
func (u Usage) Sub(v Usage) Usage {
	return Usage{u.Objects - v.Objects, u.ResidentKeys - v.ResidentKeys, u.Bytes - v.Bytes}
}

// Quota limits what one tenant may store, and ask for within a second. 0 means no
// limit.
type Quota struct {
	Objects           int64
	ResidentKeys      int64
	Bytes             int64
	TenantRequests    int64 // operations a second of one tenant
	PrincipalRequests int64 // operations a second of one principal
}
