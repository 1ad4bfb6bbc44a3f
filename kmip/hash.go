package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Hash is KMIP 1.4 §4.37, 2.1 §6.1.24.
var Hash = define(Operation[operation.HashInput, operation.HashOutput]{
	Row: Row{
		Code:        core.OperationHash,
		Change:      ChangesNothing,
		Stream:      ManyParts,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure, core.ReasonInvalidCorrelationValue),
	},
	Identifiers: noIdentifiers[operation.HashInput, operation.HashOutput](),
	request:     hashRequest,
	response:    hashResponse,
})

func hashRequest(c *coder, in *operation.HashInput) {
	parameters(c, &in.Parameters)
	dataField(c, &in.Data)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func hashResponse(c *coder, out *operation.HashOutput) {
	c.bytesField(core.TagData, &out.Data, false)
	correlationValue(c, &out.Correlation)
}
