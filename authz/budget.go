package authz

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

const (
	maxSteps = 100_000 // of one decision; the default policy needs a few hundred

	// maxDecisionTime ends a decision whose steps are slow. It is long, so that a busy
	// machine does not make a good policy deny.
	maxDecisionTime = 10 * time.Second
	stepsPerLook    = 1024 // steps between two looks at the clock and the request
)

// budget bounds the steps of one evaluation. OPA asks it before each step whether to
// stop, so the bound is the same on an idle and on a busy machine. Not safe for
// concurrent use.
type budget struct {
	ctx        context.Context // nil: none
	stepsLeft  int
	deadline   time.Time
	outOfSteps bool
	timedOut   bool // maxDecisionTime is over, or the request has ended
}

var _ topdown.Cancel = (*budget)(nil)

func newBudget(ctx context.Context, timeout time.Duration) *budget {
	return &budget{ctx: ctx, stepsLeft: maxSteps, deadline: time.Now().Add(timeout)}
}

// Cancel is part of [topdown.Cancel].
func (b *budget) Cancel() { b.timedOut = true }

// Cancelled counts a step and reports whether it was the last.
func (b *budget) Cancelled() bool {
	if b.stepsLeft--; b.stepsLeft <= 0 {
		b.outOfSteps = true
	} else if b.stepsLeft%stepsPerLook == 0 {
		b.timedOut = b.timedOut || time.Now().After(b.deadline) || b.ctx != nil && b.ctx.Err() != nil
	}
	return b.outOfSteps || b.timedOut
}
