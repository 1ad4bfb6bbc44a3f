package kmip

import "github.com/keyreeve/keyreeve/core"

// SetAttribute is KMIP 2.1 §6.1.51.
var SetAttribute = defineAttributeChange(
	attributeChangeRow(core.OperationSetAttribute, ChangesAndNames,
		[]core.ResultReason{core.ReasonInvalidAttributeValue, core.ReasonMultiValuedAttribute,
			core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute,
			core.ReasonWrongKeyLifecycleState},
		SpecialReason{core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}),
	func(in *core.SetAttributeInput) *core.Identifier { return &in.ID },
	func(in *core.SetAttributeInput) core.Attributes { return core.Attributes{in.Attribute} },
	setAttributeRequest)

func setAttributeRequest(c *coder, in *core.SetAttributeInput) {
	c.identifier(&in.ID)
	attribute(c, core.TagNewAttribute, &in.Attribute, true)
}
