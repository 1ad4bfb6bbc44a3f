package admin

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// TenantVerbs are the operations on tenants. It is safe for concurrent use.
type TenantVerbs struct {
	verbs    *Verbs
	settings TenantSettings
}

// TenantSettings are the operator's choices about tenants.
type TenantSettings struct {
	DeleteAfter time.Duration // between the two steps of a deletion
	Kept        []string      // tenants that cannot be deleted
}

// NewTenantVerbs returns the operations on the tenants of an engine.
func NewTenantVerbs(v *Verbs, s TenantSettings) *TenantVerbs { return &TenantVerbs{v, s} }

// NamedTenant is a tenant with what was laid down for it. A tenant for which nothing was laid
// down has version 0.
type NamedTenant struct {
	Name    string
	Version int64
	At      int64 // Unix seconds
	Author  string
	Reason  string
	core.Tenant
	Usage *core.Usage // nil: not read
}

// ListTenants lists tenants by name, starting after a name, if the policy allows it to the
// caller.
func (v *TenantVerbs) ListTenants(ctx context.Context, c *core.Caller, after string, limit int) (out []engine.TenantStatus, err error) {
	err = v.verbs.Administer(ctx, c, core.ActionListTenants, "", func() error {
		all, err := v.verbs.engine.Tenants.List(ctx)
		if err != nil {
			return err
		}
		for _, t := range all {
			if t.Name <= after || len(out) == limit {
				continue
			}
			if err := v.showState(&t); err != nil {
				return err
			}
			out = append(out, t)
		}
		return nil
	})
	return out, err
}

// showState replaces the state of a declared tenant by the one in its row. Where the row
// cannot be relied on, that is the tenant's problem.
func (v *TenantVerbs) showState(t *engine.TenantStatus) error {
	row, err := v.verbs.engine.RowOf(t.Name)
	switch {
	case core.CodeOf(err) == core.Tampered:
		t.Problem = err.Error()
	case err != nil:
		return err
	case row.State == core.TenantDeleted && t.State == engine.TenantDeclared:
		t.State, t.Problem = string(row.State), "its keys are not all destroyed; run keyreeve tenant delete "+t.Name+" --confirm again"
	case t.State == engine.TenantDeclared || row.State == core.TenantDeleted:
		t.State = string(row.State)
	}
	return nil
}

// CreateTenant declares a tenant, if the policy allows it to the caller. It reports
// whether the tenant is new. A tenant that is declared already is not changed. The name of
// a tenant that was deleted is not used again.
func (v *TenantVerbs) CreateTenant(ctx context.Context, c *core.Caller, tenant string) (made bool, err error) {
	err = v.verbs.Administer(ctx, c, core.ActionCreateTenant, "tenant "+core.ClientText(tenant), func() error {
		if err := core.CheckTenantName(tenant); err != nil {
			return err
		}
		row, err := v.verbs.engine.RowOf(tenant)
		if err != nil {
			return err
		}
		if row.State == core.TenantDeleted {
			return core.Errorf(core.IllegalOperation, "tenant %s was deleted, and its name is not used again; choose another name", tenant)
		}
		made, err = v.verbs.engine.Tenants.Declare(context.WithoutCancel(ctx), tenant)
		return err
	})
	return made, err
}

// ReadTenant returns a tenant. Everybody whom the policy lets read its own tenant reads that
// one alone; about another one, the policy is asked for List Tenants before it is looked up.
func (v *TenantVerbs) ReadTenant(ctx context.Context, c *core.Caller, name string) (out NamedTenant, err error) {
	action := core.ActionReadTenant
	if name != c.Principal.Tenant {
		action = core.ActionListTenants
	}
	err = v.verbs.run(ctx, c, action, "tenant "+core.ClientText(name), func(k *engine.Call) (err error) {
		if out, err = v.tenant(k, name); err == nil {
			var usage core.Usage
			usage, err = v.verbs.engine.Ports.Store.Usage(ctx, name)
			out.Usage = &usage
		}
		return err
	})
	return out, err
}

// tenant returns a tenant that is declared, or was.
func (v *TenantVerbs) tenant(k *engine.Call, name string) (out NamedTenant, err error) {
	e, err := v.verbs.directory.Get(core.EntryTenant, "", name)
	switch {
	case err == nil:
		out = NamedTenant{Name: e.ID, Version: e.Version, At: e.At, Author: e.Author, Reason: e.Reason}
		return out, core.DecodeBody(e.Body, &out.Tenant)
	case core.CodeOf(err) != core.ItemNotFound:
		return out, err
	}
	if err = v.verbs.engine.Tenants.RequireDeclared(k.Ctx, name); core.CodeOf(err) == core.AuthenticationNotSuccessful {
		err = engine.NoTenant(k.Caller, name)
	}
	return NamedTenant{Name: name, Tenant: *core.TenantWithoutRow}, err
}

// SaveTenantInput changes what is laid down for a tenant. A nil field stays as it is.
type SaveTenantInput struct {
	Name     string
	Settings []byte // a JSON object; see rules.MergeTenantSettings
	Disabled *bool
	Reason   string
	Expected *int64 // the version that it replaces, 0 if nothing was laid down; nil: any
}

// SaveTenant changes the settings of a tenant, or disables or enables it. Every node follows
// within a second, also on open connections.
func (v *TenantVerbs) SaveTenant(ctx context.Context, c *core.Caller, in SaveTenantInput) (NamedTenant, error) {
	return v.changeTenant(ctx, c, core.ActionSaveTenant, &in, func(_ *engine.Call, t *core.Tenant) (err error) {
		if t.State != core.TenantActive && t.State != core.TenantDisabled {
			return core.Errorf(core.IllegalOperation, "tenant %s is %s, so it is not changed; a tenant whose deletion was asked for can be restored", in.Name, t.State)
		}
		if in.Disabled != nil {
			t.State = map[bool]core.TenantState{true: core.TenantDisabled, false: core.TenantActive}[*in.Disabled]
		}
		if in.Settings != nil {
			t.TenantSettings, err = rules.MergeTenantSettings(t.TenantSettings, in.Settings)
		}
		return err
	})
}

// changeTenant stores the next version of a tenant's row, as update makes it.
func (v *TenantVerbs) changeTenant(ctx context.Context, c *core.Caller, action core.Action, in *SaveTenantInput, update func(*engine.Call, *core.Tenant) error) (out NamedTenant, err error) {
	err = v.verbs.run(ctx, c, action, "tenant "+core.ClientText(in.Name), func(k *engine.Call) error {
		ch := change{kind: core.EntryTenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected)}
		t, err := v.tenant(k, in.Name)
		if err == nil {
			err = v.verbs.checkExpected(&ch)
		}
		if err != nil {
			return err
		}
		if err := update(k, &t.Tenant); err != nil {
			return err
		}
		ch.expected = t.Version
		if ch.body, err = core.EncodeBody(&t.Tenant); err != nil {
			return err
		}
		k.Record.Detail += ": " + string(t.State)
		e, err := v.verbs.saveEntry(k, ch)
		if err != nil {
			return err
		}
		out = NamedTenant{Name: e.ID, Version: e.Version, At: e.At, Author: e.Author, Reason: e.Reason, Tenant: t.Tenant}
		return nil
	})
	return out, err
}
