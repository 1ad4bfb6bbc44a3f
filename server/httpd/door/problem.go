package door

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// statuses is the one table that turns codes into HTTP statuses.
var statuses = map[core.Code]int{
	core.Internal: 500, core.ItemNotFound: 404, core.ObjectDestroyed: 410, core.ObjectArchived: 409, core.PermissionDenied: 403, core.WrongState: 409,
	core.AuthenticationNotSuccessful: 401, core.InvalidMessage: 400, core.InvalidField: 400, core.MissingData: 400, core.OperationNotSupported: 404,
	core.FeatureNotSupported: 501, core.CryptographicFailure: 422, core.IllegalOperation: 409, core.IndexOutOfBounds: 400, core.InvalidAttribute: 400,
	core.InvalidAttributeValue: 400, core.AttributeNotFound: 404, core.AttributeInstanceNotFound: 404, core.AttributeReadOnly: 409,
	core.AttributeSingleValued: 409, core.NonUniqueNameAttribute: 409, core.IncompatibleUsageMask: 403, core.UsageLimitExceeded: 403,
	core.InvalidObjectType: 400, core.BadCryptographicParameters: 400, core.BadPassword: 401, core.KeyFormatTypeNotSupported: 400,
	core.KeyCompressionTypeNotSupported: 400, core.KeyWrapTypeNotSupported: 400, core.EncodingOptionError: 400, core.KeyValueNotPresent: 404,
	core.InvalidTicket: 401, core.WrappingObjectNotFound: 404, core.WrappingObjectArchived: 409, core.WrappingObjectDestroyed: 410,
	core.WrongKeyWrappingState: 409, core.NotSensitive: 409, core.Sensitive: 403, core.NotExtractable: 403, core.ObjectAlreadyExists: 409,
	core.ResponseTooLarge: 413, core.UnsupportedByHSM: 501, core.GeneralFailure: 400, core.TokenUnavailable: 503, core.StoreUnavailable: 503,
	core.AuditUnavailable: 503, core.PolicyUnavailable: 503, core.Conflict: 409, core.Busy: 503, core.QuotaExceeded: 403, core.TooManyRequests: 429, core.InvalidCorrelationValue: 404,
	core.UnknownMessageExtension: 501, core.MultiValuedAttribute: 409, core.ProtectionStorageUnavailable: 409,
	core.PublicProtectionStorageUnavailable: 409, core.NamespaceNotSupported: 400, core.Tampered: 500, core.ApprovalNeeded: 403,
}

// StatusOf returns the HTTP status of an error.
func StatusOf(err error) int { return statuses[core.CodeOf(err)] }

// retryAfter returns the header Retry-After; "" if a client is not told to send the request again
// as it is. It is not if the request may still take effect, or has taken effect.
func retryAfter(status int, err error) string {
	if errors.Is(err, core.ErrOutcomeUnknown) {
		return ""
	}
	if wait := core.RetryAfterOf(err); wait > 0 {
		return strconv.FormatInt(wait, 10)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		return "1" // something was busy or away
	}
	return ""
}

// ProblemOf returns what a client is told about an error (RFC 9457). The text of one without a code stays in
// the log.
func ProblemOf(request string, err error) api.Problem {
	c := core.CodeOf(err)
	p := api.Problem{Type: "about:blank", Status: StatusOf(err), Code: c.String(), RequestID: request}
	if errors.Is(err, errTooLarge) {
		p.Status = http.StatusRequestEntityTooLarge
	}
	if errors.Is(err, engine.ErrOtherVersion) {
		p.Status = http.StatusPreconditionFailed
	}
	if errors.Is(err, directory.ErrOtherRequest) {
		p.Status = http.StatusUnprocessableEntity
	}
	p.Title = http.StatusText(p.Status)
	var e *core.Error
	if errors.As(err, &e) && c != core.Internal {
		p.Detail, p.ApprovalID, p.Made = e.Detail, e.Approval, e.Made
	} else {
		p.Detail = "internal error; the server's log has the cause under this request"
		slog.Error("rest", "request", request, "error", err)
	}
	return p
}

// writeProblem answers with an error.
func writeProblem(w http.ResponseWriter, request string, err error) {
	p := ProblemOf(request, err)
	b, _ := json.Marshal(p)
	if wait := retryAfter(p.Status, err); wait != "" {
		w.Header().Set("Retry-After", wait)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	w.Write(append(b, '\n'))
}
