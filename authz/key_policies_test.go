package authz_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/authz/location/locationtest"
	"github.com/keyreeve/keyreeve/core"
)

// shelf has the newest versions of key policies, and counts how often one is read.
type shelf struct {
	keys  *authz.KeyPolicies
	texts map[string]string
	reads int
}

func (s *shelf) read(v core.DirectoryVersion) (*core.DirectoryEntry, error) {
	s.reads++
	return &core.DirectoryEntry{Kind: v.Name.Kind, Tenant: v.Name.Tenant, ID: v.Name.ID, Version: v.Version, Body: []byte(s.texts[v.Name.ID])}, nil
}

// withKeyPolicies returns the default policy beside key policies.
func withKeyPolicies(t testing.TB, texts map[string]string) (*authz.Authorizer, *shelf) {
	t.Helper()
	s := &shelf{texts: texts}
	keys, err := authz.NewKeyPolicies(authz.RegionSources{Regions: map[string][]string{"office": {"10.0.0.0/8"}}}, s.read)
	if err != nil {
		t.Fatal(err)
	}
	s.keys = keys
	a, err := authz.Load(ctx, authz.Options{Keys: keys}, with(keyreeve.Policy, keyreeve.PolicyTests))
	if err != nil {
		t.Fatal(err)
	}
	return a, s
}

// askUnder asks a question with policies attached, each in a version.
func askUnder(p *core.Principal, action core.Action, o *core.ManagedObject, version int64, names ...string) *core.AccessRequest {
	r := ask(p, action, o)
	for _, n := range names {
		r.Policies = append(r.Policies, core.DirectoryVersion{Name: core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: n}, Version: version})
	}
	return r
}

const (
	denyGet    = `{"statements": [{"principal": "*", "actions": ["Get"], "effect": "deny"}]}`
	allowGet   = `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow"}]}`
	ofHR       = `{"statements": [{"principal": "*", "actions": ["Get"], "effect": "deny", "conditions": {"principal": {"department": "hr"}}}]}`
	atOffice   = `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"ipAddress": "10.0.0.0/8"}}]}`
	until1970  = `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"time": {"notAfter": "1970-01-01T00:01:00Z"}}}]}`
	byOneToken = `{"statements": [{"principal": "token:k1", "actions": ["Get"], "effect": "allow"}]}`
	onlyGCM    = `{"statements": [{"principal": "user:eve", "actions": ["Encrypt"], "effect": "allow", "conditions": {"parameters": {"mode": "GCM"}}}]}`
)

