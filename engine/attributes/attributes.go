// Package attributes has the operations on attributes: Get Attributes, Get Attribute
// List, Add, Modify, Set and Delete Attribute, and Locate, which finds objects by them.
//
// They run on the road of package engine. An object that the caller may not see is
// neither shown nor counted. Start at [Verbs.GetAttributes] or [Verbs.Locate].
package attributes

import (
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	pages  *fair.Slots // of Locate, in memory
}

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e, newPages()} }

// SearchPages returns how many pages of searches are in memory, and how many wait.
func (v *Verbs) SearchPages() fair.Usage { return v.pages.Usage() }
