package kmip

import "github.com/keyreeve/keyreeve/core"

// RNGSeed is KMIP 1.4 §4.36, 2.1 §6.1.50.
var RNGSeed = define(Operation[core.RNGSeedInput, core.RNGSeedOutput]{
	Row: Row{
		Code:        core.OperationRNGSeed,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonCryptographicFailure),
	},
	Identifiers: noIdentifiers[core.RNGSeedInput, core.RNGSeedOutput](),
	request:     rngSeedRequest,
	response:    rngSeedResponse,
})

func rngSeedRequest(c *coder, in *core.RNGSeedInput) { c.bytesField(core.TagData, &in.Data, true) }

func rngSeedResponse(c *coder, out *core.RNGSeedOutput) {
	c.int32Field(core.TagDataLength, &out.Amount, true)
}
