package rules

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Each form of a reference is read, and everything else is refused.
func TestParseKeyReference(t *testing.T) {
	family := func(text, alias string, version int64) core.Identifier {
		return core.Identifier{Text: text, Alias: alias, Version: version, Family: true}
	}
	for text, want := range map[string]core.Identifier{
		"id": family("id", "", 0), "id@1": family("id", "", 1), "a@b@12": family("a@b", "", 12), "alias/app": family("", "app", 0),
		"alias/a/b.c-d_e": family("", "a/b.c-d_e", 0), "alias/app@7": family("", "app", 7), "alias/alias/app": family("", "alias/app", 0), "Alias/x": family("Alias/x", "", 0), "alias": family("alias", "", 0),
		"alias/" + strings.Repeat("n", 200) + "@2147483647": family("", strings.Repeat("n", 200), 1<<31-1),
	} {
		if got, err := ParseKeyReference(text); err != nil || got != want {
			t.Errorf("%q is read as %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "@1", "id@", "id@0", "id@-1", "id@+1", "id@01", "id@1.0", "id@ 1", "id@2147483648", "id@x", "alias/", "alias/@1", "alias/a b", "alias/a@b", "alias/a@b@1", "alias/ä",
		"alias/" + strings.Repeat("n", 201)} {
		if got, err := ParseKeyReference(text); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%q is read as %+v, %v; want Invalid Field", text, got, err)
		}
	}
}
