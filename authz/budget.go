package authz

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

const (
	maxSteps = 100_000 // of one decision; the default policy takes a few hundred

	// backstop ends a decision whose steps are slow. It is long, because a busy
	// machine must not turn a good policy into a refusal.
	maxDecisionTime = 10 * time.Second
	stepsPerLook    = 1024 // steps between two looks at clock and request
)

// budget bounds the work of one evaluation. OPA asks it before each step whether
// to go on, so the bound is the same on an idle machine and on a busy one.
// Used by one goroutine.
type budget struct {
	ctx        context.Context // nil: none
	stepsLeft  int
	deadline   time.Time
	outOfSteps bool // out of steps
	timedOut   bool // the backstop, or the request, ended
}

var _ topdown.Cancel = (*budget)(nil)

func newBudget(ctx context.Context, late time.Duration) *budget {
	return &budget{ctx: ctx, stepsLeft: maxSteps, deadline: time.Now().Add(late)}
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
