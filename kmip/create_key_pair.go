package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// CreateKeyPair is KMIP 1.4 §4.2, 2.1 §6.1.9.
// The ID Placeholder becomes the private key.
var CreateKeyPair = define(Operation[core.CreateKeyPairInput, core.CreateKeyPairOutput]{
	Row: Row{
		Code:        core.OperationCreateKeyPair,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueCreateKeyPair, EveryID}, {core.UniqueCreateKeyPairPrivateKey, 1}, {core.UniqueCreateKeyPairPublicKey, 2}},
		Reasons: onlyListed(core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonCryptographicFailure,
			core.ReasonInvalidAttribute, core.ReasonInvalidAttributeValue, core.ReasonNonUniqueNameAttribute,
			core.ReasonPrivateProtectionStorageUnavailable, core.ReasonPublicProtectionStorageUnavailable,
			core.ReasonServerLimitExceeded).
			withSpecial(append([]SpecialReason{{core.ProtectionStorageUnavailable, core.ReasonFeatureNotSupported, core.ReasonPrivateProtectionStorageUnavailable}}, creationSpecials...)...),
	},
	Identifiers: Identifiers[core.CreateKeyPairInput, core.CreateKeyPairOutput]{
		Target: noTarget[core.CreateKeyPairInput],
		Links: func(in *core.CreateKeyPairInput) core.Attributes {
			return slices.Concat(in.Common, in.Private, in.Public)
		},
		AnsweredIDs: func(list []string, _ *core.CreateKeyPairInput, out *core.CreateKeyPairOutput) []string {
			return append(list, out.PrivateID, out.PublicID)
		},
		NextPlaceholder: func(out *core.CreateKeyPairOutput) string { return out.PrivateID },
	},
	request:  createKeyPairRequest,
	response: createKeyPairResponse,
})

func createKeyPairRequest(c *coder, in *core.CreateKeyPairInput) {
	template(c, commonTemplate, &in.Common, &in.CommonTemplates, false)
	template(c, privateTemplate, &in.Private, &in.PrivateTemplates, false)
	template(c, publicTemplate, &in.Public, &in.PublicTemplates, false)
	protectionMasks(c, core.TagCommonProtectionStorageMasks, &in.CommonProtection)
	protectionMasks(c, core.TagPrivateProtectionStorageMasks, &in.PrivateProtection)
	protectionMasks(c, core.TagPublicProtectionStorageMasks, &in.PublicProtection)
}

func createKeyPairResponse(c *coder, out *core.CreateKeyPairOutput) {
	c.textField(core.TagPrivateKeyUniqueIdentifier, &out.PrivateID, true)
	c.textField(core.TagPublicKeyUniqueIdentifier, &out.PublicID, true)
}
