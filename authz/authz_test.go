package authz_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
)

var ctx = context.Background()

func with(policy, tests string) core.PolicySource {
	return core.PolicySource{Policy: policy, Tests: tests}
}

// open activates a policy, with enough time on a busy machine.
func open(t testing.TB, policy, tests string) *authz.Authorizer {
	t.Helper()
	a, err := authz.Load(ctx, authz.Options{Timeout: 10 * time.Second}, with(policy, tests))
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

func object(owner, group string) *core.ManagedObject {
	return &core.ManagedObject{Tenant: "t", ID: "o", Owner: owner, Group: group, Version: 1, Type: core.ObjectTypeSymmetricKey}
}

func ask(p *core.Principal, action core.Action, o *core.ManagedObject) *core.AccessRequest {
	return &core.AccessRequest{Action: action, Principal: p, Object: o, State: core.Active, Door: core.DoorKMIP, Address: "127.0.0.1", Now: 1}
}

// right is what an operation requires of a principal.
type right uint8

const (
	never   right = iota
	machine       // at the admin socket, by method system
	people        // admins, without object
	review        // admins and auditors, without object
	watch         // monitors, admins and auditors, without object
	inquire       // Query, Discover Versions, one's own tokens: without object, auditors too
	produce       // without object
	find          // Locate: with and without object
	read
	run // the life of a key, but for its end
	manage
	use
)

// rights is the intent of the default policy for each action, written a second time, without
// Rego. An action without an entry is denied to all.
var rights = map[core.Action]right{
	core.ActionListTokenObjects: machine, core.ActionPurgeTokenObject: machine, core.ActionCreateTenant: machine, core.ActionListTenants: machine, core.ActionSaveTenant: machine, core.ActionDeleteTenant: machine, core.ActionCreateAuthority: machine, core.ActionReadRevocations: machine,
	core.ActionSavePolicy: people, core.ActionDeletePolicy: people, core.ActionReadPolicies: people, core.ActionAttachPolicy: people, core.ActionDetachPolicy: people,
	core.ActionSaveUser: people, core.ActionDeleteUser: people, core.ActionReadUsers: people, core.ActionSaveRole: people, core.ActionDeleteRole: people, core.ActionReadRoles: people,
	core.ActionSimulatePolicy: people, core.ActionReadTenant: people, core.ActionReplayPolicy: review, core.ActionSaveCanary: people, core.ActionDeleteCanary: people,
	core.ActionReadHealth: watch, core.ActionReadMetrics: watch,
	core.ActionQuery: inquire, core.ActionDiscoverVersions: inquire,
	core.ActionSaveClient: people, core.ActionRevokeClient: people, core.ActionReadClients: people, core.ActionSaveServerPolicy: machine, core.ActionReadServerPolicy: machine, core.ActionEnrollClient: inquire, core.ActionRenewClient: inquire,
	core.ActionIssueToken: inquire, core.ActionRevokeToken: inquire, core.ActionReadTokens: inquire,
	core.ActionApproveRequest: produce, core.ActionDenyRequest: produce, core.ActionReadApprovals: inquire,
	core.ActionCreate: produce, core.ActionCreateKeyPair: produce, core.ActionRegister: produce, core.ActionHash: produce,
	core.ActionRNGRetrieve: produce, core.ActionRNGSeed: produce,
	core.ActionLocate:        find,
	core.ActionGetAttributes: read, core.ActionGetAttributeList: read,
	core.ActionCheck: run, core.ActionAddAttribute: run, core.ActionModifyAttribute: run, core.ActionSetAttribute: run,
	core.ActionDeleteAttribute: run, core.ActionActivate: run, core.ActionReKey: run, core.ActionReKeyKeyPair: run, core.ActionRevoke: manage, core.ActionDestroy: manage,
	core.ActionDisable: run, core.ActionEnable: run, core.ActionArchive: run, core.ActionRecover: run,
	core.ActionSoftDelete: manage, core.ActionRestore: manage, core.ActionPurge: manage,
	core.ActionGet: use, core.ActionEncrypt: use, core.ActionDecrypt: use, core.ActionSign: use,
	core.ActionSignatureVerify: use, core.ActionMAC: use, core.ActionMACVerify: use, core.ActionDeriveKey: use,
	core.ActionReencryptFrom: use, core.ActionReencryptTo: use, core.ActionGenerateDataKey: use,
}

func askable() []core.Action {
	return slices.DeleteFunc(core.Actions(), func(a core.Action) bool { return !a.Askable() })
}

// allowed is the default policy in Go, for the two tests below.
func allowed(p *core.Principal, action core.Action, o *core.ManagedObject) bool {
	r, auditor := rights[action], p.HasRole("auditor")
	if o == nil {
		return (r == people && p.HasRole("admin") && !auditor) || (r == review && (auditor || p.HasRole("admin"))) || (r == watch && (auditor || p.HasRole("admin") || p.HasRole("monitor"))) || r == inquire || r == find || (r == produce && !auditor)
	}
	if o.Tenant != p.Tenant || r < find || (auditor && r > read) {
		return false
	}
	return o.Owner == p.ID || p.InGroup(o.Group) || (p.HasRole("admin") && r < use) || (p.HasRole("operator") && r <= run) || (p.HasRole("viewer") && r <= read) || auditor
}

// Each action, even one that the server lacks, by a principal in each relation to an object.
// Each question is asked twice, because the second answer comes from the memo.
func TestEveryActionByEveryRelation(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	who := map[string]*core.Principal{
		"owner": someone("t", "alice", ""), "group member": someone("t", "bob", "g"), "stranger": someone("t", "eve", "h"), "without group": someone("t", "lone", ""),
		"another tenant's": someone("u", "alice", "g"), "another tenant's admin": someone("u", "root", "g", "admin"),
		"admin": someone("t", "root", "", "admin"), "auditor": someone("t", "ann", "g", "auditor"), "both": someone("t", "root", "", "admin", "auditor"),
		"operator": someone("t", "otto", "", "operator"), "viewer": someone("t", "vera", "", "viewer"),
	}
	verdicts := map[bool]int{}
	for _, action := range askable() {
		for name, p := range who {
			for what, o := range map[string]*core.ManagedObject{"no object": nil, "shared": object("alice", "g"), "private": object("alice", "")} {
				want := allowed(p, action, o)
				verdicts[want]++
				for range 2 {
					d, err := a.Decide(ctx, ask(p, action, o))
					if err != nil || d.Allow != want || len(d.Reasons) == 0 || d.PolicyHash != a.Hash() {
						t.Errorf("%v by %s on %s: %+v, %v; want %v", action, name, what, d, err, want)
					}
				}
			}
		}
	}
	if verdicts[true] < 100 || verdicts[false] < 1000 {
		t.Errorf("the table has %v verdicts; it should have many of both", verdicts)
	}
}

// A token that is narrowed permits what it names and what the policy permits, whatever the
// policy says of tokens, and whatever the memo remembers of the same principal.
func TestNarrowedTokens(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	type narrow struct{ actions, keys []string }
	mine, others := object("alice", ""), object("bob", "")
	second := object("alice", "")
	second.ID = "p"
	for _, c := range []struct {
		narrow
		action core.Action
		object *core.ManagedObject
		allow  bool
	}{
		{narrow{}, core.ActionEncrypt, mine, true},
		{narrow{}, core.ActionCreate, nil, true},
		{narrow{[]string{"encrypt"}, nil}, core.ActionEncrypt, mine, true},
		{narrow{[]string{"Encrypt"}, nil}, core.ActionEncrypt, mine, true},
		{narrow{[]string{"encrypt"}, nil}, core.ActionDecrypt, mine, false},
		{narrow{[]string{"encrypt"}, nil}, core.ActionCreate, nil, false},
		{narrow{[]string{"encrypt"}, nil}, core.ActionEncrypt, others, false},
		{narrow{[]string{"nonsense"}, nil}, core.ActionEncrypt, mine, false},
		{narrow{[]string{}, nil}, core.ActionEncrypt, mine, false},
		{narrow{nil, []string{"o"}}, core.ActionDecrypt, mine, true},
		{narrow{nil, []string{"o"}}, core.ActionDecrypt, second, false},
		{narrow{nil, []string{"o"}}, core.ActionDecrypt, others, false},
		{narrow{nil, []string{"o"}}, core.ActionCreate, nil, false},
		{narrow{nil, []string{"o"}}, core.ActionLocate, nil, true},
		{narrow{nil, []string{"o"}}, core.ActionLocate, second, false},
		{narrow{nil, []string{}}, core.ActionDecrypt, mine, false},
		{narrow{[]string{"encrypt"}, []string{"o"}}, core.ActionEncrypt, mine, true},
		{narrow{[]string{"encrypt"}, []string{"o"}}, core.ActionEncrypt, second, false},
		{narrow{[]string{"encrypt"}, []string{"o"}}, core.ActionDecrypt, mine, false},
		{narrow{[]string{"*"}, nil}, core.ActionIssueToken, nil, false},
	} {
		p := someone("t", "alice", "")
		p.Method, p.Strength, p.TokenID, p.Actions, p.Keys = core.MethodToken, core.StrengthToken, "k1", c.actions, c.keys
		for range 2 {
			if d, err := a.Decide(ctx, ask(p, c.action, c.object)); err != nil || d.Allow != c.allow || len(d.Reasons) == 0 {
				t.Errorf("%v on %v by a token narrowed to %+v: %+v, %v; want allow %v with a reason", c.action, c.object, c.narrow, d, err, c.allow)
			}
		}
	}
}

// A key that a token is narrowed to is all versions of it at the REST door, and one with a number.
// At the KMIP door an identifier names one object, as always there.
func TestTokensNarrowedToAFamily(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	one, two, other := object("alice", ""), object("alice", ""), object("alice", "")
	one.ID, two.ID, other.ID = "one", "two", "other"
	two.Attributes = core.Attributes{core.FamilyAttribute.With(core.Text("one")), core.VersionAttribute.With(core.Int(2))}
	objects := []*core.ManagedObject{one, two, other}
	for key, want := range map[string]struct{ rest, kmip []bool }{
		"one":   {[]bool{true, true, false}, []bool{true, false, false}},
		"two":   {[]bool{false, true, false}, []bool{false, true, false}},
		"one@1": {[]bool{true, false, false}, []bool{true, false, false}},
		"one@2": {[]bool{false, true, false}, []bool{false, true, false}},
		"two@2": {[]bool{false, true, false}, []bool{false, true, false}},
		"two@1": {[]bool{false, false, false}, []bool{false, false, false}},
		"one@":  {[]bool{false, false, false}, []bool{false, false, false}},
		"other": {[]bool{false, false, true}, []bool{false, false, true}},
	} {
		p := someone("t", "alice", "")
		p.Method, p.Strength, p.TokenID, p.Keys = core.MethodToken, core.StrengthToken, "k1", []string{key}
		for door, allowed := range map[core.Door][]bool{core.DoorREST: want.rest, core.DoorKMIP: want.kmip} {
			for i, o := range objects {
				r := ask(p, core.ActionEncrypt, o)
				r.Door = door
				if d, err := a.Decide(ctx, r); err != nil || d.Allow != allowed[i] {
					t.Errorf("a token narrowed to %s, object %s by %s: %v, %v; want %v", key, o.ID, door, d.Allow, err, allowed[i])
				}
			}
		}
	}
}

// An operator's policy that says nothing about key policies cannot permit what a statement
// denies, or what an exclusive policy does not permit.
func TestNoPolicyOverridesADenial(t *testing.T) {
	a := open(t, allowIf(`input.object.owner == input.principal.id`), goodTest)
	for what, c := range map[string]struct {
		statements core.MatchedStatements
		allow      bool
	}{
		"no key policy":                   {core.MatchedStatements{}, true},
		"a permit":                        {core.MatchedStatements{Allow: []string{"p@1/1"}}, true},
		"a denial":                        {core.MatchedStatements{Deny: []string{"p@1/1"}}, false},
		"a denial beside a permit":        {core.MatchedStatements{Allow: []string{"p@1/1"}, Deny: []string{"p@1/2"}}, false},
		"an exclusive policy":             {core.MatchedStatements{Exclusive: true}, false},
		"a permit of an exclusive policy": {core.MatchedStatements{Exclusive: true, Allow: []string{"p@1/1"}}, true},
	} {
		r := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
		r.Statements = c.statements
		for range 2 {
			if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow || len(d.Reasons) == 0 {
				t.Errorf("%s: %+v, %v; want allow %v with a reason", what, d, err, c.allow)
			}
		}
	}
}

// The same with random principals and objects, made of few names, so that they often match.
func TestAgainstTheReference(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	r := rand.New(rand.NewPCG(1, 2))
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	some := func(of ...string) []string {
		return slices.DeleteFunc(of, func(string) bool { return r.IntN(2) == 0 })
	}
	actions := askable()
	for range 4000 {
		p := &core.Principal{Tenant: one("a", "b"), ID: one("a", "b", "c"), Groups: some("a", "b", ""), Roles: some("admin", "auditor", "operator", "viewer", "a", ""), Method: "mtls"}
		o := &core.ManagedObject{Tenant: one("a", "b"), ID: "o", Owner: one("a", "b", "c"), Group: one("a", "b", "c", ""), Version: 1, Type: core.ObjectTypePrivateKey}
		if r.IntN(8) == 0 {
			o = nil
		}
		action := actions[r.IntN(len(actions))]
		d, err := a.Decide(ctx, ask(p, action, o))
		if want := allowed(p, action, o); err != nil || d.Allow != want {
			t.Fatalf("%v by %+v on %+v: %+v, %v; want %v", action, p, o, d, err, want)
		}
		if wide := slices.ContainsFunc([]string{"admin", "auditor", "operator", "viewer"}, p.HasRole); (d.Scope == "tenant") != wide {
			t.Fatalf("%+v may see %q", p, d.Scope)
		}
	}
}

func TestIncompleteQuestionsAreDenied(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	alice := someone("t", "alice", "")
	for what, r := range map[string]*core.AccessRequest{
		"nobody":               ask(nil, core.ActionCreate, nil),
		"an empty tenant":      ask(someone("", "alice", ""), core.ActionGet, &core.ManagedObject{ID: "o", Owner: "alice"}),
		"an empty id":          ask(someone("t", "", ""), core.ActionGet, object("", "")),
		"no operation":         ask(alice, 0, object("alice", "")),
		"an unknown operation": ask(alice, core.ActionOf(9999), object("alice", "")),
		"a server event":       ask(alice, core.ActionStart, object("alice", "")),
		"an ownerless object":  ask(alice, core.ActionGet, object("", "g")),
		"a nameless object":    ask(alice, core.ActionGet, &core.ManagedObject{Tenant: "t", Owner: "alice"}),
		"no tenant's object":   ask(alice, core.ActionGet, &core.ManagedObject{ID: "o", Owner: "alice"}),
		"unknown door":         {Action: core.ActionGet, Principal: alice, Object: object("alice", "")},
		"an unknown door":      {Action: core.ActionGet, Principal: alice, Object: object("alice", ""), Door: "window"},
	} {
		d, err := a.Decide(ctx, r)
		if core.CodeOf(err) != core.PermissionDenied || d.Allow {
			t.Errorf("%s: %+v, %v; want an error that denies", what, d, err)
		}
	}
	if d, err := new(authz.Authorizer).Decide(ctx, ask(alice, core.ActionGet, object("alice", ""))); core.CodeOf(err) != core.PolicyUnavailable || d.Allow {
		t.Errorf("without a policy: %+v, %v; want an error that denies", d, err)
	}
}

const (
	head     = "package keyreeve.authz\nimport rego.v2\n"
	goodTest = "package p_test\nimport rego.v2\ntest_ok if true\n"
	denyAll  = head + `decision := {"allow": false, "reasons": {"closed"}, "scope": "own"}` + "\n"
	own      = head + `decision := {"allow": input.object.tenant == input.principal.tenant, "reasons": {"own"}, "scope": "own"}` + "\n"
	form     = "policies.rego describes" // the error of an answer of another form
	endless  = "count([1 | some x in numbers.range(1, 9000); some y in numbers.range(1, 9000); x * y == -1]) == 0"
)

// answer returns a policy whose decision is one expression.
func answer(expression string) string { return head + "decision := " + expression + "\n" }

// allowIf returns a policy that allows its own tenant under a condition.
func allowIf(condition string) string {
	return head + `default decision := {"allow": false, "reasons": {"closed"}, "scope": "own"}
decision := {"allow": true, "reasons": {"open"}, "scope": "own"} if {
	input.object.tenant == input.principal.tenant
	` + condition + "\n}\n"
}

// test returns a file of tests with one rule.
func test(rule string) string { return "package p_test\nimport rego.v2\n" + rule + "\n" }

// Each way in which a policy is known to fail open is refused at load.
func TestBadPoliciesAreNotActivated(t *testing.T) {
	open(t, own, goodTest) // what the bad ones vary is good
	open(t, allowIf("true"), goodTest)
	for what, c := range map[string]struct{ policy, tests, says string }{
		"empty":                            {"", goodTest, "empty"},
		"no Rego":                          {"allow everything", goodTest, "parse"},
		"no rego.v2":                       {strings.Replace(own, "import rego.v2\n", "", 1), goodTest, "rego.v2"},
		"tests without rego.v2":            {own, "package p_test\ntest_ok if true\n", "rego.v2"},
		"another package":                  {strings.Replace(own, "keyreeve.authz", "keyreeve.other", 1), goodTest, "decision"},
		"no tests":                         {own, test(""), "no tests"},
		"tests in the policy's package":    {own, head + "test_ok if decision.allow == false\nhelper := 1\n", "their own package"},
		"a failing test":                   {own, test("test_bad if false"), "test_bad"},
		"a skipped test":                   {own, test("todo_test_later if true"), "test_later"},
		"a test that meets an error":       {own, test(`test_bad if not net.cidr_contains("x", "127.0.0.1")`), "test_bad"},
		"a test that never ends":           {own, test("test_slow if " + endless), "test_slow"},
		"a network call":                   {answer(`http.send({"method": "get", "url": "http://127.0.0.1"}).body`), goodTest, "http.send"},
		"a network call in a test":         {own, test(`test_x if http.send({"method": "get", "url": "http://127.0.0.1"})`), "http.send"},
		"the clock":                        {allowIf(`time.now_ns() > 0`), goodTest, "now_ns"},
		"the environment":                  {allowIf(`opa.runtime().env`), goodTest, "opa.runtime"},
		"chance":                           {allowIf(`rand.intn("x", 2) == 1`), goodTest, "rand.intn"},
		"a mistyped name":                  {allowIf(`inptu.principal.id == "x"`), goodTest, "unsafe"},
		"allow all":                        {answer(`{"allow": true, "reasons": {"open"}, "scope": "own"}`), goodTest, "another tenant"},
		"one operation for all":            {answer(`{"allow": input.operation == "MAC Verify", "reasons": {"open"}, "scope": "own"}`), goodTest, "MAC Verify of another tenant"},
		"Get of nothing":                   {answer(`{"allow": input.object.present == false, "reasons": {"open"}, "scope": "own"}`), goodTest, "without an object"},
		"another form":                     {answer(`true`), goodTest, form},
		"allow is text":                    {answer(`{"allow": "true", "reasons": {"x"}, "scope": "own"}`), goodTest, form},
		"allow is a number":                {answer(`{"allow": 1, "reasons": {"x"}, "scope": "own"}`), goodTest, form},
		"allow is missing":                 {answer(`{"reasons": {"x"}, "scope": "own"}`), goodTest, form},
		"a field too many":                 {answer(`{"allow": false, "reasons": {"x"}, "scope": "own", "alow": true}`), goodTest, form},
		"no reasons":                       {answer(`{"allow": false, "reasons": set(), "scope": "own"}`), goodTest, form},
		"a reason that is no text":         {answer(`{"allow": false, "reasons": {1}, "scope": "own"}`), goodTest, form},
		"an endless reason":                {answer(`{"allow": false, "reasons": {concat("", [sprintf("%d", [x]) | some x in numbers.range(1, 300)])}, "scope": "own"}`), goodTest, form},
		"an unknown scope":                 {answer(`{"allow": false, "reasons": {"x"}, "scope": "all"}`), goodTest, form},
		"undefined":                        {strings.TrimSpace(denyAll) + " if input.principal.id == \"nobody\"\n", goodTest, "no decision"},
		"two answers":                      {denyAll + `decision := {"allow": true, "reasons": {"x"}, "scope": "own"}`, goodTest, "decision"},
		"an error for everybody":           {answer(`{"allow": net.cidr_contains("10.0.0.300/8", input.address), "reasons": {"x"}, "scope": "own"}`), goodTest, "fails"},
		"a search for everybody":           {answer(`{"allow": ` + strings.TrimSuffix(endless, " == 0") + ` == 1, "reasons": {"x"}, "scope": "own"}`), goodTest, "steps"},
		"nothing for anybody":              {denyAll, goodTest, "permits nothing"},
		"a permit of another form":         {head + "default decision := {\"allow\": false, \"reasons\": {\"x\"}, \"scope\": \"own\"}\ndecision := object.union(d, {\"by\": 1}) if input.object.tenant == input.principal.tenant\nd := {\"allow\": true, \"reasons\": {\"x\"}, \"scope\": \"own\"}\n", goodTest, form},
		"a permit of another form for one": {head + "default decision := {\"allow\": false, \"reasons\": {\"x\"}, \"scope\": \"own\"}\ndecision := {\"allow\": true, \"reasons\": {r | some r in [input.principal.id]; r == \"\"}, \"scope\": \"own\"} if {\n\tinput.object.tenant == input.principal.tenant\n\tinput.principal.id == \"alice\"\n}\n", goodTest, form},
		"everything":                       {answer(`{"allow": object.get(input.object, "tenant", "") in {input.principal.tenant, ""}, "reasons": {"x"}, "scope": "own"}`), goodTest, "without an object"},
	} {
		a, err := authz.Load(ctx, authz.Options{}, with(c.policy, c.tests))
		if a != nil || core.CodeOf(err) != core.PolicyUnavailable || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v; want a refusal that says %q", what, err, c.says)
		}
	}
}

