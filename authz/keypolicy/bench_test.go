package keypolicy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/keyreeve/keyreeve/core"
)

// fourStatements is a usual policy: two statements with conditions, one for a role, one
// denial. %d makes the policies differ.
const fourStatements = `{"statements": [
 {"principal": "user:alice", "actions": ["encrypt", "decrypt"], "effect": "allow", "conditions": {"ipAddress": "192.168.%d.0/24"}},
 {"principal": "role:admin", "actions": ["rotate", "delete"], "effect": "allow"},
 {"principals": ["user:bob", "group:ops"], "actions": ["encrypt", "read"], "effect": "allow", "conditions": {"time": {"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2030-01-01T00:00:00Z"}}},
 {"principal": "*", "actions": ["*"], "effect": "deny", "conditions": {"tags": {"env": "retired"}}}]}`

func usualPolicies(t testing.TB) (policies []*Policy) {
	for i := range 4 {
		policies = append(policies, compileText(t, fmt.Sprint("p", i), fmt.Sprintf(fourStatements, i)))
	}
	return policies
}

func usualRequest() *Request {
	o := &core.ManagedObject{Tenant: "t", ID: "o", Owner: "alice", Version: 1, Type: core.ObjectTypeSymmetricKey,
		Attributes: core.Attributes{{Vendor: "x", Name: "keyreeve-tag-env", Value: core.Text("prod")}}}
	return &Request{AccessRequest: &core.AccessRequest{Action: core.ActionEncrypt, Principal: &core.Principal{Tenant: "t", ID: "alice", Groups: []string{"dev"}, Roles: []string{"user"}, Strength: core.StrengthCertificate, Method: "mtls"},
		Object: o, State: core.Active, Door: core.DoorKMIP, Address: "192.168.1.7", Now: 1790000000}}
}

// awaitSpecialized asks until the set was partially evaluated.
func awaitSpecialized(t testing.TB, m *Matcher, r *Request, policies []*Policy) {
	t.Helper()
	relevant, c := concerned(policies, r.Action.String())
	for range 10_000 {
		if _, err := m.Match(context.Background(), r, policies); err != nil {
			t.Fatal(err)
		}
		if m.specialized.queryFor(r.Principal.Tenant, r.Action.String(), relevant, c) != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the set of policies was not partially evaluated in the background")
}

// floorQuery is the least that any decision by Rego costs.
func floorQuery(t testing.TB) func() {
	q, err := rego.New(rego.Query("x = data.floor.allow"), rego.Module("floor.rego", "package floor\n\nallow := true"), rego.StrictBuiltinErrors(true)).PrepareForEval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	input := ast.NewObject(ast.Item(ast.StringTerm("action"), ast.StringTerm("Encrypt")))
	return func() {
		if rs, err := q.Eval(context.Background(), rego.EvalParsedInput(input)); err != nil || len(rs) != 1 {
			t.Fatal(rs, err)
		}
	}
}

// Four attached policies of four statements, beside "allow := true".
func BenchmarkMatch(b *testing.B) {
	policies, r := usualPolicies(b), usualRequest()
	interpreting, specializing := newMatcher(b, MatcherOptions{InterpretOnly: true}), newMatcher(b, MatcherOptions{})
	awaitSpecialized(b, specializing, r, policies)
	run := func(name string, work func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
	match := func(m *Matcher) func() {
		return func() {
			if got, err := m.Match(context.Background(), r, policies); err != nil || len(got.Allow) != 1 {
				b.Fatal(got, err)
			}
		}
	}
	run("floor", floorQuery(b))
	run("partially evaluated", match(specializing))
	run("interpreted", match(interpreting))
	run("explained", func() { interpreting.Explain(context.Background(), r, policies) })
	relevant, _ := concerned(policies, r.Action.String())
	run("partial evaluation of the set", func() {
		if _, err := specialize(r.Action.String(), relevant); err != nil {
			b.Fatal(err)
		}
	})
	run("compile one policy", func() {
		Compile([]byte(fourStatements[:0]+fmt.Sprintf(fourStatements, 1)), Options{Name: "p", Version: 1})
	})
}

// The ratio of the two, each the fastest of many interleaved rounds.
func BenchmarkRatioToFloor(b *testing.B) {
	policies, r, m := usualPolicies(b), usualRequest(), newMatcher(b, MatcherOptions{})
	awaitSpecialized(b, m, r, policies)
	floor := floorQuery(b)
	leastFloor, leastMatch := time.Hour, time.Hour
	const calls = 30 // few, so that some rounds are not disturbed
	round := func(work func()) time.Duration {
		start := time.Now()
		for range calls {
			work()
		}
		return time.Since(start)
	}
	for b.Loop() {
		leastFloor = min(leastFloor, round(floor))
		leastMatch = min(leastMatch, round(func() { m.Match(context.Background(), r, policies) }))
	}
	b.ReportMetric(float64(leastMatch)/float64(leastFloor), "ratio")
	b.ReportMetric(float64(leastMatch)/calls, "match-ns")
}
