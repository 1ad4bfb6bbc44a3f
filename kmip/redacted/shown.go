package redacted

import "github.com/keyreeve/keyreeve/core"

// shownNumbers are the tags whose numbers, enumerations, Booleans and dates are shown. What is
// not in this list, or in shownTexts, is hidden.
var shownNumbers = setOf(
	// of the message
	core.TagProtocolVersionMajor, core.TagProtocolVersionMinor, core.TagBatchCount, core.TagBatchErrorContinuationOption, core.TagBatchOrderOption, core.TagMaximumResponseSize,
	core.TagTimeStamp, core.TagAsynchronousIndicator, core.TagOperation, core.TagCredentialType, core.TagAttestationType, core.TagAttestationCapableIndicator, core.TagCriticalityIndicator,

	// of objects and attributes
	core.TagObjectType, core.TagNameType, core.TagUniqueIdentifier, core.TagAttributeIndex, core.TagAttributeReference, core.TagState, core.TagCryptographicAlgorithm, core.TagCryptographicLength,
	core.TagCryptographicUsageMask, core.TagCertificateType, core.TagSecretDataType, core.TagOpaqueDataType, core.TagLinkType, core.TagObjectGroupMember, core.TagStorageStatusMask, core.TagProtectionStorageMask,
	core.TagActivationDate, core.TagDeactivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagInitialDate, core.TagDestroyDate, core.TagArchiveDate, core.TagLastChangeDate, core.TagOriginalCreationDate,
	core.TagCompromiseDate, core.TagCompromiseOccurrenceDate, core.TagRevocationReasonCode, core.TagLeaseTime, core.TagOffset, core.TagSensitive, core.TagAlwaysSensitive, core.TagExtractable, core.TagNeverExtractable, core.TagFresh,
	core.TagUsageLimitsCount, core.TagUsageLimitsTotal, core.TagUsageLimitsUnit, core.TagKeyValuePresent, core.TagQuantumSafe, core.TagShortUniqueIdentifier,

	// of keys
	core.TagKeyFormatType, core.TagKeyCompressionType, core.TagKeyWrapType, core.TagWrappingMethod, core.TagEncodingOption, core.TagSplitKeyMethod, core.TagSplitKeyParts, core.TagSplitKeyThreshold, core.TagKeyPartIdentifier,

	// of cryptography
	core.TagBlockCipherMode, core.TagPaddingMethod, core.TagHashingAlgorithm, core.TagKeyRoleType, core.TagDigitalSignatureAlgorithm, core.TagRandomIV, core.TagIVLength, core.TagTagLength, core.TagFixedFieldLength,
	core.TagInvocationFieldLength, core.TagCounterLength, core.TagMaskGenerator, core.TagMaskGeneratorHashingAlgorithm, core.TagTrailerField, core.TagRecommendedCurve, core.TagQlength, core.TagDerivationMethod,
	core.TagIterationCount, core.TagInitIndicator, core.TagFinalIndicator, core.TagDataLength, core.TagValidityIndicator,

	// of questions
	core.TagMaximumItems, core.TagOffsetItems, core.TagQueryFunction, core.TagCancellationResult, core.TagPutFunction,
)

// shownTexts are the tags whose texts are shown, up to maxText bytes. An Attribute Name has a
// rule of its own.
var shownTexts = setOf(
	core.TagUniqueIdentifier, core.TagPrivateKeyUniqueIdentifier, core.TagPublicKeyUniqueIdentifier, core.TagLinkedObjectIdentifier, core.TagNameValue, core.TagObjectGroup, core.TagOperationPolicyName,
	core.TagApplicationNamespace, core.TagVendorIdentification,
)

// closedStructures are not looked into: what is in them is a secret, or of a form that only the
// client knows.
var closedStructures = setOf(core.TagKeyMaterial, core.TagCredentialValue, core.TagVendorExtension)

func setOf(tags ...core.Tag) core.TagSet {
	s := make(core.TagSet, len(tags))
	for _, t := range tags {
		s[t] = true
	}
	return s
}
