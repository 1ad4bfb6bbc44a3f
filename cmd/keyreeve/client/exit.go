package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/api"
)

// The exit statuses of the commands over REST.
const (
	exitDone        = 0
	exitFailed      = 1
	exitDenied      = 2
	exitNotFound    = 3
	exitNotAccepted = 4
	exitConflict    = 5
	exitUnavailable = 6
	exitUnknown     = 7
)

// ExitStatus is an exit status and what it means.
type ExitStatus struct {
	Status  int
	Meaning string
}

// ExitStatuses are those of the commands over REST, as the documents list them.
var ExitStatuses = []ExitStatus{
	{exitDone, "Done. A signature or a MAC is valid."},
	{exitFailed, "Anything else: a wrong command line, a file that cannot be read, a request that the server does not understand, a ciphertext that was changed."},
	{exitDenied, "The server denies it (403), or a signature or a MAC is not valid."},
	{exitNotFound, "The key does not exist for the caller, or was destroyed (404, 410)."},
	{exitNotAccepted, "There is no profile, or one side does not accept the certificate or the token of the other (401, TLS)."},
	{exitConflict, "The state or the version of the key forbids it, or the name is taken (409, 412)."},
	{exitUnavailable, "The server cannot be reached, does not answer in time, or is busy (429, 503). Nothing was changed. Try again later."},
	{exitUnknown, "A request that changes something was sent, and no answer says whether it took effect. Look, for example with key list or key show, before you send it again."},
}

// exitOf maps statuses of HTTP to exit statuses. All others are exitFailed.
var exitOf = map[int]int{
	http.StatusUnauthorized: exitNotAccepted, http.StatusForbidden: exitDenied, http.StatusNotFound: exitNotFound, http.StatusGone: exitNotFound,
	http.StatusConflict: exitConflict, http.StatusPreconditionFailed: exitConflict, http.StatusTooManyRequests: exitUnavailable, http.StatusServiceUnavailable: exitUnavailable,
}

// failure is an error with an exit status.
type failure struct {
	status int
	error
}

// Unwrap returns the error.
func (f *failure) Unwrap() error { return f.error }

// ExitCode implements kong.ExitCoder.
func (f *failure) ExitCode() int { return f.status }

// maxDetail bounds what is printed of the sentence of a refusal, in bytes: the code and the
// request that stand behind it matter as much.
const maxDetail = 400

// statusOf returns the exit status for an error.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.status
	}
	return exitFailed
}

// refused returns the error for an answer that is a refusal.
func refused(status int, p api.Problem) error {
	exit, ok := exitOf[status]
	if !ok {
		exit = exitFailed
	}
	if p.Code == "" {
		return &failure{exit, fmt.Errorf("the server answered %d %s, without saying why; is the address that of keyreeve?", status, http.StatusText(status))}
	}
	detail := p.Detail
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "..."
	}
	about := "code " + p.Code + ", request " + p.RequestID
	if p.ApprovalID != "" {
		about += ", approval " + p.ApprovalID
	}
	return &failure{exit, fmt.Errorf("%s (%s)", detail, about)}
}

// mayBeDone returns the error for a request that was sent and whose answer does not say whether
// it took effect. It is err itself for a request that changes nothing.
func mayBeDone(q request, err error) error {
	if q.repeatable {
		return err
	}
	return &failure{exitUnknown, fmt.Errorf("whether the request took effect is not known, look before you send it again: %w", err)}
}

// unreachable returns the error for a request that got no answer.
func unreachable(err error) error {
	status := exitUnavailable
	var op *net.OpError
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || errors.As(err, &op) && op.Op == "remote error" {
		status = exitNotAccepted
	}
	return &failure{status, fmt.Errorf("no answer of the server: %w", err)}
}

// notValid is the result of a verification that fails.
func notValid(what string) error {
	return &failure{exitDenied, errors.New("the " + what + " is not valid")}
}
