package kmip

import "github.com/keyreeve/keyreeve/core"

// Activate is KMIP 1.4 §4.19, 2.1 §6.1.1.
var Activate = define(Operation[core.ActivateInput, core.IDOutput]{
	Row: Row{
		Code:        core.OperationActivate,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(stateReasons...),
	},
	Identifiers: repeatsTarget[core.IDOutput](func(in *core.ActivateInput) *core.Identifier { return &in.ID }),
	request:     activateRequest,
	response:    idResponse,
})

func activateRequest(c *coder, in *core.ActivateInput) { c.identifier(&in.ID) }
