package directory

import "github.com/keyreeve/keyreeve/core"

// Tenants finds the rows of tenants. It is [core.TenantRows]. Safe for concurrent use.
//
// The row of a tenant is an entry of the whole server: its tenant is "" and its ID is the
// name of the tenant. So it stays when the keys of the tenant are destroyed.
type Tenants struct{ typed *Typed[*core.Tenant] }

// NewTenants must be called before the directory is opened.
func NewTenants(d *Directory) *Tenants {
	return &Tenants{NewTyped(d, core.EntryTenant, decodeBody[core.Tenant])}
}

var _ core.TenantRows = (*Tenants)(nil)

// Tenant implements [core.TenantRows].
func (t *Tenants) Tenant(name string) (*core.Tenant, error) {
	row, err := t.typed.Get("", name)
	if core.CodeOf(err) == core.ItemNotFound {
		return core.TenantWithoutRow, nil
	}
	return row, err
}
