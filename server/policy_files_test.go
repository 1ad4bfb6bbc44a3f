package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz/location/locationtest"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A condition on a region counts with the ranges of the configuration, and a reload takes
// changed ranges and records it. Without the region, whom it concerns is denied.
func TestRegionsByReload(t *testing.T) {
	t.Parallel()
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
	from := encryptsFrom(t, s, id)
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

// encryptsFrom returns a function that demands that array7 may encrypt with a key from an address,
// or may not although it sees the key.
func encryptsFrom(t *testing.T, s *servertest.Server, id string) func(address string, allowed bool) {
	return func(address string, allowed bool) {
		t.Helper()
		err := encryptOver(dialFrom(t, s, "array7", address, core.V2_1), id)
		if (err == nil) != allowed || err != nil && kmiptest.Reason(err) == core.ReasonObjectNotFound {
			t.Errorf("from %s: %v; want permitted: %v", address, err, allowed)
		}
	}
}

// A condition on a country counts with the MaxMind DB file, which a reload reads again and
// records. A broken file keeps the old one in force, and health says so. Without the setting a
// stored policy denies, also one whose statement is a denial.
func TestMaxMindByReload(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	set := fresh(t)
	set["hsm"].(map[string]any)["allow_software"] = true
	places, file := filepath.Join(dir, "places.mmdb"), filepath.Join(dir, "config.yaml")
	german := func(network string) []byte {
		return locationtest.File("GeoLite2-Country", map[string]locationtest.Place{network: {Country: "DE", Continent: "EU"}})
	}
	write(t, places, string(german("127.0.1.0/24")))
	set.set("policy", "maxmind", places)
	s := startInstalled(t, dir, set)
	s.Issue("array7", "default")
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1), activeNow)
	applyPolicy(t, s, "germany", fmt.Sprintf(`{"keyId": %q, "statements": [
		{"principal": "user:array7", "actions": ["encrypt"], "effect": "allow", "conditions": {"door": "kmip"}},
		{"principal": "*", "actions": ["encrypt"], "effect": "deny", "conditions": {"region": ["country:DE", "continent:AF"]}}]}`, id))
	from := encryptsFrom(t, s, id)
	from("127.0.1.5", false)
	from("127.0.2.5", true)
	write(t, places, string(german("127.0.2.0/24")))
	hangUp(t, s, "level=INFO msg=reload")
	from("127.0.1.5", true)
	from("127.0.2.5", false)
	write(t, places, "no addresses")
	hangUp(t, s, "level=ERROR msg=reload")
	from("127.0.1.5", true)
	from("127.0.2.5", false)
	if _, text := health(t, s); !strings.Contains(text, "the last reload failed") {
		t.Errorf("health says nothing of the broken file: %s", text)
	}
	set.set("policy", "maxmind", "")
	write(t, file, wholeConfig(t, set))
	hangUp(t, s, "level=INFO msg=reload")
	from("127.0.1.5", false)
	from("127.0.2.5", false)
	mentions(t, "the records", strings.Join(records(t, s, "Load Policy"), "\n"), "policy.maxmind changed", "the old one stays", "no MaxMind DB file")
}

// mentions demands that a text has each of the parts.
func mentions(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s says %q; want %q", what, text, part)
		}
	}
}

// replaceIn changes a text in a file.
func replaceIn(t *testing.T, path, old, next string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%s lacks %q: %v\n%s", path, old, err, b)
	}
	write(t, path, strings.Replace(string(b), old, next, 1))
}

