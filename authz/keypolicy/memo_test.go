package keypolicy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Through a memo, a clock that moves forward and back, to edges and over them, finds what the
// reference evaluator finds. Most answers come from the memo.
func TestMemoAgreesUnderMovingClocks(t *testing.T) {
	m := newMatcher(t, MatcherOptions{InterpretOnly: true})
	asked, evaluated, changed, wide := 0, 0, 0, 0
	for seed := range uint64(400) {
		g, memo := generator{rand.New(rand.NewPCG(11, seed))}, NewMemo()
		var policies []*Policy
		var versions []core.DirectoryVersion
		for i := range 1 + g.IntN(3) {
			p := compileText(t, fmt.Sprint("p", i), g.aboutTime())
			policies = append(policies, p)
			versions = append(versions, core.DirectoryVersion{Name: core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: p.name}, Version: p.version})
		}
		r := g.request(generatedActions[g.IntN(len(generatedActions))])
		r.Policies, r.Principal.TokenID = versions, r.Token
		var last Matches
		for i := range 60 {
			want := referenceMatch(r, policies)
			key := memo.AppendKey(nil, r.AccessRequest, 1)
			known := memo.Recall("t", key, r.Now)
			if known == nil {
				got, err := m.Match(t.Context(), r, policies)
				if err != nil {
					t.Fatal(err)
				}
				known = &KnownMatch{Statements: core.MatchedStatements{Allow: got.Allow, Deny: got.Deny, Exclusive: got.Exclusive, Gates: got.Gates}, Span: got.Span}
				memo.Remember("t", key, known)
				evaluated++
			}
			s := &known.Statements
			if got := (Matches{Allow: s.Allow, Deny: s.Deny, Exclusive: s.Exclusive, Gates: s.Gates}); !reflect.DeepEqual(got, want) || !known.Span.Contains(r.Now) {
				t.Fatalf("at %d the memo has %+v of %+v; want %+v for %s", r.Now, got, known.Span, want, describe(r, policies))
			}
			if asked++; i > 0 && !reflect.DeepEqual(want, last) {
				changed++
			}
			if known.Span.Last-known.Span.First >= 3600 {
				wide++
			}
			last, r.Now = want, g.move(r.Now, known.Span)
		}
	}
	t.Logf("%d questions, %d of them evaluated, %d with another answer than the one before, %d spans of an hour or more", asked, evaluated, changed, wide)
	if evaluated > asked/2 || changed < asked/20 || wide < asked/2 {
		t.Error("the generator makes too few answers of some kind to prove anything")
	}
}

// aboutTime returns a document whose statements mostly speak about the time.
func (g generator) aboutTime() string {
	statement := func() string {
		return fmt.Sprintf(`{"principal": "*", "actions": ["*"], "effect": %q, "conditions": {"time": {%s}}}`, g.one("allow", "allow", "deny"), g.time())
	}
	return fmt.Sprintf(`{"statements": [%s, %s, %s]}`, statement(), g.statement(), statement())
}

// move returns the next time of a clock: mostly within a span, often at one of its edges, one
// second beyond, or anywhere.
func (g generator) move(now int64, s TimeSpan) int64 {
	first, last := max(s.First, now-50_000), min(s.Last, now+50_000)
	switch g.IntN(6) {
	case 0:
		return g.now()
	case 1:
		return first - g.Int64N(2)
	case 2:
		return last + g.Int64N(2)
	}
	return first + g.Int64N(last-first+1)
}

// Around each change of the clock in a year and a zone, the edges of a daily window are where
// the reference sees them: an answer holds for its whole span, second by second.
func TestSpansAroundClockChanges(t *testing.T) {
	m, r := newMatcher(t, MatcherOptions{InterpretOnly: true}), usualRequest()
	for _, c := range []struct {
		zone   string
		change int64 // of the offset
	}{{"Europe/Berlin", 1774746000}, {"Europe/Berlin", 1792890000}, {"America/New_York", 1772953200}, {"America/New_York", 1793512800}, {"America/Santiago", 1788667200}, {"Australia/Lord_Howe", 1775314800}} {
		for _, window := range []string{`"from": "02:00", "to": "03:00"`, `"from": "02:30", "to": "24:00"`, `"from": "23:30", "to": "01:15"`, `"from": "00:00", "to": "24:00", "weekdays": "sunday"`} {
			p := []*Policy{compileText(t, "p", fmt.Sprintf(`{"statements": [{"principal": "*", "actions": ["*"], "effect": "allow", "conditions": {"time": {"daily": {%s, "zone": %q}}}}]}`, window, c.zone))}
			matchesAt := func(now int64) bool {
				r.Now = now
				return len(referenceMatch(r, p).Allow) == 1
			}
			spans := 0
			for now := c.change - 90_000; now < c.change+90_000; spans++ {
				r.Now = now
				got, err := m.Match(t.Context(), r, p)
				if err != nil {
					t.Fatal(err)
				}
				for at := max(got.Span.First, c.change-90_000); at <= min(got.Span.Last, c.change+90_000); at += 60 {
					if matchesAt(at) != (len(got.Allow) == 1) {
						t.Fatalf("%s %s: the answer at %d is said to hold from %d to %d, and does not at %d", c.zone, window, now, got.Span.First, got.Span.Last, at)
					}
				}
				if matchesAt(got.Span.Last) != (len(got.Allow) == 1) || !got.Span.Contains(now) {
					t.Fatalf("%s %s: the span %+v of the answer at %d is wrong at its end", c.zone, window, got.Span, now)
				}
				now = got.Span.Last + 1
			}
			if spans > 20 {
				t.Errorf("%s %s: %d spans in 50 hours; want a few, so that answers are remembered", c.zone, window, spans)
			}
		}
	}
}

