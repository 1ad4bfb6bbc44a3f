package authz_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// policyTable is a table with a number of key policies of one tenant. Nothing else is ever in it.
type policyTable struct {
	directory.Store // nil: what a test does not expect ends it
	policies        int
}

func (s policyTable) Shared() bool { return false }

func (s policyTable) DirectoryChange(context.Context) (int64, error) { return 0, nil }

func (s policyTable) DirectoryChanges(context.Context, int64, int) (core.DirectoryPage, error) {
	return core.DirectoryPage{}, nil
}

func (s policyTable) DirectoryEntries(context.Context, core.DirectoryName, int) (page core.DirectoryPage, err error) {
	for i := range s.policies {
		page.Entries = append(page.Entries, &core.DirectoryEntry{Kind: core.EntryPolicy, Tenant: "t", ID: fmt.Sprint("p", i), Version: 1, Body: usualDocument(i)})
	}
	return page, nil
}

// usualDocument returns a policy of four statements with conditions, some 700 bytes long.
func usualDocument(i int) []byte {
	text := fmt.Sprintf(`{"statements": [
		{"principal": "user:eve", "actions": ["Get", "decrypt"], "effect": "allow", "conditions": {"ipAddress": "10.%d.0.0/16"}},
		{"principal": "role:admin", "actions": ["rotate", "delete"], "effect": "allow"},
		{"principals": ["user:bob", "group:ops"], "actions": ["encrypt", "read", "Get"], "effect": "allow", "conditions": {"time": {"notBefore": "2020-01-01T00:00:00Z", "notAfter": "2050-01-01T00:00:00Z"}}},
		{"principal": "*", "actions": ["*"], "effect": "deny", "conditions": {"tags": {"env": "retired"}}}]}`, i%4)
	return []byte(text + strings.Repeat(" ", 700-len(text)))
}

type stillClock struct{}

func (stillClock) Now() int64      { return 1790000000 }
func (stillClock) NowMicro() int64 { return 1790000000e6 }
func (stillClock) Mono() int64     { return 0 }

// decider makes whole decisions: what the directory has about a request, the statements that
// match, and policies.rego.
type decider struct {
	testing.TB
	facts      *directory.AccessFacts
	authorizer *authz.Authorizer
	object     core.ManagedObject
	request    core.AccessRequest
	asked      int
}

// newDecider returns a decider in a server that holds a number of policies. Four of them are
// attached to the object of its requests.
func newDecider(t testing.TB, policies int) *decider {
	t.Helper()
	d := directory.New(directory.Ports{Store: policyTable{policies: policies}, Clock: stillClock{}, Log: slog.New(slog.DiscardHandler)})
	facts := directory.NewAccessFacts(d)
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	keys, err := authz.NewKeyPolicies(authz.RegionSources{}, d.PolicyVersion)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authz.Load(ctx, authz.Options{Keys: keys}, with(keyreeve.Policy, keyreeve.PolicyTests))
	if err != nil {
		t.Fatal(err)
	}
	out := &decider{TB: t, facts: facts, authorizer: a, object: *object("alice", "")}
	for i := range 4 {
		out.object.Attributes = out.object.Attributes.Add(core.Attribute{Vendor: core.PolicyAttribute.Vendor, Name: core.PolicyAttribute.Name, Value: core.Text(fmt.Sprint("p", policies/2+i-2))})
	}
	out.request = *ask(someone("t", "eve", ""), core.ActionGet, &out.object)
	out.request.Address, out.request.Now = "10.1.2.3", stillClock{}.Now()
	for range 2000 { // until the four are evaluated partially, which is done in the background
		out.decideAnother()
	}
	return out
}

// decide makes the same decision again, which is remembered.
func (d *decider) decide() {
	d.request.Policies = d.request.Policies[:0]
	if err := d.facts.AddFacts(&d.request); err != nil {
		d.Fatal(err)
	}
	if answer, err := d.authorizer.Decide(ctx, &d.request); err != nil || !answer.Allow || len(d.request.Policies) != 4 {
		d.Fatalf("under %d policies: %+v, %v; want a permit under four", len(d.request.Policies), answer, err)
	}
}

