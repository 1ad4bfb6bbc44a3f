package core

import "slices"

// codeNames are the names in records and problem documents.
var codeNames = [numCodes]string{"Internal", "ItemNotFound", "ObjectDestroyed", "ObjectArchived", "PermissionDenied", "WrongState",
	"AuthenticationNotSuccessful", "InvalidMessage", "InvalidField", "MissingData", "OperationNotSupported", "FeatureNotSupported",
	"CryptographicFailure", "IllegalOperation", "IndexOutOfBounds", "InvalidAttribute", "InvalidAttributeValue", "AttributeNotFound",
	"AttributeInstanceNotFound", "AttributeReadOnly", "AttributeSingleValued", "NonUniqueNameAttribute", "IncompatibleUsageMask",
	"UsageLimitExceeded", "InvalidObjectType", "BadCryptographicParameters", "BadPassword", "KeyFormatTypeNotSupported",
	"KeyCompressionTypeNotSupported", "KeyWrapTypeNotSupported", "EncodingOptionError", "KeyValueNotPresent", "InvalidTicket",
	"WrappingObjectNotFound", "WrappingObjectArchived", "WrappingObjectDestroyed", "WrongKeyWrappingState", "NotSensitive", "Sensitive",
	"NotExtractable", "ObjectAlreadyExists", "ResponseTooLarge", "UnsupportedByHSM", "GeneralFailure", "TokenUnavailable",
	"StoreUnavailable", "AuditUnavailable", "PolicyUnavailable", "Conflict", "Busy",
	"InvalidCorrelationValue", "UnknownMessageExtension", "MultiValuedAttribute", "ProtectionStorageUnavailable",
	"PublicProtectionStorageUnavailable", "NamespaceNotSupported", "Tampered", "QuotaExceeded", "TooManyRequests", "ApprovalNeeded"}

// CodeByName finds a code by its name in records. No name is [Internal].
func CodeByName(name string) (Code, bool) {
	i := max(slices.Index(codeNames[:], name), 0)
	return Code(i), codeNames[i] == name || name == ""
}

func (c Code) String() string { return codeNames[c] }
