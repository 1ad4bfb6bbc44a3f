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
	request:  activateRequest,
	response: idResponse,
	Target:   func(in *core.ActivateInput) *core.Identifier { return &in.ID },
	Links:    noLinks[core.ActivateInput],
	AnsweredIDs: func(list []string, in *core.ActivateInput, _ *core.IDOutput) []string {
		return append(list, in.ID.Text)
	},
	NextPlaceholder: noPlaceholder[core.IDOutput],
})

func activateRequest(c *coder, in *core.ActivateInput) { c.identifier(&in.ID) }
