package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Recover is KMIP 1.4 §4.23, 2.1 §6.1.42.
var Recover = define(Operation[operation.LifeInput, operation.IDOutput]{
	Row: Row{
		Code:        core.OperationRecover,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonObjectNotFound),
	},
	Identifiers: makesObject(func(in *operation.LifeInput) *core.Identifier { return &in.ID }, noLinks[operation.LifeInput],
		func(out *operation.IDOutput) string { return out.ID }),
	request:  lifeRequest,
	response: idResponse,
})
