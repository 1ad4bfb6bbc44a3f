package keypolicy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// bothWays matches interpreted and partially evaluated, which must agree.
func bothWays(t *testing.T, r *Request, policies ...*Policy) Matches {
	t.Helper()
	interpreted, err := newMatcher(t, MatcherOptions{InterpretOnly: true}).Match(t.Context(), r, policies)
	if err != nil {
		t.Fatal(err)
	}
	relevant, _ := concerned(policies, r.Action.String())
	q, err := specialize(r.Action.String(), relevant)
	if err != nil {
		t.Fatal(err)
	}
	if partial := matchBy(t, q, r, policies); !slices.Equal(partial.Allow, interpreted.Allow) || !slices.Equal(partial.Deny, interpreted.Deny) {
		t.Errorf("interpreted %+v, partially evaluated %+v", interpreted, partial)
	}
	return interpreted
}

// policyWith returns a policy with one statement for everybody and each action.
func policyWith(t *testing.T, effect, conditions string) *Policy {
	t.Helper()
	return compileText(t, "p", fmt.Sprintf(`{"statements": [{"principal": "*", "actions": ["*"], "effect": %q, "conditions": {%s}}]}`, effect, conditions))
}

// The seed's example: alice encrypts from the range, role admin rotates and deletes.
func TestSeedExampleMatches(t *testing.T) {
	p := compileText(t, "seed", `{"keyId": "key123", "statements": [
		{"principal": "user:alice", "actions": ["encrypt", "decrypt"], "effect": "allow", "conditions": {"ipAddress": "192.168.1.0/24"}},
		{"principal": "role:admin", "actions": ["rotate", "delete"], "effect": "allow"}]}`)
	for _, c := range []struct {
		who, role string
		action    core.Action
		address   string
		want      []string
	}{
		{"alice", "", core.ActionEncrypt, "192.168.1.9", []string{"seed@3/1"}}, {"alice", "", core.ActionDecrypt, "192.168.1.255", []string{"seed@3/1"}},
		{"alice", "", core.ActionEncrypt, "192.168.2.9", nil}, {"alice", "", core.ActionEncrypt, "", nil}, {"alice", "", core.ActionEncrypt, "::1", nil},
		{"alice", "", core.ActionSign, "192.168.1.9", nil}, {"alice", "", core.ActionReKey, "192.168.1.9", nil}, {"bob", "", core.ActionEncrypt, "192.168.1.9", nil},
		{"root", "admin", core.ActionReKey, "", []string{"seed@3/2"}}, {"root", "admin", core.ActionDestroy, "10.0.0.1", []string{"seed@3/2"}}, {"root", "admin", core.ActionDecrypt, "192.168.1.9", nil}, {"admin", "", core.ActionDestroy, "10.0.0.1", nil},
	} {
		r := usualRequest()
		r.Principal, r.Action, r.Address = &core.Principal{Tenant: "t", ID: c.who, Roles: []string{c.role}, Method: "mtls"}, c.action, c.address
		if got := bothWays(t, r, p); !slices.Equal(got.Allow, c.want) || got.Deny != nil || got.Exclusive || got.ReadsAddress != slices.Contains([]core.Action{core.ActionEncrypt, core.ActionDecrypt}, c.action) {
			t.Errorf("%s (%s) asks for %v from %q: %+v; want %v", c.who, c.role, c.action, c.address, got, c.want)
		}
	}
}

// A normal form with a malformed range, which no document can have, denies by each denial
// and allows by nothing.
func TestTrapMalformedRange(t *testing.T) {
	for _, ranges := range [][]string{{"10.0.0.300/8"}, {"10.0.0.0/8", "10.0.0.300/8"}, {""}, {"10.0.0.0/8", "nonsense"}} {
		for effect, want := range map[string]int{"deny": 1, "allow": 0} {
			p := policyWith(t, effect, `"ipAddress": "10.0.0.0/8"`)
			p.normal.Statements[0].Conditions = []format.Condition{{Kind: format.AddressCondition, Path: "x", Ranges: ranges}}
			if got := bothWays(t, usualRequest(), recompiled(t, p)); len(got.Deny)+len(got.Allow) != want {
				t.Errorf("%s from %q: %+v; want %d matches", effect, ranges, got, want)
			}
		}
	}
}

