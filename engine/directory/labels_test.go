package directory

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// labelsOfTest reads a document that lists labels.
func labelsOfTest(document []byte) (d []core.PolicyLabel, err error) {
	var all struct{ Tags []core.PolicyLabel }
	if err := json.Unmarshal(document, &all); err != nil {
		return nil, core.Wrap(core.InvalidField, err, "no document")
	}
	return all.Tags, nil
}

func namingLabels(t *testing.T, name string, labels ...core.PolicyLabel) *core.DirectoryEntry {
	t.Helper()
	text, err := json.Marshal(map[string]any{"tags": labels})
	if err != nil {
		t.Fatal(err)
	}
	e := policyEntry(name)
	e.Body = text
	return e
}

// The policies that name a label are those that are attached to the object, to its Object
// Groups, or to anybody in the tenant. A policy that cannot be read counts, and so does a
// version that waits and the one before it.
func TestPoliciesNamingALabel(t *testing.T) {
	s, d, facts := openWith(t, false, func(d *Directory) *AccessFacts {
		f := NewAccessFacts(d)
		f.WatchLabels(labelsOfTest)
		return f
	})
	prod, dev := core.PolicyLabel{Field: "tags.x-e", Value: "prod", Denies: true}, core.PolicyLabel{Field: "tags.x-e", Value: "dev", Denies: true}
	for _, name := range []string{"of-object", "of-user", "of-key-group", "of-another-group", "of-nobody"} {
		s.save(d, namingLabels(t, name, prod))
	}
	s.save(d, namingLabels(t, "of-role", dev))
	s.save(d, namingLabels(t, "of-group"))
	broken := policyEntry("broken")
	broken.Body = []byte(`{"tags": 1}`)
	s.save(d, broken)
	for holder, policy := range map[string]string{"user:carol": "of-user", "role:clerk": "of-role", "group:g": "of-group", "group:h": "broken", "keyGroup:payroll": "of-key-group", "keyGroup:tapes": "of-another-group"} {
		s.save(d, entryWith(t, core.EntryAttachment, holder, &Attachment{Policies: []string{policy}}))
	}
	o := askedBy("t").Object
	naming := func(labels ...core.PolicyLabel) []string {
		t.Helper()
		got, err := facts.PoliciesNaming(o, labels)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	allows := prod
	allows.Denies = false
	for _, c := range []struct {
		labels []core.PolicyLabel
		want   []string
	}{
		{[]core.PolicyLabel{prod}, []string{"broken", "of-key-group", "of-object", "of-user"}},
		{[]core.PolicyLabel{dev}, []string{"broken", "of-role"}},
		{[]core.PolicyLabel{allows}, []string{"broken"}},
		{[]core.PolicyLabel{{Field: "tags.x-f", Value: "prod", Denies: true}}, []string{"broken"}},
	} {
		if got := naming(c.labels...); !slices.Equal(got, c.want) {
			t.Errorf("%v is named by %v; want %v", c.labels, got, c.want)
		}
	}
	body := PolicyBody{ActivateAt: 1 << 40, Before: 1, Until: namingLabels(t, "", dev).Body, Document: namingLabels(t, "", prod).Body}
	waiting := namingLabels(t, "of-role")
	waiting.Version = 2
	var err error
	if waiting.Body, err = body.Encode(); err != nil {
		t.Fatal(err)
	}
	s.save(d, waiting)
	for _, label := range []core.PolicyLabel{prod, dev} {
		if !slices.Contains(naming(label), "of-role") {
			t.Errorf("%v is not named by the policy with a version that waits; want both its versions to count", label)
		}
	}
	gone := policyEntry("of-role")
	gone.Version, gone.Deleted, gone.Body = 3, true, nil
	s.save(d, gone)
	if slices.Contains(naming(dev), "of-role") {
		t.Errorf("a deleted policy still names labels")
	}
}

// Without knowledge of what policies name, no change of labels is decided: also if the row of
// a policy or of an attachment was changed behind the server before this node has read it.
func TestUnknownLabelsAreRefused(t *testing.T) {
	label := []core.PolicyLabel{{Field: "tags.x-e", Value: "prod", Denies: true}}
	_, _, unwatched := openWith(t, false, NewAccessFacts)
	if _, err := unwatched.PoliciesNaming(askedBy("t").Object, label); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("without labels: %v; want Policy Unavailable", err)
	}
	for _, kind := range []core.EntryKind{core.EntryPolicy, core.EntryAttachment} {
		s := newSite(t, true)
		one, two := s.node(), s.unopened()
		facts := NewAccessFacts(two)
		facts.WatchLabels(labelsOfTest)
		s.save(one, namingLabels(t, "first", label...))
		if err := two.Open(ctx); err != nil {
			t.Fatal(err)
		}
		s.save(one, namingLabels(t, "second", label...), entryWith(t, core.EntryAttachment, "role:clerk", &Attachment{Policies: []string{"second"}}))
		s.attack(`UPDATE directory_entry SET author = 'eve' WHERE kind = '` + string(kind) + `' AND id <> 'first'`)
		s.read(two)
		if got, err := facts.PoliciesNaming(askedBy("t").Object, label); core.CodeOf(err) != core.Tampered {
			t.Errorf("the %s was tampered with: %v, %v; want Tampered", kind, got, err)
		}
	}
}
