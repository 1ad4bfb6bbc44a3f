package kmip

import "github.com/keyreeve/keyreeve/core"

// Create is KMIP 1.4 §4.1, 2.1 §6.1.8.
var Create = define(Operation[core.CreateInput, core.CreateOutput]{
	Row: Row{
		Code:        core.OperationCreate,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueCreate, EveryID}},
		Reasons: onlyListed(core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonCryptographicFailure,
			core.ReasonInvalidAttribute, core.ReasonInvalidAttributeValue, core.ReasonInvalidObjectType,
			core.ReasonNonUniqueNameAttribute, core.ReasonProtectionStorageUnavailable, core.ReasonReadOnlyAttribute,
			core.ReasonServerLimitExceeded, core.ReasonUnsupportedAttribute).withSpecial(creationSpecials...),
	},
	Identifiers: makesObject(noTarget[core.CreateInput],
		func(in *core.CreateInput) core.Attributes { return in.Attributes },
		func(out *core.CreateOutput) string { return out.ID }),
	request:  createRequest,
	response: createResponse,
})

func createRequest(c *coder, in *core.CreateInput) {
	enumField(c, core.TagObjectType, &in.ObjectType, true)
	template(c, plainTemplate, &in.Attributes, &in.TemplateNames, true)
	protectionMasks(c, core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

func createResponse(c *coder, out *core.CreateOutput) {
	enumField(c, core.TagObjectType, &out.ObjectType, true)
	c.uniqueIdentifier(&out.ID)
	impliedAttributes(c, &out.Attributes)
}
