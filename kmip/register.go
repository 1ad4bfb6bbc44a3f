package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Register is KMIP 1.4 §4.3, 2.1 §6.1.43.
var Register = define(Operation[operation.RegisterInput, operation.RegisterOutput]{
	Row: Row{
		Code:        core.OperationRegister,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueRegister, EveryID}},
		Reasons: onlyListed(core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonBadPassword,
			core.ReasonEncodingOptionError, core.ReasonInvalidAttribute, core.ReasonInvalidAttributeValue, core.ReasonInvalidObjectType,
			core.ReasonNonUniqueNameAttribute, core.ReasonProtectionStorageUnavailable, core.ReasonServerLimitExceeded).
			withSpecial(append([]SpecialReason{{core.CryptographicFailure, core.ReasonCryptographicFailure, core.ReasonInvalidField}}, creationSpecials...)...),
	},
	Identifiers: makesObject(noTarget[operation.RegisterInput],
		func(in *operation.RegisterInput) core.Attributes { return in.Attributes },
		func(out *operation.RegisterOutput) string { return out.ID }),
	request:  registerRequest,
	response: registerResponse,
})

func registerRequest(c *coder, in *operation.RegisterInput) {
	enumField(c, core.TagObjectType, &in.ObjectType, true)
	template(c, plainTemplate, &in.Attributes, &in.TemplateNames, true)
	managedObject(c, &in.Object)
	protectionMasks(c, core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

func registerResponse(c *coder, out *operation.RegisterOutput) {
	c.uniqueIdentifier(&out.ID)
	impliedAttributes(c, &out.Attributes)
}
