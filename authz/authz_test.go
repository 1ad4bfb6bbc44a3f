package authz_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
)

var ctx = context.Background()

func with(policy, tests string) authz.Options {
	return authz.Options{Load: func() (string, string, error) { return policy, tests, nil }}
}

func open(t testing.TB) *authz.Authorizer {
	t.Helper()
	a, err := authz.New(ctx, with(keyreeve.Policy, keyreeve.PolicyTests))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func someone(tenant, id, group string, roles ...string) *core.Principal {
	p := &core.Principal{Tenant: tenant, ID: id, Roles: roles, Method: "mtls"}
	if group != "" {
		p.Groups = []string{group}
	}
	return p
}

var object = &core.ManagedObject{Tenant: "t", ID: "o", Owner: "alice", Group: "g", Version: 1, Type: core.ObjectTypeSymmetricKey}

func ask(p *core.Principal, op core.Operation, o *core.ManagedObject) *core.AccessRequest {
	return &core.AccessRequest{Operation: op, Principal: p, Object: o, State: core.Active, Door: core.DoorKMIP, Address: "127.0.0.1", Now: 1}
}

// The default policy by operation and by who asks: owner, group member,
// stranger, another tenant's owner of the same name, administrator, auditor.
func TestDefaultPolicy(t *testing.T) {
	a := open(t)
	who := []*core.Principal{someone("t", "alice", ""), someone("t", "bob", "g"), someone("t", "eve", "h"), someone("u", "alice", "g"), someone("t", "root", "", "admin"), someone("t", "ann", "g", "auditor")}
	for op, want := range map[core.Operation]string{
		core.OperationGet: "yynnnn", core.OperationEncrypt: "yynnnn", core.OperationDecrypt: "yynnnn", core.OperationSign: "yynnnn", core.OperationMAC: "yynnnn",
		core.OperationGetAttributes: "yynnyy", core.OperationGetAttributeList: "yynnyy", core.OperationLocate: "yynnyy",
		core.OperationDestroy: "yynnyn", core.OperationRevoke: "yynnyn", core.OperationActivate: "yynnyn", core.OperationModifyAttribute: "yynnyn", core.OperationReKey: "yynnyn",
	} {
		for i, p := range who {
			for range 2 { // the second answer is a remembered one
				d, err := a.Decide(ctx, ask(p, op, object))
				if err != nil || d.Allow != (want[i] == 'y') {
					t.Errorf("%v by %s/%s %v: %+v, %v; want %c", op, p.Tenant, p.ID, p.Roles, d, err, want[i])
				}
			}
		}
	}
	for _, p := range who[:3] {
		if d, err := a.Decide(ctx, ask(p, core.OperationCreate, nil)); err != nil || !d.Allow {
			t.Errorf("Create by %s: %+v, %v", p.ID, d, err)
		}
	}
}

func TestIncompleteQuestionsAreDenied(t *testing.T) {
	a := open(t)
	for what, r := range map[string]*core.AccessRequest{
		"nobody":              ask(nil, core.OperationCreate, nil),
		"an empty tenant":     ask(someone("", "alice", ""), core.OperationGet, &core.ManagedObject{ID: "o", Owner: "alice"}),
		"an empty id":         ask(someone("t", "", ""), core.OperationGet, object),
		"an unknown act":      ask(someone("t", "alice", ""), 9999, object),
		"an ownerless object": ask(someone("t", "alice", ""), core.OperationGet, &core.ManagedObject{Tenant: "t", ID: "o"}),
		"no door":             {Operation: core.OperationGet, Principal: someone("t", "alice", ""), Object: object},
	} {
		if d, err := a.Decide(ctx, r); err == nil || d.Allow {
			t.Errorf("%s: %+v, %v; want an error that denies", what, d, err)
		}
	}
}

const goodTest = "package p_test\nimport rego.v2\ntest_ok if true\n"

// Every way in which a policy has been seen to fail open is refused, at load or
// by the decision.
func TestBadPoliciesAreNotActivated(t *testing.T) {
	head := "package keyreeve.authz\nimport rego.v2\n"
	deny := head + "decision := {\"allow\": false, \"reasons\": [], \"scope\": \"own\"}\n"
	for what, c := range map[string]struct{ policy, tests, says string }{
		"no rego.v2":            {"package keyreeve.authz\nimport rego.v1\ndecision := {\"allow\": false, \"reasons\": [], \"scope\": \"own\"}", goodTest, "rego.v2"},
		"no tests":              {deny, "package p_test\nimport rego.v2\n", "no tests"},
		"a failing test":        {deny, "package p_test\nimport rego.v2\ntest_bad if false\n", "test_bad"},
		"no Rego":               {"allow everything", goodTest, ""},
		"a network call":        {head + "decision := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).body", goodTest, "http.send"},
		"the clock":             {head + "decision := {\"allow\": time.now_ns() > 0, \"reasons\": [], \"scope\": \"own\"}", goodTest, "now_ns"},
		"allow all":             {head + "decision := {\"allow\": true, \"reasons\": [], \"scope\": \"own\"}", goodTest, "another tenant"},
		"another form":          {head + "decision := true", goodTest, "decision"},
		"allow is text":         {head + "decision := {\"allow\": \"true\", \"reasons\": [], \"scope\": \"own\"}", goodTest, "decision"},
		"undefined":             {head + "decision := {\"allow\": true, \"reasons\": [], \"scope\": \"own\"} if input.nothing", goodTest, "decision"},
		"a malformed CIDR":      {head + "decision := {\"allow\": net.cidr_contains(\"10.0.0.300/8\", input.address), \"reasons\": [], \"scope\": \"own\"}", goodTest, ""},
		"an endless comparison": {head + "decision := {\"allow\": count([1 | some x in numbers.range(1, 100000); some y in numbers.range(1, 100000); x * y == -1]) == 0, \"reasons\": [], \"scope\": \"own\"}", goodTest, ""},
	} {
		began := time.Now()
		_, err := authz.New(ctx, with(c.policy, c.tests))
		if err == nil || core.CodeOf(err) != core.PolicyUnavailable || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want a refusal that says %q", what, err, c.says)
		}
		if time.Since(began) > 10*time.Second {
			t.Errorf("%s took %v", what, time.Since(began))
		}
	}
}

