package keypolicy

import (
	"context"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// StatementVerdict says about one statement whether it matches a request, and why not.
type StatementVerdict struct {
	Statement string // "POLICY@VERSION/SID"
	Effect    format.Effect
	Matched   bool
	Counts    bool     // it is among the Matches; an allow can match and not count beside exclusive policies
	Unmet     []string // sorted: "actions", "principal", "conditions.ipAddress"; empty if it matched
}

// Explain returns a verdict for each statement of the policies, in their order. The rules
// of [Matcher.Match] make it. It fails like Match.
func (m *Matcher) Explain(ctx context.Context, r *Request, policies []*Policy) ([]StatementVerdict, error) {
	q, err := questionOf(r, principalTerm)
	if err != nil {
		return nil, err
	}
	matches, err := m.Match(ctx, r, policies)
	if err != nil {
		return nil, err
	}
	whole := wholeConcern(policies)
	if whole.size > 4*maxSize {
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies name %d things; at most %d can be explained at once", whole.size, 4*maxSize)
	}
	items, err := q.inputItems(&whole)
	if err != nil {
		return nil, err
	}
	input := ast.NewObject(append(items, policyItems(q.action, policies, (*Policy).sharedTerm)...)...)
	unmet, err := evaluate(ctx, &m.unmet, input, whole.size)
	if err != nil {
		return nil, err
	}
	matched, err := evaluate(ctx, &m.matched, input, whole.size)
	if err != nil {
		return nil, err
	}
	return verdicts(policies, matches, matched, unmet)
}

// wholeConcern returns what all statements look at.
func wholeConcern(policies []*Policy) (c concern) {
	for _, p := range policies {
		for i := range p.normal.Statements {
			c.addStatement(&p.normal.Statements[i], p.locate)
		}
	}
	return c
}

func verdicts(policies []*Policy, matches Matches, matched, unmet []place) (out []StatementVerdict, err error) {
	lacks := map[place][]string{}
	for _, u := range unmet {
		at := place{policy: u.policy, statement: u.statement}
		lacks[at] = append(lacks[at], u.path)
	}
	for i, p := range policies {
		for k, s := range p.normal.Statements {
			at := place{policy: i, statement: k}
			v := StatementVerdict{Statement: p.labels[k], Effect: s.Effect, Matched: slices.Contains(matched, at), Unmet: lacks[at]}
			if v.Matched == (len(v.Unmet) > 0) {
				return nil, core.Errorf(core.Internal, "the statement %s matches and does not match; report this", v.Statement)
			}
			v.Counts = slices.Contains(matches.Allow, v.Statement) || slices.Contains(matches.Deny, v.Statement)
			slices.Sort(v.Unmet)
			out = append(out, v)
		}
	}
	return out, nil
}
