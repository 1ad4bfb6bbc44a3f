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
	request:         rngRetrieveRequest,
	response:        rngRetrieveResponse,
	Target:          noTarget[core.RNGRetrieveInput],
	Links:           noLinks[core.RNGRetrieveInput],
	AnsweredIDs:     noAnsweredIDs[core.RNGRetrieveInput, core.RNGRetrieveOutput],
	NextPlaceholder: noPlaceholder[core.RNGRetrieveOutput],
})

func rngRetrieveRequest(c *coder, in *core.RNGRetrieveInput) {
	c.int32Field(core.TagDataLength, &in.Length, true)
}

func rngRetrieveResponse(c *coder, out *core.RNGRetrieveOutput) {
	c.bytesField(core.TagData, &out.Data, true)
}
