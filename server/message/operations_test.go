package message

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// operations are those that a Processor answers.
var operations = New(Verbs{}, Settings{}).operations

// Every operation of the protocol is bound to the engine.
func TestEveryOperationIsBound(t *testing.T) {
	var want []core.Operation
	for _, row := range kmip.Operations() {
		want = append(want, row.Code)
	}
	if have := slices.Sorted(maps.Keys(operations)); !slices.Equal(have, want) {
		t.Errorf("%v are bound, want %v", have, want)
	}
}

// Query lists the operations of the client's version.
func TestQueryListsTheOperations(t *testing.T) {
	for v, want := range map[core.Version]map[core.Operation]bool{
		core.V1_0: {core.OperationCreate: true, core.OperationDiscoverVersions: false, core.OperationEncrypt: false, core.OperationSetAttribute: false},
		core.V1_2: {core.OperationCreate: true, core.OperationDiscoverVersions: true, core.OperationEncrypt: true, core.OperationSetAttribute: false},
		core.V2_1: {core.OperationCreate: true, core.OperationDiscoverVersions: true, core.OperationEncrypt: true, core.OperationSetAttribute: true},
	} {
		out := do(newClient(t, v), &kmip.Query, core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		for op, listed := range want {
			if slices.Contains(out.Operations, op) != listed {
				t.Errorf("KMIP %v: Query lists %v, and should list %v: %v", v, out.Operations, op, listed)
			}
		}
	}
	out := do(newClient(t, core.V1_4), &kmip.Query, core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryObjects}})
	if out.Operations != nil {
		t.Errorf("Query lists %v, which was not asked for", out.Operations)
	}
}
