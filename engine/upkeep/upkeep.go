// Package upkeep does what no client asks for: it finishes what operations left behind
// in the token, lists token objects and keys that no row explains, and records the
// dates of objects that the clock has reached. Start at [Verbs.Reconcile].
package upkeep

import "github.com/keyreeve/keyreeve/engine"

// Verbs is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
