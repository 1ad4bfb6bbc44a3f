package api_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Every package that pip fetches for Schemathesis has hashes.
func TestSchemathesisHasHashes(t *testing.T) {
	text, err := os.ReadFile("../testdata/schemathesis.txt")
	if err != nil {
		t.Fatal(err)
	}
	packages := regexp.MustCompile(`(?m)^[A-Za-z0-9_.-]+==\S+( .*)?$`).FindAllString(string(text), -1)
	for _, p := range packages {
		if !strings.HasSuffix(p, ` \`) {
			t.Errorf("%s has no hash", p)
		}
	}
	if len(packages) < 20 || !regexp.MustCompile(`(?m)^    --hash=sha256:[0-9a-f]{64}`).Match(text) {
		t.Errorf("%d packages are listed", len(packages))
	}
}

// A machine that is offline has an exit status of its own. Anything else that keeps pip from
// installing what is listed is a failure.
func TestSchemathesisIsNotLeftOutSilently(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-c", "import venv, ensurepip").Run(); err != nil {
		t.Skipf("python's venv is missing (Debian: apt-get install python3-venv): %v", err)
	}
	for name, c := range map[string]struct {
		env    string
		status int
		says   string
	}{
		"offline":       {"PIP_INDEX_URL=https://127.0.0.1:1/simple", 75, "offline"},
		"not available": {"PIP_NO_INDEX=1", 1, "does not install"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("testdata/schemathesis.sh")
			cmd.Dir = ".."
			cmd.Env = append(os.Environ(), "PIP_NO_CACHE_DIR=1", "PIP_FIND_LINKS=", c.env)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.status || !strings.Contains(string(out), "Schemathesis was not run: ") || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, %.600s; want status %d", cmd.ProcessState, out, c.status)
			}
		})
	}
}
