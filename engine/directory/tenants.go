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

// Inactive returns the states of the tenants whose row says that they are not active.
func (t *Tenants) Inactive() map[string]core.TenantState {
	t.typed.mu.RLock()
	defer t.typed.mu.RUnlock()
	found := map[string]core.TenantState{}
	for name, row := range t.typed.decoded {
		if row.value != nil && row.value.State != core.TenantActive {
			found[name.ID] = row.value.State
		}
	}
	return found
}

// Tenant implements [core.TenantRows].
func (t *Tenants) Tenant(name string) (*core.Tenant, error) {
	row, err := t.typed.Get("", name)
	if core.CodeOf(err) == core.ItemNotFound {
		return core.TenantWithoutRow, nil
	}
	return row, err
}
