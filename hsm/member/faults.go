package member

import (
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// faultClass is the meaning of a PKCS#11 error for the caller. The classes from goneFault
// on are faults of the token.
type faultClass uint8

const (
	callerFault  faultClass = iota // parameters, data, a wrong signature
	policyFault                    // the token forbids it
	goneFault                      // the handle is no longer valid
	sessionFault                   // the session is no longer valid
	busyFault                      // the token has no room at the moment
	deviceFault                    // the token is unavailable
)

var faultClasses = map[p11.Error]faultClass{
	p11.CKR_KEY_FUNCTION_NOT_PERMITTED: policyFault, p11.CKR_KEY_UNEXTRACTABLE: policyFault, p11.CKR_ATTRIBUTE_SENSITIVE: policyFault,
	p11.CKR_KEY_NOT_WRAPPABLE: policyFault, 0x1B: policyFault, // CKR_ACTION_PROHIBITED
	p11.CKR_OBJECT_HANDLE_INVALID: goneFault, p11.CKR_KEY_HANDLE_INVALID: goneFault, p11.CKR_UNWRAPPING_KEY_HANDLE_INVALID: goneFault,
	p11.CKR_WRAPPING_KEY_HANDLE_INVALID: goneFault,
	p11.CKR_SESSION_HANDLE_INVALID:      sessionFault, p11.CKR_SESSION_CLOSED: sessionFault, p11.CKR_OPERATION_ACTIVE: sessionFault,
	p11.CKR_USER_NOT_LOGGED_IN: sessionFault, p11.CKR_OPERATION_NOT_INITIALIZED: sessionFault,
	p11.CKR_SESSION_COUNT: busyFault, p11.CKR_DEVICE_MEMORY: busyFault, p11.CKR_HOST_MEMORY: busyFault,
	p11.CKR_DEVICE_ERROR: deviceFault, p11.CKR_DEVICE_REMOVED: deviceFault, p11.CKR_TOKEN_NOT_PRESENT: deviceFault,
	p11.CKR_TOKEN_NOT_RECOGNIZED: deviceFault, p11.CKR_CRYPTOKI_NOT_INITIALIZED: deviceFault,
}

// classify returns the class of an error. An ambiguous error is a callerFault; see
// blameToken.
func classify(err error) faultClass {
	if e, ok := errors.AsType[p11.Error](err); ok {
		return faultClasses[e]
	}
	return callerFault
}

// isAmbiguous reports whether SoftHSM2 answers an error for corrupt data and for the loss
// of its files alike. A probe finds out which it was.
func isAmbiguous(err error) bool {
	e, ok := errors.AsType[p11.Error](err)
	return ok && (e == p11.CKR_GENERAL_ERROR || e == p11.CKR_FUNCTION_FAILED)
}

// vendorDefined is the first of the codes that vendors define (CKR_VENDOR_DEFINED). They
// are not blamed on the client's data.
const vendorDefined p11.Error = 0x8000_0000

// describe turns an error of the token into one with a code and a sentence that names the
// call, never its data.
func describe(err error, doing string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	if e, ok := errors.AsType[p11.Error](err); ok && e >= vendorDefined {
		return core.Wrap(core.TokenUnavailable, err, "the HSM cannot %s: it answers an error that only its vendor can explain; see its log", doing)
	}
	switch classify(err) {
	case policyFault:
		return core.Wrap(core.PermissionDenied, err, "the HSM does not allow to %s with this key", doing)
	case busyFault:
		return core.Wrap(core.TokenUnavailable, err, "the HSM has no room to %s at the moment; try again", doing)
	case goneFault, sessionFault, deviceFault:
		return core.Wrap(core.TokenUnavailable, err, "the HSM is unavailable: cannot %s (see `keyreeve health`)", doing)
	}
	return core.Wrap(core.CryptographicFailure, err, "the HSM could not %s: the key, the parameters or the data is wrong", doing)
}
