package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// GetAttributes is KMIP 1.4 §4.12, 2.1 §6.1.20.
var GetAttributes = define(Operation[operation.GetAttributesInput, operation.GetAttributesOutput]{
	Row: Row{
		Code:        core.OperationGetAttributes,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonInvalidAttribute, core.ReasonObjectNotFound),
	},
	Identifiers: repeatsTarget[operation.GetAttributesOutput](func(in *operation.GetAttributesInput) *core.Identifier { return &in.ID }),
	request:     getAttributesRequest,
	response:    getAttributesResponse,
})

func getAttributesRequest(c *coder, in *operation.GetAttributesInput) {
	c.identifier(&in.ID)
	attributeReferences(c, &in.Names)
}

func getAttributesResponse(c *coder, out *operation.GetAttributesOutput) {
	c.uniqueIdentifier(&out.ID)
	attributeSet(c, &out.Attributes, true)
}
