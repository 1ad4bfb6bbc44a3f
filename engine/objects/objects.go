// Package objects holds the verbs that make objects, hand them out and end them:
// Create, Create Key Pair, Register, Re-key, Get, Activate, Revoke and Destroy.
//
// Key bytes are made and opened by the HSM port alone. Start at [Verbs.Create].
package objects

import "github.com/keyreeve/keyreeve/engine"

// Verbs is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
