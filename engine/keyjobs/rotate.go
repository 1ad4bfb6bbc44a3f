package keyjobs

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine/jobs"
)

// rotate returns the job that makes the next versions of keys.
func (p Ports) rotate() jobs.Job {
	return jobs.Job{Name: "rotate", Does: "Makes the next version of keys whose rotation is due, if the policy permits it.",
		Every: time.Minute, MostTime: 5 * time.Minute, Waits: p.waits(core.DueRotations),
		Work: p.inOrder(core.DueRotationKept, core.DueRotation, p.rotateOne)}
}

// rotateOne replaces the key of a date that is due. The new version has the next date.
func (p Ports) rotateOne(ctx context.Context, r *jobs.Run, d core.DueDate) error {
	o, err := p.dueObject(ctx, r, d, p.isRotationDue)
	if err != nil || o == nil {
		return err
	}
	switch s := o.StateAt(p.Engine.Ports.Clock.Now()); {
	case s != core.Active && s != core.PreActive: // it has ended, and so has its rotation
		return r.Commit(ctx, core.ChangeOf(core.NoteDueDate{DueDate: d}))
	case s == core.PreActive, o.Disabled(), o.Archived():
		keep(r, d, "it is Pre-Active, disabled or archived")
		return nil
	}
	action := core.ActionReKey
	if o.Type == core.ObjectTypePrivateKey {
		action = core.ActionReKeyKeyPair
	}
	return p.act(ctx, r, d, o, action, core.DueRotationKept, func(c *core.Caller) error {
		_, err := p.Objects.Rotate(ctx, c, &operation.RotateInput{ID: core.ID(d.ID)})
		return err
	})
}

// isRotationDue reports whether the row of a key says that it is to be replaced.
func (p Ports) isRotationDue(o *core.ManagedObject) bool {
	at, ok := rules.DateOf(o, core.RotateAtAttribute)
	return ok && at <= p.Engine.Ports.Clock.Now()
}
