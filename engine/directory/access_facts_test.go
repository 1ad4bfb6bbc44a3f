package directory

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// entryWith returns the first version of an entry with a body.
func entryWith(t *testing.T, kind core.EntryKind, id string, body core.Body) *core.DirectoryEntry {
	t.Helper()
	text, err := core.EncodeBody(body)
	if err != nil {
		t.Fatal(err)
	}
	return &core.DirectoryEntry{Kind: kind, Tenant: "t", ID: id, Version: 1, At: 1, Author: "t/root", Body: text}
}

// policyEntry returns the first version of a key policy.
func policyEntry(name string) *core.DirectoryEntry {
	return &core.DirectoryEntry{Kind: core.EntryPolicy, Tenant: "t", ID: name, Version: 1, At: 1, Author: "t/root", Body: []byte("{}")}
}

// askedBy returns a request of alice, who has a role and a group, for a key in an Object
// Group.
func askedBy(tenant string) *core.AccessRequest {
	o := &core.ManagedObject{Tenant: "t", ID: "o", Owner: "bob", Attributes: core.Attributes{
		{Tag: core.TagObjectGroup, Value: core.Text("payroll")}, {Vendor: core.PolicyAttribute.Vendor, Name: core.PolicyAttribute.Name, Value: core.Text("of-object")}}}
	return &core.AccessRequest{Action: core.ActionEncrypt, Object: o, Principal: &core.Principal{Tenant: tenant, ID: "alice", Roles: []string{"clerk"}, Groups: []string{"g"}}}
}

// openWith opens a directory with what watches it.
func openWith[W any](t *testing.T, shared bool, watch func(*Directory) W) (*site, *Directory, W) {
	t.Helper()
	s := newSite(t, shared)
	d := s.unopened()
	w := watch(d)
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return s, d, w
}

// Policies of the object, its Object Group, the caller, its roles and its groups are
// found, and no others. Rights come from the roles that the tenant has declared.
func TestFactsOfARequest(t *testing.T) {
	s, d, facts := openWith(t, false, NewAccessFacts)
	names := []string{"of-object", "of-user", "of-role", "of-group", "of-key-group", "of-another"}
	for _, name := range names {
		s.save(d, policyEntry(name))
	}
	for holder, policy := range map[string]string{"user:alice": "of-user", "role:clerk": "of-role", "group:g": "of-group", "keyGroup:payroll": "of-key-group", "user:bob": "of-another"} {
		s.save(d, entryWith(t, core.EntryAttachment, holder, &Attachment{Policies: []string{policy}}))
	}
	s.save(d, entryWith(t, core.EntryRole, "clerk", &core.Role{Actions: []string{"encrypt"}}))
	r := askedBy("t")
	if err := facts.AddFacts(r); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, v := range r.Policies {
		found = append(found, v.Name.ID)
	}
	if slices.Sort(found); !slices.Equal(found, []string{"of-group", "of-key-group", "of-object", "of-role", "of-user"}) {
		t.Errorf("the policies are %q", found)
	}
	if !slices.Equal(r.Rights, []string{"clerk"}) {
		t.Errorf("the rights are %q", r.Rights)
	}
	r = askedBy("t")
	r.Action = core.ActionDecrypt
	if err := facts.AddFacts(r); err != nil || len(r.Rights) != 0 {
		t.Errorf("the role does not name decrypt: %q, %v", r.Rights, err)
	}
	r = askedBy("u")
	if err := facts.AddFacts(r); err != nil || len(r.Policies)+len(r.Rights) != 0 {
		t.Errorf("another tenant's caller gets %v and %v, %v", r.Policies, r.Rights, err)
	}
	if governed, err := facts.GovernsGroup("t", "payroll"); err != nil || !governed {
		t.Errorf("payroll is governed: %v, %v", governed, err)
	}
	if governed, err := facts.GovernsGroup("t", "tapes"); err != nil || governed {
		t.Errorf("tapes is governed: %v, %v", governed, err)
	}
}

