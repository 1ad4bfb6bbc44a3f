package kmip

import "github.com/keyreeve/keyreeve/core"

// Destroy is KMIP 1.4 §4.21, 2.1 §6.1.15.
var Destroy = define(Operation[core.DestroyInput, core.IDOutput]{
	Row: Row{
		Code:        core.OperationDestroy,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed:   []core.ResultReason{core.ReasonObjectDestroyed, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
			Since21:  noReasons,
			Unlisted: noReasons,
			Special:  []SpecialReason{{core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonObjectDestroyed}},
		},
	},
	request:         destroyRequest,
	response:        idResponse,
	Target:          func(in *core.DestroyInput) *core.Identifier { return &in.ID },
	Links:           noLinks[core.DestroyInput],
	AnsweredIDs:     func(list []string, in *core.DestroyInput, _ *core.IDOutput) []string { return append(list, in.ID.Text) },
	NextPlaceholder: noPlaceholder[core.IDOutput],
})

func destroyRequest(c *coder, in *core.DestroyInput) { c.identifier(&in.ID) }
