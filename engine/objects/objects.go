// Package objects has the operations that make objects, return them and change their
// state: Create, Create Key Pair, Register, Re-key, Get, Activate, Revoke and Destroy.
//
// They run on the road of package engine. Only the HSM port makes and opens key bytes.
// No other package of the engine imports this one. Start at [Verbs.Create].
package objects

import "github.com/keyreeve/keyreeve/engine"

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
