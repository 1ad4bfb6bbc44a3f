package authz_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
)

// Each way to read the time or the address is noticed: such a policy is evaluated each time. An
// answer of the memo would be wrong here.
func TestOnlySteadyAnswersAreKept(t *testing.T) {
	policies := map[string]string{
		"imported":        strings.Replace(allowIf(`n < 100`), "import rego.v2\n", "import rego.v2\nimport input.now as n\n", 1),
		"imported, whole": strings.Replace(allowIf(`i.now < 100`), "import rego.v2\n", "import rego.v2\nimport input as i\n", 1),
		"in a function":   allowIf("f(1)") + "f(_) if input.now < 100\n",
		"in another rule": allowIf("early") + "early if input.now < 100\n",
		"in a head":       allowIf("t < 100") + "t := input.now\n",
	}
	for what, condition := range map[string]string{
		"plainly":                    `input.now < 100`,
		"by text":                    `input["now"] < 100`,
		"through a variable":         "x := input\n\tx.now < 100",
		"by a computed name":         "f := concat(\"\", [\"n\", \"ow\"])\n\tinput[f] < 100",
		"by an unbound name":         "some f\n\tf != \"door\"\n\tinput[f] < 100",
		"by a builtin":               `object.get(input, "now", 0) < 100`,
		"in a comprehension":         `count([x | x := input.now; x < 100]) == 1`,
		"in a text with a value":     `startswith($"{input.now}", "5")`,
		"under every":                `every x in [input.now] { x < 100 }`,
		"the address, by equality":   `input.address == "10.0.0.50"`,
		"the address, by its prefix": `net.cidr_contains("10.0.0.50/32", input.address)`,
		"a part of the whole":        `input[concat("", ["no", "w"])] < 100`,
	} {
		policies[what] = allowIf(condition)
	}
	for what, policy := range policies {
		a := open(t, policy, goodTest)
		r := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
		for _, now := range []int64{50, 101, 50} {
			r.Now, r.Address = now, fmt.Sprintf("10.0.0.%d", now)
			if d, err := a.Decide(ctx, r); err != nil || d.Allow != (now < 100) {
				t.Errorf("%s, at %d: %+v, %v", what, now, d, err)
			}
		}
	}
}

// Each way to read the id of the object is noticed: such a policy is asked about each object. An
// answer for another object would be wrong here.
func TestAnswersAreSharedOnlyWithoutID(t *testing.T) {
	policies := map[string]string{
		"imported":          strings.Replace(allowIf(`i == "a"`), "import rego.v2\n", "import rego.v2\nimport input.object.id as i\n", 1),
		"imported, object":  strings.Replace(allowIf(`o.id == "a"`), "import rego.v2\n", "import rego.v2\nimport input.object as o\n", 1),
		"imported, whole":   strings.Replace(allowIf(`i.object.id == "a"`), "import rego.v2\n", "import rego.v2\nimport input as i\n", 1),
		"by a function":     allowIf("f(input.object)") + "f(o) if o.id == \"a\"\n",
		"in another rule":   allowIf("mine") + "mine if input.object.id == \"a\"\n",
		"as part of a head": allowIf(`i == "a"`) + "i := input.object.id\n",
	}
	for what, condition := range map[string]string{
		"plainly":                `input.object.id == "a"`,
		"by text":                `input["object"]["id"] == "a"`,
		"through a variable":     "o := input.object\n\to.id == \"a\"",
		"by a computed name":     "f := concat(\"\", [\"i\", \"d\"])\n\tinput.object[f] == \"a\"",
		"by a computed path":     "f := concat(\"\", [\"ob\", \"ject\"])\n\tinput[f].id == \"a\"",
		"by an unbound name":     "some f\n\tinput.object[f] == \"a\"",
		"by a builtin":           `object.get(input, ["object", "id"], "") == "a"`,
		"by a builtin, object":   `object.get(input.object, "id", "") == "a"`,
		"in a comprehension":     `count([x | x := input.object.id; x == "a"]) == 1`,
		"in a text with a value": `startswith($"{input.object.id}", "a")`,
		"under every":            `every x in [input.object.id] { x == "a" }`,
		"by walk":                "walk(input, [_, v])\n\tv == \"a\"",
	} {
		policies[what] = allowIf(condition)
	}
	// Random questions would hardly find the only object that is permitted, so a test asks for it.
	test := "package keyreeve.authz_test\n\nimport rego.v2\n\nimport data.keyreeve.authz\n\n" + `test_it if {
	d := authz.decision with input as {
		"operation": "Get", "kind": "use", "now": 1, "address": "127.0.0.1", "door": "kmip",
		"principal": {"tenant": "t", "id": "alice", "groups": {}, "roles": {}, "method": "mtls", "strength": "certificate",
			"attributes": {}, "certificate": {"present": true, "tenant": "t", "id": "alice"}, "token": {"present": false, "id": ""}, "rights": {}},
		"statements": {"allow": {}, "deny": {}, "exclusive": false},
		"object": {"present": true, "tenant": "t", "id": "a", "owner": "alice", "group": "", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"},
	}
	d.allow == true
}
`
	for what, policy := range policies {
		a, err := authz.Load(ctx, authz.Options{}, with(policy, test))
		if err != nil {
			t.Logf("%s is refused when it is loaded: %v", what, err)
			continue
		}
		for _, id := range []string{"a", "b", "a", "c"} {
			key := object("alice", "")
			key.ID = id
			if d, err := a.Decide(ctx, ask(someone("t", "alice", ""), core.ActionGet, key)); err != nil || d.Allow != (id == "a") {
				t.Errorf("%s, for object %s: %+v, %v", what, id, d, err)
			}
		}
	}
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	r, ids, asked := ask(someone("t", "alice", ""), core.ActionGet, object("alice", "")), []string{"a", "b", "c"}, 0
	if n := testing.AllocsPerRun(100, func() { r.Object.ID = ids[asked%3]; asked++; a.Decide(ctx, r) }); n > 0 {
		t.Errorf("the default policy reads no id, and an answer for another object costs %v allocations, want 0", n)
	}
}

