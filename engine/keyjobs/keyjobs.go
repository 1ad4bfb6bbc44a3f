// Package keyjobs has the jobs that run the lives of keys by the clock: a purge of keys whose
// retention is over.
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
func List(p Ports) []jobs.Job { return []jobs.Job{p.purge()} }

// duePage is how many dates are read at once.
const duePage = 100

// waits reports whether dates of some kinds are due.
func (p Ports) waits(kinds core.DueKinds) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		due, err := p.Engine.Ports.Store.DueDates(ctx, kinds, p.Engine.Ports.Clock.Now(), core.FirstDueDate, 1)
		return len(due) > 0, err
	}
}

// maxFailures is how many dates in a row may fail until a run ends: then the HSM or the
// database is unavailable.
const maxFailures = 10

// each calls act for each date of some kinds that is due. A date at which act fails stays, for the
// next run. The error says how many failed.
func (p Ports) each(ctx context.Context, r *jobs.Run, kinds core.DueKinds, act func(context.Context, *jobs.Run, core.DueDate) error) error {
	var first error
	failed, inARow := 0, 0
	until := p.Engine.Ports.Clock.Now()
	for after, more := core.FirstDueDate, true; more; {
		due, err := p.Engine.Ports.Store.DueDates(ctx, kinds, until, after, duePage)
		if err != nil {
			return err
		}
		for _, d := range due {
			err := act(ctx, r, d)
			switch {
			case errors.Is(err, core.ErrFenced):
				return err
			case err != nil:
				failed, inARow = failed+1, inARow+1
				if first == nil {
					first = fmt.Errorf("object %s of tenant %s: %w", d.ID, d.Tenant, err)
				}
			default:
				inARow = 0
			}
			if inARow == maxFailures {
				return failures(failed, first)
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
