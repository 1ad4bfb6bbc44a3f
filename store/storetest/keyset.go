package storetest

import (
	"reflect"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A number, and an epoch of a tenant, can have only one set of keys.
func keySets(t *testing.T, s core.Store) {
	k := core.KeySet{Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetPending}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
	k.State, k.Checks = core.KeySetActive, []byte("check values")
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
	for what, rival := range map[string]core.KeySet{
		"the set for another tenant":          {Number: 7, Tenant: "rival", Epoch: 1, State: core.KeySetPending},
		"the set for another epoch":           {Number: 7, Tenant: "kt", Epoch: 2, State: core.KeySetPending},
		"another set in the same place":       {Number: 8, Tenant: "kt", Epoch: 1, State: core.KeySetPending},
		"an active set that is pending again": {Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetPending},
		"an active set that is retired":       {Number: 7, Tenant: "kt", Epoch: 1, State: core.KeySetRetired},
	} {
		wantCode(t, what, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: rival})), core.Conflict)
	}
	got, err := s.KeySets(ctx, "kt")
	mustSucceed(t, err)
	if len(got) != 1 || !reflect.DeepEqual(got[0], k) {
		t.Errorf("sets are %+v", got)
	}
	all, err := s.KeySets(ctx, "")
	mustSucceed(t, err)
	if len(all) == 0 {
		t.Error("the sets of all tenants are none")
	}
}

// A set can change only from pending to another state, and from every other one to destroyed,
// which is the last. A node that is late must not
// bring back a set that another node has given up, and if two nodes begin a set, only
// one may continue.
func keyStates(t *testing.T, s core.Store) {
	states := []core.KeySetState{core.KeySetPending, core.KeySetActive, core.KeySetRetired, core.KeySetDestroyed}
	checks := map[core.KeySetState][]byte{core.KeySetActive: []byte("c")}
	for from, a := range states {
		for to, b := range states {
			n := 1 + from*len(states) + to
			k := core.KeySet{Number: int64(100 + n), Tenant: "states", Epoch: n, State: a, Checks: checks[a]}
			mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k})))
			k.State, k.Checks = b, checks[b]
			err := s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: k}))
			if b == a || a == core.KeySetDestroyed || a != core.KeySetPending && b != core.KeySetDestroyed {
				wantCode(t, string(a+" to "+b), err, core.Conflict)
			} else if err != nil {
				t.Errorf("%s to %s: %v", a, b, err)
			}
		}
	}
}
