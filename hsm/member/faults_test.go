package member

import (
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// Every class of PKCS#11 error has its code, and what only the token's maker
// can explain is not blamed on the client's data.
func TestFaultsHaveCodes(t *testing.T) {
	want := map[faultClass]core.Code{callerFault: core.CryptographicFailure, policyFault: core.PermissionDenied, goneFault: core.TokenUnavailable,
		sessionFault: core.TokenUnavailable, busyFault: core.TokenUnavailable, deviceFault: core.TokenUnavailable}
	for e, c := range faultClasses {
		if got := core.CodeOf(describe(e, "try")); got != want[c] {
			t.Errorf("%v: %v, want %v", e, got, want[c])
		}
	}
	for e, code := range map[error]core.Code{p11.Error(p11.CKR_DATA_INVALID): core.CryptographicFailure, p11.Error(p11.CKR_GENERAL_ERROR): core.CryptographicFailure,
		p11.Error(vendorDefined): core.TokenUnavailable, p11.Error(0x8000_0001): core.TokenUnavailable, p11.Error(0xFFFF_FFFF): core.TokenUnavailable,
		core.Errorf(core.Sensitive, "ours"): core.Sensitive} {
		if got := core.CodeOf(describe(e, "try")); got != code {
			t.Errorf("%v: %v, want %v", e, got, code)
		}
	}
	if describe(nil, "try") != nil {
		t.Error("no error became one")
	}
}
