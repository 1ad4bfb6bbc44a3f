package format_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// A file becomes documents that permit what PyKMIP permits.
func TestImportPyKMIP(t *testing.T) {
	all, err := format.ImportPyKMIP([]byte(`{
		"both": {"groups": {"Group A": {"SYMMETRIC_KEY": {"GET": "ALLOW_ALL", "DESTROY": "ALLOW_ALL"}}, "Group B": {"SYMMETRIC_KEY": {"GET": "ALLOW_ALL", "DESTROY": "DISALLOW_ALL"}}},
			"preset": {"SYMMETRIC_KEY": {"GET": "DISALLOW_ALL"}}},
		"a.older": {"OPAQUE_DATA": {"REKEY_KEY_PAIR": "ALLOW_OWNER", "LOCATE": "ALLOW_ALL"}, "PGP_KEY": {"LOCATE": "ALLOW_ALL"}}}`))
	if err != nil || len(all) != 2 {
		t.Fatalf("%d documents, %v; want 2", len(all), err)
	}
	for i, want := range []string{
		`{"name":"a.older","description":"imported from an operation policy of PyKMIP","exclusive":true,"statements":[` +
			`{"sid":"1","principal":"*","actions":["Locate"],"effect":"allow","conditions":{"object":{"type":["Opaque Object","PGP Key"]}}},` +
			`{"sid":"2","principal":"*","actions":["Re-key Key Pair"],"effect":"allow","conditions":{"object":{"ownedByCaller":true,"type":"Opaque Object"}}}]}`,
		`{"name":"both","description":"imported from an operation policy of PyKMIP","exclusive":true,"statements":[` +
			`{"sid":"1","principal":"group:Group A","actions":["Destroy","Get"],"effect":"allow","conditions":{"object":{"type":"Symmetric Key"}}},` +
			`{"sid":"2","principal":"group:Group B","actions":["Get"],"effect":"allow","conditions":{"object":{"type":"Symmetric Key"}}}]}`,
	} {
		text, err := all[i].Text()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.NewReplacer("\n", "", "  ", "", `": `, `":`).Replace(string(text)); got != want {
			t.Errorf("the document is\n%s\nwant\n%s", got, want)
		}
		checkRoundTrip(t, text)
		if _, err := format.Parse(text); err != nil {
			t.Errorf("what was imported is refused: %v", err)
		}
	}
}

func TestImportPyKMIPRefuses(t *testing.T) {
	for text, says := range map[string]string{
		``: "line 1", `[]`: "policy: it is a list", `{"a b": {"PGP_KEY": {"GET": "ALLOW_ALL"}}}`: "a b: the name of the policy",
		`{"p": {"KEY": {"GET": "ALLOW_ALL"}}}`: `p.KEY: "KEY" is no object type`, `{"p": {"PGP_KEY": {"FETCH": "ALLOW_ALL"}}}`: `p.PGP_KEY.FETCH: "FETCH" is no operation`, `{"p": {"PGP_KEY": {"GET": "ALLOW"}}}`: `p.PGP_KEY.GET: "ALLOW" is unknown`,
		`{"p": {"PGP_KEY": {"READ_HEALTH": "ALLOW_ALL"}}}`: "is no operation", `{"p": {"PGP_KEY": "ALLOW_ALL"}}`: "p.PGP_KEY: it is a string", `{"p": {}}`: "p: the policy becomes 0 statements", `{"p": {"preset": {"PGP_KEY": {"GET": "DISALLOW_ALL"}}}}`: "becomes 0 statements",
		`{"p": {"preset": {"PGP_KEY": {"GET": "ALLOW_OWNER"}}, "groups": {"g": {"PGP_KEY": {"GET": "ALLOW_ALL"}}}}}`: "p.preset: it permits something to clients without groups", `{"p": {"preset": {}, "PGP_KEY": {"GET": "ALLOW_ALL"}}}`: "p.PGP_KEY: there is no such member", `{"p": {"groups": {"*": {"PGP_KEY": {"GET": "ALLOW_ALL"}}}}}`: "no wildcards",
	} {
		docs, err := format.ImportPyKMIP([]byte(text))
		if core.CodeOf(err) != core.InvalidField || !strings.Contains(fmt.Sprint(err), says) || docs != nil {
			t.Errorf("%s: %d documents, %v; want InvalidField with %q", text, len(docs), err, says)
		}
	}
}
