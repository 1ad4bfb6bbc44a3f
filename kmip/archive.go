package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Archive is KMIP 1.4 §4.22, 2.1 §6.1.4.
var Archive = define(Operation[operation.LifeInput, operation.IDOutput]{
	Row: Row{
		Code:        core.OperationArchive,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonObjectArchived, core.ReasonObjectNotFound),
	},
	Identifiers: repeatsTarget[operation.IDOutput](func(in *operation.LifeInput) *core.Identifier { return &in.ID }),
	request:     lifeRequest,
	response:    idResponse,
})

func lifeRequest(c *coder, in *operation.LifeInput) { c.identifier(&in.ID) }