// What a decision depends on is never answered from a remembered match for something
// else: each question is asked, then a changed one, then the first again.
func TestMatchesAreRememberedForTheirQuestion(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{"deny": denyGet, "allow": allowGet, "hr": ofHR, "office": atOffice, "once": until1970, "gcm": onlyGCM, "token": byOneToken})
	byToken := func(id string) *core.Principal {
		p := someone("t", "eve", "")
		p.Method, p.Strength, p.TokenID = core.MethodToken, core.StrengthToken, id
		return p
	}
	eve, alice := someone("t", "eve", ""), someone("t", "alice", "")
	clerk := someone("t", "alice", "")
	clerk.Attributes = map[string]string{"department": "hr"}
	mine := func() *core.ManagedObject { return object("alice", "") }
	at := func(r *core.AccessRequest, now int64, address string) *core.AccessRequest {
		r.Now, r.Address = now, address
		return r
	}
	mode := func(m core.BlockCipherMode) *core.AccessRequest {
		r := askUnder(eve, core.ActionEncrypt, mine(), 1, "gcm")
		r.Asked.Parameters = &core.CryptographicParameters{BlockCipherMode: m}
		return r
	}
	for what, c := range map[string]struct {
		one, other     func() *core.AccessRequest
		allow, another bool
	}{
		"the policies": {func() *core.AccessRequest { return askUnder(alice, core.ActionGet, mine(), 1, "allow") }, func() *core.AccessRequest { return askUnder(alice, core.ActionGet, mine(), 1, "allow", "deny") }, true, false},
		"the principal": {func() *core.AccessRequest { return askUnder(eve, core.ActionGet, mine(), 1, "allow") }, func() *core.AccessRequest {
			return askUnder(someone("t", "bob", ""), core.ActionGet, mine(), 1, "allow")
		}, true, false},
		"the action":     {func() *core.AccessRequest { return askUnder(eve, core.ActionGet, mine(), 1, "allow") }, func() *core.AccessRequest { return askUnder(eve, core.ActionSign, mine(), 1, "allow") }, true, false},
		"the token":      {func() *core.AccessRequest { return askUnder(byToken("k1"), core.ActionGet, mine(), 1, "token") }, func() *core.AccessRequest { return askUnder(byToken("k2"), core.ActionGet, mine(), 1, "token") }, true, false},
		"the attributes": {func() *core.AccessRequest { return askUnder(alice, core.ActionGet, mine(), 1, "hr") }, func() *core.AccessRequest { return askUnder(clerk, core.ActionGet, mine(), 1, "hr") }, true, false},
		"the address": {func() *core.AccessRequest {
			return at(askUnder(eve, core.ActionGet, mine(), 1, "office"), 1, "10.1.2.3")
		}, func() *core.AccessRequest {
			return at(askUnder(eve, core.ActionGet, mine(), 1, "office"), 1, "11.1.2.3")
		}, true, false},
		"the time":       {func() *core.AccessRequest { return at(askUnder(eve, core.ActionGet, mine(), 1, "once"), 30, "") }, func() *core.AccessRequest { return at(askUnder(eve, core.ActionGet, mine(), 1, "once"), 90, "") }, true, false},
		"the parameters": {func() *core.AccessRequest { return mode(core.BlockCipherModeGCM) }, func() *core.AccessRequest { return mode(core.BlockCipherModeCBC) }, true, false},
	} {
		for round := range 3 {
			if d, err := a.Decide(ctx, c.one()); err != nil || d.Allow != c.allow {
				t.Errorf("%s, round %d: %+v, %v; want allow %v", what, round, d, err, c.allow)
			}
			if d, err := a.Decide(ctx, c.other()); err != nil || d.Allow != c.another {
				t.Errorf("%s changed, round %d: %+v, %v; want allow %v", what, round, d, err, c.another)
			}
		}
	}
}

// A decision by statements about the time is remembered until the next second at which one of
// them can change, and is right when the clock jumps over such seconds, forward or back.
func TestTimeIsRememberedUntilItsEdge(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{"once": until1970,
		"night": `{"statements": [{"principal": "*", "actions": ["Get"], "effect": "deny", "conditions": {"time": {"daily": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}}}}]}`,
		"day":   `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"time": {"daily": {"from": "00:00", "to": "24:00", "zone": "UTC", "weekdays": ["monday", "tuesday"]}}}}]}`})
	eve, mine := someone("t", "eve", ""), object("alice", "")
	const monday, hour = 1791763200, 3600 // 12 October 2026, 00:00 in UTC, 02:00 in Berlin
	for _, c := range []struct {
		policies []string
		at       int64
		allow    bool
	}{
		{[]string{"once"}, 59, true}, {[]string{"once"}, 60, true}, {[]string{"once"}, 61, false}, {[]string{"once"}, 1 << 40, false}, {[]string{"once"}, 60, true}, {[]string{"once"}, -5, true},
		{[]string{"day", "night"}, monday + 4*hour - 1, false}, {[]string{"day", "night"}, monday + 4*hour, true}, {[]string{"day", "night"}, monday + 20*hour - 1, true}, {[]string{"day", "night"}, monday + 20*hour, false},
		{[]string{"day", "night"}, monday + 12*hour, true}, {[]string{"day", "night"}, monday + 36*hour, true}, {[]string{"day", "night"}, monday + 60*hour, false}, {[]string{"day", "night"}, monday - 12*hour, false},
		{[]string{"day"}, monday, true}, {[]string{"day"}, monday - 1, false}, {[]string{"day"}, monday + 48*hour - 1, true}, {[]string{"day"}, monday + 48*hour, false},
	} {
		r := askUnder(eve, core.ActionGet, mine, 1, c.policies...)
		r.Now = c.at
		for range 2 {
			if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow {
				t.Errorf("%v at %d: %+v, %v; want allow %v", c.policies, c.at, d, err, c.allow)
			}
		}
		if n := testing.AllocsPerRun(20, func() { a.Decide(ctx, r) }); n > 0 {
			t.Errorf("%v at %d: an answer costs %v allocations, want 0: it is not remembered", c.policies, c.at, n)
		}
	}
}