// Beside a country, a malformed range still denies by each denial, and a country is none.
func TestTrapMalformedRangeBesidePlaces(t *testing.T) {
	for _, c := range []struct {
		ranges []string
		denies int
	}{
		{[]string{"country:FR", "nonsense"}, 1}, {[]string{"continent:EU", "10.0.0.300/8"}, 1}, {[]string{"country"}, 1}, {[]string{"planet:X"}, 1},
		{[]string{"country:FR"}, 0}, {[]string{"continent:EU"}, 0}, {[]string{"10.0.0.0/8", "continent:EU", "country:FR"}, 0},
	} {
		for effect, want := range map[string]int{"deny": c.denies, "allow": 0} {
			p := policyWith(t, effect, `"ipAddress": "10.0.0.0/8"`)
			p.normal.Statements[0].Conditions = []format.Condition{{Kind: format.AddressCondition, Path: "x", Ranges: c.ranges}}
			if got := bothWays(t, usualRequest(), recompiled(t, p)); len(got.Deny)+len(got.Allow) != want {
				t.Errorf("%s from %q: %+v; want %d matches", effect, c.ranges, got, want)
			}
		}
	}
}

// placesPolicies returns two policies with a statement of an effect on a country for Encrypt, and
// one on ranges alone for Sign. locate is asked about addresses.
func placesPolicies(t *testing.T, effect string, locate LocateFunc) (policies []*Policy) {
	t.Helper()
	for _, name := range []string{"one", "two"} {
		text := fmt.Sprintf(`{"statements": [
			{"principal": "*", "actions": ["Encrypt"], "effect": %q, "conditions": {"region": ["country:DE", "us"]}},
			{"principal": "*", "actions": ["Sign"], "effect": %q, "conditions": {"region": "us"}}]}`, effect, effect)
		p, _, err := Compile([]byte(text), Options{Name: name, Version: 3, Regions: testRegions, Locate: locate})
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	return policies
}

// The country of an address is looked up once, and only if a statement for the action names a
// country and the address is known. It is that of the plain address.
func TestPlacesAreLookedUpOnce(t *testing.T) {
	var asked []netip.Addr
	policies := placesPolicies(t, "deny", func(address netip.Addr) ([]string, error) {
		asked = append(asked, address)
		return []string{"country:DE"}, nil
	})
	for _, c := range []struct {
		action  core.Action
		address string
		lookups int
		denials int
	}{
		{core.ActionEncrypt, "192.0.2.1", 1, 2}, {core.ActionEncrypt, "::ffff:192.0.2.1", 1, 2}, {core.ActionEncrypt, "", 0, 2},
		{core.ActionSign, "192.0.2.1", 0, 0}, {core.ActionDecrypt, "192.0.2.1", 0, 0},
	} {
		r := usualRequest()
		r.Action, r.Address, asked = c.action, c.address, nil
		m, err := newMatcher(t, MatcherOptions{InterpretOnly: true}).Match(t.Context(), r, policies)
		if err != nil || len(m.Deny) != c.denials || len(asked) != c.lookups || c.lookups > 0 && asked[0] != netip.MustParseAddr("192.0.2.1") || c.denials > 0 && !m.ReadsAddress {
			t.Errorf("%v from %q: %+v, %v, asked about %v; want %d denials and %d look-ups", c.action, c.address, m, err, asked, c.denials, c.lookups)
		}
	}
}

// If the look-up fails, there is no answer, so that the request is denied.
func TestTrapFailedLookup(t *testing.T) {
	m := newMatcher(t, MatcherOptions{InterpretOnly: true})
	for _, effect := range []string{"allow", "deny"} {
		policies := placesPolicies(t, effect, func(netip.Addr) ([]string, error) { return nil, errors.New("the file is damaged") })
		if got, err := m.Match(t.Context(), usualRequest(), policies); core.CodeOf(err) != core.PolicyUnavailable || len(got.Allow) > 0 {
			t.Errorf("%s: %+v, %v; want PolicyUnavailable", effect, got, err)
		}
		if got, err := m.Explain(t.Context(), usualRequest(), policies); core.CodeOf(err) != core.PolicyUnavailable || got != nil {
			t.Errorf("%s explained: %+v, %v; want PolicyUnavailable", effect, got, err)
		}
	}
}

// One with an unknown zone is an error, and never a denial that does not apply.
func TestTrapUnknownZone(t *testing.T) {
	p := policyWith(t, "deny", `"ipAddress": "10.0.0.0/8"`)
	p.normal.Statements[0].Conditions = []format.Condition{{Kind: format.DailyCondition, Path: "x", Zone: "Mars/Base", Windows: []format.Window{{From: 0, To: 86400, Days: []string{"Monday"}}}}}
	p = recompiled(t, p)
	if m, err := newMatcher(t, MatcherOptions{InterpretOnly: true}).Match(t.Context(), usualRequest(), []*Policy{p}); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("interpreted: %+v, %v; want PolicyUnavailable", m, err)
	}
	q, err := specialize("Encrypt", []*Policy{p})
	if err == nil {
		_, err = evaluate(t.Context(), q, inputOf(t, usualRequest(), p), 100)
	}
	if err == nil {
		t.Error("partially evaluated: no error")
	}
}

