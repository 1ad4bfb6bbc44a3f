package kmip

import "github.com/keyreeve/keyreeve/core"

// SetAttribute is KMIP 2.1 §6.1.51.
var SetAttribute = define(Operation[core.SetAttributeInput, core.AttributeOutput]{
	Row: Row{
		Code:        core.OperationSetAttribute,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed: []core.ResultReason{core.ReasonInvalidAttributeValue, core.ReasonMultiValuedAttribute,
				core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute,
				core.ReasonWrongKeyLifecycleState},
			Since21:  stateForbidsChange,
			Unlisted: noReasons,
			Special:  []SpecialReason{{core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}},
		},
	},
	request:  setAttributeRequest,
	response: attributeResponse,
	Target:   func(in *core.SetAttributeInput) *core.Identifier { return &in.ID },
	Links:    func(in *core.SetAttributeInput) core.Attributes { return core.Attributes{in.Attribute} },
	AnsweredIDs: func(list []string, in *core.SetAttributeInput, _ *core.AttributeOutput) []string {
		return append(list, in.ID.Text)
	},
	NextPlaceholder: noPlaceholder[core.AttributeOutput],
})

func setAttributeRequest(c *coder, in *core.SetAttributeInput) {
	c.identifier(&in.ID)
	attribute(c, core.TagNewAttribute, &in.Attribute, true)
}
