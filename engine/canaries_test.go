package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// plainFacts are the facts of a tenant without attachments.
type plainFacts struct{ core.AccessFacts }

func (plainFacts) AddFacts(*core.AccessRequest) error                { return nil }
func (f plainFacts) Propose([]*core.DirectoryEntry) core.AccessFacts { return f }

// plainPolicies are the key policies of a tenant that has none.
type plainPolicies struct{ targetsNamed }

func (plainPolicies) FindStatements(context.Context, *core.AccessRequest) error { return nil }

// canaryPolicy permits all that canaries do not ask. Their requests, which are those of mallory, are
// decided by a function.
type canaryPolicy struct {
	tenantPolicy
	canary func(context.Context) (core.Decision, error)
}

func (p canaryPolicy) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if r.Principal.ID != "mallory" {
		return core.Decision{Allow: true, Scope: "own", Reasons: []string{"test"}}, nil
	}
	return p.canary(ctx)
}

func decides(allow bool) func(context.Context) (core.Decision, error) {
	return func(context.Context) (core.Decision, error) {
		return core.Decision{Allow: allow, Reasons: []string{"test"}}, nil
	}
}

// canarySite is a world with verbs of administrators and one canary, that Encrypt by mallory stays
// denied, or allowed.
func canarySite(t *testing.T, by *core.Caller, allowed bool) (*world, *admin.Verbs) {
	t.Helper()
	w := newWorld(t)
	w.Ports.Facts, w.Ports.Policy = plainFacts{}, canaryPolicy{canary: decides(allowed)}
	v, _ := administeredBy(t, w, plainPolicies{})
	in := admin.SaveCanaryInput{Tenant: "default", Name: "c", Canary: admin.Canary{Principal: "mallory", Action: "encrypt", Door: core.DoorREST, Allowed: allowed}}
	if err := admin.SaveCanary(ctx, v, by, in); err != nil {
		t.Fatal(err)
	}
	return w, v
}

// saveRole makes a change that canaries are asked about.
func saveRole(ctx context.Context, w *world, v *admin.Verbs) error {
	_, err := v.SaveRole(ctx, w.alice, admin.SaveRoleInput{Name: "clerk", Actions: &[]string{"Get"}})
	return err
}

// A request whose client has hung up changes nothing that canaries guard. Nothing is decided for it,
// so that a canary that must stay denied seems to hold, and one that must stay allowed seems not to
// have held before.
func TestCanariesOfAnEndedRequestStopTheChange(t *testing.T) {
	for _, c := range []struct {
		allowed bool
		before  []bool // decisions before the client hangs up
	}{{false, nil}, {true, nil}, {true, []bool{true, false}}} {
		w, v := canarySite(t, plainCaller("anna"), c.allowed)
		request, hangUp := context.WithCancel(ctx)
		defer hangUp()
		left := c.before
		w.Ports.Policy = canaryPolicy{canary: func(ctx context.Context) (core.Decision, error) {
			if len(left) == 0 {
				hangUp()
				return core.Decision{}, ctx.Err()
			}
			allow := left[0]
			left = left[1:]
			return decides(allow)(ctx)
		}}
		if err := saveRole(request, w, v); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("a role, with a client that hangs up after the decisions %v: %v; want PolicyUnavailable", c.before, err)
		}
		in := admin.SaveCanaryInput{Name: "late", Canary: admin.Canary{Principal: "mallory", Action: "decrypt", Door: core.DoorREST}}
		if err := admin.SaveCanary(request, v, w.alice, in); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("a canary that was not decided: %v; want PolicyUnavailable", err)
		}
		w.Ports.Policy = canaryPolicy{canary: decides(c.allowed)}
		if _, err := v.ReadRole(ctx, w.alice, "", "clerk"); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("the role was stored: %v", err)
		}
		if err := saveRole(ctx, w, v); err != nil {
			t.Errorf("the same change with a client that stays: %v", err)
		}
	}
}

// hangs decides nothing until its context ends.
func hangs(ctx context.Context) (core.Decision, error) {
	<-ctx.Done()
	return core.Decision{}, ctx.Err()
}

// The canaries of a tenant take at most 10 s of a change, which then fails. Those of tenants do
// not keep an operator from another policies.rego: the answer says that they were not decided.
func TestCanariesHaveABoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, v := canarySite(t, plainCaller("anna"), false)
		w.Ports.Policy = canaryPolicy{canary: hangs}
		began := time.Now()
		if err := saveRole(ctx, w, v); core.CodeOf(err) != core.PolicyUnavailable || time.Since(began) != 10*time.Second {
			t.Errorf("a role under a policy that hangs: %v after %v; want PolicyUnavailable after 10 s", err, time.Since(began))
		}
		began = time.Now()
		if broken, err := admin.CheckCanaries(ctx, v, canaryPolicy{canary: hangs}); err != nil || strings.Join(broken, "") != "not all canaries of tenants were decided within 10s" || time.Since(began) != 10*time.Second {
			t.Errorf("another policies.rego: %v, %v after %v; want a warning after 10 s", broken, err, time.Since(began))
		}
		w, v = canarySite(t, socket, false)
		request, hangUp := context.WithTimeout(ctx, time.Minute)
		defer hangUp()
		if _, err := admin.CheckCanaries(request, v, canaryPolicy{canary: hangs}); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("an operator's canary that is not decided: %v; want PolicyUnavailable", err)
		}
	})
}

// lostObjects is a store that cannot read objects.
type lostObjects struct{ *memStore }

func (lostObjects) Object(context.Context, string, string) (*core.ManagedObject, error) {
	return nil, core.Wrap(core.StoreUnavailable, errors.New("SQLSTATE 57P01"), "the database cannot be reached")
}

// What an administrator of a tenant is told of a canary that cannot be decided has no cause that is
// for the log alone.
func TestUndecidedCanariesTellNoCause(t *testing.T) {
	w, _ := canarySite(t, plainCaller("anna"), false)
	w.Ports.Store = lostObjects{w.store}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	v, _ := administeredBy(t, w, plainPolicies{})
	w.Ports.Policy = canaryPolicy{canary: decides(false)}
	in := admin.SaveCanaryInput{Name: "lost", Canary: admin.Canary{Principal: "mallory", Action: "encrypt", Object: "k", Door: core.DoorREST, Allowed: true}}
	err := admin.SaveCanary(ctx, v, w.alice, in)
	if core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), "the database cannot be reached") || strings.Contains(err.Error(), "SQLSTATE") {
		t.Errorf("a canary whose object cannot be read: %v", err)
	}
}
