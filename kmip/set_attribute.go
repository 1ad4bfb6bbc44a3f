package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// SetAttribute is KMIP 2.1 §6.1.51.
var SetAttribute = defineAttributeChange(
	attributeChangeRow(core.OperationSetAttribute, ChangesAndNames,
		[]core.ResultReason{core.ReasonInvalidAttributeValue, core.ReasonMultiValuedAttribute,
			core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute,
			core.ReasonWrongKeyLifecycleState},
		SpecialReason{core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}),
	func(in *operation.SetAttributeInput) *core.Identifier { return &in.ID },
	func(in *operation.SetAttributeInput) core.Attributes { return core.Attributes{in.Attribute} },
	setAttributeRequest)

func setAttributeRequest(c *coder, in *operation.SetAttributeInput) {
	c.identifier(&in.ID)
	attribute(c, core.TagNewAttribute, &in.Attribute, true)
}
