package kmip

import "github.com/keyreeve/keyreeve/core"

// Hash is KMIP 1.4 §4.37, 2.1 §6.1.24.
var Hash = define(Operation[core.HashInput, core.HashOutput]{
	Row: Row{
		Code:        core.OperationHash,
		Change:      ChangesNothing,
		Stream:      ManyParts,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure, core.ReasonInvalidCorrelationValue),
	},
	Identifiers: noIdentifiers[core.HashInput, core.HashOutput](),
	request:     hashRequest,
	response:    hashResponse,
})

func hashRequest(c *coder, in *core.HashInput) {
	parameters(c, &in.Parameters)
	dataField(c, &in.Data)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func hashResponse(c *coder, out *core.HashOutput) {
	c.bytesField(core.TagData, &out.Data, false)
	correlationValue(c, &out.Correlation)
}
