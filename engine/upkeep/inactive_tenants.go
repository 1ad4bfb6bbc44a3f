package upkeep

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// ForgetInactive drops the keys that this node keeps unwrapped of tenants that are not
// active. The server calls it several times a second: an operation that was under way when
// its tenant was disabled can have kept a key again.
func (v *Verbs) ForgetInactive(tenants map[string]core.TenantState) {
	for name := range tenants {
		v.engine.Ports.HSM.ForgetTenant(name)
	}
}

// Bounds of one run of RemoveObjects. The next run removes the rest.
const (
	removedRows    = 500
	removedBatches = 20
)

// RemoveObjects removes the rows of the objects of deleted tenants, whose keys are destroyed.
// Nothing can open them any more. Each batch is one transaction with its record, so that an
// interruption loses nothing. The records of the tenants stay.
func (v *Verbs) RemoveObjects(ctx context.Context, tenants map[string]core.TenantState) (removed int, failed error) {
	batches := removedBatches
	for name, state := range tenants {
		if state != core.TenantDeleted {
			continue
		}
		n, err := v.removeObjectsOf(ctx, name, &batches)
		removed, failed = removed+n, errors.Join(failed, err)
	}
	return removed, failed
}

// removeObjectsOf removes the rows of one tenant, as far as there are batches left.
func (v *Verbs) removeObjectsOf(ctx context.Context, tenant string, batches *int) (removed int, err error) {
	for *batches > 0 {
		rows, err := v.engine.Ports.Store.OldestRows(ctx, tenant, removedRows)
		if err != nil || rows.Count == 0 {
			return removed, err
		}
		if gone, err := v.areKeysGone(ctx, tenant); err != nil || !gone {
			return removed, err
		}
		*batches--
		r := core.Record{Time: v.engine.Ports.Clock.NowMicro(), Tenant: tenant, Principal: "keyreeve", Door: core.DoorClock, Action: core.ActionDestroyTenantKeys,
			Outcome: core.Allowed, Detail: fmt.Sprintf("%d rows of objects: removed", rows.Count)}
		if err := v.engine.Ports.Store.Commit(ctx, core.ChangeOf(core.RemoveRows{Tenant: tenant, UpTo: rows.LastSeq}, v.engine.Ports.RecordWrite(&r))); err != nil {
			return removed, err
		}
		removed += rows.Count
	}
	return removed, nil
}

// Entries are the policies and people of tenants, as the directory has them.
type Entries interface {
	// NamesOf lists entries of a tenant, deleted ones included.
	NamesOf(tenant string, limit int) []core.DirectoryName
	// ShowStored lets this node know of a change that was committed.
	ShowStored(*core.Change)
}

// removedEntries is how many entries one batch removes, each with its versions.
const removedEntries = 100

// RemoveEntries removes the policies, users, roles, clients and all other entries of deleted
// tenants, whose keys are destroyed. Each batch is one transaction with its record. The row of the
// tenant itself stays, because its name is not used again, and so do its records.
func (v *Verbs) RemoveEntries(ctx context.Context, entries Entries, tenants map[string]core.TenantState) (removed int, failed error) {
	batches := removedBatches
	for name, state := range tenants {
		if state != core.TenantDeleted {
			continue
		}
		n, err := v.removeEntriesOf(ctx, entries, name, &batches)
		removed, failed = removed+n, errors.Join(failed, err)
	}
	return removed, failed
}

// removeEntriesOf removes the entries of one tenant, as far as there are batches left.
func (v *Verbs) removeEntriesOf(ctx context.Context, entries Entries, tenant string, batches *int) (removed int, err error) {
	for *batches > 0 {
		names := entries.NamesOf(tenant, removedEntries)
		if len(names) == 0 {
			return removed, nil
		}
		if gone, err := v.areKeysGone(ctx, tenant); err != nil || !gone {
			return removed, err
		}
		*batches--
		ch := &core.Change{}
		for _, name := range names {
			ch.Add(core.PruneDirectoryEntry{Name: name, TenantDeleted: true})
		}
		r := core.Record{Time: v.engine.Ports.Clock.NowMicro(), Tenant: tenant, Principal: "keyreeve", Door: core.DoorClock, Action: core.ActionDestroyTenantKeys,
			Outcome: core.Allowed, Detail: fmt.Sprintf("%d policies, users, roles and other entries: removed", len(names))}
		ch.Add(v.engine.Ports.RecordWrite(&r))
		if err := v.engine.Ports.Store.Commit(ctx, ch); err != nil {
			return removed, err
		}
		entries.ShowStored(ch)
		removed += len(names)
	}
	return removed, nil
}

// areKeysGone reports whether all sets of keys of a tenant are destroyed: their rows say so,
// and the token has none of their keys. It fails if a row may be missing, which is no word for an
// irreversible act.
func (v *Verbs) areKeysGone(ctx context.Context, tenant string) (bool, error) {
	sets, err := v.engine.Ports.Store.KeySets(ctx, tenant)
	if err != nil {
		return false, err
	}
	for _, s := range sets {
		if s.State != core.KeySetDestroyed {
			return false, nil
		}
		exists, err := v.engine.Ports.HSM.KeySetExists(ctx, s.Number)
		if err != nil || exists {
			return false, err
		}
	}
	if err := engine.RequireKeySetRows(ctx, &v.engine.Ports, tenant, sets); err != nil {
		return false, err
	}
	return true, nil
}
