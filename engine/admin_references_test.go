package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// Administrators name keys as the REST door does. What they are told about a request is decided
// for the version that the request would use.
func TestAdministratorsNameKeys(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey(core.TagActivationDate, core.Date(1))
	two := w.rekey(one)
	w.setAlias("app", one)
	w.Ports.Policy = chosen{denies: map[string]bool{"Encrypt " + two: true, "Decrypt " + one: true, "Revoke " + one: true}}
	v, _ := administeredBy(t, w, countedPolicies{explained: new(int)})
	root := &core.Caller{Principal: &core.Principal{Tenant: core.SystemTenant, ID: "socket"}, Door: core.DoorAdmin}
	allowed := func(c *core.Caller, key string, action core.Action) bool {
		t.Helper()
		in := admin.SimulateInput{Principal: w.bob.Principal, Object: key, Door: core.DoorREST, Actions: []core.Action{action}}
		out, err := v.Simulate(ctx, c, in)
		if err != nil {
			t.Fatalf("%v of %s: %v", action, key, err)
		}
		all, err := v.Access(ctx, c, in)
		at := slices.IndexFunc(all, func(s admin.Simulation) bool { return s.Action == action })
		if err != nil || at < 0 || all[at].Allow != out.Allow {
			t.Errorf("%v of %s: the access is %+v, %v; want the decision of the simulation, %v", action, key, all, err, out.Allow)
		}
		page, err := admin.ListAccess(ctx, v, w.alice, admin.AccessListInput{Object: key, Door: core.DoorREST, Limit: 10})
		if err != nil || len(page) != 1 || slices.Contains(page[0].Allowed, action) != out.Allow {
			t.Errorf("%v of %s: the owner may %+v, %v; want the same", action, key, page, err)
		}
		return out.Allow
	}
	for key, may := range map[string]struct{ encrypt, decrypt, revoke bool }{
		one: {false, false, true}, "alias/app": {false, true, true}, one + "@1": {true, false, false}, "alias/app@1": {true, false, false}, one + "@2": {false, true, true}, two: {false, true, true},
	} {
		for action, want := range map[core.Action]bool{core.ActionEncrypt: may.encrypt, core.ActionDecrypt: may.decrypt, core.ActionRevoke: may.revoke} {
			for _, c := range []*core.Caller{w.alice, root} {
				if got := allowed(c, key, action); got != want {
					t.Errorf("%v of %s, asked by %s: %v; want %v", action, key, c.Principal.ID, got, want)
				}
			}
		}
	}
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"alias/app", one + "@1", "alias/app@2", two} {
		if got, err := v.AttachPolicy(ctx, w.alice, admin.AttachInput{Policy: "p", Object: key}); err != nil || !slices.Equal(got, []string{"p"}) {
			t.Errorf("attached to %s: %v, %v", key, got, err)
		}
		if got, err := v.PoliciesOfObject(ctx, w.alice, "", key); err != nil || !slices.Equal(got, []string{"p"}) || len(w.object(one).Policies()) != 1 {
			t.Errorf("attached to %s are %v, %v", key, got, err)
		}
		if got, err := v.DetachPolicy(ctx, root, admin.AttachInput{Tenant: "default", Policy: "p", Object: key}); err != nil || len(got) != 0 || len(w.object(one).Policies()) != 0 {
			t.Errorf("detached from %s: %v, %v", key, got, err)
		}
	}
	for key, want := range map[string]core.Code{"alias/none": core.ItemNotFound, one + "@3": core.ItemNotFound, two + "@1": core.ItemNotFound, "nobody": core.ItemNotFound, "": core.InvalidField, "alias/": core.InvalidField, one + "@0": core.InvalidField} {
		_, asked := v.Simulate(ctx, w.alice, admin.SimulateInput{Principal: w.bob.Principal, Object: key, Door: core.DoorREST, Actions: []core.Action{core.ActionEncrypt}})
		_, attached := v.AttachPolicy(ctx, w.alice, admin.AttachInput{Policy: "p", Object: key})
		_, listed := v.PoliciesOfObject(ctx, w.alice, "", key)
		for what, err := range map[string]error{"asked": asked, "attached": attached, "listed": listed} {
			if core.CodeOf(err) != want && !(key == "" && what == "asked") {
				t.Errorf("%s about %q: %v; want code %v", what, key, err, want)
			}
		}
	}
	w.Ports.Policy = chosen{denies: map[string]bool{"Get Attributes " + one: true}}
	v, _ = administeredBy(t, w, countedPolicies{explained: new(int)})
	for _, key := range []string{one, "alias/app@1", one + "@1"} {
		_, err := v.Simulate(ctx, w.alice, admin.SimulateInput{Principal: w.bob.Principal, Object: key, Door: core.DoorREST, Actions: []core.Action{core.ActionEncrypt}})
		if core.CodeOf(err) != core.ItemNotFound || strings.Contains(err.Error(), two) {
			t.Errorf("about %s, a version of which the caller may not see: %v; want Item Not Found", key, err)
		}
	}
}

// A document names keys as the REST door does. It is attached to whole families.
func TestDocumentsNameKeys(t *testing.T) {
	w := newWorld(t)
	_, d := administered(t, w, core.ActionReadHealth)
	v := admin.New(w.Engine, admin.Ports{Directory: d, KeyPolicies: keysNamed{}})
	one, other := w.aesKey(), w.aesKey()
	two := w.rekey(one)
	w.setAlias("app", one)
	out, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: []byte("alias/app " + one + "@1 " + other + "@1 alias/none")})
	if err != nil || len(out.Attached) != 3 || len(out.Warnings) != 1 {
		t.Fatalf("attached to %v with the warnings %v, %v", out.Attached, out.Warnings, err)
	}
	for _, id := range []string{one, two, other} {
		if got := w.object(id).Policies(); !slices.Equal(got, []string{"p"}) {
			t.Errorf("key %s has the policies %v", id, got)
		}
	}
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "q", Document: []byte("alias/")}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("a document that names an empty alias: %v", err)
	}
}