// A policy that is attached and missing, an attachment that was removed behind the server,
// and a directory that cannot be read are errors: each could hold a denial.
func TestMissingFactsAreErrors(t *testing.T) {
	s, d, facts := openWith(t, true, NewAccessFacts)
	if err := facts.AddFacts(askedBy("t")); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("a missing policy: %v; want Policy Unavailable", err)
	}
	s.save(d, policyEntry("of-object"))
	s.save(d, policyEntry("of-role"))
	s.save(d, entryWith(t, core.EntryAttachment, "role:clerk", &Attachment{Policies: []string{"of-role"}}))
	if err := facts.AddFacts(askedBy("t")); err != nil {
		t.Error(err)
	}
	s.attack(`DELETE FROM directory_entry WHERE kind = 'attachment'`)
	s.compare(d)
	if err := facts.AddFacts(askedBy("t")); core.CodeOf(err) != core.Tampered {
		t.Errorf("a removed attachment: %v; want Tampered", err)
	}
	s.clock.mono.Add(core.SnapshotLeaseMS*1000 + 1)
	if err := facts.AddFacts(askedBy("t")); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("a directory that is not fresh: %v; want Store Unavailable", err)
	}
}

// An attachment that was changed behind the server before this node has read it could hold
// a denial. So it is an error, and not an attachment that does not exist, until a sound row
// is there or the row is gone. Other tenants are not concerned.
func TestUnknownTamperedAttachmentIsAnError(t *testing.T) {
	for what, readBy := range map[string]func(*site, *Directory){"changes": (*site).read, "comparison": (*site).compare} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, true)
			one := s.node()
			s.save(one, policyEntry("of-object"), policyEntry("of-role"))
			two := s.unopened()
			facts, users := NewAccessFacts(two), NewUsers(two)
			if err := two.Open(ctx); err != nil {
				t.Fatal(err)
			}
			sound := entryWith(t, core.EntryAttachment, "role:clerk", &Attachment{Policies: []string{"of-role"}})
			s.save(one, sound, entryWith(t, core.EntryUser, "carl", &core.User{Tenant: "t", Name: "carl", Version: 1}))
			s.attack(`UPDATE directory_entry SET author = 'eve' WHERE kind IN ('attachment', 'user')`)
			if what == "comparison" {
				s.attack(`UPDATE directory_entry SET change = 0 WHERE kind IN ('attachment', 'user')`)
			}
			readBy(s, two)
			if err := facts.AddFacts(askedBy("t")); core.CodeOf(err) != core.Tampered {
				t.Errorf("the attachment was tampered with: %v; want Tampered", err)
			}
			if u, err := users.User("t", "carl"); !users.HadUsers("t") || u != nil || core.CodeOf(err) != core.Tampered {
				t.Errorf("the only user was tampered with: %+v, %v, had users %v; want Tampered and true", u, err, users.HadUsers("t"))
			}
			if err := facts.AddFacts(askedBy("u")); err != nil || users.HadUsers("u") {
				t.Errorf("another tenant: %v, had users %v", err, users.HadUsers("u"))
			}
			s.attack(`UPDATE directory_entry SET author = $1 WHERE kind = 'attachment'`, sound.Author)
			s.attack(`DELETE FROM directory_entry WHERE kind = 'user'`)
			s.compare(two)
			r := askedBy("t")
			if err := facts.AddFacts(r); err != nil || len(r.Policies) != 2 {
				t.Errorf("after the row is restored: %v, %v; want two policies", r.Policies, err)
			}
			if n, problem := two.Refused(); n != 0 {
				t.Errorf("after the rows are restored or gone, %d entries are refused: %s", n, problem)
			}
		})
	}
}