// recompiled returns a policy whose normal form was changed by a test.
func recompiled(t *testing.T, p *Policy) *Policy {
	t.Helper()
	p.term, p.concerns, p.hash = freshTerm(p.normal.Tree()), concernsOf(p.normal, locateInTest), p.normal.Hash()
	return p
}

func inputOf(t *testing.T, r *Request, policies ...*Policy) ast.Object {
	t.Helper()
	q, err := questionOf(r, principalTerm)
	if err != nil {
		t.Fatal(err)
	}
	_, c := concerned(policies, r.Action.String())
	items, err := q.inputItems(&c)
	if err != nil {
		t.Fatal(err)
	}
	return ast.NewObject(append(items, policyItems(r.Action.String(), policies, (*Policy).sharedTerm)...)...)
}

// An input without one of its parts is refused, whatever would be decided.
func TestTrapMissingInput(t *testing.T) {
	m, p := newMatcher(t, MatcherOptions{InterpretOnly: true}), policyWith(t, "deny", `"ipAddress": "192.168.1.0/24"`)
	whole := inputOf(t, usualRequest(), p)
	if found, err := evaluate(t.Context(), &m.matched, whole, 100); err != nil || len(found) != 1 {
		t.Fatalf("the whole input: %v, %v; want one denial", found, err)
	}
	for _, part := range requestKeys {
		var items [][2]*ast.Term
		whole.Foreach(func(k, v *ast.Term) {
			if !k.Equal(part) {
				items = append(items, ast.Item(k, v))
			}
		})
		if found, err := evaluate(t.Context(), &m.matched, ast.NewObject(items...), 100); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("without %v: %v, %v; want PolicyUnavailable", part, found, err)
		}
	}
}

// Each reference to the input in match.rego is a part that the constructor makes.
func TestModuleReadsTheInputAlone(t *testing.T) {
	input, seen := inputOf(t, usualRequest(), policyWith(t, "deny", `"door": "kmip"`)), 0
	ast.WalkRefs(compiler.Modules["match.rego"], func(ref ast.Ref) bool {
		if ref[0].Equal(ast.InputRootDocument) {
			seen++
			if len(ref) < 2 || input.Get(ref[1]) == nil {
				t.Errorf("match.rego reads %v, which the input does not have", ref)
			}
		}
		return false
	})
	if seen == 0 {
		t.Error("match.rego reads no input, so this test proves nothing")
	}
}

