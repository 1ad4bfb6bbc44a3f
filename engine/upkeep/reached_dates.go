package upkeep

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
)

// reachedByClock has the text that describes what changes when the clock reaches a date.
var reachedByClock = map[core.Tag]string{
	core.TagActivationDate:   "it is Active, if it was Pre-Active",
	core.TagProcessStartDate: "it may be used",
	core.TagProtectStopDate:  "it no longer encrypts, signs or wraps",
	core.TagDeactivationDate: "it is Deactivated",
}

// Bounds of one run of RecordReachedDates. The next run records the rest.
const (
	reachedPage  = 100
	reachedPages = 50
)

// RecordReachedDates records each date of an object that the clock has reached, once for
// all nodes. The server calls it every minute.
func (v *Verbs) RecordReachedDates(ctx context.Context) error {
	var failed error
	after := core.FirstDueDate
	for range reachedPages {
		now := v.engine.Ports.Clock.Now()
		due, err := v.engine.Ports.Store.DueDates(ctx, core.DueAttributes, now, after, reachedPage)
		if err != nil {
			return errors.Join(failed, err)
		}
		failed = errors.Join(failed, v.recordReached(ctx, due))
		if len(due) < reachedPage {
			break
		}
		after = due[len(due)-1]
	}
	return failed
}

// recordReached records dates in one commit. A date counts only if the sealed row of the
// object has it. If the row cannot be read, or was changed behind the server, the date is not
// recorded yet.
func (v *Verbs) recordReached(ctx context.Context, due []core.DueDate) error {
	var ch core.Change
	var failed error
	for _, d := range due {
		if row, err := v.engine.RowOf(d.Tenant); err == nil && row.State == core.TenantDeleted {
			ch.Add(core.NoteDueDate{DueDate: d}) // no key can check the seal of the object any more
			continue
		}
		o, err := v.engine.Ports.Store.Object(ctx, d.Tenant, d.ID)
		switch {
		case err != nil && core.CodeOf(err) != core.ItemNotFound: // the dates of others do not wait for it
			v.engine.NoteTampered(err)
			failed = errors.Join(failed, err)
			continue
		case err == nil && takesEffect(o, d):
			ch.Add(v.engine.Ports.RecordWrite(&core.Record{Time: v.engine.Ports.Clock.NowMicro(), Tenant: d.Tenant, Principal: "keyreeve", Door: core.DoorClock,
				Action: core.ActionDateReached, Object: d.ID, Outcome: core.Allowed,
				Detail: d.Tag.String() + " " + time.Unix(d.At, 0).UTC().Format(time.RFC3339) + ": " + reachedByClock[d.Tag]}))
		}
		ch.Add(core.NoteDueDate{DueDate: d})
	}
	if len(ch.Writes) == 0 {
		return failed
	}
	err := v.engine.Ports.Store.Commit(ctx, &ch)
	if core.CodeOf(err) == core.Conflict { // another node was faster
		err = nil
	}
	return errors.Join(failed, err)
}

// takesEffect reports whether the object has this date, and was not destroyed, deleted or
// compromised before it.
func takesEffect(o *core.ManagedObject, d core.DueDate) bool {
	if date, ok := o.Attributes.Date(d.Tag); !ok || date != d.At || reachedByClock[d.Tag] == "" {
		return false
	}
	for _, t := range []core.Tag{core.TagDestroyDate, core.TagCompromiseDate} {
		if date, ok := o.Attributes.Date(t); ok && date < d.At {
			return false
		}
	}
	deleted, ok := rules.DateOf(o, rules.DeletedAtAttribute)
	return !ok || deleted >= d.At
}