// If anything else of the question changes, the answer is the one for the changed question.
func TestRememberedAnswerIsOfThisQuestion(t *testing.T) {
	const condition = `input.principal == {"tenant": "t", "id": "alice", "groups": {"g": true}, "roles": {"r": true}, "method": "mtls", "strength": "certificate",
		"attributes": {"a": "1"}, "certificate": {"present": true, "tenant": "t", "id": "array7"}, "token": {"present": true, "id": "k1"}, "rights": {"r": true}}
	input.operation == "Get"
	input.door == "kmip"
	input.statements == {"allow": {"p@1/1": true}, "deny": {}, "exclusive": false}
	input.object == {"present": true, "tenant": "t", "id": "o", "owner": "alice", "group": "g", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"}`
	// Random questions would hardly find the only one that is permitted, so a test asks for it.
	test := `package keyreeve.authz_test

import rego.v2

import data.keyreeve.authz

test_it if {
	d := authz.decision with input as {
		"operation": "Get", "kind": "use", "now": 1, "address": "127.0.0.1", "door": "kmip",
		"principal": {"tenant": "t", "id": "alice", "groups": {"g": true}, "roles": {"r": true}, "method": "mtls", "strength": "certificate",
			"attributes": {"a": "1"}, "certificate": {"present": true, "tenant": "t", "id": "array7"}, "token": {"present": true, "id": "k1"}, "rights": {"r": true}},
		"statements": {"allow": {"p@1/1": true}, "deny": {}, "exclusive": false},
		"object": {"present": true, "tenant": "t", "id": "o", "owner": "alice", "group": "g", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"},
	}
	d.allow == true
}
`
	a := open(t, allowIf(condition), test)
	changed := func(change func(*core.Principal)) *core.Principal {
		p := someone("t", "alice", "g", "r")
		p.TokenID = "k1"
		p.Strength, p.Attributes, p.Certificate = core.StrengthCertificate, map[string]string{"a": "1"}, &core.Principal{Tenant: "t", ID: "array7"}
		change(p)
		return p
	}
	alice := changed(func(*core.Principal) {})
	base := func() (*core.AccessRequest, *core.ManagedObject) {
		o := object("alice", "g")
		o.Attributes = o.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES))
		r := ask(alice, core.ActionGet, o)
		r.Rights, r.Statements.Allow = []string{"r"}, []string{"p@1/1"}
		return r, o
	}
	r, _ := base()
	for range 2 {
		if d, err := a.Decide(ctx, r); err != nil || !d.Allow {
			t.Fatalf("the question that the others vary: %+v, %v", d, err)
		}
	}
	changes := map[string]func(*core.AccessRequest, *core.ManagedObject){
		"tenant": func(r *core.AccessRequest, o *core.ManagedObject) {
			r.Principal, o.Tenant = changed(func(p *core.Principal) { p.Tenant = "u" }), "u"
		},
		"operation": func(r *core.AccessRequest, _ *core.ManagedObject) { r.Action = core.ActionSign },
		"door":      func(r *core.AccessRequest, _ *core.ManagedObject) { r.Door = core.DoorREST },
		"state":     func(r *core.AccessRequest, _ *core.ManagedObject) { r.State = core.Compromised },
		"object":    func(_ *core.AccessRequest, o *core.ManagedObject) { o.ID = "p" },
		"owner":     func(_ *core.AccessRequest, o *core.ManagedObject) { o.Owner = "bob" },
		"o's group": func(_ *core.AccessRequest, o *core.ManagedObject) { o.Group = "h" },
		"o's own":   func(_ *core.AccessRequest, o *core.ManagedObject) { o.Tenant = "u" },
		"type":      func(_ *core.AccessRequest, o *core.ManagedObject) { o.Type = core.ObjectTypeSecretData },
		"algorithm": func(_ *core.AccessRequest, o *core.ManagedObject) { o.Attributes = nil },
		"right":     func(r *core.AccessRequest, _ *core.ManagedObject) { r.Rights = nil },
		"statement": func(r *core.AccessRequest, _ *core.ManagedObject) { r.Statements.Allow = []string{"p@2/1"} },
		"denial":    func(r *core.AccessRequest, _ *core.ManagedObject) { r.Statements.Deny = []string{"p@1/2"} },
		"exclusion": func(r *core.AccessRequest, _ *core.ManagedObject) { r.Statements.Exclusive = true },
		"nothing":   func(r *core.AccessRequest, _ *core.ManagedObject) { r.Object = nil },
	}
	for what, change := range seenOfPrincipal {
		p := changed(change)
		changes["principal's "+what] = func(r *core.AccessRequest, _ *core.ManagedObject) { r.Principal = p }
	}
	for what, change := range changes {
		r, o := base()
		change(r, o)
		for range 2 {
			if d, err := a.Decide(ctx, r); err != nil || d.Allow {
				t.Errorf("another %s: %+v, %v; want a denial", what, d, err)
			}
		}
	}
	if d, err := a.Decide(ctx, r); err != nil || !d.Allow {
		t.Errorf("the first question again: %+v, %v", d, err)
	}
}

