// Package admin holds the verbs of administrators: what they do to the server and not
// to an object. The policy is asked for each, and each leaves a record.
package admin

import "github.com/keyreeve/keyreeve/engine"

// Verbs is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
