package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// CreateKeyPair is KMIP 1.4 §4.2, 2.1 §6.1.9.
// The ID Placeholder becomes the private key.
var CreateKeyPair = define(Operation[operation.CreateKeyPairInput, operation.CreateKeyPairOutput]{
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
			withSpecial(append([]SpecialReason{privateStorageSpecial}, creationSpecials...)...),
	},
	Identifiers: Identifiers[operation.CreateKeyPairInput, operation.CreateKeyPairOutput]{
		Target:  noTarget[operation.CreateKeyPairInput],
		Sources: noSources[operation.CreateKeyPairInput],
		Links: func(in *operation.CreateKeyPairInput) core.Attributes {
			return slices.Concat(in.Common, in.Private, in.Public)
		},
		AnsweredIDs: func(list []string, _ *operation.CreateKeyPairInput, out *operation.CreateKeyPairOutput) []string {
			return append(list, out.PrivateID, out.PublicID)
		},
		NextPlaceholder: func(out *operation.CreateKeyPairOutput) string { return out.PrivateID },
	},
	request:  createKeyPairRequest,
	response: createKeyPairResponse,
})

func createKeyPairRequest(c *coder, in *operation.CreateKeyPairInput) {
	template(c, commonTemplate, &in.Common, &in.CommonTemplates, false)
	template(c, privateTemplate, &in.Private, &in.PrivateTemplates, false)
	template(c, publicTemplate, &in.Public, &in.PublicTemplates, false)
	protectionMasks(c, core.TagCommonProtectionStorageMasks, &in.CommonProtection)
	protectionMasks(c, core.TagPrivateProtectionStorageMasks, &in.PrivateProtection)
	protectionMasks(c, core.TagPublicProtectionStorageMasks, &in.PublicProtection)
}

func createKeyPairResponse(c *coder, out *operation.CreateKeyPairOutput) {
	c.textField(core.TagPrivateKeyUniqueIdentifier, &out.PrivateID, true)
	c.textField(core.TagPublicKeyUniqueIdentifier, &out.PublicID, true)
}
