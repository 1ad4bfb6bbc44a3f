package keyjobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine/jobs"
)

// purge returns the job that purges keys. A key whose purge the policy denies stays. The
// denial is recorded once; then the policy is asked again in each run, without a record until it
// permits the purge.
func (p Ports) purge() jobs.Job {
	return jobs.Job{Name: "purge", Does: "Removes the key material of deleted keys whose retention is over, if the policy permits it.",
		Every: 10 * time.Minute, MostTime: 5 * time.Minute, Waits: p.waits(core.DuePurges),
		Work: p.purgeAll}
}

// purgeAll first asks again about the keys that were kept, so that one which is kept now is counted once.
func (p Ports) purgeAll(ctx context.Context, r *jobs.Run) error {
	again := p.each(ctx, r, core.DueKinds{From: core.DuePurgeKept, To: core.DuePurgeKept}, p.purgeOne)
	if jobs.IsOver(ctx, again) {
		return again
	}
	return errors.Join(again, p.each(ctx, r, core.DueKinds{From: core.DuePurge, To: core.DuePurge}, p.purgeOne))
}

// purgeOne purges the object of a date that is due.
func (p Ports) purgeOne(ctx context.Context, r *jobs.Run, d core.DueDate) error {
	row, err := p.Engine.RowOf(d.Tenant)
	if err != nil {
		return err
	}
	if row.State == core.TenantDeleted { // its keys are destroyed
		return r.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: d}))
	}
	o, err := p.Engine.Ports.Store.Object(ctx, d.Tenant, d.ID)
	switch {
	case core.CodeOf(err) == core.ItemNotFound, err == nil && !p.isPurgeDue(o): // restored, or purged already
		return r.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: d}))
	case err != nil:
		p.Engine.NoteTampered(err)
		return err
	case row.State != core.TenantActive:
		keep(r, d, "its tenant is disabled")
		return nil
	}
	c := r.Caller(d.Tenant, core.NoteDueDate{DueDate: d})
	if d.Tag == core.DuePurgeKept {
		may, err := p.Engine.Begin(ctx, c, core.ActionPurge).Permits(core.ActionPurge, o, core.Asked{})
		if err != nil {
			return err
		}
		if !may {
			keep(r, d, "the policy denies it")
			return nil
		}
	}
	_, err = p.Objects.PurgeReached(ctx, c, &operation.LifeInput{ID: core.ID(d.ID)})
	switch core.CodeOf(err) {
	case core.PermissionDenied:
		keep(r, d, "the policy denies it")
		if d.Tag == core.DuePurgeKept {
			return nil
		}
		kept := d
		kept.Tag = core.DuePurgeKept
		return r.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: d}, core.AddDueDate{DueDate: kept}))
	default:
		if err == nil {
			r.Done++
		}
		return err
	}
}

// isPurgeDue reports whether the row of an object says that its retention is over.
func (p Ports) isPurgeDue(o *core.ManagedObject) bool {
	until, ok := rules.DateOf(o, core.PurgeAtAttribute)
	return ok && until <= p.Engine.Ports.Clock.Now()
}

// keep counts a key that is not purged although its date is due, and says why.
func keep(r *jobs.Run, d core.DueDate, why string) {
	r.Kept++
	r.Note(fmt.Sprintf("key %s of tenant %s is due and stays: %s", core.ClientText(d.ID), core.ClientText(d.Tenant), why))
}
