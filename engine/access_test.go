package engine_test

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// countedPolicies are key policies that count how often they explain.
type countedPolicies struct {
	plainPolicies
	explained *int
}

func (p countedPolicies) Explain(context.Context, *core.AccessRequest) ([]core.StatementVerdict, error) {
	*p.explained++
	return []core.StatementVerdict{{}}, nil
}

// Decisions that are only counted or listed are not explained. A simulation explains the one that it
// answers, whatever the number of its actions.
func TestOnlySimulationsAreExplained(t *testing.T) {
	w := newWorld(t)
	id, explained := w.aesKey(), 0
	v, _ := administeredBy(t, w, countedPolicies{explained: &explained})
	for _, name := range []string{"u1", "u2", "u3"} {
		if _, err := v.SaveUser(ctx, w.alice, admin.SaveUserInput{Name: name, Groups: &[]string{"g"}}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := admin.ListAccess(ctx, v, w.alice, admin.AccessListInput{Object: id, Door: core.DoorREST, Limit: 10})
	if err != nil || len(page) != 4 || len(page[0].Allowed) == 0 {
		t.Errorf("the access of all: %+v, %v; want the owner and three users", page, err)
	}
	in := admin.SimulateInput{Principal: w.bob.Principal, Object: id, Door: core.DoorREST, Actions: []core.Action{core.ActionEncrypt, core.ActionGet}}
	if all, err := v.Access(ctx, w.alice, in); err != nil || len(all) == 0 {
		t.Errorf("the access of one: %d actions, %v", len(all), err)
	}
	if explained != 0 {
		t.Errorf("%d decisions that are only listed were explained", explained)
	}
	if one, err := v.Simulate(ctx, w.alice, in); err != nil || len(one.Statements) != 1 || explained != 1 {
		t.Errorf("a simulation: %+v, %v, explained %d times; want once", one, err, explained)
	}
	w.Ports.Policy = refusing{action: core.ActionGet}
	if one, err := v.Simulate(ctx, w.alice, in); err != nil || one.Allow || one.Action != core.ActionGet || len(one.Statements) != 1 || explained != 2 {
		t.Errorf("a simulation that is denied: %+v, %v, explained %d times; want once more", one, err, explained-1)
	}
	in.Actions = nil
	if _, err := v.Simulate(ctx, w.alice, in); err != nil || explained != 2 {
		t.Errorf("a simulation of nothing: %v, explained %d times; want none", err, explained-2)
	}
}