// A policy that fails for its own tenant is refused at load. If it fails only for a name that
// it computes, no canary finds that. Then the decision denies with an error, which is not
// kept in the memo.
func TestFailuresDeny(t *testing.T) {
	const byAlice = `input.object.tenant == input.principal.tenant
	startswith(input.principal.id, concat("", ["ali", "ce"]))`
	const first = "default decision := {\"allow\": false, \"reasons\": {\"closed\"}, \"scope\": \"own\"}\n" +
		"decision := {\"allow\": true, \"reasons\": {\"others\"}, \"scope\": \"own\"} if {\n\tinput.object.tenant == input.principal.tenant\n\tnot startswith(input.principal.id, concat(\"\", [\"ali\", \"ce\"]))\n}\n"
	const allow = "decision := {\"allow\": true, \"reasons\": {\"x\"}, \"scope\": \"own\"} if {\n\t"
	for what, c := range map[string]struct{ rules, early string }{
		"a search that does not end": {rules: endless, early: "steps"},
		"a division by nothing":      {rules: `1 / (count(input.principal.groups) - count(input.principal.groups)) > 0`, early: "decision"},
		"a number that is text":      {rules: `to_number(input.principal.id) > 0`, early: "decision"},
		"a malformed CIDR":           {rules: `not net.cidr_contains(input.principal.id, input.address)`, early: "decision"},
	} {
		if a, err := authz.Load(ctx, authz.Options{}, with(allowIf(c.rules), goodTest)); a != nil || !strings.Contains(fmt.Sprint(err), c.early) {
			t.Errorf("%s for everybody: %v; want a refusal at load", what, err)
		}
		a, err := authz.Load(ctx, authz.Options{}, with(head+first+allow+byAlice+"\n\t"+c.rules+"\n}\n", goodTest))
		if err != nil {
			t.Fatal(what, err)
		}
		for range 2 {
			d, err := a.Decide(ctx, ask(someone("t", "alice", ""), core.ActionGet, object("alice", "")))
			if core.CodeOf(err) != core.PolicyUnavailable || d.Allow || d.Scope != "" || len(d.Reasons) > 0 {
				t.Errorf("%s: %+v, %v; want an error that denies", what, d, err)
			}
		}
	}
}

