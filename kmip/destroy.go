package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Destroy is KMIP 1.4 §4.21, 2.1 §6.1.15.
var Destroy = define(Operation[operation.DestroyInput, operation.IDOutput]{
	Row: Row{
		Code:        core.OperationDestroy,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: onlyListed(core.ReasonObjectDestroyed, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState).
			withSpecial(SpecialReason{core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonObjectDestroyed}),
	},
	Identifiers: repeatsTarget[operation.IDOutput](func(in *operation.DestroyInput) *core.Identifier { return &in.ID }),
	request:     destroyRequest,
	response:    idResponse,
})

func destroyRequest(c *coder, in *operation.DestroyInput) { c.identifier(&in.ID) }
