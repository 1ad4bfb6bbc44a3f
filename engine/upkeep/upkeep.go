// Package upkeep has the work that no client asks for. It finishes intents that
// operations left open, lists token objects and keys that no row names, finds damaged
// certificates, and records dates of objects that the clock has reached.
//
// It relies on package engine and its ports. It destroys a token object only for an
// intent of this process or by a command. Start at [Verbs.Reconcile].
package upkeep

import "github.com/keyreeve/keyreeve/engine"

// Verbs has one method for each task. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
