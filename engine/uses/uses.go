// Package uses holds the verbs that use a key or random bytes: Encrypt, Decrypt, Sign,
// Signature Verify, MAC, MAC Verify, Hash, RNG Retrieve, RNG Seed and Check.
//
// The policy is asked first, then the usage mask, the state and the dates of the key
// count, then its Usage Limits. Start at [Verbs.Encrypt].
package uses

import "github.com/keyreeve/keyreeve/engine"

// Verbs is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
