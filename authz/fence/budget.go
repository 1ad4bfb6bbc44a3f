package fence

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

const stepsPerLook = 1024 // steps between two looks at the clock and the request

// MaxTime ends an evaluation whose steps are slow. It is long, so that a busy machine
// does not make a good policy deny.
const MaxTime = 10 * time.Second

// Budget bounds the steps of one evaluation. OPA asks it before each step whether to
// stop, so the bound is the same on an idle and on a busy machine. Not safe for
// concurrent use.
type Budget struct {
	ctx        context.Context // nil: none
	stepsLeft  int
	deadline   time.Time
	outOfSteps bool
	timedOut   bool // the time is over, or the request has ended
}

var _ topdown.Cancel = (*Budget)(nil)

// NewBudget allows a number of steps within a time, until ctx ends. A nil ctx never ends.
func NewBudget(ctx context.Context, steps int, timeout time.Duration) *Budget {
	return &Budget{ctx: ctx, stepsLeft: steps, deadline: time.Now().Add(timeout)}
}

// OutOfSteps reports whether the evaluation was stopped because it took too many steps.
func (b *Budget) OutOfSteps() bool { return b.outOfSteps }

// Cancel is part of [topdown.Cancel].
func (b *Budget) Cancel() { b.timedOut = true }

// Cancelled counts a step and reports whether it was the last.
func (b *Budget) Cancelled() bool {
	if b.stepsLeft--; b.stepsLeft <= 0 {
		b.outOfSteps = true
	} else if b.stepsLeft%stepsPerLook == 0 {
		b.timedOut = b.timedOut || time.Now().After(b.deadline) || b.ctx != nil && b.ctx.Err() != nil
	}
	return b.outOfSteps || b.timedOut
}
