package kmip

import "github.com/keyreeve/keyreeve/core"

// GetAttributeList is KMIP 1.4 §4.13, 2.1 §6.1.21.
var GetAttributeList = define(Operation[core.GetAttributeListInput, core.GetAttributeListOutput]{
	Row: Row{
		Code:        core.OperationGetAttributeList,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(core.ReasonObjectNotFound),
	},
	Identifiers: repeatsTarget[core.GetAttributeListOutput](func(in *core.GetAttributeListInput) *core.Identifier { return &in.ID }),
	request:     getAttributeListRequest,
	response:    getAttributeListResponse,
})

func getAttributeListRequest(c *coder, in *core.GetAttributeListInput) { c.identifier(&in.ID) }

func getAttributeListResponse(c *coder, out *core.GetAttributeListOutput) {
	c.uniqueIdentifier(&out.ID)
	attributeReferences(c, &out.Names)
}