// decideAnother makes a decision about another object, whose statements must be evaluated.
func (d *decider) decideAnother() {
	d.asked++
	d.object.ID = fmt.Sprint("object-", d.asked)
	d.decide()
}

// A decision under four policies allocates nothing once it is remembered, however many
// policies the server holds.
func TestRememberedDecisionIsFree(t *testing.T) {
	for _, policies := range []int{10, 10_000} {
		d := newDecider(t, policies)
		if n := testing.AllocsPerRun(100, d.decide); n > 0 {
			t.Errorf("with %d policies a remembered decision costs %v allocations, want 0", policies, n)
		}
	}
}

// costs are the shortest times of a whole decision, under four of few and of very many
// policies, and of a policy that only says allow.
type costs struct{ floor, fewRemembered, fewEvaluated, manyRemembered, manyEvaluated time.Duration }

// measureCosts runs all sides in turn, so that a disturbance meets each, until more says no.
func measureCosts(t testing.TB, more func() bool) costs {
	few, many := newDecider(t, 10), newDecider(t, 100_000)
	floor, err := authz.Load(ctx, authz.Options{Forget: true}, with(allowIf(`true`), goodTest))
	if err != nil {
		t.Fatal(err)
	}
	r := ask(someone("t", "eve", ""), core.ActionGet, object("alice", ""))
	best := costs{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	shortest := func(best *time.Duration, calls int, work func()) {
		start := time.Now()
		for range calls {
			work()
		}
		*best = min(*best, time.Since(start)/time.Duration(calls))
	}
	for more() {
		shortest(&best.floor, 30, func() { floor.Decide(ctx, r) })
		shortest(&best.fewRemembered, 500, few.decide)
		shortest(&best.manyRemembered, 500, many.decide)
		shortest(&best.fewEvaluated, 20, few.decideAnother)
		shortest(&best.manyEvaluated, 20, many.decideAnother)
	}
	return best
}

// ratios are the goals of the speed of decisions, as functions of what was measured.
func (c *costs) ratios() map[string]float64 {
	of := func(a, b time.Duration) float64 { return float64(a) / float64(b) }
	return map[string]float64{"remembered/floor": of(c.manyRemembered, c.floor), "evaluated/floor": of(c.manyEvaluated, c.floor),
		"remembered-100000/10": of(c.manyRemembered, c.fewRemembered), "evaluated-100000/10": of(c.manyEvaluated, c.fewEvaluated)}
}

// BenchmarkDecisionsStayFlat reports the ratios of whole decisions: evaluated and remembered
// beside `allow := true`, and with 100,000 policies beside 10.
func BenchmarkDecisionsStayFlat(b *testing.B) {
	c := measureCosts(b, b.Loop)
	for name, ratio := range c.ratios() {
		b.ReportMetric(ratio, name)
	}
	b.ReportMetric(float64(c.floor), "floor-ns")
}

// The ratios stay far below what a decision that searches through 100,000 policies would cost.
// The bounds are generous, since other work disturbs the measurement.
func TestDecisionsStayFlat(t *testing.T) {
	if os.Getenv("KEYREEVE_SOAK") == "" {
		t.Skip("compares times; set KEYREEVE_SOAK=1m, as make soak does")
	}
	end := time.Now().Add(30 * time.Second)
	c := measureCosts(t, func() bool { return time.Now().Before(end) })
	t.Logf("%+v", c)
	for name, most := range map[string]float64{"remembered/floor": 0.5, "evaluated/floor": 100, "remembered-100000/10": 10, "evaluated-100000/10": 10} {
		got := c.ratios()[name]
		if t.Logf("%s is %.3f", name, got); got > most {
			t.Errorf("%s is %.2f; want at most %v", name, got, most)
		}
	}
}
