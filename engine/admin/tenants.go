package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// ListTenants lists the tenants for a caller whom the policy allows it.
func (v *Verbs) ListTenants(ctx context.Context, c *core.Caller) (out []engine.TenantStatus, err error) {
	err = v.administer(ctx, c, core.ActionListTenants, "", func() (err error) {
		out, err = v.engine.Tenants.List(ctx)
		return err
	})
	return out, err
}

// CreateTenant declares a tenant for a caller whom the policy allows it. It reports
// whether the tenant is new: a tenant that is declared already stays as it is.
func (v *Verbs) CreateTenant(ctx context.Context, c *core.Caller, tenant string) (made bool, err error) {
	err = v.administer(ctx, c, core.ActionCreateTenant, "tenant "+core.ClientText(tenant), func() (err error) {
		made, err = v.engine.Tenants.Declare(context.WithoutCancel(ctx), tenant)
		return err
	})
	return made, err
}

// administer runs an operation on the server itself: it asks the policy and leaves a
// record with a detail for people.
func (v *Verbs) administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	k := v.engine.Begin(ctx, c, action)
	k.Record.Detail = detail
	_, err := k.Decide(action, nil)
	if err == nil {
		err = verb()
	}
	return k.End(err)
}
