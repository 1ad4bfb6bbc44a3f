package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// ModifyAttribute is KMIP 1.4 §4.15, 2.1 §6.1.34.
var ModifyAttribute = defineAttributeChange(
	attributeChangeRow(core.OperationModifyAttribute, ChangesAndRepeats,
		[]core.ResultReason{core.ReasonAttributeInstanceNotFound, core.ReasonAttributeNotFound, core.ReasonAttributeReadOnly,
			core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
		SpecialReason{core.AttributeNotFound, core.ReasonInvalidField, core.ReasonAttributeNotFound}),
	func(in *operation.ModifyAttributeInput) *core.Identifier { return &in.ID },
	func(in *operation.ModifyAttributeInput) core.Attributes {
		return append(namedValue(in.Name, in.CurrentValue), in.New)
	},
	modifyAttributeRequest)

// modifyAttributeRequest names the instance by its index in 1.x, by its present
// value in 2.x.
func modifyAttributeRequest(c *coder, in *operation.ModifyAttributeInput) {
	c.identifier(&in.ID)
	if !c.isV1() {
		currentAttribute(c, &in.Name, &in.CurrentValue)
	}
	attribute(c, core.TagNewAttribute, &in.New, true)
	if !c.reading {
		return
	}
	if in.CurrentValue != nil && in.Name != in.New.Ref() {
		c.fail(core.Errorf(core.InvalidField, "Current Attribute and New Attribute are different attributes"))
	}
	in.Name = in.New.Ref()
	if c.isV1() {
		in.Name.Index, in.Name.Indexed = in.New.Index, true
	}
}
