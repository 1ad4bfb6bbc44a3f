package server_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// The commands of the server's policy read it, compare it, replace it at once and take it
// back. A canary of a tenant's administrator does not stop them: it is a warning, and health
// and a record name it while it does not hold. One of this machine's administrator does.
func TestServerPolicyByCommand(t *testing.T) {
	t.Parallel()
	s, admin, id := startPeople(t)
	command := func(works bool, args ...string) string {
		t.Helper()
		out, err := s.Command(append(append([]string{"policy", "server"}, args...), "--dir", s.Dir)...)
		if (err == nil) != works {
			t.Errorf("%q: %v, %s; want success: %v", args, err, out, works)
		}
		return out
	}
	policy, tests := command(true, "show"), command(true, "show", "--tests")
	dir := t.TempDir()
	file, beside := filepath.Join(dir, "ours.rego"), filepath.Join(dir, "ours_test.rego")
	write(t, beside, tests)
	write(t, file, policy)
	if out := command(true, "diff", file); out != "" {
		t.Errorf("the policy in force differs from itself: %s", out)
	}
	admin.must(200, "PUT", "/v1/canaries/own", `{"principal":"dev","groups":["dev"],"action":"Get","keyId":"`+id+`","door":"kmip","expect":"allow"}`)
	write(t, file, policy+"\ndenials contains \"closed to dev\" if {\n\tinput.principal.id == \"dev\"\n\tinput.operation == \"Get\"\n}\n")
	if out := command(false, "diff", file); !strings.Contains(out, "+denials contains \"closed to dev\" if {") || strings.Contains(out, "\n-d") {
		t.Errorf("the difference is %s", out)
	}
	get := func(want core.ResultReason) {
		t.Helper()
		_, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)})
		if got := kmiptest.Reason(err); got != want {
			t.Errorf("Get: %v; want the reason %v", err, want)
		}
	}
	write(t, beside, "package keyreeve.authz_test\n\nimport rego.v2\n\ntest_one if false\n")
	if out := command(false, "apply", file, beside); !strings.Contains(out, "test_one") {
		t.Errorf("a policy whose test fails: %s", out)
	}
	get(0)
	write(t, beside, "package keyreeve.authz_test\n\nimport rego.v2\n\ntest_one if true\n")
	if out := command(true, "apply", file, beside, "--reason", "ticket 7"); !strings.Contains(out, "version 2 of the server's policy is in force") || !strings.Contains(out, "the canary own of tenant default would not hold any more") {
		t.Errorf("apply says %s", out)
	}
	get(core.ReasonPermissionDenied)
	if out, err := s.Command("policy", "reload", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	const says = "the canary own of tenant default does not hold"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := s.Command("health", "--dir", s.Dir)
		if err == nil && strings.Contains(out, says) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("health says %v, %s; want %q", err, out, says)
		}
	}
	if got := records(t, s, "Check Canary"); len(got) != 1 || !strings.Contains(got[0], "the canary own does not hold: Get by dev must stay allowed") {
		t.Errorf("the records of the canary are %q", got)
	}
	if out := command(true, "rollback", "1"); !strings.Contains(out, "version 3 of") {
		t.Errorf("rollback says %s", out)
	}
	get(0)
	if out, err := s.Command("policy", "canary", "add", "operator", "--as", "dev", "--group", "dev", "--do", "Get", "--object", id, "--expect", "allow", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	if out := command(false, "apply", file, beside); !strings.Contains(out, "the canary operator of tenant default would not hold any more") {
		t.Errorf("a policy that breaks the operator's canary: %s", out)
	}
	history := strings.Split(strings.TrimSpace(command(true, "history")), "\n")
	if len(history) != 3 || !strings.HasPrefix(history[0], "3 | in force |") || !strings.Contains(history[1], "2 | replaced |") || !strings.HasSuffix(history[1], "| ticket 7") || !strings.Contains(history[2], "from the default") {
		t.Errorf("the history is %q", history)
	}
	if got := records(t, s, "Save Server Policy"); len(got) != 4 {
		t.Errorf("the records of four commands are %q", got)
	}
}
