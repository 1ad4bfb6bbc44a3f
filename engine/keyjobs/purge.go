package keyjobs

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine/jobs"
)

// purge returns the job that purges keys.
func (p Ports) purge() jobs.Job {
	return jobs.Job{Name: "purge", Does: "Removes the key material of deleted keys whose retention is over, if the policy permits it.",
		Every: 10 * time.Minute, MostTime: 5 * time.Minute, Waits: p.waits(core.DuePurges),
		Work: p.inOrder(core.DuePurgeKept, core.DuePurge, p.purgeOne)}
}

// purgeOne purges the object of a date that is due.
func (p Ports) purgeOne(ctx context.Context, r *jobs.Run, d core.DueDate) error {
	o, err := p.dueObject(ctx, r, d, p.isPurgeDue)
	if err != nil || o == nil {
		return err
	}
	return p.act(ctx, r, d, o, core.ActionPurge, core.DuePurgeKept, func(c *core.Caller) error {
		_, err := p.Objects.PurgeReached(ctx, c, &operation.LifeInput{ID: core.ID(d.ID)})
		return err
	})
}

// isPurgeDue reports whether the row of an object says that its retention is over.
func (p Ports) isPurgeDue(o *core.ManagedObject) bool {
	until, ok := rules.DateOf(o, core.PurgeAtAttribute)
	return ok && until <= p.Engine.Ports.Clock.Now()
}