// A zone that is not known makes each second an edge.
func TestUnknownZoneIsNotRemembered(t *testing.T) {
	p := policyWith(t, "deny", `"time": {"daily": {"from": "08:00", "to": "18:00", "zone": "UTC"}}`)
	p.normal.Statements[0].Conditions[0].Zone = "Mars/Base"
	if got := spanAround(1000, []*Policy{recompiled(t, p)}, "Encrypt"); got != (TimeSpan{1000, 1000}) {
		t.Errorf("the span is %+v; want one second", got)
	}
}

// Each part of a request on which a match depends changes the key of the memo. Requests that
// look the same have one key, also with another principal of the same looks.
func TestMemoKeyHasEachPart(t *testing.T) {
	memo := NewMemo()
	base := func() *core.AccessRequest {
		r := usualRequest().AccessRequest
		r.Policies = []core.DirectoryVersion{{Name: core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: "p"}, Version: 1}}
		r.Granted, r.Rights = []string{"p@1/1"}, []string{"r"}
		return r
	}
	keys := map[string]string{string(memo.AppendKey(nil, base(), 1)): "nothing"}
	for what, change := range map[string]func(*core.AccessRequest){
		"the principal":            func(r *core.AccessRequest) { r.Principal = &core.Principal{Tenant: "t", ID: "bob"} },
		"the action":               func(r *core.AccessRequest) { r.Action = core.ActionDecrypt },
		"the door":                 func(r *core.AccessRequest) { r.Door = core.DoorREST },
		"the address":              func(r *core.AccessRequest) { r.Address = "192.168.1.8" },
		"the state":                func(r *core.AccessRequest) { r.State = core.Compromised },
		"the object":               func(r *core.AccessRequest) { r.Object.ID = "p" },
		"its tenant":               func(r *core.AccessRequest) { r.Object.Tenant = "u" },
		"its owner":                func(r *core.AccessRequest) { r.Object.Owner = "bob" },
		"its group":                func(r *core.AccessRequest) { r.Object.Group = "g" },
		"its version":              func(r *core.AccessRequest) { r.Object.Version++ },
		"no object":                func(r *core.AccessRequest) { r.Object = nil },
		"a policy":                 func(r *core.AccessRequest) { r.Policies[0].Name.ID = "q" },
		"its tenant of the policy": func(r *core.AccessRequest) { r.Policies[0].Name.Tenant = "u" },
		"its version of a policy":  func(r *core.AccessRequest) { r.Policies[0].Version++ },
		"no policy":                func(r *core.AccessRequest) { r.Policies = nil },
		"an open gate":             func(r *core.AccessRequest) { r.Granted = []string{"p@1/2"} },
		"no open gate":             func(r *core.AccessRequest) { r.Granted = nil },
		"a right":                  func(r *core.AccessRequest) { r.Rights = []string{"s"} },
		"a right for a gate":       func(r *core.AccessRequest) { r.Granted, r.Rights = r.Rights, r.Granted },
	} {
		r := base()
		change(r)
		key := string(memo.AppendKey(nil, r, 1))
		if same := keys[key]; same != "" {
			t.Errorf("a request with another %s has the key of one with another %s", what, same)
		}
		keys[key] = what
	}
	if key := memo.AppendKey(nil, base(), 2); keys[string(key)] != "" {
		t.Error("other regions have the same key")
	}
	if again := memo.AppendKey(nil, base(), 1); keys[string(again)] != "nothing" {
		t.Error("the same request has another key")
	}
}

// One tenant with very many requests, principals and sets of policies drives out its own: what
// is remembered of another tenant stays.
func TestMemoIsFair(t *testing.T) {
	memo := NewMemo()
	request := func(tenant string, i int) *core.AccessRequest {
		r := usualRequest().AccessRequest
		r.Principal = &core.Principal{Tenant: tenant, ID: fmt.Sprint("user", i%9000)}
		r.Policies = []core.DirectoryVersion{{Name: core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: "p"}, Version: int64(1 + i%7000)}}
		r.Object = &core.ManagedObject{Tenant: tenant, ID: fmt.Sprint(i), Owner: "o", Version: 1}
		return r
	}
	remember := func(tenant string, i int) {
		r := request(tenant, i)
		memo.Remember(tenant, memo.AppendKey(nil, r, 1), &KnownMatch{Span: Always, Statements: core.MatchedStatements{Allow: []string{fmt.Sprint(tenant, i)}}})
	}
	recall := func(tenant string, i int) string {
		if known := memo.Recall(tenant, memo.AppendKey(nil, request(tenant, i), 1), 1); known != nil {
			return known.Statements.Allow[0]
		}
		return ""
	}
	for i := range 20 {
		remember("small", i)
	}
	for i := range 2 * maxKnownMatches {
		remember("large", i)
	}
	for i := range 20 {
		if got := recall("small", i); got != fmt.Sprint("small", i) {
			t.Errorf("match %d of the small tenant is %q: the large tenant drove it out", i, got)
		}
	}
	if n := memo.known.Len(); n > maxKnownMatches || n < maxKnownMatches/2 {
		t.Errorf("%d matches are kept; want at most %d, and most of them", n, maxKnownMatches)
	}
	if got, want := recall("large", 2*maxKnownMatches-1), fmt.Sprint("large", 2*maxKnownMatches-1); got != want {
		t.Error("the large tenant does not find its own last match")
	}
}
