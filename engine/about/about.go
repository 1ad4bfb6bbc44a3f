// Package about holds the verbs that tell of the server itself: Query and Discover
// Versions.
package about

import "github.com/keyreeve/keyreeve/engine"

// Verbs is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
