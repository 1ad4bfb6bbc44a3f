package keypolicy

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

// Bounds of the policies of one request. A single policy of the largest size fits, and so do
// 32 policies at each of 32 holders, such as the object, its groups and the principal's roles.
const (
	MaxPolicies = 32 * core.MaxAttached
	maxSize     = format.MaxSize // of the statements that name the action
)

// Matcher finds the statements that match requests. Safe for concurrent use.
type Matcher struct {
	matched, unmet rego.PreparedEvalQuery
	specialized    specializedSets
	principals     principalTerms
}

// MatcherOptions say how policies are evaluated.
type MatcherOptions struct {
	InterpretOnly bool // never evaluate partially
}

// NewMatcher returns a Matcher. It fails only if the program is broken.
func NewMatcher(o MatcherOptions) (*Matcher, error) {
	m := &Matcher{principals: principalTerms{cache.NewShared[*ast.Term](maxPrincipals)}}
	var err error
	if m.matched, err = prepareQuery(matchedQuery, compiler); err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "match.rego cannot be evaluated")
	}
	if m.unmet, err = prepareQuery(unmetQuery, compiler); err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "match.rego cannot be evaluated")
	}
	m.specialized.prepare(o.InterpretOnly)
	return m, nil
}

// Matches are the statements that match a request, sorted, as "POLICY@VERSION/SID".
//
// If a policy is exclusive, Allow has only statements of exclusive policies, and it is
// empty unless each exclusive policy has one.
//
// A statement with a gate is among Allow only if the gate is open, and among Deny until then.
// Gates has the gates that are not open.
//
// The Reads fields say on what the answer depends besides action, principal, door, object and
// time. They do not depend on the answer. At each second of Span the answer is the same.
type Matches struct {
	Allow, Deny                   []string
	Exclusive                     bool
	Gates                         []core.Gate
	Span                          TimeSpan
	ReadsAddress, ReadsParameters bool
}

// Match returns the statements of policies that match a request. Policies that are
// attached twice count once. It fails with PermissionDenied if the request is incomplete,
// else with PolicyUnavailable; the caller must then deny.
func (m *Matcher) Match(ctx context.Context, r *Request, policies []*Policy) (Matches, error) {
	q, err := questionOf(r, m.principals.termOf)
	if err != nil {
		return Matches{}, err
	}
	if len(policies) > MaxPolicies {
		return Matches{}, core.Errorf(core.PolicyUnavailable, "%d key policies are attached; at most %d", len(policies), MaxPolicies)
	}
	return m.matchQuestion(ctx, &q, policies)
}

func (m *Matcher) matchQuestion(ctx context.Context, q *question, policies []*Policy) (Matches, error) {
	relevant, c := concerned(policies, q.action)
	found, err := m.findMatches(ctx, q, relevant, c)
	if err != nil {
		return Matches{}, err
	}
	out, err := collect(found, relevant, policies, q.granted)
	out.ReadsAddress, out.ReadsParameters = c.readsAddress, c.readsParameters
	out.Span = spanAround(q.now, relevant, q.action)
	return out, err
}

// concerned returns the policies with statements for an action, each once and in an order
// that depends on nothing else, with what they look at.
func concerned(policies []*Policy, action string) (relevant []*Policy, c concern) {
	relevant = make([]*Policy, 0, len(policies))
	for _, p := range policies {
		if _, ok := p.concernFor(action); ok {
			relevant = append(relevant, p)
		}
	}
	slices.SortFunc(relevant, func(a, b *Policy) int {
		return cmp.Or(strings.Compare(a.hash, b.hash), strings.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	relevant = slices.CompactFunc(relevant, (*Policy).sameAs)
	for _, p := range relevant {
		more, _ := p.concernFor(action)
		c.addConcern(&more)
	}
	return relevant, c
}

func (p *Policy) sameAs(other *Policy) bool {
	return p == other || p.name == other.name && p.version == other.version && p.hash == other.hash
}

// findMatches evaluates the policies in the faster way that is ready.
func (m *Matcher) findMatches(ctx context.Context, q *question, policies []*Policy, c concern) ([]place, error) {
	switch {
	case len(policies) == 0:
		return nil, nil
	case c.size > maxSize:
		return nil, core.Errorf(core.PolicyUnavailable, "the key policies name %d things for this action; at most %d", c.size, maxSize)
	}
	items, err := q.inputItems(&c)
	if err != nil {
		return nil, err
	}
	if special := m.specialized.queryFor(q.tenant, q.action, policies, c); special != nil {
		return evaluate(ctx, special, ast.NewObject(items...), c.size)
	}
	return evaluate(ctx, &m.matched, ast.NewObject(append(items, policyItems(q.action, policies, (*Policy).sharedTerm)...)...), c.size)
}

// collect turns places into names. all are the attached policies, relevant those that
// were evaluated. granted says of which statements the gate is open.
func collect(found []place, relevant, all []*Policy, granted func(string) bool) (m Matches, err error) {
	satisfied := make([]bool, len(relevant)) // policies with an allow
	var others []string                      // allows of policies that are not exclusive
	for _, f := range found {
		p, err := labelOf(f, relevant)
		if err != nil {
			return Matches{}, err
		}
		label, s := p.labels[f.statement], &p.normal.Statements[f.statement]
		open := s.Gate == nil || granted(label)
		if !open {
			m.Gates = append(m.Gates, core.Gate{Statement: label, Denies: s.Effect != format.Allow, GateTerms: *s.Gate})
		}
		switch {
		case s.Effect != format.Allow:
			if !open || s.Gate == nil {
				m.Deny = append(m.Deny, label)
			}
		case !open:
		case p.Exclusive():
			m.Allow = append(m.Allow, label)
			satisfied[f.policy] = true
		default:
			others = append(others, label)
		}
	}
	if m.Exclusive = slices.ContainsFunc(all, (*Policy).Exclusive); !m.Exclusive {
		m.Allow = others
	} else if !eachExclusiveAllows(all, relevant, satisfied) {
		m.Allow = nil
	}
	slices.Sort(m.Allow)
	slices.Sort(m.Deny)
	slices.SortFunc(m.Gates, compareGates)
	return m, nil
}

// compareGates orders gates: first those that deny, then by statement.
func compareGates(a, b core.Gate) int {
	switch {
	case a.Denies == b.Denies:
		return strings.Compare(a.Statement, b.Statement)
	case a.Denies:
		return -1
	}
	return 1
}

// eachExclusiveAllows reports whether each exclusive policy has a matching allow. One that
// says nothing about the action has none.
func eachExclusiveAllows(all, relevant []*Policy, satisfied []bool) bool {
	for _, p := range all {
		if i := slices.IndexFunc(relevant, p.sameAs); p.Exclusive() && (i < 0 || !satisfied[i]) {
			return false
		}
	}
	return true
}
