package kmipd

import (
	"errors"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
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
	core.Tampered:                           {core.ReasonCryptographicFailure, core.ReasonCryptographicFailure},
}

// births and uses are operations that answer some things alike.
var (
	births = []core.Operation{core.OperationCreate, core.OperationCreateKeyPair, core.OperationRegister}
	uses   = []core.Operation{core.OperationEncrypt, core.OperationDecrypt, core.OperationSign, core.OperationSignatureVerify, core.OperationMAC, core.OperationMACVerify}
)

// exceptions are what single operations answer otherwise (KMIP 1.4 §11, 2.1 §6.1).
var exceptions = []struct {
	in     []core.Operation
	code   core.Code
	v1, v2 core.ResultReason
}{
	{births, core.AttributeReadOnly, core.ReasonInvalidField, core.ReasonAttributeReadOnly},
	{births, core.AttributeSingleValued, core.ReasonInvalidField, core.ReasonAttributeSingleValued},
	{births, core.NonUniqueNameAttribute, core.ReasonInvalidField, core.ReasonNonUniqueNameAttribute},
	{[]core.Operation{core.OperationCreateKeyPair}, core.ProtectionStorageUnavailable, core.ReasonFeatureNotSupported, core.ReasonPrivateProtectionStorageUnavailable},
	{uses, core.IllegalOperation, core.ReasonPermissionDenied, core.ReasonInvalidObjectType},
	{uses, core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonWrongKeyLifecycleState},
	{[]core.Operation{core.OperationRegister}, core.CryptographicFailure, core.ReasonCryptographicFailure, core.ReasonInvalidField},
	{[]core.Operation{core.OperationGet}, core.BadCryptographicParameters, core.ReasonItemNotFound, core.ReasonBadCryptographicParameters},
	{[]core.Operation{core.OperationAddAttribute}, core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute},
	{[]core.Operation{core.OperationAddAttribute}, core.InvalidAttribute, core.ReasonPermissionDenied, core.ReasonInvalidAttribute},
	{[]core.Operation{core.OperationSetAttribute}, core.AttributeReadOnly, core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute},
	{[]core.Operation{core.OperationModifyAttribute}, core.AttributeNotFound, core.ReasonInvalidField, core.ReasonAttributeNotFound},
	{[]core.Operation{core.OperationDestroy}, core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonObjectDestroyed},
	{[]core.Operation{core.OperationReKey}, core.InvalidObjectType, core.ReasonPermissionDenied, core.ReasonInvalidObjectType},
	{[]core.Operation{core.OperationReKey}, core.ObjectDestroyed, core.ReasonPermissionDenied, core.ReasonObjectDestroyed},
	{[]core.Operation{core.OperationReKey}, core.IllegalOperation, core.ReasonIllegalOperation, core.ReasonInvalidField},
	{[]core.Operation{core.OperationCheck}, core.IllegalOperation, core.ReasonIllegalOperation, core.ReasonIllegalObjectType},
	{[]core.Operation{core.OperationCheck}, core.UsageLimitExceeded, core.ReasonPermissionDenied, core.ReasonUsageLimitExceeded},
}

// older is what a client too old for a reason gets instead.
var older = map[core.ResultReason]core.ResultReason{
	core.ReasonSensitive: core.ReasonPermissionDenied, core.ReasonNotExtractable: core.ReasonPermissionDenied,
	core.ReasonObjectAlreadyExists: core.ReasonIllegalOperation, core.ReasonKeyValueNotPresent: core.ReasonItemNotFound,
	core.ReasonEncodingOptionError: core.ReasonFeatureNotSupported,
}

// reasonOf finds the reason for a code in an operation (0: none) and a version.
func reasonOf(op core.Operation, c core.Code, v core.Version) core.ResultReason {
	at := reasons[c]
	for i := range exceptions {
		if e := &exceptions[i]; e.code == c && slices.Contains(e.in, op) {
			at.v1, at.v2 = e.v1, e.v2
		}
	}
	r := at.v1
	if v >= core.V2_0 {
		r = asListed(op, at.v2, v)
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

// reason gives reason and message of an error in an operation. What carries no
// code says only where to look: its text stays in the log.
func (b *batch) reason(op core.Operation, err error) (core.ResultReason, string) {
	c := core.CodeOf(err)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || c == core.Internal {
		return reasonOf(op, core.Internal, b.caller.Version), "internal error; the server's log has the cause under request " + b.caller.RequestID
	}
	return reasonOf(op, c, b.caller.Version), printable(e.Detail)
}

// maxMessage bounds a Result Message, in bytes.
const maxMessage = 400

// printable keeps a message in one line of ASCII: some clients read no more.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = s[:maxMessage-3] + "..."
	}
	return s
}
