package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// ListTenants lists the tenants, if the policy allows it to the caller.
func (v *Verbs) ListTenants(ctx context.Context, c *core.Caller) (out []engine.TenantStatus, err error) {
	err = v.Administer(ctx, c, core.ActionListTenants, "", func() (err error) {
		out, err = v.engine.Tenants.List(ctx)
		return err
	})
	return out, err
}

// CreateTenant declares a tenant, if the policy allows it to the caller. It reports
// whether the tenant is new. A tenant that is declared already is not changed.
func (v *Verbs) CreateTenant(ctx context.Context, c *core.Caller, tenant string) (made bool, err error) {
	err = v.Administer(ctx, c, core.ActionCreateTenant, "tenant "+core.ClientText(tenant), func() (err error) {
		made, err = v.engine.Tenants.Declare(context.WithoutCancel(ctx), tenant)
		return err
	})
	return made, err
}
