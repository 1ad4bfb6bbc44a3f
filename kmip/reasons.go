package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Reasons says what an operation may answer if it fails.
type Reasons struct {
	// Listed are the reasons that KMIP 2.1 lists for the operation besides the
	// [GeneralReasons] (§6.1, "Error Handling").
	Listed []core.ResultReason
	// Since21 are those of Listed that KMIP 2.0 does not list.
	Since21 []core.ResultReason
	// Unlisted are answered although the standard does not list them: its own test
	// cases expect them, or no listed reason is as exact. Object Archived is one of
	// them everywhere: it alone says that Recover helps.
	Unlisted []core.ResultReason
	// Special are the codes that this operation answers in another way than most.
	Special []SpecialReason
}

// SpecialReason is what an operation answers for a code, in KMIP 1.x (1.4 §11)
// and in 2.x.
type SpecialReason struct {
	Code   core.Code
	V1, V2 core.ResultReason
}

// GeneralReasons are what any operation of KMIP 2.x may answer: the reasons that
// all lists of the standard have, and those of the message and the server.
var GeneralReasons = []core.ResultReason{core.ReasonFeatureNotSupported, core.ReasonInvalidField, core.ReasonInvalidMessage, core.ReasonOperationNotSupported,
	core.ReasonPermissionDenied, core.ReasonResponseTooLarge, core.ReasonGeneralFailure, core.ReasonAuthenticationNotSuccessful}

// Lists that several operations share.
var (
	unlistedReasons = []core.ResultReason{core.ReasonObjectArchived}

	stateReasons = []core.ResultReason{core.ReasonInvalidObjectType, core.ReasonObjectNotFound, core.ReasonWrongKeyLifecycleState}
	useReasons   = append([]core.ResultReason{core.ReasonBadCryptographicParameters, core.ReasonCryptographicFailure, core.ReasonIncompatibleCryptographicUsageMask,
		core.ReasonInvalidCorrelationValue, core.ReasonKeyValueNotPresent}, stateReasons...)
	cipherReasons = append([]core.ResultReason{core.ReasonMissingInitializationVector, core.ReasonUnsupportedCryptographicParameters}, useReasons...)

	// stateForbidsChange is what 2.1 answers if the state of an object forbids the
	// change of an attribute; in 2.0 it is Permission Denied.
	stateForbidsChange = []core.ResultReason{core.ReasonWrongKeyLifecycleState}

	creationSpecials = []SpecialReason{
		{core.AttributeReadOnly, core.ReasonInvalidField, core.ReasonAttributeReadOnly},
		{core.AttributeSingleValued, core.ReasonInvalidField, core.ReasonAttributeSingleValued},
		{core.NonUniqueNameAttribute, core.ReasonInvalidField, core.ReasonNonUniqueNameAttribute},
	}
	// privateStorageSpecial is the reason that key pairs have of their own.
	privateStorageSpecial = SpecialReason{core.ProtectionStorageUnavailable, core.ReasonFeatureNotSupported, core.ReasonPrivateProtectionStorageUnavailable}

	// Of Re-key and Re-key Key Pair.
	replacementUnlisted = append([]core.ResultReason{core.ReasonObjectDestroyed}, unlistedReasons...)
	replacementSpecials = []SpecialReason{
		{core.InvalidObjectType, core.ReasonPermissionDenied, core.ReasonInvalidObjectType},
		{core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonObjectDestroyed},
		{core.IllegalOperation, core.ReasonIllegalOperation, core.ReasonInvalidField},
	}
	useSpecials = []SpecialReason{
		{core.IllegalOperation, core.ReasonPermissionDenied, core.ReasonInvalidObjectType},
		{core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonWrongKeyLifecycleState},
	}
)

// MayAnswer reports whether the operation may answer a reason in a version of
// KMIP 2.x.
func (r *Reasons) MayAnswer(reason core.ResultReason, v core.Version) bool {
	switch {
	case slices.Contains(r.Unlisted, reason):
		return true
	case v < core.V2_1 && slices.Contains(r.Since21, reason):
		return false
	}
	return slices.Contains(GeneralReasons, reason) || slices.Contains(r.Listed, reason)
}

// onlyListed returns the Reasons of an operation that answers every code as most
// operations do, with the same reasons in 2.0 and 2.1.
func onlyListed(reasons ...core.ResultReason) Reasons {
	return Reasons{Listed: append([]core.ResultReason{}, reasons...), Since21: noReasons, Unlisted: unlistedReasons, Special: noSpecialReasons}
}

func (r Reasons) withSpecial(special ...SpecialReason) Reasons {
	r.Special = special
	return r
}
