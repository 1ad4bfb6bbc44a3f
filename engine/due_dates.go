package engine

import "github.com/keyreeve/keyreeve/core"

// ScheduledDates are the dates at which the permitted use of an object changes.
var ScheduledDates = []core.Tag{core.TagActivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagDeactivationDate}

// scheduledActs are the attributes whose dates are those of acts of the clock.
var scheduledActs = []struct {
	attribute core.AttributeName
	kind      core.Tag
}{{core.PurgeAtAttribute, core.DuePurge}, {core.RotateAtAttribute, core.DueRotation}}

// addDueDates adds the future dates of the objects that a change stores, so that each is
// acted on or recorded when it is reached. Past dates are in the record of the operation itself.
func addDueDates(ch *core.Change, now int64) {
	for _, o := range ch.Stored() {
		for _, t := range ScheduledDates {
			if date, ok := o.Attributes.Date(t); ok && date > now {
				ch.Add(core.AddDueDate{DueDate: core.DueDate{Tenant: o.Tenant, ID: o.ID, Tag: t, At: date}})
			}
		}
		for _, act := range scheduledActs {
			if at := o.Attributes.Find(act.attribute); at >= 0 && o.Attributes[at].Value.Num > now {
				ch.Add(core.AddDueDate{DueDate: core.DueDate{Tenant: o.Tenant, ID: o.ID, Tag: act.kind, At: o.Attributes[at].Value.Num}})
			}
		}
	}
}
