package kmip

import "github.com/keyreeve/keyreeve/core"

// SetAttribute is KMIP 2.1 §6.1.51.
var SetAttribute = define(Operation[core.SetAttributeInput, core.AttributeOutput]{
	Row: attributeChangeRow(core.OperationSetAttribute, ChangesAndNames,
		[]core.ResultReason{core.ReasonInvalidAttributeValue, core.ReasonMultiValuedAttribute,
			core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute,
			core.ReasonWrongKeyLifecycleState},
		SpecialReason{core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}),
	Identifiers: repeatsTarget[core.AttributeOutput](func(in *core.SetAttributeInput) *core.Identifier { return &in.ID }).
		withLinks(func(in *core.SetAttributeInput) core.Attributes { return core.Attributes{in.Attribute} }),
	request:  setAttributeRequest,
	response: attributeResponse,
})

func setAttributeRequest(c *coder, in *core.SetAttributeInput) {
	c.identifier(&in.ID)
	attribute(c, core.TagNewAttribute, &in.Attribute, true)
}
