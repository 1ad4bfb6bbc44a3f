package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// ReKeyKeyPair is KMIP 1.4 §4.5, 2.1 §6.1.47. The ID Placeholder becomes the private key.
var ReKeyKeyPair = define(Operation[operation.RekeyKeyPairInput, operation.CreateKeyPairOutput]{
	Row: Row{
		Code:        core.OperationReKeyKeyPair,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueReKeyKeyPair, EveryID}, {core.UniqueReKeyKeyPairPrivateKey, 1}, {core.UniqueReKeyKeyPairPublicKey, 2}},
		Reasons: Reasons{
			Listed: []core.ResultReason{core.ReasonCryptographicFailure, core.ReasonInvalidObjectType, core.ReasonKeyValueNotPresent,
				core.ReasonObjectNotFound, core.ReasonPrivateProtectionStorageUnavailable, core.ReasonPublicProtectionStorageUnavailable},
			Since21:  noReasons,
			Unlisted: replacementUnlisted,
			Special:  append([]SpecialReason{privateStorageSpecial}, replacementSpecials...),
		},
	},
	Identifiers: Identifiers[operation.RekeyKeyPairInput, operation.CreateKeyPairOutput]{
		Target:  func(in *operation.RekeyKeyPairInput) *core.Identifier { return &in.ID },
		Sources: noSources[operation.RekeyKeyPairInput],
		Links: func(in *operation.RekeyKeyPairInput) core.Attributes {
			return slices.Concat(in.Common, in.Private, in.Public)
		},
		AnsweredIDs: func(list []string, _ *operation.RekeyKeyPairInput, out *operation.CreateKeyPairOutput) []string {
			return append(list, out.PrivateID, out.PublicID)
		},
		NextPlaceholder: func(out *operation.CreateKeyPairOutput) string { return out.PrivateID },
	},
	request:  rekeyKeyPairRequest,
	response: createKeyPairResponse,
})

func rekeyKeyPairRequest(c *coder, in *operation.RekeyKeyPairInput) {
	identifierField(c, core.TagPrivateKeyUniqueIdentifier, &in.ID)
	numberField(c, core.TagOffset, core.KindInterval, &in.Offset)
	createKeyPairRequest(c, &in.CreateKeyPairInput)
}
