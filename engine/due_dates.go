package engine

import "github.com/keyreeve/keyreeve/core"

// ScheduledDates are the dates at which the permitted use of an object changes.
var ScheduledDates = []core.Tag{core.TagActivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagDeactivationDate}

// addDueDates adds the future dates of the objects that a change stores, so that each is
// recorded when it is reached. Past dates are in the record of the operation itself.
func addDueDates(ch *core.Change, now int64) {
	for _, o := range ch.Stored() {
		for _, t := range ScheduledDates {
			if date, ok := o.Attributes.Date(t); ok && date > now {
				ch.Add(core.AddDueDate{DueDate: core.DueDate{Tenant: o.Tenant, ID: o.ID, Tag: t, At: date}})
			}
		}
	}
}
