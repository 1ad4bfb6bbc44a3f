package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// RNGSeed is KMIP 1.4 §4.36, 2.1 §6.1.50.
var RNGSeed = define(Operation[operation.RNGSeedInput, operation.RNGSeedOutput]{
	Row: Row{
		Code:        core.OperationRNGSeed,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure),
	},
	Identifiers: noIdentifiers[operation.RNGSeedInput, operation.RNGSeedOutput](),
	request:     rngSeedRequest,
	response:    rngSeedResponse,
})

func rngSeedRequest(c *coder, in *operation.RNGSeedInput) { c.bytesField(core.TagData, &in.Data, true) }

func rngSeedResponse(c *coder, out *operation.RNGSeedOutput) {
	c.int32Field(core.TagDataLength, &out.Amount, true)
}