// seenOfPrincipal changes each field of a principal that a policy sees.
var seenOfPrincipal = map[string]func(*core.Principal){
	"Tenant":      func(p *core.Principal) { p.Tenant = "u" },
	"ID":          func(p *core.Principal) { p.ID = "bob" },
	"Groups":      func(p *core.Principal) { p.Groups = nil },
	"Roles":       func(p *core.Principal) { p.Roles = []string{"s"} },
	"Method":      func(p *core.Principal) { p.Method = core.MethodPassword },
	"Strength":    func(p *core.Principal) { p.Strength = core.StrengthPassword },
	"Attributes":  func(p *core.Principal) { p.Attributes = map[string]string{"a": "2"} },
	"Certificate": func(p *core.Principal) { p.Certificate = &core.Principal{Tenant: "t", ID: "array8"} },
	"TokenID":     func(p *core.Principal) { p.TokenID = "k2" },

	"Attributes, a name":         func(p *core.Principal) { p.Attributes = map[string]string{"b": "1"} },
	"Attributes, one more":       func(p *core.Principal) { p.Attributes = map[string]string{"a": "1", "b": "1"} },
	"Attributes, none":           func(p *core.Principal) { p.Attributes = nil },
	"Certificate, tenant":        func(p *core.Principal) { p.Certificate = &core.Principal{Tenant: "u", ID: "array7"} },
	"Certificate, none but this": func(p *core.Principal) { p.Certificate = nil },
}

// unseenOfPrincipal are the fields of a principal that no policy sees. What a token is narrowed
// to is heeded for each request: TestNarrowedTokens.
var unseenOfPrincipal = []string{"Subject", "Serial", "Fingerprint", "NamedBy", "Expires", "KeyGroup", "Actions", "Keys"}

// A field that someone adds to a principal is seen by policies, and is then a part of the memo's
// key, or it is listed as unseen.
func TestEveryFieldOfPrincipalIsConsidered(t *testing.T) {
	for f := range reflect.TypeFor[core.Principal]().Fields() {
		if seenOfPrincipal[f.Name] == nil && !slices.Contains(unseenOfPrincipal, f.Name) {
			t.Errorf("core.Principal.%s is in neither list; put it into the input and into appendPrincipal, or into unseenOfPrincipal", f.Name)
		}
	}
}

// With more objects than the memo holds, the answers are right.
func TestMemoIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; run without -short")
	}
	a := open(t, allowIf("input.object.owner == input.principal.id\n\tinput.object.id != \"none\""), goodTest)
	alice, o := someone("t", "alice", ""), object("alice", "")
	const more = 16*4096 + 5000
	for i := range more {
		o.ID, o.Owner = fmt.Sprint(i), "alice"
		if i%7 == 0 {
			o.Owner = "bob"
		}
		if d, err := a.Decide(ctx, ask(alice, core.ActionGet, o)); err != nil || d.Allow != (i%7 != 0) {
			t.Fatalf("object %d: %+v, %v", i, d, err)
		}
	}
}