// A policy of one tenant that changes again and again makes no other remembered decision be
// evaluated again: neither those under other policies of the tenant, nor those of others.
func TestChangedPolicyForgetsNothingElse(t *testing.T) {
	a, s := withKeyPolicies(t, map[string]string{"busy": allowGet, "calm": allowGet})
	calm := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), 1, "calm")
	if d, err := a.Decide(ctx, calm); err != nil || !d.Allow {
		t.Fatal(d, err)
	}
	for version := range int64(50) {
		if d, err := a.Decide(ctx, askUnder(calm.Principal, core.ActionGet, object("alice", ""), 1+version, "busy")); err != nil || !d.Allow || d.Reasons[0] != fmt.Sprintf("statement busy@%d/1", 1+version) {
			t.Fatalf("version %d: %+v, %v", 1+version, d, err)
		}
		reads := s.reads
		if n := testing.AllocsPerRun(5, func() { a.Decide(ctx, calm) }); n > 0 || s.reads != reads {
			t.Fatalf("after version %d of another policy, a remembered decision costs %v allocations and %d reads", 1+version, n, s.reads-reads)
		}
	}
}

// A version that was replaced before it could be read is decided by the newer one, and that is
// not remembered for the older one.
func TestReplacedVersionIsNotRemembered(t *testing.T) {
	newest := int64(2)
	keys, err := authz.NewKeyPolicies(authz.RegionSources{}, func(v core.DirectoryVersion) (*core.DirectoryEntry, error) {
		return &core.DirectoryEntry{Kind: v.Name.Kind, Tenant: v.Name.Tenant, ID: v.Name.ID, Version: newest, Body: []byte([]string{allowGet, denyGet}[newest%2])}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		newest int64
		want   string
	}{{2, "[p@2/1] []"}, {1, "[] [p@1/1]"}} {
		newest = c.newest
		r := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), 1, "p")
		if err := keys.FindStatements(ctx, r); err != nil || fmt.Sprint(r.Statements.Allow, r.Statements.Deny) != c.want {
			t.Errorf("version 1 is asked for and %d is stored: %+v, %v; want %s", c.newest, r.Statements, err, c.want)
		}
	}
}

// A new version of a policy is in force with the next question, and the reasons name the
// version.
func TestNewVersionDecidesAtOnce(t *testing.T) {
	a, s := withKeyPolicies(t, map[string]string{"p": denyGet})
	alice := someone("t", "alice", "")
	for version := int64(1); version <= 4; version++ {
		s.texts["p"] = []string{denyGet, allowGet}[version%2]
		for range 3 {
			d, err := a.Decide(ctx, askUnder(alice, core.ActionGet, object("alice", ""), version, "p"))
			want := []string{fmt.Sprintf("statement p@%d/1 denies it", version)}
			if version%2 == 1 {
				want = []string{"owner"}
			}
			if err != nil || !slices.Equal(d.Reasons, want) {
				t.Errorf("version %d: %+v, %v; want %q", version, d, err, want)
			}
		}
	}
	if s.reads != 4 {
		t.Errorf("4 versions were read %d times; each is compiled once", s.reads)
	}
}

