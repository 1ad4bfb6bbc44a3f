package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// RNGRetrieve is KMIP 1.4 §4.35, 2.1 §6.1.49.
var RNGRetrieve = define(Operation[operation.RNGRetrieveInput, operation.RNGRetrieveOutput]{
	Row: Row{
		Code:        core.OperationRNGRetrieve,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure),
	},
	Identifiers: noIdentifiers[operation.RNGRetrieveInput, operation.RNGRetrieveOutput](),
	request:     rngRetrieveRequest,
	response:    rngRetrieveResponse,
})

func rngRetrieveRequest(c *coder, in *operation.RNGRetrieveInput) {
	c.int32Field(core.TagDataLength, &in.Length, true)
}

func rngRetrieveResponse(c *coder, out *operation.RNGRetrieveOutput) {
	c.bytesField(core.TagData, &out.Data, true)
}