// A condition that cannot be judged holds in a denial and not in a permission.
func TestTrapUnknownAddress(t *testing.T) {
	for _, address := range []string{`"ipAddress": "192.168.1.0/24"`, `"ipAddress": ["192.168.1.0/24", "::/0"]`, `"region": "us"`} {
		r := usualRequest()
		r.Address = ""
		if got := bothWays(t, r, policyWith(t, "deny", address), compileText(t, "q", fmt.Sprintf(`{"statements": [{"principal": "*", "actions": ["*"], "effect": "allow", "conditions": {%s}}]}`, address))); len(got.Deny) != 1 || got.Allow != nil {
			t.Errorf("%s from nowhere: %+v; want the denial and no allow", address, got)
		}
	}
}

// A kind of condition that match.rego does not know holds in a denial alone. Each kind of
// the format is known.
func TestTrapUnknownKind(t *testing.T) {
	for effect, want := range map[string]int{"deny": 1, "allow": 0} {
		p := policyWith(t, effect, `"door": "kmip"`)
		p.normal.Statements[0].Conditions[0].Kind = "moon"
		got := bothWays(t, usualRequest(), recompiled(t, p))
		if len(got.Deny)+len(got.Allow) != want {
			t.Errorf("%s if the moon is full: %+v; want %d matches", effect, got, want)
		}
	}
	for _, kind := range []format.ConditionKind{format.ValuesCondition, format.AddressCondition, format.NotBeforeCondition, format.NotAfterCondition, format.DailyCondition, format.StrengthCondition} {
		if !strings.Contains(moduleText, fmt.Sprintf("condition.kind == %q", kind)) {
			t.Errorf("match.rego has no rule for conditions of the kind %s", kind)
		}
	}
}

// A request that lacks what statements rely on is refused before anything is evaluated.
func TestTrapIncompleteRequest(t *testing.T) {
	for what, spoil := range map[string]func(*Request){
		"no principal": func(r *Request) { r.Principal = nil }, "no tenant": func(r *Request) { r.Principal.Tenant = "" }, "no id": func(r *Request) { r.Principal.ID = "" },
		"no door": func(r *Request) { r.Door = "" }, "an unknown door": func(r *Request) { r.Door = "KMIP" }, "no action": func(r *Request) { r.Action = 0 }, "an event": func(r *Request) { r.Action = core.ActionMessage }, "an unknown operation": func(r *Request) { r.Action = core.ActionOf(0x80000001) },
		"an object without tenant": func(r *Request) { r.Object.Tenant = "" }, "an object without id": func(r *Request) { r.Object.ID = "" }, "an object without owner": func(r *Request) { r.Object.Owner = "" },
		"a malformed address": func(r *Request) { r.Address = "192.168.1.300" }, "an address with port": func(r *Request) { r.Address = "192.168.1.1:80" },
	} {
		r := usualRequest()
		spoil(r)
		for _, policies := range [][]*Policy{nil, usualPolicies(t)} {
			if m, err := newMatcher(t, MatcherOptions{}).Match(t.Context(), r, policies); core.CodeOf(err) != core.PermissionDenied || m.Allow != nil {
				t.Errorf("%s: %+v, %v; want PermissionDenied", what, m, err)
			}
			if _, err := newMatcher(t, MatcherOptions{}).Explain(t.Context(), r, policies); core.CodeOf(err) != core.PermissionDenied {
				t.Errorf("%s, explained: %v; want PermissionDenied", what, err)
			}
		}
	}
}

// match.rego may not call a builtin that looks outside of its input.
func TestTrapNondeterministicBuiltin(t *testing.T) {
	for _, call := range []string{`http.send({"method": "get", "url": "http://127.0.0.1/"})`, "time.now_ns()", "opa.runtime()", `net.lookup_ip_addr("localhost")`} {
		m, err := fence.ParseModule("match.rego", moduleText+"\nplanted := "+call+"\n")
		if err != nil {
			t.Fatal(err)
		}
		c := ast.NewCompiler().WithCapabilities(fence.Capabilities())
		if c.Compile(map[string]*ast.Module{"match.rego": m}); !c.Failed() || !strings.Contains(c.Errors.Error(), "undefined function") {
			t.Errorf("match.rego can call %s: %v", call, c.Errors)
		}
	}
}

