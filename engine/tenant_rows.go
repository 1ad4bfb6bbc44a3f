package engine

import "github.com/keyreeve/keyreeve/core"

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

// smallerQuota returns the quota that counts of a tenant's and the server's; 0 is no quota.
func smallerQuota(server, own int64) int64 {
	if own == 0 || server != 0 && server < own {
		return server
	}
	return own
}

// quotaOf returns what a tenant may have.
func (q *quotas) quotaOf(row *core.Tenant) core.Quota {
	own := q.Quota
	own.Objects = smallerQuota(own.Objects, row.Objects)
	own.ResidentKeys = smallerQuota(own.ResidentKeys, row.ResidentKeys)
	own.TenantRequests = smallerQuota(own.TenantRequests, row.Requests)
	return own
}
