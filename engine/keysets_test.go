package engine_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Every set of the token, and every row of one, has its state.
func TestKeySetStates(t *testing.T) {
	w := newWorld(t)
	whole := func(lacks string) map[string]int {
		out := map[string]int{}
		for _, p := range core.KeyPurposes {
			if p != lacks {
				out[p] = 1
			}
		}
		return out
	}
	set := func(number int64, own bool, lacks string) core.TokenKeySet {
		label := map[bool]string{true: "keyreeve/own/", false: "keyreeve/other/"}[own] + strconv.Itoa(int(number))
		return core.TokenKeySet{Label: label, Own: own, Number: number, Objects: whole(lacks)}
	}
	w.hsm.seen = []core.TokenKeySet{set(0, true, ""), set(1, true, ""), set(2, true, ""), set(3, true, "V"), set(4, true, ""), set(0, false, ""), set(1, false, "")}
	w.hsm.seen[4].Objects["N"] = 2
	w.store.sets = []core.KeySet{{Number: 1, Tenant: "a", Epoch: 2, State: core.KeySetActive}, {Number: 2, Tenant: "a", Epoch: 1, State: core.KeySetRetired},
		{Number: 3, Tenant: "b", Epoch: 1, State: core.KeySetPending}, {Number: 9, Tenant: "c", Epoch: 1, State: core.KeySetActive}}
	got, err := w.KeySets(ctx)
	if err != nil || len(got) != 8 {
		t.Fatalf("%+v, %v", got, err)
	}
	want := map[string]struct {
		state, tenant, note string
		keys                int
	}{
		"keyreeve/own/0": {"system", "", "", 7}, "keyreeve/own/1": {"in use", "a", "", 7}, "keyreeve/own/2": {"retired", "a", "", 7},
		"keyreeve/own/3": {"unfinished", "b", "lacks the keys V", 6}, "keyreeve/own/4": {"no row", "", "more than one object for N", 8},
		"keyreeve/other/0": {"another installation", "", "init", 7}, "keyreeve/other/1": {"another installation", "", "init", 7}, "set 9": {"missing", "c", "none of its keys", 0},
	}
	for _, s := range got {
		if x := want[s.Label]; s.State != x.state || s.Tenant != x.tenant || s.Keys != x.keys || !strings.Contains(s.Note, x.note) {
			t.Errorf("%+v; want %+v", s, x)
		}
	}
}
