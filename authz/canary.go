package authz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
)

const (
	canaryTime    = 1700000000 // Unix seconds
	canaryAddress = "127.0.0.1"

	triedAlways = 150  // random questions made of the names in the policy
	triedAtMost = 3000 // of them if nothing is permitted
)

// insider is a principal with every right that a tenant can give.
var insider = &core.Principal{Tenant: "canary-a", ID: "canary", Groups: []string{"canary", "dev"}, Roles: []string{"admin", "canary"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate}

// members are principals in each relation to an object of canary-a.
var members = []struct {
	who string
	p   *core.Principal
}{
	{"its owner", &core.Principal{Tenant: "canary-a", ID: "canary", Method: core.MethodCertificate, Strength: core.StrengthCertificate}},
	{"a member of its group", &core.Principal{Tenant: "canary-a", ID: "member", Groups: []string{"canary"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate}},
	{"an admin", &core.Principal{Tenant: "canary-a", ID: "root", Roles: []string{"admin"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate}},
	{"an auditor", &core.Principal{Tenant: "canary-a", ID: "ann", Roles: []string{"auditor"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate}},
	{"another principal of the tenant", &core.Principal{Tenant: "canary-a", ID: "stranger", Groups: []string{"other"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate}},
	{"an owner with every role", insider},
}

var doors = []core.Door{core.DoorKMIP, core.DoorREST, core.DoorClock, core.DoorAdmin}

// runCanaries asks a policy questions whose answers no policy may change, and questions
// that each policy must answer in full form. It also asks the evaluator to decide
// policies that have failed open elsewhere. It runs at each load: at start, after a
// reload, after an upgrade of OPA.
func runCanaries(ctx context.Context, p *policy) error {
	if err := checkEvaluator(ctx); err != nil {
		return fmt.Errorf("this build's policy evaluator cannot be trusted: %w", err)
	}
	for _, action := range askableActions {
		if err := tenantsStayApart(ctx, p, action); err != nil {
			return err
		}
	}
	if err := getNeedsAnObject(ctx, p); err != nil {
		return err
	}
	permits, err := askForEveryMember(ctx, p)
	if err != nil {
		return err
	}
	return somethingIsPermitted(ctx, p, permits)
}

func withCanaryObject(q question) question {
	q.present, q.tenant, q.object, q.owner, q.group = true, "canary-a", "canary", "canary", "canary"
	q.kind, q.state, q.algorithm = core.ObjectTypeSymmetricKey, core.Active, core.AlgorithmAES
	return q
}

// tenantsStayApart fails if the insider may do something with an object of another
// tenant, where owner and group have the same names.
func tenantsStayApart(ctx context.Context, p *policy, action core.Action) error {
	q := withCanaryObject(question{principal: insider, action: action, door: core.DoorKMIP})
	q.tenant = "canary-b"
	d, err := p.evaluate(ctx, q, canaryTime, canaryAddress)
	if err != nil {
		return fmt.Errorf("it does not decide %v of another tenant's object: %w", action, err)
	}
	if d.Allow {
		return fmt.Errorf("it allows %v of another tenant's object", action)
	}
	return nil
}

func getNeedsAnObject(ctx context.Context, p *policy) error {
	d, err := p.evaluate(ctx, question{principal: insider, action: core.ActionGet, door: core.DoorKMIP}, canaryTime, canaryAddress)
	if err != nil {
		return fmt.Errorf("it does not decide Get without an object: %w", err)
	}
	if d.Allow {
		return errors.New("it allows Get without an object")
	}
	return nil
}

// askForEveryMember asks for each operation by each member, with and without an object.
// Each answer must have the full form. It returns how many operations on an object are
// permitted.
func askForEveryMember(ctx context.Context, p *policy) (permits int, err error) {
	denied := false
	for i, action := range askableActions {
		for j, m := range members {
			bare := question{principal: m.p, action: action, door: doors[(i+j)%len(doors)]}
			for _, q := range []question{bare, withCanaryObject(bare)} {
				d, err := p.evaluate(ctx, q, canaryTime, canaryAddress)
				if err != nil {
					return 0, fmt.Errorf("it does not decide %v by %s, object present: %v, door %s: %w", q.action, m.who, q.present, q.door, err)
				}
				denied = denied || !d.Allow
				if d.Allow && q.present {
					permits++
				}
			}
		}
	}
	if !denied {
		return 0, errors.New("it permits every operation to everybody")
	}
	return permits, nil
}

// somethingIsPermitted asks questions made of the names in the policy, and the questions
// of its tests: a policy for one principal permits nothing to the canaries. A policy
// that permits nothing has a mistake, such as a condition too many.
func somethingIsPermitted(ctx context.Context, p *policy, permits int) error {
	g := newGuesser(p.hints, p.literals)
	for i := range triedAtMost {
		if i >= triedAlways && permits > 0 {
			return nil
		}
		q, now, address := g.question()
		d, err := p.evaluate(ctx, q, now, address)
		if err != nil {
			return fmt.Errorf("it does not decide %v by %s/%s from %s: %w", q.action, q.principal.Tenant, q.principal.ID, address, err)
		}
		if d.Allow {
			permits++
		}
	}
	for _, in := range p.tested {
		if d, err := p.answer(ctx, in); err == nil && d.Allow {
			return nil
		}
	}
	return errors.New("it permits nothing: neither a canary nor a question of its own tests; if it does permit something, add a test that asks for it")
}

// guesser makes random questions of the names in a policy, the same each time.
type guesser struct {
	r         *rand.Rand
	hints     map[string][]string // names that the policy compares a field with, by its path
	texts     []string            // all literals of the policy
	addresses []string
	times     []int64
}

func newGuesser(hints map[*field][]*ast.Term, literals []ast.Value) *guesser {
	g := &guesser{r: rand.New(rand.NewPCG(1, 2)), hints: map[string][]string{}, addresses: []string{canaryAddress, "2001:db8::1"}, times: []int64{canaryTime}}
	for f, list := range hints {
		for _, t := range list {
			if v, ok := t.Value.(ast.String); ok {
				g.hints[f.path] = append(g.hints[f.path], string(v))
			}
		}
		slices.Sort(g.hints[f.path])
	}
	for _, l := range literals {
		switch v := l.(type) {
		case ast.String:
			g.texts = append(g.texts, string(v))
		case ast.Number:
			if n, ok := v.Int64(); ok {
				g.times = append(g.times, n-1, n, n+1)
			}
		}
	}
	for _, s := range g.texts {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			g.times = append(g.times, n)
		}
		if net, err := netip.ParsePrefix(s); err == nil {
			g.addresses = append(g.addresses, net.Addr().String())
		} else if a, err := netip.ParseAddr(s); err == nil {
			g.addresses = append(g.addresses, a.String())
		}
	}
	return g
}

// pickName returns a name that the policy compares a field with, or another name.
func (g *guesser) pickName(path string, others ...string) string {
	list := g.hints[path]
	switch n := g.r.IntN(8); {
	case n < 5 && len(list) > 0:
		return list[g.r.IntN(len(list))]
	case n == 7 && len(g.texts) > 0:
		return g.texts[g.r.IntN(len(g.texts))]
	}
	return others[g.r.IntN(len(others))]
}

// pickNames returns all, some, one or none of the names that the policy looks for in a set.
func (g *guesser) pickNames(path string, other string) []string {
	list := append([]string{other}, g.hints[path]...)
	switch g.r.IntN(4) {
	case 0:
		return nil
	case 1:
		return list
	case 2:
		return g.hints[path]
	}
	i := g.r.IntN(len(list))
	return list[i : i+1]
}

func (g *guesser) question() (question, int64, string) {
	p := &core.Principal{Tenant: g.pickName("input.principal.tenant", "canary-a"), ID: g.pickName("input.principal.id", "canary"), Method: g.pickOf("input.principal.method", core.Methods)}
	p.Groups, p.Roles = g.pickNames("input.principal.groups", "canary"), g.pickNames("input.principal.roles", "admin")
	p.Strength = g.pickStrength()
	p.Attributes = g.pickTexts("input.principal.attributes")
	if g.r.IntN(2) > 0 {
		p.Certificate = &core.Principal{Tenant: p.Tenant, ID: g.pickName("input.principal.certificate.id", p.ID, "canary")}
	}
	q := question{principal: p, action: g.pickAction(), door: core.Door(g.pickOf("input.door", []string{"kmip", "rest"}))}
	if g.r.IntN(6) > 0 {
		q.present, q.tenant, q.object = true, p.Tenant, g.pickName("input.object.id", "canary")
		q.owner, q.group = g.pickName("input.object.owner", p.ID, p.ID, "canary"), g.pickName("input.object.group", append(p.Groups, "", "canary")...)
		q.kind, q.state = core.ObjectType(g.pickEnum("input.object.type", core.TagObjectType)), core.State(g.pickEnum("input.object.state", core.TagState))
		q.algorithm = core.CryptographicAlgorithm(g.pickEnum("input.object.algorithm", core.TagCryptographicAlgorithm))
	}
	if g.r.IntN(2) == 0 {
		q.allowStatements, q.rights = g.pickNames("input.statements.allow", "canary@1/1"), g.pickNames("input.principal.rights", "canary")
	}
	if g.r.IntN(8) == 0 {
		q.denyStatements, q.exclusive = g.pickNames("input.statements.deny", "canary@1/2"), g.r.IntN(2) == 0
	}
	return q, g.times[g.r.IntN(len(g.times))], g.addresses[g.r.IntN(len(g.addresses))]
}

func (g *guesser) pickStrength() core.Strength {
	all := core.Strengths()
	name := g.pickOf("input.principal.strength", []string{""})
	if i := slices.IndexFunc(all, func(s core.Strength) bool { return s.String() == name }); i >= 0 {
		return all[i]
	}
	return all[g.r.IntN(len(all))]
}

// pickTexts returns some of the names that the policy looks for in a map, with texts that it
// compares them with.
func (g *guesser) pickTexts(path string) map[string]string {
	out := map[string]string{}
	for _, name := range g.pickNames(path, "canary") {
		out[name] = g.pickName(path+"[_]", "canary")
	}
	return out
}

// pickAction returns an action that the policy names, or one of a kind that it names.
func (g *guesser) pickAction() core.Action {
	if a, ok := core.ActionByName(g.pickOf("input.operation", []string{""})); ok && a.Askable() {
		return a
	}
	of := askableActions
	if kinds := g.hints["input.kind"]; len(kinds) > 0 {
		kind := core.ActionKind(kinds[g.r.IntN(len(kinds))])
		of = slices.DeleteFunc(slices.Clone(askableActions), func(a core.Action) bool { return a.Kind() != kind })
	}
	return of[g.r.IntN(len(of))]
}

func (g *guesser) pickOf(path string, all []string) string {
	if list := g.hints[path]; len(list) > 0 && g.r.IntN(4) > 0 {
		return list[g.r.IntN(len(list))]
	}
	return all[g.r.IntN(len(all))]
}

func (g *guesser) pickEnum(path string, tag core.Tag) uint32 {
	info := tag.Info().Enum
	if v, ok := info.ByName(g.pickOf(path, []string{""})); ok {
		return v
	}
	return info.Values[g.r.IntN(len(info.Values))].Value
}

// literalsOf returns the texts and numbers in the source of a module.
func literalsOf(m *ast.Module) (out []ast.Value) {
	ast.WalkTerms(m, func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.String:
			if v != "" && len(v) <= maxReasonBytes && !slices.Contains(out, t.Value) {
				out = append(out, v)
			}
		case ast.Number:
			if !slices.Contains(out, t.Value) {
				out = append(out, v)
			}
		}
		return false
	})
	return out
}
