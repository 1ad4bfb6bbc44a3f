package keypolicy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/keyreeve/keyreeve/core"
)

func compileText(t testing.TB, name, text string) *Policy {
	t.Helper()
	p, _, err := Compile([]byte(text), Options{Name: name, Version: 3, Regions: testRegions, Locate: locateInTest})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func newMatcher(t testing.TB, o MatcherOptions) *Matcher {
	t.Helper()
	m, err := NewMatcher(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// matchBy matches by a query that was partially evaluated for the policies and action.
func matchBy(t testing.TB, q *rego.PreparedEvalQuery, r *Request, all []*Policy) Matches {
	t.Helper()
	relevant, c := concerned(all, r.Action.String())
	var found []place
	if len(relevant) > 0 {
		asked, err := questionOf(r, principalTerm)
		if err != nil {
			t.Fatal(err)
		}
		items, err := asked.inputItems(&c)
		if err != nil {
			t.Fatal(err)
		}
		if found, err = evaluate(t.Context(), q, ast.NewObject(items...), c.size); err != nil {
			t.Fatal(err)
		}
	}
	m, err := collect(found, relevant, all, func(statement string) bool { return slices.Contains(r.Granted, statement) })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// namesOnly drops what the reference does not tell.
func namesOnly(m Matches) Matches {
	return Matches{Allow: m.Allow, Deny: m.Deny, Exclusive: m.Exclusive, Gates: m.Gates}
}

const requestsOfSet = 50 // and action

// The reference evaluator, the interpreted module and the partially evaluated one give the
// same matches. Each explanation is the reference's too. KEYREEVE_SOAK, such as 10m, lengthens
// it to a million pairs, or as many as there are in that time.
func TestReferenceAgrees(t *testing.T) {
	pairs, end := 20_000, time.Now().Add(time.Hour)
	if soak := os.Getenv("KEYREEVE_SOAK"); soak != "" {
		d, err := time.ParseDuration(soak)
		if err != nil {
			t.Fatalf("KEYREEVE_SOAK: %v; use 60s or 10m", err)
		}
		pairs, end = 1_000_000, time.Now().Add(d)
	}
	m := newMatcher(t, MatcherOptions{InterpretOnly: true})
	tally := agreement{T: t, matcher: m}
	for seed := uint64(1); tally.pairs < pairs && !t.Failed() && time.Now().Before(end); seed++ {
		tally.trySet(generator{rand.New(rand.NewPCG(9, seed))})
	}
	t.Logf("%d pairs, %d of them also partially evaluated; %d allows and %d denials matched, %d answers were empty", tally.pairs, tally.partial, tally.allows, tally.denials, tally.empty)
	if n := tally.pairs; tally.allows < n/20 || tally.denials < n/20 || tally.empty < n/20 || tally.partial < n*9/10 || n == 0 {
		t.Error("the generator makes too few matches of some kind to prove anything")
	}
}

// agreement counts what was compared.
type agreement struct {
	*testing.T
	matcher                                *Matcher
	pairs, partial, allows, denials, empty int
}

func (a *agreement) trySet(g generator) {
	var policies []*Policy
	for i := range 1 + g.IntN(4) {
		policies = append(policies, compileText(a, fmt.Sprint("p", i), g.document()))
	}
	if g.IntN(5) == 0 {
		policies = append(policies, policies[0]) // attached twice
	}
	for range 2 {
		action := generatedActions[g.IntN(len(generatedActions))]
		relevant, c := concerned(policies, action.String())
		var q *rego.PreparedEvalQuery // nil: the set has too many branches
		if c.branches <= maxBranches {
			var err error
			if q, err = specialize(action.String(), relevant); err != nil {
				a.Fatalf("partial evaluation failed: %v", err)
			}
		}
		for range requestsOfSet {
			a.tryPair(q, g.request(action), policies, g.IntN(20) == 0)
		}
	}
}

func (a *agreement) tryPair(q *rego.PreparedEvalQuery, r *Request, policies []*Policy, explain bool) {
	want := referenceMatch(r, policies)
	interpreted, err := a.matcher.Match(a.Context(), r, policies)
	if err != nil {
		a.Fatal(err)
	}
	partial := want
	if q != nil {
		partial = namesOnly(matchBy(a, q, r, policies))
		a.partial++
	}
	if !reflect.DeepEqual(namesOnly(interpreted), want) || !reflect.DeepEqual(partial, want) {
		a.Errorf("interpreted %+v\npartially evaluated %+v\nwant %+v\nfor %s", interpreted, partial, want, describe(r, policies))
	}
	if explain {
		a.tryExplain(r, policies, want)
	}
	a.pairs++
	a.allows += min(1, len(want.Allow))
	a.denials += min(1, len(want.Deny))
	if len(want.Allow)+len(want.Deny) == 0 {
		a.empty++
	}
}

func (a *agreement) tryExplain(r *Request, policies []*Policy, want Matches) {
	got, err := a.matcher.Explain(a.Context(), r, policies)
	if err != nil {
		a.Fatal(err)
	}
	for _, p := range policies {
		for k := range p.document.Statements {
			s, v := &p.document.Statements[k], got[0]
			got = got[1:]
			unmet := referenceUnmet(r, s)
			if !slices.ContainsFunc(s.Actions, func(word string) bool { return slices.Contains(core.ActionsNamed(word), r.Action) }) {
				unmet = append(unmet, "actions")
			}
			if !slices.ContainsFunc(s.Principals, func(name string) bool { return referenceIs(r, name) }) {
				unmet = append(unmet, "principal")
			}
			slices.Sort(unmet)
			counts := slices.Contains(want.Allow, v.Statement) || slices.Contains(want.Deny, v.Statement)
			if v.Statement != p.labels[k] || v.Effect != s.Effect || !slices.Equal(v.Unmet, unmet) || v.Matched != (len(unmet) == 0) || v.Counts != counts {
				a.Errorf("the verdict %+v; want unmet %v, counts %v, for %s", v, unmet, counts, describe(r, policies))
			}
		}
	}
}

func describe(r *Request, policies []*Policy) string {
	text := fmt.Sprintf("%+v, principal %+v, object %+v, %+v", *r.AccessRequest, *r.Principal, r.Object, *r)
	for _, p := range policies {
		document, _ := p.document.Text()
		text += "\n" + p.name + " " + string(document)
	}
	return text
}
