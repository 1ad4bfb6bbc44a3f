package kmipd

import (
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
)

// attestation is on every list of KMIP 2.x, and nothing here asks for it.
var attestation = []core.ResultReason{core.ReasonAttestationFailed, core.ReasonAttestationRequired}

// The table of reasons that operations of KMIP 2.x list is the standard's, for
// each operation and both versions.
func TestListedReasonsAreTheStandards(t *testing.T) {
	var facts map[string]map[string][]struct{ Reason string }
	coretest.JSON(t, "operation_errors.json", &facts)
	enum := core.TagResultReason.Info().Enum
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		for op := range operations {
			name := op.String()
			if op == core.OperationHash {
				name = "HASH"
			}
			rows := facts[v.String()][name]
			if len(rows) == 0 {
				t.Errorf("KMIP %v lists nothing for %v", v, op)
				continue
			}
			want := map[core.ResultReason]bool{}
			for _, row := range rows {
				r, ok := enum.ByName(row.Reason)
				if !ok {
					t.Errorf("KMIP %v, %v: %q is no Result Reason", v, op, row.Reason)
				}
				want[core.ResultReason(r)] = true
			}
			for _, row := range enum.Values {
				r := core.ResultReason(row.Value)
				own := slices.ContainsFunc(unlisted, func(u struct {
					op     core.Operation
					reason core.ResultReason
				}) bool {
					return u.op == op && u.reason == r
				})
				if own || slices.Contains(attestation, r) || slices.Contains(general, r) {
					continue
				}
				if answers(op, r, v) != want[r] {
					t.Errorf("KMIP %v, %v: may answer %v: %v here, %v in the standard", v, op, r, answers(op, r, v), want[r])
				}
			}
		}
	}
}

// Whatever goes wrong, an operation of KMIP 2.x answers what it lists.
func TestEveryAnswerIsListed(t *testing.T) {
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		for op := range operations {
			for _, c := range core.Codes() {
				if r := reasonOf(op, c, v); !answers(op, r, v) {
					t.Errorf("KMIP %v, %v: code %v answers %v, which is not listed", v, op, c, r)
				}
			}
		}
	}
	for _, c := range []struct {
		op   core.Operation
		code core.Code
		v    core.Version
		want core.ResultReason
	}{
		{core.OperationModifyAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationModifyAttribute, core.WrongState, core.V2_1, core.ReasonWrongKeyLifecycleState},
		{core.OperationAddAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationSetAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationDeleteAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationActivate, core.WrongState, core.V2_0, core.ReasonWrongKeyLifecycleState},
		{core.OperationRegister, core.KeyFormatTypeNotSupported, core.V2_1, core.ReasonFeatureNotSupported},
		{core.OperationGet, core.KeyFormatTypeNotSupported, core.V2_1, core.ReasonKeyFormatTypeNotSupported},
		{core.OperationRegister, core.CryptographicFailure, core.V2_1, core.ReasonInvalidField},
		{core.OperationSetAttribute, core.InvalidAttribute, core.V2_1, core.ReasonInvalidField},
	} {
		if got := reasonOf(c.op, c.code, c.v); got != c.want {
			t.Errorf("KMIP %v, %v: code %v answers %v, want %v", c.v, c.op, c.code, got, c.want)
		}
	}
}
