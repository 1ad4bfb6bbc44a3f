// Package keyjobs has the jobs that run the lives of keys by the clock: they purge keys
// whose retention is over, and rotate keys.
//
// Each act is an operation of package engine/objects with the principal "keyreeve" at the door
// "clock": the policy is asked, and the record is stored with the change. The date that
// was due is noted in the same transaction, and only while the job is this runner's, so each act
// is done once, whatever node is killed at whatever moment. The dates of the store are hints: the sealed row
// of the object decides. Start at [List].
package keyjobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/objects"
)

// Ports are what the jobs need.
type Ports struct {
	Engine  *engine.Engine
	Objects *objects.Verbs
}

// List returns the jobs.
func List(p Ports) []jobs.Job { return []jobs.Job{p.purge(), p.rotate()} }

// duePage is how many dates are read at once.
const duePage = 100

// waits reports whether dates of some kinds are due.
func (p Ports) waits(kinds core.DueKinds) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		due, err := p.Engine.Ports.Store.DueDates(ctx, kinds, p.Engine.Ports.Clock.Now(), core.FirstDueDate, 1)
		return len(due) > 0, err
	}
}

// maxFailures is how many dates of one tenant may fail in a run. Its other dates wait for the
// next one: they would fail too, and those of other tenants must not wait for them.
const maxFailures = 10

// each calls act for each date of some kinds that is due. A date at which act fails stays, for the
// next run. The error says how many failed.
func (p Ports) each(ctx context.Context, r *jobs.Run, kinds core.DueKinds, act func(context.Context, *jobs.Run, core.DueDate) error) error {
	var first error
	failed, ofTenant := 0, map[string]int{}
	until := p.Engine.Ports.Clock.Now()
	for after, more := core.FirstDueDate, true; more; {
		due, err := p.Engine.Ports.Store.DueDates(ctx, kinds, until, after, duePage)
		if err != nil {
			return err
		}
		for _, d := range due {
			var err error
			if ofTenant[d.Tenant] < maxFailures {
				err = act(ctx, r, d)
			}
			if errors.Is(err, core.ErrFenced) {
				return err
			}
			if err != nil {
				failed++
				ofTenant[d.Tenant]++
				if first == nil {
					first = fmt.Errorf("object %s of tenant %s: %w", d.ID, d.Tenant, err)
				}
			}
			if err := r.Continue(ctx, ""); err != nil {
				return err
			}
			after = d
		}
		more = len(due) == duePage
	}
	return failures(failed, first)
}

// failures returns the error of a run in which some dates have failed.
func failures(n int, first error) error {
	if n == 0 {
		return nil
	}
	return core.Wrap(core.CodeOf(first), first, "%d keys failed and are tried again; the first one: %s", n, core.DetailOf(first))
}

// inOrder returns the work on the dates of two kinds. Those that were kept come first, so that one
// which is kept now is counted once.
func (p Ports) inOrder(kept, fresh core.Tag, act func(context.Context, *jobs.Run, core.DueDate) error) func(context.Context, *jobs.Run) error {
	return func(ctx context.Context, r *jobs.Run) error {
		again := p.each(ctx, r, core.DueKinds{From: kept, To: kept}, act)
		if jobs.IsOver(ctx, again) {
			return again
		}
		return errors.Join(again, p.each(ctx, r, core.DueKinds{From: fresh, To: fresh}, act))
	}
}

// dueObject returns the object of a date that is due. If its row says otherwise, because it was
// restored or destroyed, or the act was done before, it notes the date and returns nil. It also
// returns nil for an object of a disabled tenant, which stays.
func (p Ports) dueObject(ctx context.Context, r *jobs.Run, d core.DueDate, isDue func(*core.ManagedObject) bool) (*core.ManagedObject, error) {
	row, err := p.Engine.RowOf(d.Tenant)
	if err != nil {
		return nil, err
	}
	note := core.ChangeOf(core.NoteDueDate{DueDate: d})
	if row.State == core.TenantDeleted { // its keys are destroyed
		return nil, r.Commit(ctx, note)
	}
	o, err := p.Engine.Ports.Store.Object(ctx, d.Tenant, d.ID)
	switch {
	case core.CodeOf(err) == core.ItemNotFound, err == nil && !isDue(o):
		return nil, r.Commit(ctx, note)
	case err != nil:
		p.Engine.NoteTampered(err)
		return nil, err
	case row.State != core.TenantActive:
		keep(r, d, "its tenant is disabled")
		return nil, nil
	}
	return o, nil
}

// act does what is due with an object, as the clock. If the policy denies it, the object stays and
// its date becomes one of the kind kept: the denial is recorded once, and from then on the policy is
// asked in each run without a record, until it permits the act.
func (p Ports) act(ctx context.Context, r *jobs.Run, d core.DueDate, o *core.ManagedObject, action core.Action, kept core.Tag, do func(*core.Caller) error) error {
	c := r.Caller(d.Tenant, core.NoteDueDate{DueDate: d})
	if d.Tag == kept {
		may, err := p.Engine.Begin(ctx, c, action).Permits(action, o, core.Asked{})
		if err != nil {
			return err
		}
		if !may {
			keep(r, d, "the policy denies it")
			return nil
		}
	}
	err := do(c)
	switch {
	case err == nil:
		r.Done++
	case core.CodeOf(err) == core.PermissionDenied && d.Tag == kept:
		keep(r, d, "the policy denies it")
		return nil
	case core.CodeOf(err) == core.PermissionDenied:
		keep(r, d, "the policy denies it")
		later := d
		later.Tag = kept
		return r.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: d}, core.AddDueDate{DueDate: later}))
	}
	return err
}

// keep counts a key with which nothing is done although its date is due, and says why.
func keep(r *jobs.Run, d core.DueDate, why string) {
	r.Kept++
	r.Note(fmt.Sprintf("key %s of tenant %s is due and stays: %s", core.ClientText(d.ID), core.ClientText(d.Tenant), why))
}
