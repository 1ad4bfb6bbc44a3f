package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Activate is KMIP 1.4 §4.19, 2.1 §6.1.1.
var Activate = define(Operation[operation.ActivateInput, operation.IDOutput]{
	Row: Row{
		Code:        core.OperationActivate,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(stateReasons...),
	},
	Identifiers: repeatsTarget[operation.IDOutput](func(in *operation.ActivateInput) *core.Identifier { return &in.ID }),
	request:     activateRequest,
	response:    idResponse,
})

func activateRequest(c *coder, in *operation.ActivateInput) { c.identifier(&in.ID) }
