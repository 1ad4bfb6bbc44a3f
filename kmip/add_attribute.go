package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// AddAttribute is KMIP 1.4 §4.14, 2.1 §6.1.2.
var AddAttribute = defineAttributeChange(
	attributeChangeRow(core.OperationAddAttribute, ChangesAndRepeats,
		[]core.ResultReason{core.ReasonAttributeSingleValued, core.ReasonInvalidAttribute, core.ReasonNonUniqueNameAttribute,
			core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute, core.ReasonServerLimitExceeded, core.ReasonWrongKeyLifecycleState},
		SpecialReason{core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute},
		SpecialReason{core.InvalidAttribute, core.ReasonPermissionDenied, core.ReasonInvalidAttribute}),
	func(in *operation.AddAttributeInput) *core.Identifier { return &in.ID },
	func(in *operation.AddAttributeInput) core.Attributes { return core.Attributes{in.Attribute} },
	addAttributeRequest)

func addAttributeRequest(c *coder, in *operation.AddAttributeInput) {
	c.identifier(&in.ID)
	attribute(c, core.TagNewAttribute, &in.Attribute, true)
	if c.reading && in.Attribute.Index != 0 {
		c.fail(core.Errorf(core.InvalidField, "Add Attribute has an Attribute Index; leave it out: the server assigns it"))
	}
}
