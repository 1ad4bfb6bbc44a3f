package authz_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// manyStatements returns a policy with so many equal statements, apart from their names.
func manyStatements(n int, statement string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"sid": "s%04d", %s}`, i, statement)
	}
	return `{"statements": [` + strings.Join(all, ",") + `]}`
}

// However many statements match, the request is decided: by one denial, or else by one of
// the permits. The record has a few names.
func TestManyStatementsMatch(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{
		"allow": manyStatements(500, `"principal": "user:eve", "actions": ["Get"], "effect": "allow"`),
		"deny":  manyStatements(500, `"principal": "user:eve", "actions": ["Get"], "effect": "deny"`)})
	eve := someone("t", "eve", "")
	if d, err := a.Decide(ctx, askUnder(eve, core.ActionGet, object("alice", ""), 1, "allow")); err != nil || !d.Allow || len(d.Reasons) == 0 {
		t.Errorf("500 statements allow it: %+v, %v", d, err)
	}
	d, err := a.Decide(ctx, askUnder(eve, core.ActionGet, object("alice", ""), 1, "allow", "deny"))
	if err != nil || d.Allow || len(d.Reasons) == 0 || len(d.Reasons) > 32 {
		t.Errorf("500 statements allow it and 500 deny it: %d reasons, allow %v, %v; want a denial with a few reasons", len(d.Reasons), d.Allow, err)
	}
}

// A principal with very many roles that permit an action is permitted.
func TestManyRolesPermit(t *testing.T) {
	a, _ := withKeyPolicies(t, nil)
	r := ask(someone("t", "eve", ""), core.ActionGet, object("alice", ""))
	for i := range core.MaxUserNames {
		r.Rights = append(r.Rights, fmt.Sprint("role", i))
	}
	if d, err := a.Decide(ctx, r); err != nil || !d.Allow {
		t.Errorf("%d roles permit it: %+v, %v", len(r.Rights), d, err)
	}
}

// Policies that are replaced again and again stay in memory no longer than they are in
// force: a remembered match does not hold its policy.
func TestReplacedPoliciesLeaveMemory(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{"p": manyStatements(500, `"principals": ["user:a", "user:b", "user:c", "user:d", "user:e", "user:f"], "actions": ["Get"], "effect": "deny"`)})
	alice := someone("t", "alice", "")
	replace := func(from, to int64) uint64 {
		for v := from; v <= to; v++ {
			if _, err := a.Decide(ctx, askUnder(alice, core.ActionGet, object("alice", ""), v, "p")); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(a)
		return m.HeapAlloc
	}
	few := replace(1, 3)
	if many := replace(4, 33); many > few+few/2 {
		t.Errorf("after 3 versions %d MB are in use, after 33 versions %d MB", few>>20, many>>20)
	}
}

// A tenant with more policies than can be kept drives out its own, and not those of
// another tenant.
func TestLargeTenantDrivesOutItsOwnPolicies(t *testing.T) {
	large := manyStatements(1000, `"principals": ["user:a", "user:b", "user:c", "user:d", "user:e", "user:f"], "actions": ["Get"], "effect": "deny"`)
	texts := map[string]string{"small": denyGet}
	for i := range 25 {
		texts[fmt.Sprint("large", i)] = large
	}
	a, s := withKeyPolicies(t, texts)
	small := askUnder(someone("u", "alice", ""), core.ActionGet, &core.ManagedObject{Tenant: "u", ID: "o", Owner: "alice", Version: 1}, 1, "small")
	small.Policies[0].Name.Tenant = "u"
	decide := func(r *core.AccessRequest) {
		t.Helper()
		if _, err := a.Decide(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	decide(small)
	for i := range 25 {
		decide(askUnder(someone("t", "alice", ""), core.ActionGet, object("alice", ""), 1, fmt.Sprint("large", i)))
	}
	before := s.reads
	if decide(small); s.reads != before {
		t.Errorf("the policy of the small tenant is read again, because another tenant has many")
	}
}
