package keypolicy

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// RunTests runs the tests in a policy against the policy alone. It fails with InvalidField
// and the path of the first test that has another outcome. A policy without tests passes.
func (m *Matcher) RunTests(ctx context.Context, p *Policy) error {
	for i := range p.document.Tests {
		t := &p.document.Tests[i]
		for _, action := range core.ActionsNamed(t.Action) {
			q := testQuestion(t, action)
			got, err := m.matchQuestion(ctx, &q, []*Policy{p})
			if err != nil {
				return err
			}
			if outcome := outcomeOf(got); outcome != t.Expect {
				return core.Errorf(core.InvalidField, "tests[%d] %s: the outcome of %s is %s (%s), but %s is expected", i, core.ClientText(t.Name), action, outcome, strings.Join(append(got.Deny, got.Allow...), ", "), t.Expect)
			}
		}
	}
	return nil
}

func outcomeOf(m Matches) format.Outcome {
	switch {
	case len(m.Deny) > 0:
		return format.Denies
	case len(m.Allow) > 0:
		return format.Allows
	}
	return format.Nothing
}

// testQuestion makes the question of a test about one action. Who is a client is also a user, and a
// certificate proved it unless the test gives another strength.
func testQuestion(t *format.Test, action core.Action) question {
	names, strength := []string{format.Anyone}, t.Facts.Strength
	for _, p := range t.Principals {
		names = append(names, p)
		if id, ok := strings.CutPrefix(p, "client:"); ok {
			names = append(names, "user:"+id)
			if strength == core.StrengthNone {
				strength = core.StrengthCertificate
			}
		}
	}
	slices.Sort(names)
	q := question{action: action.String(), address: t.Address, now: t.At, principal: namesTerm(slices.Compact(names), strength)}
	q.granted = func(string) bool { return t.Granted }
	facts := map[string][]string{}
	for _, f := range t.Facts.Fields() {
		facts[f.Name] = f.Values
	}
	q.facts = func(field string) []string { return facts[field] }
	return q
}