// What a tenant has becomes files. The files are taken again as a whole: one that is wrong
// keeps all others from being stored, and what does not differ stays as it is.
func TestTenantAsFiles(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1), activeNow)
	applyPolicy(t, s, "freeze", strings.Replace(denyEncrypt, "{", `{"role": "ops", `, 1))
	policyCommand(t, s, false, "policy", "attach", "freeze", "--object", id)
	policyCommand(t, s, false, "role", "save", "clerk", "encrypt", "--description", "night shift")
	userCommand(t, s, "a long enough password", "add", "bob", "--group", "tapes")
	folder := filepath.Join(t.TempDir(), "default")
	file := func(name string) string { return filepath.Join(folder, name) }
	mentions(t, "policy export", policyCommand(t, s, false, "policy", "export", folder), "1 policies, 1 roles and 1 users")
	for name, want := range map[string]string{
		"policies/freeze.json":    "{\n  \"role\": \"ops\",\n  \"statements\": [\n    {\n      \"sid\": \"frozen\",\n      \"principal\": \"*\",\n      \"actions\": [\n        \"encrypt\"\n      ],\n      \"effect\": \"deny\"\n    }\n  ]\n}\n",
		"attachments/freeze.json": "{\n  \"holders\": [\n    \"role:ops\"\n  ],\n  \"objects\": [\n    \"" + id + "\"\n  ]\n}\n",
		"roles/clerk.json":        "{\n  \"description\": \"night shift\",\n  \"actions\": [\n    \"encrypt\"\n  ]\n}\n",
		"users/bob.json":          "{\n  \"groups\": [\n    \"tapes\"\n  ]\n}\n",
	} {
		if b, err := os.ReadFile(file(name)); err != nil || string(b) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, b, want)
		}
	}
	mentions(t, "policy import of an export", policyCommand(t, s, false, "policy", "import", folder), "nothing differs")

	replaceIn(t, file("policies/freeze.json"), `"encrypt"`, `"sign"`)
	replaceIn(t, file("users/bob.json"), "{", `{"disabled": true,`)
	replaceIn(t, file("roles/clerk.json"), `"encrypt"`, `"encrypt", "decrypt"`)
	replaceIn(t, file("attachments/freeze.json"), `"role:ops"`, `"group:tapes"`)
	write(t, file("policies/wrong.json"), `{"statements": [{"principal": "*", "actions": ["encipher"], "effect": "deny"}]}`)
	mentions(t, "policy import of a wrong folder", policyCommand(t, s, true, "policy", "import", folder), "policies/wrong.json", "statements[0].actions", "nothing is stored")
	if err := os.Remove(file("policies/wrong.json")); err != nil {
		t.Fatal(err)
	}
	steps := []string{"role clerk", `actions ["encrypt"] -> ["encrypt","decrypt"]`, "user bob", "disabled false -> true", "policy freeze (replaces version 1)", `statement frozen: actions ["encrypt"] -> ["sign"]`, "attach group:tapes"}
	for range 2 { // the first does nothing
		out := policyCommand(t, s, false, "policy", "import", folder, "--dry-run")
		mentions(t, "policy import --dry-run", out, append(steps, "4 steps would be made")...)
		if strings.Contains(out, "detach role:ops") {
			t.Errorf("a dry run detaches what the document names: %s", out)
		}
	}
	mentions(t, "policy import", policyCommand(t, s, false, "policy", "import", folder, "--reason", "ticket 5"), append(steps, "4 steps are made")...)
	mentions(t, "policy import once more", policyCommand(t, s, false, "policy", "import", folder), "nothing differs")
	mentions(t, "policy history", policyCommand(t, s, false, "policy", "history", "freeze"), "freeze@2", "ticket 5")
	mentions(t, "user list", policyCommand(t, s, false, "user", "list"), "bob | disabled | groups tapes")
	if err := encryptOver(dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1), id); err != nil {
		t.Errorf("after the import the owner encrypts: %v; the policy denies Sign now", err)
	}
	policyCommand(t, s, false, "role", "remove", "clerk")
	mentions(t, "policy export after a removal", policyCommand(t, s, false, "policy", "export", folder), "roles/clerk.json; remove the file")
}

