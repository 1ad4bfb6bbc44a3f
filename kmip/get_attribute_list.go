package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// GetAttributeList is KMIP 1.4 §4.13, 2.1 §6.1.21.
var GetAttributeList = define(Operation[operation.GetAttributeListInput, operation.GetAttributeListOutput]{
	Row: Row{
		Code:        core.OperationGetAttributeList,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonObjectNotFound),
	},
	Identifiers: repeatsTarget[operation.GetAttributeListOutput](func(in *operation.GetAttributeListInput) *core.Identifier { return &in.ID }),
	request:     getAttributeListRequest,
	response:    getAttributeListResponse,
})

func getAttributeListRequest(c *coder, in *operation.GetAttributeListInput) { c.identifier(&in.ID) }

func getAttributeListResponse(c *coder, out *operation.GetAttributeListOutput) {
	c.uniqueIdentifier(&out.ID)
	attributeReferences(c, &out.Names)
}
