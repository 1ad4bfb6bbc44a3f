package client_test

import (
	"regexp"
	"strings"
	"testing"
)

// A key is disabled, archived and deleted, and each is taken back: then it decrypts again what it
// has encrypted before. A purge is final, and asks first.
func TestLifeOfKeys(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	sealed := p.must(0, "", "encrypt", key, "--text", "x")
	for _, c := range []struct {
		take, says, back string
		refused          int
	}{
		{"disable", `"disabled":true`, "enable", 5},
		{"archive", `"archivedAt":"`, "recover", 5},
		{"delete", `"purgeAt":"`, "restore", 3},
	} {
		if got := p.must(0, "", "key", c.take, key, "-o", "json"); !strings.Contains(got, c.says) || !strings.Contains(got, key) {
			t.Errorf("%s says %s", c.take, got)
		}
		p.must(c.refused, sealed, "decrypt", key)
		p.must(c.refused, "", "key", c.take, key)
		if got := p.must(0, "", "key", c.back, key, "-o", "json"); !strings.Contains(got, `"state":"Active","disabled":false`) {
			t.Errorf("%s says %s", c.back, got)
		}
		if got := p.must(0, sealed, "decrypt", key); got != "x" {
			t.Errorf("after %s it is %q", c.back, got)
		}
	}
	p.must(5, "", "key", "purge", key, "--yes") // it is not deleted
	p.must(1, "", "key", "delete", key, "--retention", "1h")
	p.must(0, "", "key", "delete", key, "--retention", "2d")
	if got := p.must(1, "destroy "+key+"\n", "key", "purge", key); !strings.Contains(got, "give --yes") {
		t.Errorf("a pipe confirms: %q", got)
	}
	for _, typed := range []string{"\n", "yes\n", "destroy\n"} {
		if got := p.onTTY(typed, "key", "purge", key); !strings.Contains(got, "cannot be brought back") || !strings.Contains(got, "nothing was destroyed") {
			t.Errorf("%q confirms: %q", typed, got)
		}
	}
	p.must(0, "", "key", "restore", key)
	p.must(0, "", "key", "delete", key)
	if got := p.onTTY("destroy "+key+"\n", "key", "purge", key); strings.Contains(got, "nothing was destroyed") || !strings.Contains(got, "Destroyed") {
		t.Errorf("purge says %q", got)
	}
	p.must(3, "", "key", "restore", key)
	other := p.key("--usage", "encrypt")
	p.must(0, "", "key", "delete", other)
	p.must(0, "", "key", "purge", other, "--yes")
	p.must(3, "", "key", "restore", other)
}

// An alias stands for a key in every command, also one with a slash, and moves to another key.
func TestAliases(t *testing.T) {
	p := atTerminal(t)
	first, second := p.key("--usage", "encrypt,decrypt"), p.key("--usage", "encrypt,decrypt")
	if got, want := p.must(0, "", "key", "alias", "set", "team/payroll", first), "alias  team/payroll\nkeyId  "+first+"\n"; got != want {
		t.Errorf("set says %q, want %q", got, want)
	}
	if got := p.must(0, "", "key", "show", "alias/team/payroll", "-o", "json"); !strings.Contains(got, first) {
		t.Errorf("the alias stands for %s", got)
	}
	sealed := p.must(0, "", "encrypt", "alias/team/payroll", "--text", "x")
	p.must(0, "", "key", "alias", "set", "team/payroll", second)
	if got := p.must(0, "", "key", "alias", "show", "team/payroll", "-o", "json"); got != `{"alias":"team/payroll","keyId":"`+second+`"}`+"\n" {
		t.Errorf("show says %s", got)
	}
	p.must(1, sealed, "decrypt", "alias/team/payroll") // it was made by the other key
	p.must(0, sealed, "decrypt", first)
	if got := p.must(0, "", "key", "alias", "remove", "team/payroll"); got != "" {
		t.Errorf("remove says %q", got)
	}
	p.must(3, "", "key", "alias", "show", "team/payroll")
	p.must(3, "", "key", "alias", "remove", "team/payroll")
	p.must(3, "", "encrypt", "alias/team/payroll", "--text", "x")
	p.must(0, "", "key", "show", second)
}

// The versions of a key are listed, whichever of them is named.
func TestVersions(t *testing.T) {
	p := atTerminal(t)
	first := p.key("--usage", "encrypt,decrypt")
	second := strings.TrimSpace(p.must(0, "", "key", "rotate", first, "-q"))
	third := strings.TrimSpace(p.must(0, "", "key", "rotate", first, "-q"))
	p.must(0, "", "key", "disable", first+"@2")
	for _, name := range []string{first, second, first + "@2"} {
		if got, want := p.must(0, "", "key", "versions", name, "-q"), third+"\n"+second+"\n"+first+"\n"; got != want {
			t.Errorf("the versions of %s are %q, want %q", name, got, want)
		}
	}
	shown := regexp.MustCompile(`^VERSION +KEY +STATE +CREATED +DISABLED\n3 +` + third + ` +Active +\S+Z *\n2 +` + second + ` +Active +\S+Z +yes\n1 +` + first + ` +Active +\S+Z *\n$`)
	if got := p.must(0, "", "key", "versions", first); !shown.MatchString(got) {
		t.Errorf("the versions are\n%s", got)
	}
	if got := p.must(0, "", "key", "versions", first, "-o", "json"); !strings.HasPrefix(got, `{"versions":[{"keyId":"`+third+`","version":3,`) {
		t.Errorf("JSON is %s", got)
	}
	if got := p.must(0, "", "key", "versions", first, "--limit", "2", "-q"); !strings.Contains(got, "there are more versions than these 2") {
		t.Errorf("with a limit it is %q", got)
	}
	p.must(3, "", "key", "versions", "no-such-key")
}
