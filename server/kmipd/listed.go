package kmipd

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// general are the reasons that any operation of KMIP 2.x may answer: those that all
// lists of the standard have, and those of the message and the server as a whole.
var general = []core.ResultReason{core.ReasonFeatureNotSupported, core.ReasonInvalidField, core.ReasonInvalidMessage, core.ReasonOperationNotSupported,
	core.ReasonPermissionDenied, core.ReasonResponseTooLarge, core.ReasonGeneralFailure, core.ReasonAuthenticationNotSuccessful}

// Lists that several operations share.
var (
	ofStates = []core.ResultReason{core.ReasonInvalidObjectType, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState}
	ofUses   = append([]core.ResultReason{core.ReasonBadCryptographicParameters, core.ReasonCryptographicFailure, core.ReasonIncompatibleCryptographicUsageMask,
		core.ReasonInvalidCorrelationValue, core.ReasonKeyValueNotPresent}, ofStates...)
	ofCiphers = append([]core.ResultReason{core.ReasonMissingInitializationVector, core.ReasonUnsupportedCryptographicParameters}, ofUses...)
)

// listed are the reasons that the standard lists for an operation of KMIP 2.x
// beside the general ones (2.1 §6.1, "Error Handling").
var listed = map[core.Operation][]core.ResultReason{
	core.OperationDiscoverVersions: {},
	core.OperationQuery:            {core.ReasonUnknownObjectGroup},
	core.OperationCreate: {core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonCryptographicFailure, core.ReasonInvalidAttribute,
		core.ReasonInvalidAttributeValue, core.ReasonInvalidObjectType, core.ReasonNonUniqueNameAttribute, core.ReasonProtectionStorageUnavailable,
		core.ReasonReadOnlyAttribute, core.ReasonServerLimitExceeded, core.ReasonUnsupportedAttribute},
	core.OperationCreateKeyPair: {core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonCryptographicFailure, core.ReasonInvalidAttribute,
		core.ReasonInvalidAttributeValue, core.ReasonNonUniqueNameAttribute, core.ReasonPrivateProtectionStorageUnavailable,
		core.ReasonPublicProtectionStorageUnavailable, core.ReasonServerLimitExceeded},
	core.OperationRegister: {core.ReasonAttributeReadOnly, core.ReasonAttributeSingleValued, core.ReasonBadPassword, core.ReasonEncodingOptionError,
		core.ReasonInvalidAttribute, core.ReasonInvalidAttributeValue, core.ReasonInvalidObjectType, core.ReasonNonUniqueNameAttribute,
		core.ReasonProtectionStorageUnavailable, core.ReasonServerLimitExceeded},
	core.OperationReKey: {core.ReasonCryptographicFailure, core.ReasonInvalidObjectType, core.ReasonKeyValueNotPresent, core.ReasonObjectNotFound,
		core.ReasonProtectionStorageUnavailable},
	core.OperationLocate: {core.ReasonInvalidAttribute},
	core.OperationCheck: {core.ReasonIllegalObjectType, core.ReasonIncompatibleCryptographicUsageMask, core.ReasonObjectNotFound,
		core.ReasonUsageLimitExceeded},
	core.OperationGet: {core.ReasonBadCryptographicParameters, core.ReasonEncodingOptionError, core.ReasonIncompatibleCryptographicUsageMask,
		core.ReasonInvalidObjectType, core.ReasonKeyCompressionTypeNotSupported, core.ReasonKeyFormatTypeNotSupported, core.ReasonKeyValueNotPresent,
		core.ReasonKeyWrapTypeNotSupported, core.ReasonNotExtractable, core.ReasonObjectNotFound, core.ReasonSensitive,
		core.ReasonWrappingObjectArchived, core.ReasonWrappingObjectDestroyed, core.ReasonWrappingObjectNotFound},
	core.OperationGetAttributes:    {core.ReasonInvalidAttribute, core.ReasonObjectNotFound},
	core.OperationGetAttributeList: {core.ReasonObjectNotFound},
	core.OperationAddAttribute: {core.ReasonAttributeSingleValued, core.ReasonInvalidAttribute, core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound,
		core.ReasonReadOnlyAttribute, core.ReasonServerLimitExceeded, core.ReasonWrongKeyLifecycleState},
	core.OperationModifyAttribute: {core.ReasonAttributeInstanceNotFound, core.ReasonAttributeNotFound, core.ReasonAttributeReadOnly,
		core.ReasonNonUniqueNameAttribute, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
	core.OperationSetAttribute: {core.ReasonInvalidAttributeValue, core.ReasonMultiValuedAttribute, core.ReasonNonUniqueNameAttribute,
		core.ReasonObjectNotFound, core.ReasonReadOnlyAttribute, core.ReasonWrongKeyLifecycleState},
	core.OperationDeleteAttribute: {core.ReasonAttributeInstanceNotFound, core.ReasonAttributeNotFound, core.ReasonAttributeReadOnly,
		core.ReasonInvalidAttribute, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
	core.OperationActivate:        ofStates,
	core.OperationRevoke:          ofStates,
	core.OperationDestroy:         {core.ReasonObjectDestroyed, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState},
	core.OperationEncrypt:         append([]core.ResultReason{core.ReasonUsageLimitExceeded}, ofCiphers...),
	core.OperationDecrypt:         ofCiphers,
	core.OperationSign:            append([]core.ResultReason{core.ReasonUnsupportedCryptographicParameters, core.ReasonUsageLimitExceeded}, ofUses...),
	core.OperationSignatureVerify: append([]core.ResultReason{core.ReasonUnsupportedCryptographicParameters}, ofUses...),
	core.OperationMAC:             append([]core.ResultReason{core.ReasonUsageLimitExceeded}, ofUses...),
	core.OperationMACVerify:       ofUses,
	core.OperationHash:            {core.ReasonCryptographicFailure, core.ReasonInvalidCorrelationValue},
	core.OperationRNGRetrieve:     {core.ReasonCryptographicFailure},
	core.OperationRNGSeed:         {core.ReasonCryptographicFailure},
}

// since21 are what KMIP 2.1 lists and 2.0 does not: in 2.0 a state forbids an
// attribute's change by Permission Denied.
var since21 = []struct {
	op     core.Operation
	reason core.ResultReason
}{
	{core.OperationAddAttribute, core.ReasonWrongKeyLifecycleState}, {core.OperationModifyAttribute, core.ReasonWrongKeyLifecycleState},
	{core.OperationSetAttribute, core.ReasonWrongKeyLifecycleState}, {core.OperationDeleteAttribute, core.ReasonWrongKeyLifecycleState},
	{core.OperationQuery, core.ReasonUnknownObjectGroup},
}

// unlisted are what operations answer although the standard does not list it there:
// its own test cases want it (BL-M-8 of 2.1), or no listed reason says as much.
var unlisted = []struct {
	op     core.Operation
	reason core.ResultReason
}{
	{core.OperationGet, core.ReasonObjectDestroyed}, {core.OperationReKey, core.ReasonObjectDestroyed},
}

// broader is what is answered instead of a reason that an operation of KMIP 2.x
// does not list. A chain of them ends with a general one.
var broader = map[core.ResultReason]core.ResultReason{
	core.ReasonApplicationNamespaceNotSupported:    core.ReasonInvalidAttributeValue,
	core.ReasonAttributeInstanceNotFound:           core.ReasonAttributeNotFound,
	core.ReasonAttributeNotFound:                   core.ReasonInvalidField,
	core.ReasonAttributeReadOnly:                   core.ReasonReadOnlyAttribute,
	core.ReasonAttributeSingleValued:               core.ReasonInvalidField,
	core.ReasonBadCryptographicParameters:          core.ReasonInvalidField,
	core.ReasonBadPassword:                         core.ReasonAuthenticationNotSuccessful,
	core.ReasonCryptographicFailure:                core.ReasonGeneralFailure,
	core.ReasonEncodingOptionError:                 core.ReasonFeatureNotSupported,
	core.ReasonIllegalObjectType:                   core.ReasonInvalidObjectType,
	core.ReasonIncompatibleCryptographicUsageMask:  core.ReasonPermissionDenied,
	core.ReasonInvalidAttribute:                    core.ReasonInvalidField,
	core.ReasonInvalidAttributeValue:               core.ReasonInvalidField,
	core.ReasonInvalidCorrelationValue:             core.ReasonInvalidField,
	core.ReasonInvalidObjectType:                   core.ReasonInvalidField,
	core.ReasonInvalidTicket:                       core.ReasonAuthenticationNotSuccessful,
	core.ReasonKeyCompressionTypeNotSupported:      core.ReasonFeatureNotSupported,
	core.ReasonKeyFormatTypeNotSupported:           core.ReasonFeatureNotSupported,
	core.ReasonKeyValueNotPresent:                  core.ReasonInvalidField,
	core.ReasonKeyWrapTypeNotSupported:             core.ReasonFeatureNotSupported,
	core.ReasonMissingData:                         core.ReasonInvalidMessage,
	core.ReasonMultiValuedAttribute:                core.ReasonInvalidField,
	core.ReasonNonUniqueNameAttribute:              core.ReasonInvalidField,
	core.ReasonNotExtractable:                      core.ReasonPermissionDenied,
	core.ReasonObjectAlreadyExists:                 core.ReasonInvalidField,
	core.ReasonObjectArchived:                      core.ReasonPermissionDenied,
	core.ReasonObjectDestroyed:                     core.ReasonWrongKeyLifecycleState,
	core.ReasonObjectNotFound:                      core.ReasonInvalidField,
	core.ReasonPrivateProtectionStorageUnavailable: core.ReasonProtectionStorageUnavailable,
	core.ReasonProtectionStorageUnavailable:        core.ReasonFeatureNotSupported,
	core.ReasonPublicProtectionStorageUnavailable:  core.ReasonProtectionStorageUnavailable,
	core.ReasonReadOnlyAttribute:                   core.ReasonPermissionDenied,
	core.ReasonSensitive:                           core.ReasonPermissionDenied,
	core.ReasonServerLimitExceeded:                 core.ReasonInvalidField,
	core.ReasonUnknownMessageExtension:             core.ReasonFeatureNotSupported,
	core.ReasonUnsupportedCryptographicParameters:  core.ReasonFeatureNotSupported,
	core.ReasonUsageLimitExceeded:                  core.ReasonPermissionDenied,
	core.ReasonWrappingObjectArchived:              core.ReasonObjectArchived,
	core.ReasonWrappingObjectDestroyed:             core.ReasonPermissionDenied,
	core.ReasonWrappingObjectNotFound:              core.ReasonObjectNotFound,
	core.ReasonWrongKeyLifecycleState:              core.ReasonPermissionDenied,
}

// answers reports whether an operation of a version of KMIP 2.x may answer a reason.
func answers(op core.Operation, r core.ResultReason, v core.Version) bool {
	for _, u := range unlisted {
		if u.op == op && u.reason == r {
			return true
		}
	}
	for _, s := range since21 {
		if s.op == op && s.reason == r && v < core.V2_1 {
			return false
		}
	}
	return slices.Contains(general, r) || slices.Contains(listed[op], r)
}

// asListed is r, or the nearest broader reason that the operation lists. A whole
// message and an operation that is not known here have no list.
func asListed(op core.Operation, r core.ResultReason, v core.Version) core.ResultReason {
	if _, known := listed[op]; !known {
		return r
	}
	for !answers(op, r, v) {
		next, ok := broader[r]
		if !ok {
			return core.ReasonGeneralFailure
		}
		r = next
	}
	return r
}
