package server_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// A condition on a region counts with the ranges of the configuration, and a reload takes
// changed ranges and records it. Without the region, whom it concerns is denied.
func TestRegionsByReload(t *testing.T) {
	dir, fresh := installed(t)
	regions := func(all map[string][]string) settings {
		set := fresh(t)
		set.set("policy", "regions", all)
		set["hsm"].(map[string]any)["allow_software"] = true
		return set
	}
	set := regions(map[string][]string{"office": {"127.0.1.0/24"}})
	s := startInstalled(t, dir, set)
	file := filepath.Join(dir, "config.yaml")
	change := func(all map[string][]string, says string) {
		t.Helper()
		set.set("policy", "regions", all)
		write(t, file, wholeConfig(t, set))
		hangUp(t, s, says)
	}
	s.Issue("array7", "default")
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1), activeNow)
	applyPolicy(t, s, "office", fmt.Sprintf(`{"keyId": %q, "statements": [{"principal": "user:array7", "actions": ["encrypt"], "effect": "allow", "conditions": {"region": "office"}}]}`, id))
	from := func(address string, allowed bool) {
		t.Helper()
		err := encryptOver(dialFrom(t, s, "array7", address, core.V2_1), id)
		if (err == nil) != allowed || err != nil && kmiptest.Reason(err) == core.ReasonObjectNotFound {
			t.Errorf("from %s: %v; want permitted: %v", address, err, allowed)
		}
	}
	from("127.0.1.5", true)
	from("127.0.2.5", false)
	change(map[string][]string{"office": {"127.0.2.0/24"}}, "level=INFO msg=reload")
	from("127.0.1.5", false)
	from("127.0.2.5", true)
	if out := strings.Join(records(t, s, "Load Policy"), "\n"); !strings.Contains(out, "policy.regions changed") {
		t.Errorf("no record says that the regions changed:\n%s", out)
	}
	change(map[string][]string{"office": {"127.0.0.1/8"}}, "level=ERROR msg=reload")
	from("127.0.2.5", true)
	change(map[string][]string{"home": {"127.0.2.0/24"}}, "level=INFO msg=reload")
	from("127.0.2.5", false)
}
