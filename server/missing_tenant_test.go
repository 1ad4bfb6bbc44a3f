package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// exists and one that does not are answered alike, without the hint.
func TestCommandsNameATenantThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Issue("acme", "acme")
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(openPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	const no = "there is no tenant typo (see `keyreeve tenant list`)"
	for _, command := range []string{"policy list", "policy show p", "policy history p", "policy apply p " + file, "policy delete p", "policy attach p --to user:u", "policy detach p --to user:u", "policy canary list",
		"policy canary add c --as u --do export", "policy explain --object o", "user list", "user add u", "user change u --role admin", "user remove u", "role list", "role save r encrypt", "role remove r",
		"client list", "client show c", "client invite c", "client revoke c", "token list", "token issue u", "token revoke AAAAAAAAAAAAAAAA", "approval list", "approval show AAAAAAAAAAAAAAAA"} {
		if out, err := s.Command(append(strings.Fields(command), "--tenant", "typo", "--dir", s.Dir)...); statusOf(err) != 1 || !strings.HasSuffix(out, no+"\n") {
			t.Errorf("%s: %v, %q; want %s", command, err, out, no)
		}
	}
	for _, command := range []string{"tenant show typo", "tenant disable typo", "policy simulate --as typo/u --do create", "policy explain --as typo/u --object o"} {
		if out, err := s.Command(append(strings.Fields(command), "--dir", s.Dir)...); statusOf(err) != 1 || !strings.HasSuffix(out, no+"\n") {
			t.Errorf("%s: %v, %q; want %s", command, err, out, no)
		}
	}
	for _, known := range []string{"default", "acme"} {
		for _, list := range []string{"policy", "user", "role", "client", "token", "approval"} {
			if out, err := s.Command(list, "list", "--tenant", known, "--dir", s.Dir); err != nil || out != "" {
				t.Errorf("%s list of %s: %v, %q; want an empty list", list, known, err, out)
			}
		}
	}
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	admin := restAs(t, s, "anna")
	hidden, absent := admin.ask("GET", "/v1/tenants/acme", ""), admin.ask("GET", "/v1/tenants/typo", "")
	if a, b := withoutNames(hidden.text, "acme", hidden), withoutNames(absent.text, "typo", absent); a != b || strings.Contains(b, "tenant list") {
		t.Errorf("over REST, another tenant is answered %s, and none %s", a, b)
	}
}
