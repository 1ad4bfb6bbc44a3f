package kmip

import "github.com/keyreeve/keyreeve/core"

// RNGRetrieve is KMIP 1.4 §4.35, 2.1 §6.1.49.
var RNGRetrieve = define(Operation[core.RNGRetrieveInput, core.RNGRetrieveOutput]{
	Row: Row{
		Code:        core.OperationRNGRetrieve,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure),
	},
	Identifiers: noIdentifiers[core.RNGRetrieveInput, core.RNGRetrieveOutput](),
	request:     rngRetrieveRequest,
	response:    rngRetrieveResponse,
})

func rngRetrieveRequest(c *coder, in *core.RNGRetrieveInput) {
	c.int32Field(core.TagDataLength, &in.Length, true)
}

func rngRetrieveResponse(c *coder, out *core.RNGRetrieveOutput) {
	c.bytesField(core.TagData, &out.Data, true)
}
