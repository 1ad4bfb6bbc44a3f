package engine_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// allGated denies each action on an object, but Get Attributes, until bob has approved it.
type allGated struct {
	tenantPolicy
	hidden bool // Get Attributes is denied
}

func (g allGated) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	switch {
	case r.Object == nil || slices.Contains(r.Granted, gateOfGet.Statement):
		return g.tenantPolicy.Decide(ctx, r)
	case r.Action == core.ActionGetAttributes && g.hidden:
		return core.Decision{Scope: "own"}, nil
	case r.Action == core.ActionGetAttributes:
		return g.tenantPolicy.Decide(ctx, r)
	}
	d, err := g.tenantPolicy.Decide(ctx, r)
	if !d.Allow {
		return d, err
	}
	return core.Decision{Scope: "own", Gates: []core.Gate{gateOfGet}}, nil
}

// A request that the state of the object makes impossible is answered so, and waits for no
// approval. A caller who may not read the state is asked for the approval first, and one who may
// not do the action at all is denied.
func TestImpossibleRequestsAskForNoApproval(t *testing.T) {
	for _, c := range []struct {
		op    string
		state core.State
		want  core.Code
	}{
		{"activate", core.PreActive, core.ApprovalNeeded}, {"activate", core.Active, core.WrongState}, {"activate", core.Deactivated, core.WrongState}, {"activate", core.Destroyed, core.WrongState},
		{"cease", core.Active, core.ApprovalNeeded}, {"cease", core.PreActive, core.WrongState}, {"cease", core.Deactivated, core.WrongState},
		{"compromise", core.PreActive, core.ApprovalNeeded}, {"compromise", core.Destroyed, core.ApprovalNeeded}, {"compromise", core.Compromised, core.WrongState},
		{"destroy", core.PreActive, core.ApprovalNeeded}, {"destroy", core.Active, core.WrongState}, {"destroy", core.Deactivated, core.ApprovalNeeded}, {"destroy", core.Destroyed, core.ObjectDestroyed},
		{"re-key", core.Active, core.ApprovalNeeded}, {"re-key", core.Destroyed, core.ObjectDestroyed},
		{"get", core.PreActive, core.ApprovalNeeded}, {"get", core.Destroyed, core.ObjectDestroyed},
		{"encrypt", core.Active, core.ApprovalNeeded}, {"encrypt", core.PreActive, core.WrongState}, {"encrypt", core.Deactivated, core.WrongState}, {"encrypt", core.Destroyed, core.ObjectDestroyed},
		{"decrypt", core.Deactivated, core.ApprovalNeeded}, {"decrypt", core.PreActive, core.WrongState}, {"sign", core.Compromised, core.WrongState}, {"mac verify", core.Destroyed, core.ObjectDestroyed},
		{"check", core.Destroyed, core.ObjectDestroyed}, {"check", core.Active, core.ApprovalNeeded},
	} {
		w := newWorld(t)
		id := w.inState(c.state)
		serve := func(p core.Policy) *directory.Directory {
			t.Helper()
			d := directory.New(directory.Ports{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
			desk := directory.NewApprovals(d, directory.NewAccessFacts(d), func(*core.DirectoryEntry) ([]core.Gate, error) { return nil, nil })
			if err := d.Open(ctx); err != nil {
				t.Fatal(err)
			}
			w.serve(newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: p, Approvals: desk, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})))
			return d
		}
		d := serve(allGated{})
		if err := w.step(w.alice, c.op, id); core.CodeOf(err) != c.want {
			t.Errorf("%s of a key that is %v: %v; want %v", c.op, c.state, err, c.want)
		}
		waiting, err := d.List(core.EntryApproval, "default", "", 10)
		if err != nil || len(waiting) > 0 != (c.want == core.ApprovalNeeded) {
			t.Errorf("%s of a key that is %v: %d requests wait, %v", c.op, c.state, len(waiting), err)
		}
		if err := w.step(w.eve, c.op, id); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s by one who has no right: %v; want a denial", c.op, err)
		}
		serve(allGated{hidden: true})
		if err := w.step(w.alice, c.op, id); core.CodeOf(err) != core.ApprovalNeeded {
			t.Errorf("%s of a key that is %v, by one who may not read its state: %v; want that it waits", c.op, c.state, err)
		}
	}
}
