package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// keyCheck is how the last loading of a tenant's keys ended. Loading finds every key
// in the token and compares its attributes and its check value.
type keyCheck struct {
	at  int64 // Unix seconds
	err error
}

// checkKeysEvery is how often the keys of each tenant are checked, in seconds. Those
// that had a problem are checked at each call of [Engine.CheckTenants].
const checkKeysEvery = 3600

func (e *Engine) checkDue(tenant string) bool {
	last, ok := e.tenants.checks.Load(tenant)
	return !ok || last.(keyCheck).err != nil || e.ports.Clock.Now()-last.(keyCheck).at >= checkKeysEvery
}

// CheckTenants checks the keys of the tenants whose check is due, so that keys which
// are lost or damaged are noticed before a tenant needs them. It pauses after each
// tenant, and stops when ctx ends.
func (e *Engine) CheckTenants(ctx context.Context, pauseEach time.Duration) error {
	sets, err := e.declaredSets(ctx)
	if err != nil {
		e.noteTampered(err)
		return err
	}
	var errs []error
	for _, tenant := range tenantsOf(sets) {
		if !e.checkDue(tenant) {
			continue
		}
		if err := e.loadUnless(ctx, tenant, func() bool { return !e.checkDue(tenant) }); err != nil {
			errs = append(errs, fmt.Errorf("keys of tenant %s: %w", printable(tenant), err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pauseEach):
		}
	}
	return errors.Join(errs...)
}

func tenantsOf(sets []core.KeySet) (names []string) {
	for _, s := range sets {
		names = append(names, s.Tenant)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// DamagedTenants returns a sentence for each tenant whose keys could not be loaded
// when they were last needed or checked.
func (e *Engine) DamagedTenants() (out []string) {
	e.tenants.checks.Range(func(tenant, last any) bool {
		if err := last.(keyCheck).err; err != nil {
			out = append(out, fmt.Sprintf("the keys of tenant %s cannot be used: %s", printable(tenant.(string)), detailOf(err)))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// UncheckedTenants counts the tenants that are known to be declared and whose keys
// were not loaded since the start.
func (e *Engine) UncheckedTenants() (n int) {
	e.tenants.declared.Range(func(tenant, _ any) bool {
		if _, ok := e.tenants.checks.Load(tenant); !ok {
			n++
		}
		return true
	})
	return n
}

// detailOf is the sentence of an error without its cause.
func detailOf(err error) string {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e.Detail
	}
	return "see the log"
}

// TenantSeen is a tenant that is declared, or whose declaration was not completed.
type TenantSeen struct {
	Name    string `json:"name"`
	State   string `json:"state"`             // "declared" or "unfinished"
	Loaded  bool   `json:"loaded"`            // whether this server has loaded its keys
	Problem string `json:"problem,omitempty"` // why the keys cannot be used
}

// ListTenants lists the tenants for a caller whom the policy allows it.
func (e *Engine) ListTenants(ctx context.Context, c *core.Caller) (out []TenantSeen, err error) {
	err = e.administer(ctx, c, core.ActionListTenants, "", func() (err error) {
		out, err = e.tenantsSeen(ctx)
		return err
	})
	return out, err
}

func (e *Engine) tenantsSeen(ctx context.Context) (out []TenantSeen, err error) {
	sets, err := e.ports.Store.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	active := tenantsOf(inKeyState(sets, core.KeySetActive))
	for _, tenant := range tenantsOf(sets) {
		seen := TenantSeen{Name: tenant, State: "unfinished"}
		if slices.Contains(active, tenant) {
			seen.State = "declared"
		}
		_, seen.Loaded = e.tenants.loaded.Load(tenant)
		if last, ok := e.tenants.checks.Load(tenant); ok && last.(keyCheck).err != nil {
			seen.Problem = detailOf(last.(keyCheck).err)
		}
		out = append(out, seen)
	}
	return out, nil
}

// CreateTenant declares a tenant for a caller whom the policy allows it. It reports
// whether the tenant is new: a tenant that is declared already stays as it is.
func (e *Engine) CreateTenant(ctx context.Context, c *core.Caller, tenant string) (made bool, err error) {
	err = e.administer(ctx, c, core.ActionCreateTenant, "tenant "+printable(tenant), func() (err error) {
		made, err = e.DeclareTenant(context.WithoutCancel(ctx), tenant)
		return err
	})
	return made, err
}

// administer runs an operation on the server itself: it asks the policy and leaves a
// record with a detail for people.
func (e *Engine) administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	k := e.begin(ctx, c, action)
	k.record.Detail = detail
	_, err := k.decide(action, nil)
	if err == nil {
		err = verb()
	}
	return k.end(err)
}
