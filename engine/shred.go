package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Shredded counts what was destroyed in the token. Keys that another token or a backup of the
// token holds are not reached: the answer is "online", never "complete".
type Shredded struct {
	Shredded     string `json:"shredded"` // "online"
	KeySets      int    `json:"keySets"`
	ResidentKeys int    `json:"residentKeys"`
}

// Shred destroys the resident keys and the sets of keys of a tenant in the token, and records
// each before and after. The caller has stored that the tenant is deleted. What an earlier call
// has destroyed is not counted again. It fails with Tampered if a set of the tenant may be left,
// whose row is missing. by names the administrator.
func (t *Tenants) Shred(ctx context.Context, tenant, by string) (out Shredded, err error) {
	t.making.Lock()
	defer t.making.Unlock()
	out.Shredded = "online"
	if out.ResidentKeys, err = t.destroyResidents(ctx, tenant, by); err != nil {
		return out, err
	}
	sets, err := t.ports.Store.KeySets(ctx, tenant)
	if err != nil {
		return out, err
	}
	for _, s := range sets {
		if s.State == core.KeySetDestroyed {
			continue
		}
		if err := t.destroySet(ctx, s, by); err != nil {
			return out, err
		}
		out.KeySets++
	}
	if err := RequireKeySetRows(ctx, t.ports, tenant, sets); err != nil {
		return out, err
	}
	t.declared.Delete(tenant)
	t.loaded.Delete(tenant)
	t.checks.Delete(tenant)
	return out, nil
}

// RequireKeySetRows fails with Tampered if sets are not known to be all sets of keys that a tenant
// has had. Each one had a row, stored before its keys were made, and rows are never removed. A gap in
// the epochs shows a missing row. So does a set in the token that no row names: it can be the newest
// set of any tenant.
func RequireKeySetRows(ctx context.Context, p *Ports, tenant string, sets []core.KeySet) error {
	const advice = "so it is not known that all its keys are destroyed; restore the table tenant_key from a backup, and find out who can write the database"
	epochs := map[int]bool{}
	for _, s := range sets {
		epochs[s.Epoch] = true
	}
	for epoch := range max(1, len(epochs)) {
		if !epochs[epoch+1] {
			return core.Errorf(core.Tampered, "the row of the set of keys with epoch %d of tenant %s is missing, %s", epoch+1, core.ClientText(tenant), advice)
		}
	}
	have, err := p.HSM.KeySets(ctx) // before the rows: those are stored before the keys are made
	if err != nil {
		return err
	}
	rows, err := p.Store.KeySets(ctx, "")
	if err != nil {
		return err
	}
	for _, s := range have {
		if s.Own && s.Number != 0 && !slices.ContainsFunc(rows, func(row core.KeySet) bool { return row.Number == s.Number }) {
			return core.Errorf(core.Tampered, "no row names set %d of keys in the HSM, which may be one of tenant %s, %s", s.Number, core.ClientText(tenant), advice)
		}
	}
	return nil
}

// destroySet destroys the keys of a set and then says so in its row.
func (t *Tenants) destroySet(ctx context.Context, s core.KeySet, by string) error {
	detail := fmt.Sprintf("set %d, epoch %d", s.Number, s.Epoch)
	if err := t.recordShredding(ctx, s.Tenant, by, detail+": begins"); err != nil {
		return err
	}
	if err := t.ports.HSM.DestroyKeySet(ctx, s); err != nil {
		return err
	}
	s.State, s.Checks = core.KeySetDestroyed, nil
	return t.recordShredding(ctx, s.Tenant, by, detail+": destroyed", core.SaveKeySet{KeySet: s})
}

// destroyResidents destroys the resident keys of a tenant, as the labels in the token name them.
func (t *Tenants) destroyResidents(ctx context.Context, tenant, by string) (destroyed int, err error) {
	all, err := t.ports.HSM.Objects(ctx)
	if err != nil {
		return 0, err
	}
	var own []core.TokenObject
	for _, o := range all {
		if o.Tenant == tenant {
			own = append(own, o)
		}
	}
	if len(own) == 0 {
		return 0, nil
	}
	if err := t.recordShredding(ctx, tenant, by, fmt.Sprintf("%d resident keys: begins", len(own))); err != nil {
		return 0, err
	}
	for _, o := range own {
		if err := t.ports.HSM.DestroyObject(ctx, o); err != nil {
			return destroyed, err
		}
		t.ports.HSM.Forget(o.Tenant, o.ID)
		destroyed++
	}
	return destroyed, t.recordShredding(ctx, tenant, by, fmt.Sprintf("%d resident keys: destroyed", destroyed))
}

// recordShredding stores a record of a step, with the writes that belong to it.
func (t *Tenants) recordShredding(ctx context.Context, tenant, by, detail string, with ...core.Write) error {
	r := core.Record{Time: t.ports.Clock.NowMicro(), Tenant: tenant, Principal: by, Door: core.DoorClock, Action: core.ActionDestroyTenantKeys,
		Outcome: core.Allowed, ExecutedIn: "token", Detail: detail}
	return t.ports.Store.Commit(ctx, core.ChangeOf(append(with, t.ports.RecordWrite(&r))...))
}
