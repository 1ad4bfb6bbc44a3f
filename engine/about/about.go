// Package about has the operations that describe the server: Query and Discover Versions.
//
// They run on the road of package engine and touch no object. Start at [Verbs.Query].
package about

import "github.com/keyreeve/keyreeve/engine"

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
