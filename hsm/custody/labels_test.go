package custody

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// No tenant and no Unique Identifier makes the label of a set, or that of
// another object.
func TestLabelsCannotBeForged(t *testing.T) {
	id := strings.Repeat("ab", 16)
	sets := map[string]bool{}
	for n := range int64(20) {
		for _, p := range core.KeyPurposes {
			sets[setLabel(id, n, p)] = true
		}
	}
	seen := map[string]string{}
	names := []string{"", "a", "/", "a/b", "b", "..", "../0", "%2F", "%2f", "0", "0/N", "object", "../../0/N", "a%2Fb", "é", "\x00", "\xff", " "}
	for _, tenant := range names {
		for _, object := range names {
			l := objectLabel(id, tenant, object)
			if sets[l] || strings.Count(l, "/") != 4 {
				t.Errorf("tenant %q and object %q make the label %q", tenant, object, l)
			}
			if was, ok := seen[l]; ok {
				t.Errorf("%q and %q make one label %q", was, tenant+"|"+object, l)
			}
			seen[l] = tenant + "|" + object
			if _, ok := parseSystemSetLabel(l); ok {
				t.Errorf("%q is taken for a system set", l)
			}
		}
	}
}