func TestEndedRequestIsDenied(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	d, err := a.Decide(ended, ask(someone("t", "alice", ""), core.ActionGet, object("alice", "")))
	if core.CodeOf(err) != core.PolicyUnavailable || d.Allow {
		t.Errorf("%+v, %v; want an error that denies", d, err)
	}
}

// replace puts another policy in force.
func replace(a *authz.Authorizer, policy string) error {
	p, err := a.Prepare(ctx, with(policy, keyreeve.PolicyTests))
	if err == nil {
		p.Activate()
	}
	return err
}

func TestAFaultyPolicyLeavesTheOldOne(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	before := a.Hash()
	for what, text := range map[string]string{
		"broken": "package broken", "too large": keyreeve.Policy + strings.Repeat("# more\n", 200_000),
		"failing its tests": keyreeve.Policy + "\ndenials contains \"closed\" if input.operation == \"Get\"\n",
	} {
		if err := replace(a, text); core.CodeOf(err) != core.PolicyUnavailable || a.Hash() != before {
			t.Errorf("a policy %s: %v, active %s, before %s", what, err, a.Hash(), before)
		}
	}
	mallory := ask(someone("t", "mallory", ""), core.ActionGet, object("mallory", ""))
	if d, err := a.Decide(ctx, mallory); err != nil || !d.Allow {
		t.Errorf("the old policy does not decide any more: %+v, %v", d, err)
	}
	closed := keyreeve.Policy + "\ndenials contains \"closed\" if input.principal.id == \"mallory\"\n"
	next, err := a.Prepare(ctx, with(closed, keyreeve.PolicyTests))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := next.Decide(ctx, mallory); err != nil || d.Allow {
		t.Errorf("a policy that is prepared decides %+v, %v; want its own denial", d, err)
	}
	if d, err := a.Decide(ctx, mallory); err != nil || !d.Allow || a.Hash() != before {
		t.Errorf("a policy that is only prepared is in force: %+v, %v", d, err)
	}
	next.Activate()
	if d, err := a.Decide(ctx, mallory); err != nil || d.Allow || !slices.Equal(d.Reasons, []string{"closed"}) || a.Hash() != next.Hash() {
		t.Errorf("a remembered answer outlived its policy: %+v, %v", d, err)
	}
	if err := a.Health(ctx); err != nil {
		t.Errorf("health after it all: %v", err)
	}
}

