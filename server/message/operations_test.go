package message

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/kmip"
)

// Every operation of the protocol is bound to the engine, and Query tells of all
// of them.
func TestEveryOperationIsBound(t *testing.T) {
	var want []core.Operation
	for _, row := range kmip.Operations() {
		want = append(want, row.Code)
	}
	if have := slices.Sorted(maps.Keys(operations)); !slices.Equal(have, want) {
		t.Errorf("%v are bound, want %v", have, want)
	}
	if have := slices.Sorted(slices.Values(engine.Operations)); !slices.Equal(have, want) {
		t.Errorf("Query lists %v, want %v", have, want)
	}
}
