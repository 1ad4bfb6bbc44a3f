package core

import (
	"errors"
	"fmt"
)

// Code says what went wrong, for programs. Each door has one table that turns codes
// into its own answers (KMIP Result Reason by version; problem+json).
type Code uint8

// The codes. Internal is also the code of every error without a code.
const (
	Internal Code = iota
	ItemNotFound
	ObjectDestroyed
	ObjectArchived
	PermissionDenied // the policy forbids it, or a rule that does not concern the lifecycle
	WrongState       // the object's state or dates forbid it
	AuthenticationNotSuccessful
	InvalidMessage // cannot be read, or lacks what the standard requires
	InvalidField   // read, but a value is not acceptable
	MissingData
	OperationNotSupported
	FeatureNotSupported
	CryptographicFailure // wrong tag, key or data
	IllegalOperation     // the operation makes no sense for this object
	IndexOutOfBounds
	InvalidAttribute // an attribute that does not exist or does not fit the object
	InvalidAttributeValue
	AttributeNotFound
	AttributeInstanceNotFound
	AttributeReadOnly
	AttributeSingleValued
	NonUniqueNameAttribute
	IncompatibleUsageMask
	UsageLimitExceeded
	InvalidObjectType
	BadCryptographicParameters
	BadPassword
	KeyFormatTypeNotSupported
	KeyCompressionTypeNotSupported
	KeyWrapTypeNotSupported
	EncodingOptionError
	KeyValueNotPresent
	InvalidTicket
	WrappingObjectNotFound
	WrappingObjectArchived
	WrappingObjectDestroyed
	WrongKeyWrappingState
	NotSensitive   // reserved: no operation answers it
	Sensitive      // the key may not leave in clear
	NotExtractable // the key may not leave at all
	ObjectAlreadyExists
	ResponseTooLarge
	UnsupportedByHSM // the token lacks the mechanism and no substitute is allowed
	GeneralFailure   // refused for a reason that has no code of its own
	TokenUnavailable // the HSM is unavailable, busy beyond the deadline, or has no free session
	StoreUnavailable
	AuditUnavailable
	PolicyUnavailable // missing, faulty or too slow: every request is denied; a client may try again
	Conflict          // somebody else changed the object first; retry
	Busy
	InvalidCorrelationValue            // the caller has no such stream
	UnknownMessageExtension            // marked critical
	MultiValuedAttribute               // the attribute may have several values, but the operation sets only one
	ProtectionStorageUnavailable       // none of the requested Protection Storage Masks is possible
	PublicProtectionStorageUnavailable // the same for the public half of a key pair
	NamespaceNotSupported              // the server cannot make Application Data for this Application Namespace
	Tampered                           // a row of the database was changed, but not by keyreeve
	QuotaExceeded                      // the tenant has reached a quota
	TooManyRequests                    // from the tenant or principal within a second; try again
	ApprovalNeeded                     // the request waits until others approve it; then it can be sent again
	numCodes
)

// Codes lists every code. Tests demand an answer to each.
func Codes() []Code {
	out := make([]Code, numCodes)
	for i := range out {
		out[i] = Code(i)
	}
	return out
}

// Error is an error with a code for programs and a sentence for people that says
// what to fix. Detail reaches the client; Err stays in the log.
type Error struct {
	Code   Code
	Detail string
	Err    error

	Approval string // with ApprovalNeeded: the ID of the approval
	Made     string // what an earlier request with the same Idempotency-Key has made

	RetryAfter int64 // seconds after which the request can be sent again; 0: not known
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// ErrOutcomeUnknown is in the chain of an error after which the request may still take effect,
// or may have taken effect.
var ErrOutcomeUnknown = errors.New("the outcome is not known")

// Errorf makes an [Error] without a hidden cause.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}

// Wrap makes an [Error] whose cause stays in the log.
func Wrap(c Code, err error, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...), Err: err}
}

// CodeOf returns the code of the outermost [Error] in err's chain, or Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// RetryAfterOf returns the seconds after which a request can be sent again, as the errors in the
// chain say; 0 if none says so.
func RetryAfterOf(err error) int64 {
	e, ok := errors.AsType[*Error](err)
	for ; ok; e, ok = errors.AsType[*Error](e.Err) {
		if e.RetryAfter > 0 {
			return e.RetryAfter
		}
	}
	return 0
}

// DetailOf returns the sentence of an error for clients, without its cause.
func DetailOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Detail
	}
	return "see the log"
}
