// Package uses has the operations that use keys or random bytes: Encrypt, Decrypt, Sign,
// Signature Verify, MAC, MAC Verify, Hash, RNG Retrieve, RNG Seed and Check.
//
// They run on the road of package engine, and never see key bytes: the HSM port uses
// the key. A use first asks the policy, then checks the key's state, dates and usage
// mask, then draws on its Usage Limits. Start at [Verbs.Encrypt].
package uses

import "github.com/keyreeve/keyreeve/engine"

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }
