package client_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/client"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// readDocument returns a page of the folder docs.
func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(servertest.Root(), "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// step is a command of the document, and what it says that the command prints.
type step struct{ command, prints string }

// stepsOf returns the commands: indented lines that begin with "$ ".
func stepsOf(document string) (all []step) {
	inBlock := false // behind a command
	for line := range strings.Lines(document) {
		text, indented := strings.CutPrefix(line, "    ")
		command, isCommand := strings.CutPrefix(text, "$ ")
		switch {
		case indented && isCommand:
			all, inBlock = append(all, step{command: strings.TrimSuffix(command, "\n")}), true
		case indented && inBlock:
			all[len(all)-1].prints += text
		default:
			inBlock = false
		}
	}
	return all
}

// matches reports whether an output is what the document shows, where "..." stands for anything.
func matches(output, shown string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(shown)), `\.\.\.`, `.*`)
	return regexp.MustCompile(`(?s)\A` + pattern + `\z`).MatchString(strings.TrimSpace(output))
}

// endOfOutput separates the outputs of commands.
const endOfOutput = "\x01end of output\x01"

// Each command of the documents prints what it shows. They run one after the other in one shell,
// beside a development server, as a reader runs them.
func TestDocumentedCommands(t *testing.T) {
	t.Run("CLIENT.md", func(t *testing.T) { runDocument(t, "CLIENT.md") })
	t.Run("BYOK.md", func(t *testing.T) { runDocument(t, "BYOK.md") })
}

func runDocument(t *testing.T, name string) {
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (Debian: apt-get install %s)", program, program)
		}
	}
	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		t.Skipf("python3 with cryptography is not there (%v); install python3-cryptography", err)
	}
	document := readDocument(t, name)
	_, application, _ := strings.Cut(document, "```python\n") // CLIENT.md has one, and runs it
	application, _, _ = strings.Cut(application, "```\n")
	steps := stepsOf(document)
	if len(steps) < 30 || steps[0].command != "make run" {
		t.Fatalf("docs/%s has %d commands, or does not begin with make run", name, len(steps))
	}
	steps = steps[1:]
	s, dir := servertest.Start(t), coretest.MemoryDir(t)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rows.py"), []byte(application), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin/keyreeve": servertest.Binary(t), "dev": s.Dir} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The server of a test has another port than the one that is usual.
	here := strings.NewReplacer("127.0.0.1:8443", s.HTTPS, "--dir dev --user", "--dir dev --url https://"+s.HTTPS+" --user", "login --dir dev", "login --dir dev --url https://"+s.HTTPS)
	var script strings.Builder
	for _, one := range steps {
		fmt.Fprintf(&script, "{ %s\n} 2>&1; status=$?; echo $'%s'; (exit $status)\n", here.Replace(one.command), strings.ReplaceAll(endOfOutput, "\x01", `\x01`))
	}
	cmd := exec.Command("bash", "-c", script.String())
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KEYREEVE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+dir, "XDG_CONFIG_HOME=")
	out, err := cmd.CombinedOutput()
	outputs := strings.Split(string(out), endOfOutput)
	if err != nil || len(outputs) != len(steps)+1 {
		t.Fatalf("%d outputs of %d commands, %v:\n%s", len(outputs)-1, len(steps), err, out)
	}
	for i, one := range steps {
		if !matches(outputs[i], here.Replace(one.prints)) {
			t.Errorf("$ %s\nprints\n%s\nand not\n%s", one.command, strings.TrimSpace(outputs[i]), one.prints)
		}
	}
}

// The tables of the document are those of the program.
func TestDocumentedTables(t *testing.T) {
	document := readDocument(t, "CLIENT.md")
	var rows []string
	for _, s := range client.ExitStatuses {
		rows = append(rows, fmt.Sprintf("| %d | %s |\n", s.Status, s.Meaning))
	}
	if table := "| status | meaning |\n|---|---|\n" + strings.Join(rows, "") + "\n"; !strings.Contains(document, table) {
		t.Errorf("docs/CLIENT.md does not have\n%s", table)
	}
	rows = nil
	for _, v := range client.Variables {
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", v.Name, v.Meaning))
	}
	if table := "| variable | meaning |\n|---|---|\n" + strings.Join(rows, "") + "\n"; !strings.Contains(document, table) {
		t.Errorf("docs/CLIENT.md does not have\n%s", table)
	}
}