// Documents are tested without a server, and compared with what a server has.
func TestPolicyTestAndDiff(t *testing.T) {
	t.Parallel()
	file := func(text string) string { return write(t, filepath.Join(t.TempDir(), "policy.json"), text) }
	tested := file(strings.TrimSuffix(denyEncrypt, "}") + `, "tests": [{"principal": "user:a", "action": "encrypt", "expect": "deny"}]}`)
	failing := file(strings.TrimSuffix(denyEncrypt, "}") + `, "tests": [{"principal": "user:a", "action": "encrypt", "expect": "allow"}]}`)
	regional := file(strings.Replace(denyEncrypt, `"deny"`, `"deny", "conditions": {"region": "office"}`, 1))
	plain, wrong := file(denyEncrypt), file(strings.Replace(denyEncrypt, "encrypt", "encipher", 1))
	for what, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"a tested document":        {[]string{tested}, 0, "its tests pass"},
		"a document without tests": {[]string{plain}, 0, "the document has no tests"},
		"a failing test":           {[]string{tested, failing}, 1, failing + ": tests[0]"},
		"a wrong document":         {[]string{wrong, tested}, 1, wrong + ": statements[0].actions"},
		"an unknown region":        {[]string{regional}, 1, "statements[0].conditions.region"},
	} {
		got := program(t, nil, append([]string{"policy", "test"}, c.args...)...)
		if got.status != c.status {
			t.Errorf("policy test of %s ends with %d, want %d", what, got.status, c.status)
		}
		mentions(t, "policy test of "+what, got.out+got.err, c.says)
	}
	s := servertest.Start(t)
	config := write(t, filepath.Join(s.Dir, "regions.yaml"), devConfig(t, s, s.Certs+"/ca.pem", "")+"policy: {regions: {office: [10.0.0.0/8]}}\n")
	if got := program(t, nil, "policy", "test", regional, "--config", config); got.status != 0 {
		t.Errorf("policy test with the regions of a configuration: %d\n%s%s", got.status, got.out, got.err)
	}
	mentions(t, "policy apply", applyPolicy(t, s, "freeze", denyEncrypt), "the document has no tests")
	if out := policyCommand(t, s, false, "policy", "diff", "freeze", plain); out != "" {
		t.Errorf("policy diff of the same document prints %q", out)
	}
	mentions(t, "policy diff", policyCommand(t, s, true, "policy", "diff", "freeze", regional), `~ statement frozen: conditions (nothing) -> {"region":"office"}`)
	mentions(t, "policy diff of a wrong document", policyCommand(t, s, true, "policy", "diff", "freeze", wrong), "statements[0].actions")
	mentions(t, "policy diff of no policy", policyCommand(t, s, true, "policy", "diff", "other", plain), "there is no policy other")
}

// Operation policies of PyKMIP become key policies or files of them.
func TestImportOfPyKMIP(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	file := write(t, filepath.Join(t.TempDir(), "policy.json"), `{"tapes": {"preset": {"SYMMETRIC_KEY": {"GET": "ALLOW_OWNER", "DESTROY": "DISALLOW_ALL"}}}}`)
	wrong := write(t, filepath.Join(t.TempDir(), "policy.json"), `{"tapes": {"preset": {"SYMMETRIC_KEY": {"GET": "ALLOW_OWNER"}}}, "zoo": {"preset": {"LION": {"GET": "ALLOW_ALL"}}}}`)
	mentions(t, "policy import-pykmip of a wrong file", policyCommand(t, s, true, "policy", "import-pykmip", wrong), "zoo.preset.LION")
	mentions(t, "policy import-pykmip --dry-run", policyCommand(t, s, false, "policy", "import-pykmip", file, "--dry-run"), "policy tapes (new)", `"ownedByCaller":true`)
	if out := policyCommand(t, s, false, "policy", "list"); out != "" {
		t.Errorf("policy list prints %q after a refused and a dry import", out)
	}
	mentions(t, "policy import-pykmip", policyCommand(t, s, false, "policy", "import-pykmip", file), "policy tapes (new)", "1 steps are made")
	mentions(t, "policy show", policyCommand(t, s, false, "policy", "show", "tapes"), `"exclusive": true`)
	folder := t.TempDir()
	if got := program(t, nil, "policy", "import-pykmip", file, "--into", folder); got.status != 0 {
		t.Errorf("policy import-pykmip --into: %+v", got)
	}
	mentions(t, "policy import of it", policyCommand(t, s, false, "policy", "import", folder), "nothing differs")
}
