package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Term is how long an entry of a job must be unchanged until another node takes the job over.
// One step of a job must be shorter.
const Term = 30 * time.Second

// renewAfter is how long a runner works before it stores where it is.
const renewAfter = Term / 3

// Run is a run of a job under way. Used by one goroutine.
type Run struct {
	Outcome
	runner  *Runner
	job     *Job
	row     Row
	version int64 // of the entry that this run has stored
	stored  int64 // when, by Clock.Mono
}

// Progress returns where an earlier run has stopped, "" for the beginning.
func (r *Run) Progress() string { return r.row.Progress }

// Fence returns the write that makes a change fail with [core.ErrFenced] if the job has another
// runner, or was paused.
func (r *Run) Fence() core.Write {
	return core.RequireEntry{Name: nameOf(r.job.Name), Version: r.version}
}

// Caller returns the clock as the caller of an operation on objects of a tenant. What the
// operation changes is stored together with the given writes, and only if the job still is this
// run's.
func (r *Run) Caller(tenant string, with ...core.Write) *core.Caller {
	return &core.Caller{Principal: &core.Principal{Tenant: tenant, ID: Principal, Method: core.MethodSystem, Strength: core.StrengthSystem}, Door: core.DoorClock, Beside: append(with, r.Fence())}
}

// Commit stores a change if the job still is this run's.
func (r *Run) Commit(ctx context.Context, ch *core.Change) error {
	fenced := core.ChangeOf(r.Fence())
	fenced.Add(ch.Writes...)
	return r.runner.ports.Directory.Commit(ctx, fenced)
}

// Continue notes that the steps up to progress are done. It fails if the run must end: its time
// is over, or the job has another runner or was paused. It stores progress from time to time.
func (r *Run) Continue(ctx context.Context, progress string) error {
	r.row.Progress = progress
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.runner.ports.Clock.Mono()-r.stored < renewAfter.Microseconds() {
		return nil
	}
	return r.store(ctx)
}

// store stores the next version of the entry.
func (r *Run) store(ctx context.Context) error {
	began := r.runner.ports.Clock.Mono()
	if err := r.runner.save(ctx, r.job.Name, r.version+1, &r.row); err != nil {
		return err
	}
	r.version, r.stored = r.version+1, began
	return nil
}

// IsOver reports whether a run must end with an error of one of its steps: its time is over, or
// the job has another runner.
func IsOver(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, core.ErrFenced) || core.CodeOf(err) == core.Conflict
}

// isStopped reports whether an error means that a run ended early and the next one goes on.
func isStopped(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// finish ends the run. If its time was over, the next run goes on where it stopped, at once.
func (r *Run) finish(ctx context.Context, err error) error {
	r.row.Holder, r.row.Ended, r.row.Outcome = "", r.runner.ports.Clock.Now(), r.Outcome
	switch {
	case err == nil:
		r.row.Progress = ""
	case isStopped(err):
		r.row.Asked = true
	default:
		r.row.Problem = cut(core.DetailOf(err))
	}
	return r.store(ctx)
}