// New regions decide from the next question on. A policy whose region is gone denies, and
// decides again when the region is back. If the change cannot be announced, it is not made.
func TestRegionsDecideAtOnce(t *testing.T) {
	a, s := withKeyPolicies(t, map[string]string{"p": `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"region": "office"}}]}`})
	decide := func(when string, allow bool, code core.Code) {
		t.Helper()
		for range 2 {
			r := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), 1, "p")
			r.Address = "10.1.2.3"
			if d, err := a.Decide(ctx, r); d.Allow != allow || (err != nil) != (code != 0) || core.CodeOf(err) != code && err != nil {
				t.Errorf("%s: %+v, %v; want allow %v", when, d, err, allow)
			}
		}
	}
	announced := 0
	set := func(ranges map[string][]string) {
		t.Helper()
		if err := s.keys.ReloadRegions(sources(authz.RegionSources{Regions: ranges}), func(string) error { announced++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	office, elsewhere := map[string][]string{"office": {"10.0.0.0/8"}}, map[string][]string{"office": {"192.0.2.0/24"}}
	decide("in the office", true, 0)
	set(elsewhere)
	decide("after the office has moved", false, 0)
	set(nil)
	decide("without offices", false, core.PolicyUnavailable)
	set(office)
	decide("in the office again", true, 0)
	set(office)
	if announced != 3 {
		t.Errorf("3 changes were announced %d times; the same regions are no change", announced)
	}
	if err := s.keys.ReloadRegions(sources(authz.RegionSources{Regions: elsewhere}), func(string) error { return errors.New("no record") }); err == nil {
		t.Error("regions change without a record")
	}
	decide("after a change that could not be announced", true, 0)
	if err := s.keys.ReloadRegions(sources(authz.RegionSources{Regions: map[string][]string{"office": {"nowhere"}}}), func(string) error { return nil }); core.CodeOf(err) != core.InvalidField {
		t.Errorf("a malformed region: %v; want InvalidField", err)
	}
	decide("after malformed regions", true, 0)
}

// sources returns a function that returns sources of regions.
func sources(s authz.RegionSources) func() (authz.RegionSources, error) {
	return func() (authz.RegionSources, error) { return s, nil }
}

// Of two reloads at once, the one that read its sources later decides which regions stay.
func TestNewerRegionsStay(t *testing.T) {
	_, s := withKeyPolicies(t, nil)
	newest := atomic.Pointer[map[string][]string]{}
	newest.Store(&map[string][]string{"cellar": {"10.0.0.0/8"}})
	read := func() (authz.RegionSources, error) { return authz.RegionSources{Regions: *newest.Load()}, nil }
	second := make(chan error, 1)
	err := s.keys.ReloadRegions(read, func(string) error {
		newest.Store(&map[string][]string{"home": {"192.0.2.0/24"}})
		go func() { second <- s.keys.ReloadRegions(read, func(string) error { return nil }) }()
		select {
		case err := <-second: // the first one has not ended
			second <- err
		case <-time.After(100 * time.Millisecond):
		}
		return nil
	})
	if err := errors.Join(err, <-second); err != nil {
		t.Fatal(err)
	}
	document := []byte(`{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"region": "home"}}]}`)
	if _, err := s.keys.CheckKeyPolicy(ctx, "p", document, nil); err != nil {
		t.Errorf("the region that was read last: %v", err)
	}
}

// placesFile writes a MaxMind DB file in which a network is in a country.
func placesFile(t *testing.T, file, network, country string) {
	t.Helper()
	content := locationtest.File("GeoLite2-Country", map[string]locationtest.Place{network: {Country: country, Continent: "EU"}})
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Countries decide by the file that was read last. A denial and a permission for one both deny
// while there is no file. A file that cannot be used keeps the old one in force.
func TestCountriesDecideAtOnce(t *testing.T) {
	statement := func(who, effect string) string {
		return fmt.Sprintf(`{"principal": %q, "actions": ["Get"], "effect": %q, "conditions": {"region": "country:DE"}}`, who, effect)
	}
	a, s := withKeyPolicies(t, map[string]string{"allows": `{"statements": [` + statement("user:eve", "allow") + `]}`, "denies": `{"statements": [` + statement("*", "deny") + `]}`})
	decide := func(when, address string, allowed, denied bool, code core.Code) {
		t.Helper()
		for range 2 {
			for who, c := range map[string]struct {
				policy string
				allow  bool
			}{"eve": {"allows", allowed}, "alice": {"denies", !denied}} {
				r := askUnder(someone("t", who, ""), core.ActionGet, object("alice", ""), 1, c.policy)
				r.Address = address
				if d, err := a.Decide(ctx, r); d.Allow != c.allow || (err != nil) != (code != 0) || err != nil && core.CodeOf(err) != code {
					t.Errorf("%s, %s from %s: %+v, %v; want allow %v", when, who, address, d, err, c.allow)
				}
			}
		}
	}
	file, announced := filepath.Join(t.TempDir(), "places.mmdb"), []string{}
	set := func(maxmind string) error {
		return s.keys.ReloadRegions(sources(authz.RegionSources{MaxMind: maxmind}), func(changed string) error { announced = append(announced, changed); return nil })
	}
	decide("without a file", "10.1.2.3", false, true, core.PolicyUnavailable)
	placesFile(t, file, "10.1.0.0/16", "DE")
	if err := set(file); err != nil {
		t.Fatal(err)
	}
	decide("in Germany", "10.1.2.3", true, true, 0)
	decide("elsewhere", "10.2.2.3", false, false, 0)
	decide("from an IPv4 address in IPv6 form", "::ffff:10.1.2.3", true, true, 0)
	decide("from an unknown address", "", false, true, 0)
	placesFile(t, file, "10.2.0.0/16", "DE")
	if err := set(file); err != nil {
		t.Fatal(err)
	}
	decide("after a move", "10.1.2.3", false, false, 0)
	decide("after a move", "10.2.2.3", true, true, 0)
	if err := errors.Join(set(file), os.WriteFile(file, []byte("no addresses"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := set(file); core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), "policy.maxmind") {
		t.Errorf("a broken file: %v; want InvalidField that names policy.maxmind", err)
	}
	decide("after a broken file", "10.2.2.3", true, true, 0)
	if err := set(""); err != nil {
		t.Fatal(err)
	}
	decide("after the file is gone", "10.2.2.3", false, true, core.PolicyUnavailable)
	if want := []string{"policy.regions and policy.maxmind", "policy.maxmind", "policy.maxmind"}; !slices.Equal(announced, want) {
		t.Errorf("announced %q; want %q: an equal file is no change", announced, want)
	}
}

// Checking, explaining and proposing know the same countries as deciding.
func TestCountriesAreExplained(t *testing.T) {
	const inGermany = `{"statements": [{"principal": "user:eve", "actions": ["Get"], "effect": "allow", "conditions": {"region": "country:DE"}}],
		"tests": [{"principal": "user:eve", "action": "Get", "given": {"ipAddress": "10.1.2.3"}, "expect": "allow"}, {"principal": "user:eve", "action": "Get", "given": {"ipAddress": "10.2.2.3"}, "expect": "nothing"}]}`
	_, s := withKeyPolicies(t, map[string]string{"p": inGermany})
	if _, err := s.keys.CheckKeyPolicy(ctx, "p", []byte(inGermany), nil); core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), "statements[0].conditions.region") {
		t.Errorf("a check without a file: %v; want InvalidField with the path", err)
	}
	file := filepath.Join(t.TempDir(), "places.mmdb")
	placesFile(t, file, "10.1.0.0/16", "DE")
	if err := s.keys.ReloadRegions(sources(authz.RegionSources{MaxMind: file}), func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.keys.CheckKeyPolicy(ctx, "p", []byte(inGermany), nil); err != nil {
		t.Errorf("the tests of the document: %v", err)
	}
	r := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), 1, "p")
	proposed, err := s.keys.Propose(r.Policies[0], []byte(inGermany))
	if err != nil {
		t.Fatal(err)
	}
	for address, unmet := range map[string][]string{"10.1.2.3": nil, "10.2.2.3": {"conditions.region"}, "": {"conditions.region"}} {
		r.Address = address
		for what, keys := range map[string]core.KeyPolicies{"in force": s.keys, "proposed": proposed} {
			verdicts, err := keys.Explain(ctx, r)
			if err != nil || len(verdicts) != 1 || !slices.Equal(verdicts[0].Unmet, unmet) || verdicts[0].Matched != (unmet == nil) {
				t.Errorf("%s, from %q: %+v, %v; want unmet %q", what, address, verdicts, err, unmet)
			}
		}
	}
}

// A policy that cannot be read denies, also the owner.
func TestUnreadablePolicyDenies(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{"p": `{"statements": []}`})
	if d, err := a.Decide(ctx, askUnder(someone("t", "alice", ""), core.ActionGet, object("alice", ""), 1, "p")); core.CodeOf(err) != core.PolicyUnavailable || d.Allow {
		t.Errorf("a policy without statements: %+v, %v; want Policy Unavailable", d, err)
	}
	if d, err := open(t, keyreeve.Policy, keyreeve.PolicyTests).Decide(ctx, askUnder(someone("t", "alice", ""), core.ActionGet, object("alice", ""), 1, "p")); core.CodeOf(err) != core.PolicyUnavailable || d.Allow {
		t.Errorf("a server that reads no key policies: %+v, %v; want Policy Unavailable", d, err)
	}
}

