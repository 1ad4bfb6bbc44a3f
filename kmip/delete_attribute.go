package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// DeleteAttribute is KMIP 1.4 §4.16, 2.1 §6.1.13.
var DeleteAttribute = defineAttributeChange(
	attributeChangeRow(core.OperationDeleteAttribute, ChangesAndShows,
		[]core.ResultReason{core.ReasonAttributeInstanceNotFound, core.ReasonAttributeNotFound, core.ReasonAttributeReadOnly,
			core.ReasonInvalidAttribute, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState}),
	func(in *operation.DeleteAttributeInput) *core.Identifier { return &in.ID },
	func(in *operation.DeleteAttributeInput) core.Attributes {
		return namedValue(in.Name, in.CurrentValue)
	},
	deleteAttributeRequest)

func deleteAttributeRequest(c *coder, in *operation.DeleteAttributeInput) {
	c.identifier(&in.ID)
	if c.isV1() {
		attributeReference(c, &in.Name, true)
		index := int32(in.Name.Index)
		c.int32Field(core.TagAttributeIndex, &index, false)
		if c.reading {
			in.Name.Index, in.Name.Indexed = int(index), true
		}
		return
	}
	currentAttribute(c, &in.Name, &in.CurrentValue)
	current := in.Name
	if (c.reading || in.CurrentValue == nil) && !attributeReference(c, &in.Name, false) && in.CurrentValue == nil {
		c.fail(core.Errorf(core.InvalidMessage, "Delete Attribute names no attribute"))
	}
	if c.reading && in.CurrentValue != nil && in.Name != current {
		c.fail(core.Errorf(core.InvalidField, "Current Attribute and Attribute Reference are different attributes"))
	}
}
