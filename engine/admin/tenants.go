package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// ListTenants lists the tenants, if the policy allows it to the caller.
func (v *Verbs) ListTenants(ctx context.Context, c *core.Caller) (out []engine.TenantStatus, err error) {
	err = v.administer(ctx, c, core.ActionListTenants, "", func() (err error) {
		out, err = v.engine.Tenants.List(ctx)
		return err
	})
	return out, err
}

// CreateTenant declares a tenant, if the policy allows it to the caller. It reports
// whether the tenant is new. A tenant that is declared already is not changed.
func (v *Verbs) CreateTenant(ctx context.Context, c *core.Caller, tenant string) (made bool, err error) {
	err = v.administer(ctx, c, core.ActionCreateTenant, "tenant "+core.ClientText(tenant), func() (err error) {
		made, err = v.engine.Tenants.Declare(context.WithoutCancel(ctx), tenant)
		return err
	})
	return made, err
}

// administer asks the policy, runs an operation on the server itself and records it.
// detail is text for the record.
func (v *Verbs) administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	k := v.engine.Begin(ctx, c, action)
	k.Record.Detail = detail
	_, err := k.Decide(action, nil)
	if err == nil {
		err = verb()
	}
	return k.End(err)
}
