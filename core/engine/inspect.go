package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// MayInspect asks the policy whether a caller may do an action on the server
// itself, such as [core.ActionReadHealth]. A refusal is recorded. A permit is
// not: monitors ask every few seconds, and health must be there when the store,
// which would take the record, is not.
func (e *Engine) MayInspect(ctx context.Context, c *core.Caller, action core.Action) error {
	k := e.begin(ctx, c, action)
	if _, err := k.decide(action, nil); err != nil {
		return k.end(err)
	}
	return nil
}
