// Package admin has the operations of administrators on the server itself.
//
// It relies on package engine. Each operation asks the policy and leaves a record; none
// touches an object. Start at [Verbs.CreateTenant].
package admin

import "github.com/keyreeve/keyreeve/engine"

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
