package directory

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// waitingEntry returns a version of a policy that is in force from a time on.
func waitingEntry(t *testing.T, version, at, before int64) *core.DirectoryEntry {
	t.Helper()
	body := PolicyBody{ActivateAt: at, Before: before, Document: fmt.Appendf(nil, `{"name":"v%d"}`, version)}
	if before > 0 {
		body.Until = fmt.Appendf(nil, `{"name":"v%d"}`, before)
	}
	text, err := body.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e := policyEntry("of-object")
	e.Version, e.Body = version, text
	return e
}

// policyOf returns version and document of the policy of askedBy that decide at a time.
func policyOf(t *testing.T, d *Directory, facts *AccessFacts, at int64) string {
	t.Helper()
	r := askedBy("t")
	r.Now = at
	if err := facts.AddFacts(r); err != nil {
		t.Fatalf("at %d: %v", at, err)
	}
	if len(r.Policies) == 0 {
		return "none"
	}
	e, err := d.PolicyVersion(r.Policies[0])
	if err != nil {
		t.Fatalf("at %d: %v", at, err)
	}
	return fmt.Sprintf("%d %s", e.Version, e.Body)
}

// A version that waits decides from its time on, and the version before it until then, on
// the node that stored it, on one that follows and on one that starts later. It is the time
// of the request that counts, so a request at an earlier time still finds the older version.
func TestWaitingVersionDecidesFromItsTime(t *testing.T) {
	s, one, facts := openWith(t, true, NewAccessFacts)
	two := s.unopened()
	factsOfTwo := NewAccessFacts(two)
	if err := two.Open(ctx); err != nil {
		t.Fatal(err)
	}
	first := policyEntry("of-object")
	first.Body = []byte(`{"name":"v1"}`)
	s.save(one, first, waitingEntry(t, 2, 1000, 1))
	s.read(two)
	three := s.unopened()
	factsOfThree := NewAccessFacts(three)
	if err := three.Open(ctx); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{0: `1 {"name":"v1"}`, 999: `1 {"name":"v1"}`, 1000: `2 {"name":"v2"}`, 1001: `2 {"name":"v2"}`} {
		for _, node := range []struct {
			d *Directory
			f *AccessFacts
		}{{one, facts}, {two, factsOfTwo}, {three, factsOfThree}} {
			if got := policyOf(t, node.d, node.f, at); got != want {
				t.Errorf("at %d the policy is %s; want %s", at, got, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { one.PolicyInForce("t", "of-object", 999) }); n != 0 {
		t.Errorf("to find the version in force costs %v allocations, want none", n)
	}
	third := policyEntry("of-object")
	third.Version, third.Body = 3, []byte(`{"name":"v3"}`)
	s.save(one, third)
	if got := policyOf(t, one, facts, 0); got != `3 {"name":"v3"}` {
		t.Errorf("a newer version leaves %s in force; want the newer one at once", got)
	}
}

// Before the time of a first version, the policy has no statements. A caller whose version
// was replaced in the meantime gets the one that is in force now.
func TestFirstVersionThatWaitsDecidesNothing(t *testing.T) {
	s, d, facts := openWith(t, false, NewAccessFacts)
	s.save(d, waitingEntry(t, 1, s.clock.Now()+10, 0))
	if got := policyOf(t, d, facts, s.clock.Now()); got != "none" {
		t.Errorf("before its time the policy is %s; want none", got)
	}
	if got := policyOf(t, d, facts, s.clock.Now()+10); got != `1 {"name":"v1"}` {
		t.Errorf("at its time the policy is %s; want version 1", got)
	}
	name := core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: "of-object"}
	if e, err := d.PolicyVersion(core.DirectoryVersion{Name: name, Version: 7}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("an unknown version while none is in force: %v, %v; want Item Not Found", e, err)
	}
	s.save(d, waitingEntry(t, 2, s.clock.Now()-1, 1))
	if e, err := d.PolicyVersion(core.DirectoryVersion{Name: name, Version: 7}); err != nil || e.Version != 2 {
		t.Errorf("an unknown version: %v, %v; want version 2, which is in force", e, err)
	}
}

// A body of a version that waits and cannot be read is an error at any time, and never an
// older version or none.
func TestUnreadableWaitingVersionIsAnError(t *testing.T) {
	for _, body := range []string{`{"activateAt":`, `{"activateAt":0,"document":{}}`, `{"activateAt":5}`, `{"activateAt":5,"document":{},"document":{}}`,
		`{"activateAt":5,"before":1,"document":{}}`, `{"activateAt":5,"until":{},"document":{}}`, `{"activateAt":5,"document":{} }`, `{"activateAt":-5,"document":{}}`} {
		s, d, facts := openWith(t, false, NewAccessFacts)
		e := policyEntry("of-object")
		e.Body = []byte(body)
		s.save(d, e)
		for _, at := range []int64{0, 5, 6} {
			r := askedBy("t")
			r.Now = at
			if err := facts.AddFacts(r); core.CodeOf(err) != core.Tampered || len(r.Policies) != 0 {
				t.Errorf("%s at %d: %v with %v; want Tampered", body, at, err, r.Policies)
			}
		}
	}
}

// Facts with proposed versions of a policy, an attachment and a role are those that would be
// if they were stored, also of a policy that would wait. What is stored decides requests.
func TestProposedFacts(t *testing.T) {
	s, d, facts := openWith(t, false, NewAccessFacts)
	s.save(d, policyEntry("of-object"), policyEntry("of-role"))
	show := func(f core.AccessFacts) string {
		t.Helper()
		r := askedBy("t")
		if err := f.AddFacts(r); err != nil {
			return core.CodeOf(err).String()
		}
		out := fmt.Sprint(r.Rights)
		for _, v := range r.Policies {
			out += fmt.Sprintf(" %s@%d", v.Name.ID, v.Version)
		}
		return out
	}
	ofRole, clerk := entryWith(t, core.EntryAttachment, "role:clerk", &Attachment{Policies: []string{"of-role"}}), entryWith(t, core.EntryRole, "clerk", &core.Role{Actions: []string{"encrypt"}})
	deleted := policyEntry("of-object")
	deleted.Version, deleted.Deleted = 2, true
	for want, proposed := range map[string][]*core.DirectoryEntry{
		"[] of-object@1":                nil,
		"[] of-object@2":                {waitingEntry(t, 2, 1<<40, 1)},
		"[] of-object@1 of-role@1":      {ofRole},
		"[clerk] of-object@1":           {clerk},
		"[clerk] of-object@1 of-role@1": {ofRole, clerk},
		"PolicyUnavailable":             {deleted},
	} {
		if got := show(facts.Propose(proposed)); got != want {
			t.Errorf("with %d proposed entries the facts are %s; want %s", len(proposed), got, want)
		}
		if got := show(facts); got != "[] of-object@1" {
			t.Errorf("beside %d proposed entries requests are decided by %s", len(proposed), got)
		}
	}
	s.save(d, ofRole, clerk)
	gone, ended := *ofRole, *clerk
	gone.Deleted, ended.Deleted = true, true
	if got := show(facts.Propose([]*core.DirectoryEntry{&gone, &ended})); got != "[] of-object@1" {
		t.Errorf("without attachment and role the facts are %s", got)
	}
}
