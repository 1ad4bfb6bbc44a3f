package message

import (
	"errors"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// reasons is the one table that turns codes into Result Reasons: of KMIP 1.x
// (1.4 §9.1.3.2.29) and of 2.x (2.1 §11.46). A reason younger than the client's
// version is replaced: see since.
var reasons = map[core.Code]struct{ v1, v2 core.ResultReason }{
	core.Internal:                           {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.ItemNotFound:                       {core.ReasonItemNotFound, core.ReasonObjectNotFound},
	core.ObjectDestroyed:                    {core.ReasonItemNotFound, core.ReasonObjectDestroyed},
	core.ObjectArchived:                     {core.ReasonObjectArchived, core.ReasonObjectArchived},
	core.PermissionDenied:                   {core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	core.WrongState:                         {core.ReasonPermissionDenied, core.ReasonWrongKeyLifecycleState},
	core.AuthenticationNotSuccessful:        {core.ReasonAuthenticationNotSuccessful, core.ReasonAuthenticationNotSuccessful},
	core.InvalidMessage:                     {core.ReasonInvalidMessage, core.ReasonInvalidMessage},
	core.InvalidField:                       {core.ReasonInvalidField, core.ReasonInvalidField},
	core.MissingData:                        {core.ReasonMissingData, core.ReasonMissingData},
	core.OperationNotSupported:              {core.ReasonOperationNotSupported, core.ReasonOperationNotSupported},
	core.FeatureNotSupported:                {core.ReasonFeatureNotSupported, core.ReasonFeatureNotSupported},
	core.CryptographicFailure:               {core.ReasonCryptographicFailure, core.ReasonCryptographicFailure},
	core.IllegalOperation:                   {core.ReasonIllegalOperation, core.ReasonInvalidObjectType},
	core.IndexOutOfBounds:                   {core.ReasonIndexOutOfBounds, core.ReasonServerLimitExceeded},
	core.InvalidAttribute:                   {core.ReasonInvalidField, core.ReasonInvalidAttribute},
	core.InvalidAttributeValue:              {core.ReasonInvalidField, core.ReasonInvalidAttributeValue},
	core.AttributeNotFound:                  {core.ReasonItemNotFound, core.ReasonAttributeNotFound},
	core.AttributeInstanceNotFound:          {core.ReasonItemNotFound, core.ReasonAttributeInstanceNotFound},
	core.AttributeReadOnly:                  {core.ReasonPermissionDenied, core.ReasonAttributeReadOnly},
	core.AttributeSingleValued:              {core.ReasonIllegalOperation, core.ReasonAttributeSingleValued},
	core.NonUniqueNameAttribute:             {core.ReasonIllegalOperation, core.ReasonNonUniqueNameAttribute},
	core.IncompatibleUsageMask:              {core.ReasonPermissionDenied, core.ReasonIncompatibleCryptographicUsageMask},
	core.UsageLimitExceeded:                 {core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	core.InvalidObjectType:                  {core.ReasonInvalidField, core.ReasonInvalidObjectType},
	core.BadCryptographicParameters:         {core.ReasonInvalidField, core.ReasonBadCryptographicParameters},
	core.BadPassword:                        {core.ReasonAuthenticationNotSuccessful, core.ReasonBadPassword},
	core.KeyFormatTypeNotSupported:          {core.ReasonKeyFormatTypeNotSupported, core.ReasonKeyFormatTypeNotSupported},
	core.KeyCompressionTypeNotSupported:     {core.ReasonKeyCompressionTypeNotSupported, core.ReasonKeyCompressionTypeNotSupported},
	core.KeyWrapTypeNotSupported:            {core.ReasonFeatureNotSupported, core.ReasonKeyWrapTypeNotSupported},
	core.EncodingOptionError:                {core.ReasonEncodingOptionError, core.ReasonEncodingOptionError},
	core.KeyValueNotPresent:                 {core.ReasonKeyValueNotPresent, core.ReasonKeyValueNotPresent},
	core.InvalidTicket:                      {core.ReasonAuthenticationNotSuccessful, core.ReasonInvalidTicket},
	core.WrappingObjectNotFound:             {core.ReasonItemNotFound, core.ReasonWrappingObjectNotFound},
	core.WrappingObjectArchived:             {core.ReasonObjectArchived, core.ReasonWrappingObjectArchived},
	core.WrappingObjectDestroyed:            {core.ReasonPermissionDenied, core.ReasonWrappingObjectDestroyed},
	core.WrongKeyWrappingState:              {core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	core.NotSensitive:                       {core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	core.Sensitive:                          {core.ReasonSensitive, core.ReasonSensitive},
	core.NotExtractable:                     {core.ReasonNotExtractable, core.ReasonNotExtractable},
	core.ObjectAlreadyExists:                {core.ReasonObjectAlreadyExists, core.ReasonObjectAlreadyExists},
	core.ResponseTooLarge:                   {core.ReasonResponseTooLarge, core.ReasonResponseTooLarge},
	core.UnsupportedByHSM:                   {core.ReasonFeatureNotSupported, core.ReasonUnsupportedCryptographicParameters},
	core.GeneralFailure:                     {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.TokenUnavailable:                   {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.StoreUnavailable:                   {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.AuditUnavailable:                   {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.PolicyUnavailable:                  {core.ReasonGeneralFailure, core.ReasonGeneralFailure}, // clients do not try again after Permission Denied
	core.Conflict:                           {core.ReasonGeneralFailure, core.ReasonGeneralFailure},
	core.InvalidCorrelationValue:            {core.ReasonItemNotFound, core.ReasonInvalidCorrelationValue},
	core.UnknownMessageExtension:            {core.ReasonFeatureNotSupported, core.ReasonUnknownMessageExtension},
	core.MultiValuedAttribute:               {core.ReasonIllegalOperation, core.ReasonMultiValuedAttribute},
	core.NamespaceNotSupported:              {core.ReasonApplicationNamespaceNotSupported, core.ReasonApplicationNamespaceNotSupported},
	core.ProtectionStorageUnavailable:       {core.ReasonFeatureNotSupported, core.ReasonProtectionStorageUnavailable},
	core.PublicProtectionStorageUnavailable: {core.ReasonFeatureNotSupported, core.ReasonPublicProtectionStorageUnavailable},
	core.Busy:                               {core.ReasonGeneralFailure, core.ReasonServerLimitExceeded},
	core.QuotaExceeded:                      {core.ReasonGeneralFailure, core.ReasonServerLimitExceeded},
	core.TooManyRequests:                    {core.ReasonGeneralFailure, core.ReasonServerLimitExceeded},
	core.ApprovalNeeded:                     {core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	core.Tampered:                           {core.ReasonCryptographicFailure, core.ReasonCryptographicFailure},
}

// broader maps a reason that an operation of KMIP 2.x does not list to the one that
// is answered instead. Every chain ends with a general reason.
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

// older maps a reason to the one for clients that are too old for it.
var older = map[core.ResultReason]core.ResultReason{
	core.ReasonSensitive: core.ReasonPermissionDenied, core.ReasonNotExtractable: core.ReasonPermissionDenied,
	core.ReasonObjectAlreadyExists: core.ReasonIllegalOperation, core.ReasonKeyValueNotPresent: core.ReasonItemNotFound,
	core.ReasonEncodingOptionError: core.ReasonFeatureNotSupported,
}

// reasonOf returns the Result Reason of a code in an operation (0: none) and a version.
func reasonOf(op core.Operation, c core.Code, v core.Version) core.ResultReason {
	at := reasons[c]
	if row := kmip.RowOf(op); row != nil {
		for _, s := range row.Reasons.Special {
			if s.Code == c {
				at.v1, at.v2 = s.V1, s.V2
			}
		}
	}
	r := at.v1
	if v >= core.V2_0 {
		r = listedReason(op, at.v2, v)
	}
	row := core.TagResultReason.Info().Enum.Lookup(uint32(r))
	if row != nil && v.Within(row.Since, row.Until) {
		return r
	}
	if o, ok := older[r]; ok {
		return o
	}
	return core.ReasonGeneralFailure
}

// listedReason returns r, or the nearest broader reason that the operation lists. A
// whole message and an unknown operation have no list.
func listedReason(op core.Operation, r core.ResultReason, v core.Version) core.ResultReason {
	row := kmip.RowOf(op)
	if row == nil {
		return r
	}
	for !row.Reasons.MayAnswer(r, v) {
		next, ok := broader[r]
		if !ok {
			return core.ReasonGeneralFailure
		}
		r = next
	}
	return r
}

// reasonAndText returns the Result Reason and the Result Message of an error in an
// operation. The text of an error without a code stays in the log.
func (b *batch) reasonAndText(op core.Operation, err error) (core.ResultReason, string) {
	c := core.CodeOf(err)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || c == core.Internal {
		return reasonOf(op, core.Internal, b.caller.Version), "internal error; the server's log has the cause under request " + b.caller.RequestID
	}
	return reasonOf(op, c, b.caller.Version), printable(e.Detail)
}

// maxMessage bounds a Result Message, in bytes.
const maxMessage = 400

// printable bounds a Result Message. It is one line of ASCII: some clients read nothing else.
func printable(s string) string { return core.Printable(s, maxMessage) }
