package kmip

import "github.com/keyreeve/keyreeve/core"

// ModifyAttribute is KMIP 1.4 §4.15, 2.1 §6.1.34.
var ModifyAttribute = define(Operation[core.ModifyAttributeInput, core.AttributeOutput]{
	Row: Row{
		Code:        core.OperationModifyAttribute,
		Change:      ChangesAndRepeats,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed: []core.ResultReason{core.ReasonAttributeInstanceNotFound, core.ReasonAttributeNotFound, core.ReasonAttributeReadOnly,
				core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
			Since21:  stateForbidsChange,
			Unlisted: noReasons,
			Special:  []SpecialReason{{core.AttributeNotFound, core.ReasonInvalidField, core.ReasonAttributeNotFound}},
		},
	},
	request:  modifyAttributeRequest,
	response: attributeResponse,
	Target:   func(in *core.ModifyAttributeInput) *core.Identifier { return &in.ID },
	Links: func(in *core.ModifyAttributeInput) core.Attributes {
		return append(currentAttribute(in.Name, in.CurrentValue), in.New)
	},
	AnsweredIDs: func(list []string, in *core.ModifyAttributeInput, _ *core.AttributeOutput) []string {
		return append(list, in.ID.Text)
	},
	NextPlaceholder: noPlaceholder[core.AttributeOutput],
})

// modifyAttributeRequest names the instance by index in 1.x, by its present
// value in 2.x.
func modifyAttributeRequest(c *coder, in *core.ModifyAttributeInput) {
	c.identifier(&in.ID)
	if c.isV1() {
		c.modifyAttributeV1(in)
		return
	}
	var current core.Attribute
	if in.CurrentValue != nil {
		current = currentAttribute(in.Name, in.CurrentValue)[0]
	}
	if (c.reading || in.CurrentValue != nil) && c.attribute(core.TagCurrentAttribute, &current, false) && c.reading {
		in.CurrentValue = &current.Value
	}
	c.attribute(core.TagNewAttribute, &in.New, true)
	if c.reading {
		in.Name = in.New.Ref()
		if in.CurrentValue != nil && current.Ref() != in.Name {
			c.fail(core.Errorf(core.InvalidField, "Current Attribute and New Attribute are different attributes"))
		}
	}
}

func (c *coder) modifyAttributeV1(in *core.ModifyAttributeInput) {
	if !c.reading {
		c.writeAttributeV1(&in.New)
		return
	}
	if it, ok := c.takeField(core.TagAttribute, core.KindStructure, true); ok {
		c.readAttributeV1(it, &in.New, nil)
		in.Name = in.New.Ref()
		in.Name.Index, in.Name.Indexed = in.New.Index, true
	}
}