// BenchmarkFourPolicies compares a decision with four attached policies, remembered, with
// the policy that only says allow, evaluated each time.
func BenchmarkFourPolicies(b *testing.B) {
	texts, names := map[string]string{}, []string{"a", "b", "c", "d"}
	for _, n := range names {
		texts[n] = atOffice
	}
	a, _ := withKeyPolicies(b, texts)
	r := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), 1, names...)
	r.Address = "10.0.0.1"
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d, err := a.Decide(ctx, r); err != nil || !d.Allow {
				b.Fatal(d, err)
			}
		}
	})
	f, err := authz.Load(ctx, authz.Options{Forget: true}, with(allowIf(`true`), goodTest))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("allow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Decide(ctx, ask(r.Principal, core.ActionGet, r.Object)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A proposed document decides in the place of its version only where it was proposed. What
// decides requests keeps its own compiled policies and answers. All other policies are read
// as they are stored.
func TestProposalDecidesNothingElse(t *testing.T) {
	_, s := withKeyPolicies(t, map[string]string{"gate": allowGet, "other": denyGet})
	version := core.DirectoryVersion{Name: core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: "gate"}, Version: 2}
	proposed, err := s.keys.Propose(version, []byte(denyGet))
	if err != nil {
		t.Fatal(err)
	}
	find := func(k core.KeyPolicies, version int64, names ...string) string {
		t.Helper()
		r := askUnder(someone("t", "eve", ""), core.ActionGet, object("alice", ""), version, names...)
		r.Statements.Allow = []string{"of an earlier question"}
		if err := k.FindStatements(ctx, r); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.Statements.Allow, r.Statements.Deny)
	}
	for range 2 {
		for _, c := range []struct {
			of      core.KeyPolicies
			version int64
			name    string
			want    string
		}{{proposed, 2, "gate", "[] [gate@2/1]"}, {s.keys, 2, "gate", "[gate@2/1] []"}, {proposed, 1, "gate", "[gate@1/1] []"}, {proposed, 2, "other", "[] [other@2/1]"}} {
			if got := find(c.of, c.version, c.name); got != c.want {
				t.Errorf("version %d of %s: %s; want %s", c.version, c.name, got, c.want)
			}
		}
	}
	if got := find(proposed, 2); got != "[] []" {
		t.Errorf("without policies: %s; want none", got)
	}
	r := askUnder(nil, core.ActionGet, nil, 2, "gate")
	if err := proposed.FindStatements(ctx, r); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a request without a principal: %v; want Permission Denied", err)
	}
	if p, err := s.keys.Propose(version, []byte(`{"statements":[{}]}`)); err == nil {
		t.Errorf("a document that is wrong is proposed: %v", p)
	}
}

