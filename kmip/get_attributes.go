package kmip

import "github.com/keyreeve/keyreeve/core"

// GetAttributes is KMIP 1.4 §4.12, 2.1 §6.1.20.
var GetAttributes = define(Operation[core.GetAttributesInput, core.GetAttributesOutput]{
	Row: Row{
		Code:        core.OperationGetAttributes,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonInvalidAttribute, core.ReasonObjectNotFound),
	},
	Identifiers: repeatsTarget[core.GetAttributesOutput](func(in *core.GetAttributesInput) *core.Identifier { return &in.ID }),
	request:     getAttributesRequest,
	response:    getAttributesResponse,
})

func getAttributesRequest(c *coder, in *core.GetAttributesInput) {
	c.identifier(&in.ID)
	attributeReferences(c, &in.Names)
}

func getAttributesResponse(c *coder, out *core.GetAttributesOutput) {
	c.uniqueIdentifier(&out.ID)
	attributeSet(c, &out.Attributes, true)
}