// Names that look alike are not the same: of a proof, a group, a tag.
func TestTrapSpoofedNames(t *testing.T) {
	proof := func(s core.Strength, id string, groups ...string) *core.Principal {
		return &core.Principal{Tenant: "t", ID: id, Strength: s, Groups: groups, Method: "mtls"}
	}
	for _, c := range []struct {
		principal string
		p         *core.Principal
		token     string
		want      bool
	}{
		{"client:alice", proof(core.StrengthCertificate, "alice"), "", true}, {"client:alice", proof(core.StrengthPassword, "alice"), "", false}, {"client:alice", proof(core.StrengthToken, "alice"), "alice", false}, {"client:alice", proof(core.StrengthSystem, "alice"), "", false},
		{"user:alice", proof(core.StrengthPassword, "alice"), "", true}, {"user:alice", proof(core.StrengthPassword, "Alice"), "", false}, {"role:x", proof(core.StrengthNone, "role:x", "x", "role:x"), "", false},
		{"token:7", proof(core.StrengthToken, "7"), "", false}, {"token:7", proof(core.StrengthToken, "alice"), "7", true}, {"group:g", proof(core.StrengthNone, "g", "", "h"), "", false},
	} {
		p := compileText(t, "p", fmt.Sprintf(`{"statements": [{"principal": %q, "actions": ["encrypt"], "effect": "allow"}]}`, c.principal))
		r := usualRequest()
		r.Principal, r.Token = c.p, c.token
		if got := bothWays(t, r, p); (len(got.Allow) == 1) != c.want {
			t.Errorf("%s and %v with token %q: %+v; want a match: %v", c.principal, NamesOf(c.p, c.token), c.token, got, c.want)
		}
	}
	for _, spoof := range []core.Attribute{{Vendor: "x-keyreeve", Name: "tag-env"}, {Vendor: "z", Name: "keyreeve-tag-env"}, {Vendor: "", Name: "x-keyreeve-tag-env"}, {Vendor: "x", Name: "env"}, {Vendor: "y", Name: "keyreeve-tag-env"}, {Vendor: "x", Name: "Keyreeve-tag-env"}} {
		spoof.Value = core.Text("prod")
		r := usualRequest()
		r.Object.Attributes = core.Attributes{spoof}
		if got := bothWays(t, r, policyWith(t, "allow", `"tags": {"env": "prod"}`)); got.Allow != nil {
			t.Errorf("the attribute %q of vendor %q passes for the tag env", spoof.Name, spoof.Vendor)
		}
	}
}

// Each field of the format has a value in the request, and only where it should.
func TestEveryFieldIsRead(t *testing.T) {
	r := usualRequest()
	wrapped := true
	r.Wrapped, r.Length, r.Usage = &wrapped, 256, core.MaskEncrypt
	r.Object.Material.Class, r.Object.Group = core.ClassN, "g"
	r.Object.Attributes = r.Object.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES)).Set(core.TagObjectGroup, core.Text("og"))
	r.Parameters = core.CryptographicParameters{BlockCipherMode: 1, PaddingMethod: 1, HashingAlgorithm: 1, DigitalSignatureAlgorithm: 1, CryptographicAlgorithm: 1}
	for _, f := range format.FixedFields() {
		if got := factsOf(r, f); len(got) != 1 {
			t.Errorf("the field %s has the values %v in a request with everything, want one", f, got)
		}
		bare := &Request{AccessRequest: &core.AccessRequest{Principal: r.Principal}}
		if got := factsOf(bare, f); len(got) != 0 {
			t.Errorf("the field %s has the values %v in a request with nothing, want none", f, got)
		}
	}
}
