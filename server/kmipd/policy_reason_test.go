package kmipd

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A policy that could not decide is no Permission Denied in any version: clients
// give up on that.
func TestUndecidedPolicyIsNoPermissionDenied(t *testing.T) {
	r := reasons[core.PolicyUnavailable]
	if r.v1 != core.ReasonGeneralFailure || r.v2 != core.ReasonGeneralFailure {
		t.Errorf("%v and %v; want General Failure", r.v1, r.v2)
	}
}
