// Package attributes holds the verbs on attributes, and Locate, which finds objects by
// them. Nothing of an object that the caller may not see is shown or counted.
// Start at [Verbs.GetAttributes] or [Verbs.Locate].
package attributes

import (
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	pages  *fair.Slots // of Locate, in memory
}

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e, newPages()} }

// SearchPages returns how many pages of searches are in memory, and how many wait.
func (v *Verbs) SearchPages() fair.Usage { return v.pages.Usage() }