// Without policies and roles, the facts of a request cost no allocation.
func TestFactsCostNothingWithoutPolicies(t *testing.T) {
	_, _, facts := openWith(t, false, NewAccessFacts)
	r := askedBy("t")
	r.Object.Attributes = r.Object.Attributes[:1]
	if n := testing.AllocsPerRun(100, func() {
		if err := facts.AddFacts(r); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// Users are found by tenant and name. A change shows in the revision, and a removed user is
// no error.
func TestUsersOfTheDirectory(t *testing.T) {
	s, d, users := openWith(t, false, NewUsers)
	before, err := users.Revision()
	if err != nil || users.HadUsers("t") {
		t.Fatalf("without users: %v, %v", users.HadUsers("t"), err)
	}
	s.save(d, entryWith(t, core.EntryUser, "alice", &core.User{Tenant: "t", Name: "alice", Version: 1, Groups: []string{"g"}}))
	u, err := users.User("t", "alice")
	if err != nil || u == nil || u.Name != "alice" || u.Version != 1 || !slices.Equal(u.Groups, []string{"g"}) {
		t.Errorf("alice is %+v, %v", u, err)
	}
	if after, err := users.Revision(); err != nil || after == before || !users.HadUsers("t") || users.HadUsers("u") {
		t.Errorf("revision %d after %d, %v; tenant t had users: %v", after, before, err, users.HadUsers("t"))
	}
	if u, err := users.User("t", "bob"); u != nil || err != nil {
		t.Errorf("nobody is %+v, %v", u, err)
	}
	gone := entryWith(t, core.EntryUser, "alice", &core.User{Tenant: "t", Name: "alice", Version: 1})
	gone.Version, gone.Deleted, gone.Body = 2, true, nil
	s.save(d, gone)
	if u, err := users.User("t", "alice"); u != nil || err != nil || !users.HadUsers("t") {
		t.Errorf("a removed user is %+v, %v; tenant t had users: %v", u, err, users.HadUsers("t"))
	}
}

// A list of heads has no bodies. What a tenant has beside an entry counts the bodies of its
// own entries alone.
func TestHeadsAndUsage(t *testing.T) {
	s, d, _ := openWith(t, false, NewAccessFacts)
	large := policyEntry("large")
	large.Body = []byte(`{"x": "` + strings.Repeat("a", 5000-9) + `"}`)
	other := policyEntry("other")
	other.Tenant = "u"
	s.save(d, large, policyEntry("small"), other)
	heads, err := d.ListHeads(core.EntryPolicy, "t", "", 10)
	if err != nil || len(heads) != 2 || heads[0].ID != "large" || heads[1].ID != "small" || heads[0].Body != nil || heads[1].Body != nil {
		t.Errorf("the heads are %+v, %v", heads, err)
	}
	if whole, err := d.List(core.EntryPolicy, "t", "", 10); err != nil || len(whole) != 2 || len(whole[0].Body) != 5000 || string(whole[1].Body) != "{}" {
		t.Errorf("the entries are %+v, %v", whole, err)
	}
	if n, bytes := d.UsageBeside(core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: "small"}); n != 1 || bytes != 5000 {
		t.Errorf("beside the small one there are %d entries with %d bytes, want 1 with 5000", n, bytes)
	}
	if n, bytes := d.UsageBeside(core.DirectoryName{Tenant: "t", Kind: core.EntryPolicy, ID: "new"}); n != 2 || bytes != 5002 {
		t.Errorf("beside a new one there are %d entries with %d bytes, want 2 with 5002", n, bytes)
	}
}

// An attachment names each policy once, in order, and not too many.
func TestAttachmentsAreBounded(t *testing.T) {
	for what, policies := range map[string][]string{
		"out of order": {"b", "a"}, "twice": {"a", "a"}, "no name": {"a b"}, "too many": strings.Split(strings.Repeat("a,", core.MaxAttached)+"b", ","),
	} {
		if err := (&Attachment{Policies: policies}).Check(); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want Invalid Field", what, err)
		}
	}
	if err := (&Attachment{Policies: []string{"a", "b"}}).Check(); err != nil {
		t.Error(err)
	}
}
