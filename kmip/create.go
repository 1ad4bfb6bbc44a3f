package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Create is KMIP 1.4 §4.1, 2.1 §6.1.8.
var Create = define(Operation[operation.CreateInput, operation.CreateOutput]{
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
	Identifiers: makesObject(noTarget[operation.CreateInput],
		func(in *operation.CreateInput) core.Attributes { return in.Attributes },
		func(out *operation.CreateOutput) string { return out.ID }),
	request:  createRequest,
	response: createResponse,
})

func createRequest(c *coder, in *operation.CreateInput) {
	enumField(c, core.TagObjectType, &in.ObjectType, true)
	template(c, plainTemplate, &in.Attributes, &in.TemplateNames, true)
	protectionMasks(c, core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

func createResponse(c *coder, out *operation.CreateOutput) {
	enumField(c, core.TagObjectType, &out.ObjectType, true)
	c.uniqueIdentifier(&out.ID)
	impliedAttributes(c, &out.Attributes)
}
