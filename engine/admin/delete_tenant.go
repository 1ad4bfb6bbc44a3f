package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// DeleteTenantInput asks for the deletion of a tenant.
type DeleteTenantInput struct {
	Name     string
	Reason   string
	Now      bool   // it can be confirmed at once; the tenant must be disabled
	Expected *int64 // the version that it replaces; nil: any
}

// DeleteTenant is the first step of a deletion. It refuses the tenant from now on, and destroys
// nothing. The second step is ConfirmDeletion, after the grace time; until then, RestoreTenant
// takes it back.
func (v *TenantVerbs) DeleteTenant(ctx context.Context, c *core.Caller, in DeleteTenantInput) (NamedTenant, error) {
	save := SaveTenantInput{Name: in.Name, Reason: in.Reason, Expected: in.Expected}
	return v.changeTenant(ctx, c, core.ActionDeleteTenant, &save, func(k *engine.Call, t *core.Tenant) error {
		switch {
		case in.Reason == "":
			return core.Errorf(core.InvalidField, "say why the tenant is deleted, in the reason (--reason)")
		case slices.Contains(v.settings.Kept, in.Name):
			return core.Errorf(core.IllegalOperation, "tenant %s is declared at each start, so it is not deleted; disable it", in.Name)
		case t.State != core.TenantActive && t.State != core.TenantDisabled:
			return core.Errorf(core.IllegalOperation, "tenant %s is %s already", in.Name, t.State)
		case in.Now && t.State != core.TenantDisabled:
			return core.Errorf(core.IllegalOperation, "tenant %s is in use: disable it before you delete it without the grace time", in.Name)
		}
		t.State, t.DeleteAfter = core.TenantDeleting, k.Now
		if !in.Now {
			t.DeleteAfter += int64(v.settings.DeleteAfter.Seconds())
		}
		return nil
	})
}

// RestoreTenant takes back a deletion that was not confirmed. The tenant is then disabled.
func (v *TenantVerbs) RestoreTenant(ctx context.Context, c *core.Caller, name, reason string) (NamedTenant, error) {
	save := SaveTenantInput{Name: name, Reason: reason}
	return v.changeTenant(ctx, c, core.ActionDeleteTenant, &save, func(_ *engine.Call, t *core.Tenant) error {
		if t.State != core.TenantDeleting {
			return core.Errorf(core.IllegalOperation, "tenant %s is %s; only a tenant whose deletion was asked for and not confirmed can be restored", name, t.State)
		}
		t.State, t.DeleteAfter = core.TenantDisabled, 0
		return nil
	})
}

// ConfirmDeletion is the second step of a deletion: it destroys the token keys of the tenant and
// its resident keys, so that nothing which they sealed can be opened with this token. What it
// does is recorded before and after each effect. If it was interrupted, it is called again: no
// row makes the server do the rest by itself.
func (v *TenantVerbs) ConfirmDeletion(ctx context.Context, c *core.Caller, name, reason string) (out engine.Shredded, err error) {
	save := SaveTenantInput{Name: name, Reason: reason}
	_, err = v.changeTenant(ctx, c, core.ActionDeleteTenant, &save, func(k *engine.Call, t *core.Tenant) error {
		switch {
		case t.State == core.TenantDeleted:
		case t.State != core.TenantDeleting:
			return core.Errorf(core.IllegalOperation, "tenant %s is %s; ask for its deletion before you confirm it", name, t.State)
		case k.Now < t.DeleteAfter:
			return core.Errorf(core.IllegalOperation, "the deletion of tenant %s can be confirmed in %d s, when its grace time is over", name, t.DeleteAfter-k.Now)
		}
		t.State, t.DeleteAfter = core.TenantDeleted, 0
		return nil
	})
	if err != nil {
		return out, err
	}
	if out, err = v.verbs.engine.Tenants.Shred(context.WithoutCancel(ctx), name, authorOf(c)); err != nil {
		return out, fmt.Errorf("the deletion of tenant %s is not finished; confirm it again: %w", core.ClientText(name), err)
	}
	return out, nil
}
