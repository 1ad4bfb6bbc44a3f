package client_test

import (
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
