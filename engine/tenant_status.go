package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// keyCheck is the outcome of the last loading of a tenant's keys. Loading finds every
// key in the token and compares its attributes and its check value.
type keyCheck struct {
	at  int64 // Unix seconds
	err error
}

// checkKeysEvery is the time between two checks of a tenant's keys, in seconds. Keys that
// had a problem are checked at each call of [Tenants.Check].
const checkKeysEvery = 3600

// checkDue reports whether the keys of a tenant should be checked now.
func (t *Tenants) checkDue(tenant string) bool {
	last, ok := t.checks.Load(tenant)
	return !ok || last.(keyCheck).err != nil || t.ports.Clock.Now()-last.(keyCheck).at >= checkKeysEvery
}

// Check checks the keys of the tenants whose check is due, so that lost or damaged keys
// are noticed before a tenant needs them. It pauses after each tenant, and stops
// without an error when ctx ends.
func (t *Tenants) Check(ctx context.Context, pauseEach time.Duration) error {
	sets, err := t.declaredSets(ctx)
	if err != nil {
		t.tampered.noteError(err)
		return err
	}
	var errs []error
	for _, tenant := range tenantsOf(sets) {
		if !t.checkDue(tenant) {
			continue
		}
		if err := t.LoadUnless(ctx, tenant, func() bool { return !t.checkDue(tenant) }); err != nil {
			errs = append(errs, fmt.Errorf("keys of tenant %s: %w", core.ClientText(tenant), err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pauseEach):
		}
	}
	return errors.Join(errs...)
}

// tenantsOf lists the tenants of key sets, sorted, each once.
func tenantsOf(sets []core.KeySet) (names []string) {
	for _, s := range sets {
		names = append(names, s.Tenant)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Damaged returns one sentence for each tenant whose keys could not be loaded when they
// were last used or checked.
func (t *Tenants) Damaged() (out []string) {
	t.checks.Range(func(tenant, last any) bool {
		if err := last.(keyCheck).err; err != nil {
			out = append(out, fmt.Sprintf("the keys of tenant %s cannot be used: %s", core.ClientText(tenant.(string)), core.DetailOf(err)))
		}
		return true
	})
	slices.Sort(out)
	return out
}

// Unchecked counts the declared tenants whose keys were not loaded since the start.
func (t *Tenants) Unchecked() (n int) {
	t.declared.Range(func(tenant, _ any) bool {
		if _, ok := t.checks.Load(tenant); !ok {
			n++
		}
		return true
	})
	return n
}

// TenantStatus describes a tenant that is declared, or whose declaration was not
// completed.
type TenantStatus struct {
	Name    string `json:"name"`
	State   string `json:"state"`             // TenantDeclared or "unfinished"; or the one in its row
	Loaded  bool   `json:"loaded"`            // whether this server has loaded its keys
	Problem string `json:"problem,omitempty"` // why the keys cannot be used
}

// TenantDeclared is the state of a tenant that has a set of keys.
const TenantDeclared = "declared"

// List lists the tenants that have keys, or whose declaration was not completed.
func (t *Tenants) List(ctx context.Context) (out []TenantStatus, err error) {
	sets, err := t.ports.Store.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	active := tenantsOf(inKeyState(sets, core.KeySetActive))
	for _, tenant := range tenantsOf(sets) {
		seen := TenantStatus{Name: tenant, State: "unfinished"}
		if slices.Contains(active, tenant) {
			seen.State = TenantDeclared
		}
		_, seen.Loaded = t.loaded.Load(tenant)
		if last, ok := t.checks.Load(tenant); ok && last.(keyCheck).err != nil {
			seen.Problem = core.DetailOf(last.(keyCheck).err)
		}
		out = append(out, seen)
	}
	return out, nil
}
