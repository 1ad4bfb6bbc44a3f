package keypolicy

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

func allowing(t testing.TB, name, members string) *Policy {
	t.Helper()
	return compileText(t, name, `{`+members+`"statements": [{"principal": "user:alice", "actions": ["encrypt"], "effect": "allow"}]}`)
}

// Beside exclusive policies only theirs count, and each of them must allow.
func TestExclusive(t *testing.T) {
	open, open2 := allowing(t, "open", ""), allowing(t, "open2", "")
	only, only2 := allowing(t, "only", `"exclusive": true, `), allowing(t, "only2", `"exclusive": true, `)
	silent := compileText(t, "silent", `{"exclusive": true, "statements": [{"principal": "*", "actions": ["sign"], "effect": "allow"}]}`)
	bobs := compileText(t, "bobs", `{"exclusive": true, "statements": [{"principal": "user:bob", "actions": ["encrypt"], "effect": "allow"}]}`)
	denies := compileText(t, "denies", `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`)
	for _, c := range []struct {
		what     string
		policies []*Policy
		want     Matches
	}{
		{"nothing attached", nil, Matches{}},
		{"two open ones", []*Policy{open2, open}, Matches{Allow: []string{"open2@3/1", "open@3/1"}}},
		{"one attached twice", []*Policy{open, open}, Matches{Allow: []string{"open@3/1"}}},
		{"an exclusive one", []*Policy{open, only}, Matches{Allow: []string{"only@3/1"}, Exclusive: true}},
		{"two exclusive ones", []*Policy{only, only2, open}, Matches{Allow: []string{"only2@3/1", "only@3/1"}, Exclusive: true}},
		{"an exclusive one that says nothing about the action", []*Policy{only, silent}, Matches{Exclusive: true}},
		{"only one that says nothing about the action", []*Policy{silent}, Matches{Exclusive: true}},
		{"an exclusive one for somebody else", []*Policy{only, bobs, open}, Matches{Exclusive: true}},
		{"a denial beside an exclusive one", []*Policy{only, denies}, Matches{Allow: []string{"only@3/1"}, Deny: []string{"denies@3/1"}, Exclusive: true}},
	} {
		c.want.Span = Always
		if got := bothWays(t, usualRequest(), c.policies...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

// The verdicts say why each statement did not match.
func TestExplain(t *testing.T) {
	p := compileText(t, "p", `{"statements": [
		{"sid": "right", "principal": "user:alice", "actions": ["encrypt"], "effect": "allow"},
		{"sid": "elsewhere", "principal": "user:alice", "actions": ["encrypt"], "effect": "allow", "conditions": {"ipAddress": "10.0.0.0/8", "tags": {"env": "prod"}, "door": "rest"}},
		{"sid": "all", "principal": "user:bob", "actions": ["sign"], "effect": "deny", "conditions": {"strength": "certificate", "time": {"notAfter": "2001-01-01T00:00:00Z"}}}]}`)
	only := compileText(t, "only", `{"exclusive": true, "statements": [{"principal": "user:bob", "actions": ["encrypt"], "effect": "allow"}]}`)
	got, err := newMatcher(t, MatcherOptions{}).Explain(t.Context(), usualRequest(), []*Policy{p, only})
	want := []StatementVerdict{
		{Statement: "p@3/right", Effect: format.Allow, Matched: true}, // and does not count beside the exclusive policy
		{Statement: "p@3/elsewhere", Effect: format.Allow, Unmet: []string{"conditions.door", "conditions.ipAddress"}},
		{Statement: "p@3/all", Effect: format.Deny, Unmet: []string{"actions", "conditions.time.notAfter", "principal"}},
		{Statement: "only@3/1", Effect: format.Allow, Unmet: []string{"principal"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
}

// What an answer depends on follows from the statements for the action.
func TestReads(t *testing.T) {
	r := usualRequest()
	for conditions, want := range map[string]Matches{
		`"door": "kmip"`:                                                     {Span: Always},
		`"ipAddress": "10.0.0.0/8"`:                                          {Span: Always, ReadsAddress: true},
		`"region": "eu"`:                                                     {Span: Always, ReadsAddress: true},
		`"time": {"notAfter": "2001-01-01T00:00:00Z"}`:                       {Span: TimeSpan{978307201, math.MaxInt64}},
		`"time": {"notBefore": "2050-01-01T00:00:00Z"}`:                      {Span: TimeSpan{math.MinInt64, 2524607999}},
		`"time": {"daily": {"from": "08:00", "to": "18:00", "zone": "UTC"}}`: {Span: TimeSpan{r.Now - r.Now%86400 + 8*3600, r.Now - r.Now%86400 + 18*3600 - 1}},
		`"parameters": {"mode": "GCM"}`:                                      {Span: Always, ReadsParameters: true},
	} {
		p := compileText(t, "p", fmt.Sprintf(`{"statements": [{"principal": "user:nobody", "actions": ["encrypt"], "effect": "allow", "conditions": {%s}}]}`, conditions))
		if got := bothWays(t, r, p); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", conditions, got, want)
		}
		other := usualRequest()
		other.Action = core.ActionSign
		if got := bothWays(t, other, p); !reflect.DeepEqual(got, Matches{Span: Always}) {
			t.Errorf("%s, asked for another action: %+v, want nothing", conditions, got)
		}
	}
}

func TestCompileNames(t *testing.T) {
	const text = `{%s"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`
	for _, c := range []struct {
		member, name string
		version      int64
		label        string // "": refused
	}{
		{"", "p", 1, "p@1/1"}, {`"name": "p", `, "", 2, "p@2/1"}, {`"name": "p", `, "p", 9, "p@9/1"}, {`"name": "p", `, "q", 1, ""}, {"", "", 1, ""}, {"", "a/b", 1, ""}, {"", "a@b", 1, ""}, {"", "p", 0, ""}, {"", "p", -1, ""}, {"", strings.Repeat("p", 129), 1, ""},
	} {
		p, _, err := Compile(fmt.Appendf(nil, text, c.member), Options{Name: c.name, Version: c.version})
		switch {
		case c.label == "" && core.CodeOf(err) != core.InvalidField:
			t.Errorf("%q stored as %q, version %d: %v; want InvalidField", c.member, c.name, c.version, err)
		case c.label != "" && (err != nil || !slices.Equal(p.Labels(), []string{c.label})):
			t.Errorf("%q stored as %q, version %d: %v; want the label %s", c.member, c.name, c.version, err, c.label)
		}
	}
}

// largePolicy returns the largest policy: 1,000 statements with all they can have.
func largePolicy(t testing.TB, statements int) *Policy {
	one := `{"principals": ["user:a", "user:b", "group:c"], "actions": ["encrypt", "read"], "effect": "deny", "conditions": {"ipAddress": ["10.0.0.0/8", "192.0.2.0/24"], "tags": {"env": ["a", "b"], "x-Site": "c"}, "time": {"daily": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}}}}`
	return compileText(t, "large", `{"statements": [`+strings.TrimSuffix(strings.Repeat(one+",", statements), ",")+`]}`)
}

// The largest policy is evaluated within its steps, and more than the bound is refused
// before it is evaluated.
func TestBoundsOfMatching(t *testing.T) {
	m, large := newMatcher(t, MatcherOptions{}), largePolicy(t, 1000)
	r := usualRequest()
	r.Principal = &core.Principal{Tenant: "t", ID: "a", Groups: []string{"c"}, Method: "mtls"}
	r.Address, r.Now = "10.0.0.1", year2026
	r.Object.Attributes = core.Attributes{{Vendor: "x", Name: "keyreeve-tag-env", Value: core.Text("b")}, {Vendor: "x", Name: "Site", Value: core.Text("c")}}
	for range usesBefore + 1 {
		if got, err := m.Match(t.Context(), r, []*Policy{large}); err != nil || len(got.Deny) != 1000 {
			t.Fatalf("1,000 matching statements: %d denials, %v", len(got.Deny), err)
		}
	}
	if got, err := m.Explain(t.Context(), r, []*Policy{large}); err != nil || len(got) != 1000 {
		t.Errorf("1,000 statements are explained by %d verdicts, %v", len(got), err)
	}
	if m.specialized.sets.Len() != 0 {
		t.Error("a set with too many branches waits for partial evaluation")
	}
	second := compileText(t, "second", `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny", "conditions": {"tags": {"env": [`+strings.TrimSuffix(strings.Repeat(`"v",`, 999), ",")+`]}}}]}`)
	if _, err := m.Match(t.Context(), r, []*Policy{large, second}); err != nil {
		t.Errorf("a list with the same value 999 times: %v", err)
	}
	if _, err := m.Match(t.Context(), r, []*Policy{large, largePolicy(t, 999)}); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("two such policies: %v; want PolicyUnavailable", err)
	}
	many := make([]*Policy, MaxPolicies)
	for i := range many {
		many[i] = compileText(t, fmt.Sprint("p", i), fmt.Sprintf(`{"statements": [{"principal": "*", "actions": ["encrypt"], "effect": "deny", "conditions": {"tags": {"number": "%d", "env": "b"}}}, {"principal": "user:a", "actions": ["encrypt"], "effect": "allow"}]}`, i))
	}
	if got, err := m.Match(t.Context(), r, many); err != nil || len(got.Allow) != MaxPolicies || len(got.Deny) != 0 {
		t.Errorf("%d policies: %d allow, %d deny, %v", MaxPolicies, len(got.Allow), len(got.Deny), err)
	}
	if _, err := m.Match(t.Context(), r, slices.Repeat([]*Policy{second}, MaxPolicies+1)); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("%d policies: %v; want PolicyUnavailable", MaxPolicies+1, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Match(ended, r, []*Policy{second}); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("a request that has ended: %v; want PolicyUnavailable", err)
	}
}

// An evaluation that takes more steps than its budget is an error.
func TestOutOfSteps(t *testing.T) {
	m, p := newMatcher(t, MatcherOptions{}), largePolicy(t, 1000)
	if found, err := evaluate(t.Context(), &m.matched, inputOf(t, usualRequest(), p), -90); core.CodeOf(err) != core.PolicyUnavailable || !strings.Contains(fmt.Sprint(err), "steps") {
		t.Errorf("%d matches, %v; want PolicyUnavailable", len(found), err)
	}
}

// Many goroutines ask while sets are evaluated partially in the background. The answers
// do not change, and the number of sets is bounded.
func TestBackground(t *testing.T) {
	m, policies, want := newMatcher(t, MatcherOptions{}), usualPolicies(t), []string{"p1@3/1"}
	awaitSpecialized(t, m, usualRequest(), policies)
	m = newMatcher(t, MatcherOptions{})
	var askers sync.WaitGroup
	for i := range 4 {
		askers.Go(func() {
			r := usualRequest()
			r.Principal.Tenant = fmt.Sprint("t", i%2)
			for k := range 60 {
				some := slices.Clone(policies[k%3:])
				slices.Reverse(some)
				got, err := m.Match(context.Background(), r, append(some, policies[1]))
				if err != nil || !slices.Equal(got.Allow, want) || got.Deny != nil {
					t.Errorf("%+v, %v; want %v", got, err, want)
				}
			}
		})
	}
	askers.Wait()
	if n := m.specialized.sets.Len(); n != 4 { // two sets of policies that differ, for each tenant
		t.Errorf("%d sets are kept, want 4: the order of policies and one attached twice make no other set", n)
	}
}

// A fault inside of partial evaluation is an error: the goroutine would end the server.
func TestFaultOfPartialEvaluation(t *testing.T) {
	if q, err := specialize("Encrypt", []*Policy{{}}); q != nil || core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("a policy without normal form: %v, %v; want PolicyUnavailable", q, err)
	}
	if got := bothWays(t, usualRequest(), allowing(t, "p", "")); len(got.Allow) != 1 {
		t.Errorf("after a fault: %+v; want one allow", got)
	}
}

func TestSetsAreBounded(t *testing.T) {
	m := newMatcher(t, MatcherOptions{})
	p := usualPolicies(t)[:1]
	_, c := concerned(p, "Encrypt")
	for i := range 2 * maxSpecialized {
		m.specialized.queryFor("t", fmt.Sprint("action", i), p, c)
	}
	if n := m.specialized.sets.Len(); n > maxSpecialized {
		t.Errorf("%d sets are kept, at most %d", n, maxSpecialized)
	}
	for i := range 2 * maxPrincipals {
		m.principals.termOf(&core.Principal{Tenant: "t", ID: fmt.Sprint(i)}, "")
	}
	if n := m.principals.kept.Len(); n > maxPrincipals {
		t.Errorf("the terms of %d principals are kept, at most %d", n, maxPrincipals)
	}
}
