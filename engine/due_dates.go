package engine

import "github.com/keyreeve/keyreeve/core"

// ScheduledDates are the dates that change how an object may be used when the clock reaches them.
var ScheduledDates = []core.Tag{core.TagActivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagDeactivationDate}

// addDueDates adds the dates to come of the objects that a change stores. The record
// of the operation tells of dates in the past.
func addDueDates(ch *core.Change, now int64) {
	for _, o := range ch.Stored() {
		for _, t := range ScheduledDates {
			if date, ok := o.Attributes.Date(t); ok && date > now {
				ch.Add(core.AddDueDate{DueDate: core.DueDate{Tenant: o.Tenant, ID: o.ID, Tag: t, At: date}})
			}
		}
	}
}
