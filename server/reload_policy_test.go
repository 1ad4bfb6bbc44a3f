package server_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A policy that cannot be used leaves the old one in force, at SIGHUP and at the
// command alike; log, health and command say so. A good one is then taken.
func TestReloadOfWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	root := servertest.Root()
	text, err := os.ReadFile(filepath.Join(root, "policies.rego"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(root, "policies_test.rego"))
	if err != nil {
		t.Fatal(err)
	}
	policy, beside := filepath.Join(dir, "policies.rego"), filepath.Join(dir, "policies_test.rego")
	write(t, policy, string(text))
	write(t, beside, string(tests))
	s := fresh(t)
	s.set("policy", "file", policy)
	s.set("policy", "tests", beside)
	on := servertest.StartConfig(t, write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, s)), dir, filepath.Join(dir, "certs"), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"))
	id := aesKey(t, dial(t, on, "dev", core.V1_4))
	get := func() error {
		_, err := kmiptest.Do(dial(t, on, "dev", core.V1_4), &kmip.Get, &core.GetInput{ID: core.ID(id)})
		return err
	}
	// says waits for the log to grow by a line with all of these.
	says := func(what string, from int, words ...string) {
		t.Helper()
		for range 100 {
			log, _ := os.ReadFile(on.Log)
			for line := range strings.Lines(string(log[from:])) {
				all := true
				for _, w := range words {
					all = all && strings.Contains(line, w)
				}
				if all {
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		log, _ := os.ReadFile(on.Log)
		t.Errorf("%s: the log says nothing of %q:\n%s", what, words, log[from:])
	}
	lax := strings.Replace(string(text), "default decision", "default  decision", 1)
	for what, harm := range map[string]func(){
		"broken":             func() { write(t, policy, string(text)+"\nallow if {") },
		"not compiling":      func() { write(t, policy, string(text)+"\nallow contains x if y == 1\n") },
		"empty":              func() { write(t, policy, "") },
		"a file of zeros":    func() { write(t, policy, string(make([]byte, 4096))) },
		"of another package": func() { write(t, policy, "package other\n\nimport rego.v2\n\ndecision := {\"allow\": true}\n") },
		"gone":               func() { os.Remove(policy) },
		"a folder":           func() { os.Remove(policy); os.Mkdir(policy, 0o700) },
		"too large":          func() { write(t, policy, string(text)+strings.Repeat("# more\n", 200_000)) },
		"asking the network": func() {
			write(t, policy, lax+"\nx := http.send({\"url\": \"http://localhost\", \"method\": \"get\"})\n")
		},
		"letting everybody": func() {
			write(t, policy, "package keyreeve.authz\n\nimport rego.v2\n\ndecision := {\"allow\": true, \"reasons\": [\"all\"], \"scope\": \"tenant\"}\n")
		},
		"without tests":          func() { os.Remove(beside) },
		"with a test that fails": func() { write(t, beside, string(tests)+"\ntest_fails if false\n") },
		"with empty tests":       func() { write(t, beside, "package keyreeve.authz_test\n\nimport rego.v2\n") },
	} {
		harm()
		log, _ := os.ReadFile(on.Log)
		on.Signal(syscall.SIGHUP)
		says(what, len(log), "level=ERROR", "reload", "policy")
		if err := get(); err != nil {
			t.Errorf("a policy %s is not taken, and the old one is not in force: %v", what, err)
		}
		if out, err := on.Command("health", "--dir", dir); err != nil || !strings.Contains(out, "the last reload failed") {
			t.Errorf("a policy %s: health says %v\n%s", what, err, out)
		}
		if r := program(t, nil, "policy", "reload", "--dir", dir); true {
			oneSentence(t, r, "policy")
		}
		os.Remove(policy) // the folder
		write(t, policy, string(text))
		write(t, beside, string(tests))
	}
	// A good one, which lets nobody Get.
	write(t, policy, strings.Replace(string(text), `"Get", "Get Attributes"`, `"Get Attributes"`, 1))
	write(t, beside, "package keyreeve.authz_test\n\nimport rego.v2\n\ntest_one if true\n")
	log, _ := os.ReadFile(on.Log)
	on.Signal(syscall.SIGHUP)
	says("a good policy", len(log), "level=INFO", "reload")
	if err := get(); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the new policy is not in force: %v", err)
	}
	if out, err := on.Command("health", "--dir", dir); err != nil || strings.Contains(out, "reload") {
		t.Errorf("afterwards health says %v\n%s", err, out)
	}
	// The command prints the policy that it put in force, not the one before.
	write(t, policy, string(text))
	write(t, beside, string(tests))
	if out, err := on.Command("policy", "reload", "--dir", dir); err != nil || out != fmt.Sprintf("policy %x\n", sha256.Sum256(text)) {
		t.Errorf("policy reload: %v %q; want the hash of the new policy, %x", err, out, sha256.Sum256(text))
	}
}
