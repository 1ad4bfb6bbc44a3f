package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A group is there as soon as a user or a client has it. Giving one to a user takes nothing else
// away, and counts at once.
func TestGroupsOfATenant(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	policyCommand(t, s, false, "user", "add", "alice", "--group", "payroll", "--role", "operator")
	policyCommand(t, s, false, "user", "add", "bob")
	policyCommand(t, s, false, "client", "invite", "array7", "--group", "storage")
	if out := policyCommand(t, s, false, "group", "list"); !strings.Contains(out, "payroll | user:alice\nstorage | client:array7\n") {
		t.Errorf("the groups are %q", out)
	}
	policyCommand(t, s, false, "group", "add", "storage", "--user", "alice")
	policyCommand(t, s, false, "group", "add", "storage", "--user", "bob", "--reason", "night shift")
	if out := policyCommand(t, s, false, "group", "add", "storage", "--user", "bob"); !strings.Contains(out, "as it was") {
		t.Errorf("a group that the user has: %q", out)
	}
	if out := policyCommand(t, s, false, "group", "list"); !strings.Contains(out, "storage | user:alice,user:bob,client:array7\n") {
		t.Errorf("the groups are %q", out)
	}
	policyCommand(t, s, false, "group", "remove", "storage", "--user", "alice")
	if out := policyCommand(t, s, false, "user", "list"); !strings.Contains(out, "alice | active | groups payroll | roles operator") || !strings.Contains(out, "bob | active | groups storage") {
		t.Errorf("the users are %q", out)
	}
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	admin := restAs(t, s, "anna")
	page := admin.must(200, "GET", "/v1/groups?limit=1", "", `{"name":"payroll","members":["user:alice"]}`)
	admin.must(200, "GET", "/v1/groups?limit=1&pageToken="+page.member(admin, "nextPageToken"), "", `{"name":"storage","members":["user:bob","client:array7"]}`)
	admin.must(200, "GET", "/v1/groups/storage", "", `"members":["user:bob","client:array7"]`)
	admin.must(404, "GET", "/v1/groups/nobodys", "")
	restAs(t, s, "dev").must(403, "GET", "/v1/groups", "")
	if out := policyCommand(t, s, true, "group", "add", "storage", "--user", "nobody"); !strings.Contains(out, "there is no user nobody") {
		t.Errorf("a user who does not exist: %q", out)
	}
	if out := policyCommand(t, s, true, "group", "add", "no group", "--user", "bob"); !strings.Contains(out, "no group") {
		t.Errorf("a name that is none: %q", out)
	}
	if out := policyCommand(t, s, true, "group", "list", "--tenant", "typo"); !strings.Contains(out, "no tenant typo") {
		t.Errorf("a tenant that does not exist: %q", out)
	}
}

// However many users a tenant has, a list of its groups leaves one record of reading them and one
// of reading the clients.
func TestReadingGroupsLeavesTwoRecords(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	admin := restAs(t, s, "anna")
	for i := range 201 {
		admin.must(201, "POST", "/v1/users", fmt.Sprintf(`{"name":"user%03d","groups":["all"]}`, i))
	}
	if out := admin.must(200, "GET", "/v1/groups/all", ""); strings.Count(out.text, "user:") != 201 {
		t.Errorf("the group has %d users, want 201", strings.Count(out.text, "user:"))
	}
	for _, operation := range []string{"Read Users", "Read Clients"} {
		if out := policyCommand(t, s, false, "audit", "list", "--operation", operation); strings.Count(out, operation) != 1 {
			t.Errorf("the records of %s:\n%s\nwant 1", operation, out)
		}
	}
}
