package engine

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// AskedTenant returns the tenant that an operation is about. Only the administrator on the
// server's machine may name another tenant than its own. It fails with ItemNotFound if there is
// no such tenant, and as requireKnown does. To everybody else, each other tenant is one that does not exist.
func AskedTenant(k *Call, asked string) (string, error) {
	own := k.Caller.Principal.Tenant
	switch {
	case own == core.SystemTenant && asked == "":
		return "", core.Errorf(core.InvalidField, "name the tenant")
	case own == core.SystemTenant:
		return asked, requireKnown(k, asked)
	case asked != "" && asked != own:
		return "", NoTenant(k.Caller, asked)
	}
	return own, nil
}

// NoTenant returns the error about a tenant that does not exist for the caller.
func NoTenant(c *core.Caller, name string) error {
	if c.Principal.Tenant == core.SystemTenant {
		return core.Errorf(core.ItemNotFound, "there is no tenant %s (see `keyreeve tenant list`)", core.ClientText(name))
	}
	return core.Errorf(core.ItemNotFound, "there is no tenant %s", core.ClientText(name))
}

// requireKnown fails with ItemNotFound unless a tenant has keys, had keys, has a row, or is
// named in the settings. It fails with IllegalOperation if the tenant was deleted, unless the
// operation only reads.
func requireKnown(k *Call, tenant string) error {
	row, unsound := k.Engine.RowOf(tenant)
	if unsound == nil && row.State == core.TenantDeleted && k.Action.Kind() != core.ReadAction {
		return core.Errorf(core.IllegalOperation, "tenant %s was deleted, so its policies and people are not changed", core.ClientText(tenant))
	}
	if err := k.Engine.Tenants.RequireDeclared(k.Ctx, tenant); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		return err
	}
	if core.ValidName(tenant) && slices.Contains(k.Settings.NamedTenants, tenant) {
		return nil
	}
	if unsound != nil || row != core.TenantWithoutRow {
		return unsound
	}
	sets, err := k.Ports.Store.KeySets(k.Ctx, tenant)
	if err == nil && len(sets) == 0 {
		err = NoTenant(k.Caller, tenant)
	}
	return err
}