// What the policies look at is listed for the action that is asked, and for no other.
func TestReadsAreOfTheAction(t *testing.T) {
	_, s := withKeyPolicies(t, map[string]string{"gcm": onlyGCM, "hr": ofHR, "gated": `{"statements": [{"principal": "user:y", "actions": ["revoke"], "effect": "allow", "conditions": {"approvals": {"needed": 1, "from": ["user:z"]}}}]}`, "all": `{"statements": [{"principal": "role:x", "actions": ["*"], "effect": "allow", "conditions": {"tags": {"env": "y"}}}]}`})
	for want, r := range map[string]*core.AccessRequest{
		"[conditions.parameters.mode user:eve]": askUnder(someone("t", "eve", ""), core.ActionEncrypt, nil, 1, "gcm", "hr"),
		"[* conditions.principal.department]":   askUnder(someone("t", "eve", ""), core.ActionGet, nil, 1, "gcm", "hr"),
		"[gate user:y]":                         askUnder(someone("t", "eve", ""), core.ActionRevoke, nil, 1, "gcm", "gated"),
		"[conditions.tags.env role:x]":          askUnder(someone("t", "eve", ""), core.ActionSign, nil, 1, "gcm", "hr", "all"),
		"[]":                                    askUnder(someone("t", "eve", ""), core.ActionSign, nil, 1, "gcm", "hr"),
	} {
		if got, err := s.keys.Reads(r); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%v under %v reads %v, %v; want %s", r.Action, r.Policies, got, err, want)
		}
	}
}
