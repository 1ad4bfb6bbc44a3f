package engine

import (
	"cmp"

	"github.com/keyreeve/keyreeve/core"
)

// RowOf returns what was laid down for a tenant; see [core.TenantRows].
func (e *Engine) RowOf(tenant string) (*core.Tenant, error) {
	if e.Ports.TenantRows == nil || tenant == core.SystemTenant {
		return core.TenantWithoutRow, nil
	}
	return e.Ports.TenantRows.Tenant(tenant)
}

// RequireEnabled fails with PermissionDenied if the requests of a tenant are not answered.
// If that is not known, it fails with the code of [core.TenantRows].
func (e *Engine) RequireEnabled(tenant string) error {
	row, err := e.RowOf(tenant)
	if err != nil {
		return err
	}
	return checkEnabled(row, tenant)
}

// checkEnabled fails unless a tenant is active.
func checkEnabled(row *core.Tenant, tenant string) error {
	if row.State == core.TenantActive {
		return nil
	}
	return core.Errorf(core.PermissionDenied, "tenant %s is %s, so its requests are refused; an administrator of the server can enable or restore it unless it is deleted", core.ClientText(tenant), row.State)
}

// RowOfCaller returns what was laid down for the tenant of the caller.
func RowOfCaller(k *Call) (*core.Tenant, error) { return k.Engine.RowOf(k.Caller.Principal.Tenant) }

// KeyFor returns a key for the HSM, with what the settings of the tenant say about its use.
func KeyFor(k *Call, o *core.ManagedObject) (core.Key, error) {
	row, err := RowOfCaller(k)
	if err != nil {
		return core.Key{}, undecided(err)
	}
	key := o.Key()
	key.NoSoftware = row.Software != nil && !*row.Software
	return key, nil
}

// quotaOf returns what a tenant may have. A quota in its row replaces that of the server.
func (q *quotas) quotaOf(row *core.Tenant) core.Quota {
	own := q.Quota
	own.Objects = cmp.Or(row.Objects, own.Objects)
	own.ResidentKeys = cmp.Or(row.ResidentKeys, own.ResidentKeys)
	own.Bytes = cmp.Or(row.Bytes, own.Bytes)
	own.TenantRequests = cmp.Or(row.Requests, own.TenantRequests)
	return own
}