// One tenant with more questions and principals than the memo holds drives out its own answers.
// Those of another tenant stay.
func TestMemoIsFair(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; run without -short")
	}
	a := open(t, allowIf("input.object.owner == input.principal.id\n\tinput.object.id != \"none\""), goodTest)
	small := ask(&core.Principal{Tenant: "u", ID: "alice"}, core.ActionGet, &core.ManagedObject{Tenant: "u", ID: "o", Owner: "alice", Version: 1})
	a.Decide(ctx, small)
	for i := range 16*4096 + 5000 {
		o := object("alice", "")
		o.ID = fmt.Sprint(i)
		if d, err := a.Decide(ctx, ask(&core.Principal{Tenant: "t", ID: fmt.Sprint("p", i%9000)}, core.ActionGet, o)); err != nil || d.Allow {
			t.Fatalf("object %d: %+v, %v", i, d, err)
		}
	}
	if n := testing.AllocsPerRun(1, func() { a.Decide(ctx, small) }); n > 0 {
		t.Errorf("the answer of the small tenant costs %v allocations, want 0: another tenant drove it out", n)
	}
}

// A principal that is made for each request gets the answers of the last one. Principals whose
// fields only look the same when joined are different.
func TestPrincipalsAreKnownByWhatTheyAre(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	o := object("alice", "g")
	r := ask(nil, core.ActionGet, o)
	people := [2]core.Principal{{Tenant: "t", ID: "alice", Groups: []string{"g"}, Method: core.MethodPassword, Attributes: map[string]string{"b": "1", "a": "2"},
		Certificate: &core.Principal{Tenant: "t", ID: "array7"}}}
	people[1] = people[0]
	i := 0
	if n := testing.AllocsPerRun(100, func() { i++; r.Principal = &people[i%2]; a.Decide(ctx, r) }); n > 0 {
		t.Errorf("a principal made again costs %v allocations, want 0: its answers were not found", n)
	}
	for _, c := range []struct {
		p     core.Principal
		allow bool
	}{
		{core.Principal{Tenant: "t", ID: "bob", Groups: []string{"g"}}, true},
		{core.Principal{Tenant: "t", ID: "bobg"}, false},
		{core.Principal{Tenant: "t", ID: "bob", Method: "g"}, false},
		{core.Principal{Tenant: "t", ID: "bob", Roles: []string{"g"}}, false},
		{core.Principal{Tenant: "t", ID: "bob", Groups: []string{"\x01g"}}, false},
		{core.Principal{Tenant: "t", ID: "bob", Groups: []string{"", "g"}}, true},
		{core.Principal{Tenant: "tb", ID: "ob", Groups: []string{"g"}}, false},
		{core.Principal{Tenant: "t", ID: "bob", Groups: []string{strings.Repeat("x", 600)}}, false},
		{core.Principal{Tenant: "t", ID: "bob", Groups: []string{strings.Repeat("x", 600), "g"}}, true},
		{core.Principal{Tenant: "t", ID: "bob", Attributes: map[string]string{"g": "g"}}, false},
	} {
		for range 2 {
			r.Principal = &c.p
			if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow {
				t.Errorf("%.100q: %+v, %v; want %v", fmt.Sprint(c.p), d, err, c.allow)
			}
		}
	}
	for i := range 9000 { // more people than the memo numbers
		p := core.Principal{Tenant: "t", ID: fmt.Sprint(i)}
		if i%5 == 0 {
			p.Groups = []string{"g"}
		}
		r.Principal = &p
		if d, err := a.Decide(ctx, r); err != nil || d.Allow != (i%5 == 0) {
			t.Fatalf("principal %d: %+v, %v", i, d, err)
		}
	}
}

func TestRememberedAnswerIsFree(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	r := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
	if n := testing.AllocsPerRun(100, func() { a.Decide(ctx, r) }); n > 0 {
		t.Errorf("a remembered answer costs %v allocations, want 0", n)
	}
}

// A caller that appends to the reasons of an answer does not change the answer in the memo.
func TestReasonsAreNotShared(t *testing.T) {
	a := open(t, keyreeve.Policy, keyreeve.PolicyTests)
	r := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
	for range 3 {
		d, err := a.Decide(ctx, r)
		if err != nil || len(d.Reasons) != 1 || cap(d.Reasons) != 1 || d.Reasons[0] != "owner" {
			t.Fatalf("%+v (room for %d), %v", d, cap(d.Reasons), err)
		}
		_ = append(d.Reasons, "intruder")
	}
}

func BenchmarkRemembered(b *testing.B) {
	a := open(b, keyreeve.Policy, keyreeve.PolicyTests)
	o := object("alice", "")
	o.ID = "0b8f7c1e-6a52-4d0e-9c57-3f1f2b6f7a10"
	r := ask(someone("t", "alice", ""), core.ActionGet, o)
	b.ReportAllocs()
	for b.Loop() {
		a.Decide(ctx, r)
	}
}
