package server_test

import (
	"strings"
	"testing"
)

// A role cannot have an action that no role gives. The refusal names the action.
func TestRolesOfActionsThatNoRoleGives(t *testing.T) {
	t.Parallel()
	s, admin, _ := startPeople(t)
	admin.must(201, "POST", "/v1/roles", `{"name":"fine","actions":["*"]}`)
	for action, says := range map[string]string{
		"Create Tenant": "no role of a tenant gives Create Tenant", "operate": "gives Reload, Save Server Policy", "audit": "gives Read Records", "Save User": "gives Save User",
		"people": "of people, a role can give Read Users, Read Roles",
	} {
		admin.must(400, "POST", "/v1/roles", `{"name":"r2","actions":["encrypt","`+action+`"]}`, says)
		admin.must(400, "PATCH", "/v1/roles/fine", `{"actions":["`+action+`"]}`, says)
		if out := policyCommand(t, s, true, "role", "save", "r2", "encrypt", action); !strings.Contains(out, says) {
			t.Errorf("role save %s: %q; want %s", action, out, says)
		}
	}
	admin.must(404, "GET", "/v1/roles/r2", "")
	admin.must(200, "PATCH", "/v1/roles/fine", `{"description":"everything"}`)
	admin.must(200, "PATCH", "/v1/roles/fine", `{"actions":["Read Users","simulate","tokens"]}`)
}

// policy can name it, and it can be declared later.
func TestRolesThatDoNotExistAreNamed(t *testing.T) {
	t.Parallel()
	s, admin, _ := startPeople(t)
	const warning = "warning: there is no role nosuchrole: it gives nothing until somebody declares it"
	policyCommand(t, s, false, "role", "save", "clerk", "encrypt")
	commands := []string{"user add u1", "user change u1", "client invite c1", "client change c1"}
	for _, command := range commands {
		args := append(strings.Fields(command), "--role", "clerk", "--role", "admin", "--role")
		if out := policyCommand(t, s, false, append(args, "nosuchrole")...); strings.Count(out, "warning") != 1 || !strings.HasPrefix(out, warning) {
			t.Errorf("%s: %q; want %s", command, out, warning)
		}
		if out := policyCommand(t, s, false, "user", "change", "u1", "--role", "clerk", "--group", "any"); strings.Contains(out, "warning") {
			t.Errorf("roles that exist: %q", out)
		}
	}
	const member = `"warnings":["there is no role nosuchrole: `
	admin.must(201, "POST", "/v1/users", `{"name":"u2","roles":["nosuchrole"]}`, member)
	admin.must(200, "PATCH", "/v1/users/u2", `{"roles":["clerk","nosuchrole"]}`, member)
	admin.must(201, "POST", "/v1/clients", `{"name":"c2","roles":["nosuchrole"],"invite":true}`, member)
	admin.must(200, "PATCH", "/v1/clients/c2", `{"roles":["nosuchrole"]}`, member)
	if got := admin.must(200, "PATCH", "/v1/users/u2", `{"groups":["g"]}`); strings.Contains(got.text, "warnings") {
		t.Errorf("a change of groups alone: %s", got.text)
	}
	if got := admin.must(200, "GET", "/v1/users/u2", ""); strings.Contains(got.text, "warnings") {
		t.Errorf("a user that is read: %s", got.text)
	}
}
