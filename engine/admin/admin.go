// Package admin has the operations of administrators on the server itself.
//
// It relies on package engine. Each operation asks the policy and leaves a record; none
// touches an object. Start at [Verbs.CreateTenant].
package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }

// Administer asks the policy whether a caller may do an action on the server itself,
// lets verb do it and records how it ended. detail is text for the record.
func (v *Verbs) Administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	k := v.engine.Begin(ctx, c, action)
	k.Record.Detail = detail
	_, err := k.Decide(action, nil)
	if err == nil {
		err = verb()
	}
	return k.End(err)
}