func TestReloadKeepsTheOldPolicy(t *testing.T) {
	policy := keyreeve.Policy
	a, err := authz.New(ctx, authz.Options{Load: func() (string, string, error) { return policy, keyreeve.PolicyTests, nil }})
	if err != nil {
		t.Fatal(err)
	}
	before := a.Hash()
	policy = "package broken"
	if err := a.Reload(ctx); err == nil || a.Hash() != before {
		t.Errorf("a broken policy: %v, active %s, before %s", err, a.Hash(), before)
	}
	if d, err := a.Decide(ctx, ask(someone("t", "alice", ""), core.OperationGet, object)); err != nil || !d.Allow {
		t.Errorf("the old policy does not decide any more: %+v, %v", d, err)
	}
	policy = keyreeve.Policy + "\ndenials contains \"closed\" if input.operation == \"Get\"\n"
	if err := a.Reload(ctx); err == nil {
		t.Error("a policy whose tests fail was activated")
	}
	policy = keyreeve.Policy + "\ndenials contains \"closed\" if input.principal.id == \"mallory\"\n"
	if err := a.Reload(ctx); err != nil || a.Hash() == before {
		t.Errorf("a good change: %v", err)
	}
	mine := *object
	mine.Owner = "mallory"
	if d, err := a.Decide(ctx, ask(someone("t", "mallory", ""), core.OperationGet, &mine)); err != nil || d.Allow || d.Reasons[0] != "closed" {
		t.Errorf("the new policy decides %+v, %v", d, err)
	}
}

// A policy that reads the clock is asked each time; one that does not is not.
func TestOnlySteadyAnswersAreKept(t *testing.T) {
	timed := keyreeve.Policy + "\ndenials contains \"too late\" if input.now > 100\n"
	tests := strings.ReplaceAll(keyreeve.PolicyTests, "\"now\": 1700000000", "\"now\": 1")
	a, err := authz.New(ctx, with(timed, tests))
	if err != nil {
		t.Fatal(err)
	}
	r := ask(someone("t", "alice", ""), core.OperationGet, object)
	for _, c := range []struct {
		now   int64
		allow bool
	}{{1, true}, {101, false}, {50, true}} {
		r.Now = c.now
		if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow {
			t.Errorf("at %d: %+v, %v; want %v", c.now, d, err, c.allow)
		}
	}
	whole := keyreeve.Policy + "\ndenials contains \"too late\" if {x := input; x.now > 100}\n"
	if a, err = authz.New(ctx, with(strings.Replace(whole, "if {x := input; x.now > 100}", "if {\n\tx := input\n\tx.now > 100\n}", 1), tests)); err != nil {
		t.Fatal(err)
	}
	for _, now := range []int64{1, 101} {
		r.Now = now
		if d, _ := a.Decide(ctx, r); d.Allow != (now == 1) {
			t.Errorf("through a variable, at %d: %+v", now, d)
		}
	}
}

func TestRememberedAnswerIsFree(t *testing.T) {
	a := open(t)
	r := ask(someone("t", "alice", ""), core.OperationGet, object)
	if n := testing.AllocsPerRun(100, func() { a.Decide(ctx, r) }); n > 0 {
		t.Errorf("a remembered answer costs %v allocations, want 0", n)
	}
}

func BenchmarkRemembered(b *testing.B) {
	a := open(b)
	r := ask(someone("t", "alice", ""), core.OperationGet, object)
	for b.Loop() {
		a.Decide(ctx, r)
	}
}

func BenchmarkEvaluated(b *testing.B) {
	a := open(b)
	p := someone("t", "alice", "")
	for i := 0; b.Loop(); i++ {
		o := *object
		o.Version = int64(i)
		a.Decide(ctx, ask(p, core.OperationGet, &o))
	}
}