// Without a policy in force every request is denied with the reason, and so is the health.
func TestWithoutPolicyEverythingIsDenied(t *testing.T) {
	a := authz.New(authz.Options{})
	alice := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
	refused := func(when, says string) {
		t.Helper()
		d, err := a.Decide(ctx, alice)
		if core.CodeOf(err) != core.PolicyUnavailable || d.Allow || a.Hash() != "" || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v, hash %q; want a denial that says %q", when, d, err, a.Hash(), says)
		}
		if err := a.Health(ctx); err == nil {
			t.Errorf("%s the policy is healthy", when)
		}
	}
	refused("at first", "no policy is active")
	if err := replace(a, keyreeve.Policy); err != nil {
		t.Fatal(err)
	}
	if d, err := a.Decide(ctx, alice); err != nil || !d.Allow {
		t.Fatalf("under the default policy: %+v, %v", d, err)
	}
	a.Suspend(core.Errorf(core.PolicyUnavailable, "out of date"))
	refused("when it is suspended", "out of date")
}

// Many callers ask while the policy changes again and again. Each answer is the one of the
// policy whose hash it has.
func TestReplacedUnderLoad(t *testing.T) {
	closed := keyreeve.Policy + "\ndenials contains \"closed\" if input.principal.id == \"mallory\"\n"
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	opened := a.Hash()
	stop := make(chan struct{})
	var askers, loaders sync.WaitGroup
	for i := range 4 {
		askers.Go(func() {
			p := someone("t", "mallory", "")
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				o := object("mallory", "")
				o.ID = fmt.Sprint(i, n%50)
				if d, err := a.Decide(ctx, ask(p, core.ActionGet, o)); err != nil || d.Allow != (d.PolicyHash == opened) {
					t.Errorf("%+v, %v", d, err)
					return
				}
			}
		})
	}
	for range 2 {
		loaders.Go(func() {
			for i := range 3 {
				if err := replace(a, []string{closed, keyreeve.Policy}[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	loaders.Wait()
	close(stop)
	askers.Wait()
}

func BenchmarkEvaluated(b *testing.B) {
	a, err := authz.Load(ctx, authz.Options{Forget: true}, with(keyreeve.Policy, keyreeve.PolicyTests))
	if err != nil {
		b.Fatal(err)
	}
	r := ask(someone("t", "alice", "g"), core.ActionGet, object("alice", ""))
	b.ReportAllocs()
	for b.Loop() {
		a.Decide(ctx, r)
	}
}

func BenchmarkLoad(b *testing.B) {
	a := open(b, keyreeve.Policy, keyreeve.PolicyTests)
	for b.Loop() {
		if err := replace(a, keyreeve.Policy); err != nil {
			b.Fatal(err)
		}
	}
}

// Errors name the files that the source names.
func TestErrorsNameTheFiles(t *testing.T) {
	for what, c := range map[string]struct{ policy, tests, says string }{
		"a policy that does not parse":   {"package keyreeve.authz\n\nimport rego.v2\n\nallow if {", goodTest, "/etc/ours.rego:5"},
		"a policy that does not compile": {allowIf("true") + "\nx := unheard(1)\n", goodTest, "/etc/ours.rego:"},
		"an empty policy":                {"", goodTest, "/etc/ours.rego"},
		"tests that do not parse":        {allowIf("true"), "package x\n\nimport rego.v2\n\ntest_a if {", "/etc/ours_test.rego:5"},
		"tests in the policy's package":  {allowIf("true"), "package keyreeve.authz\n\nimport rego.v2\n\ntest_a if true\n", "/etc/ours_test.rego: "},
		"an unknown field":               {allowIf("input.opration == \"Get\""), goodTest, "/etc/ours.rego:"},
	} {
		files := core.PolicySource{Policy: c.policy, Tests: c.tests, PolicyName: "/etc/ours.rego", TestsName: "/etc/ours_test.rego"}
		if _, err := authz.Load(t.Context(), authz.Options{}, files); !strings.Contains(fmt.Sprint(err), c.says) || strings.Contains(fmt.Sprint(err), "policies.rego:") || strings.Contains(fmt.Sprint(err), "policies_test.rego:") {
			t.Errorf("%s: %v; want %q in it", what, err, c.says)
		}
	}
}

// The rule in docs/authentication.md works: a certificate that it names does nothing without a
// password.
func TestRuleOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, found := strings.Cut(string(text), "\n    denials contains")
	rule, _, ended := strings.Cut(rule, "\n    }\n")
	if !found || !ended {
		t.Fatal("docs/authentication.md has no rule")
	}
	a := open(t, keyreeve.Policy+"\ndenials contains"+rule+"\n}\n", keyreeve.PolicyTests)
	certificate, user := someone("t", "fortigate7", ""), someone("t", "fortigate7", "")
	user.Method, user.Certificate = core.MethodPassword, certificate
	for _, c := range []struct {
		who   *core.Principal
		allow bool
	}{{certificate, false}, {user, true}, {someone("t", "array7", ""), true}} {
		if d, err := a.Decide(ctx, ask(c.who, core.ActionCreate, nil)); err != nil || d.Allow != c.allow {
			t.Errorf("%s by %s: %+v, %v; want allow %v", c.who.ID, c.who.Method, d, err, c.allow)
		}
	}
}
