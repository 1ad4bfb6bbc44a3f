package cli

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/manual"
)

// need returns the path of a program, "" if it is not installed.
func need(name string) string {
	path, _ := exec.LookPath(name)
	return path
}

// bash completes commands, flags and values.
func TestBashCompletion(t *testing.T) {
	if need("bash") == "" {
		t.Skip("bash is not installed (Debian: apt-get install bash)")
	}
	script := manual.Completion(parser().Model, "bash")
	for line, want := range map[string]string{
		"keyreeve|pol":                      "policy",
		"keyreeve|key|":                     "create list show versions rotate activate revoke disable enable archive recover delete restore purge alias public-key import export",
		"keyreeve|key|alias|":               "set show remove",
		"keyreeve|key|create|--ty":          "--type",
		"keyreeve|key|create|--type|":       "symmetric pair secret",
		"keyreeve|key|create|--type|=|s":    "symmetric secret",
		"keyreeve|key|create|--type|=":      "symmetric pair secret",
		"keyreeve|hash|-o|j":                "json",
		"keyreeve|key|show|":                "",
		"keyreeve|policy|server|r":          "rollback",
		"keyreeve|bench-":                   "",
		"keyreeve|user|add|alice|--no-hash": "--no-hashed",
	} {
		words := strings.Split(line, "|")
		cmd := exec.Command("bash", "-c", `source /dev/stdin; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _keyreeve; echo "${COMPREPLY[*]}"`, "bash")
		cmd.Args = append(cmd.Args, words...)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

// The other shells can read their scripts, and these name each command that is not hidden.
func TestCompletionsOfOtherShells(t *testing.T) {
	for shell, check := range map[string]string{"zsh": "-n", "fish": "--no-execute"} {
		script := manual.Completion(parser().Model, shell)
		for _, leaf := range parser().Model.Leaves(true) {
			if !strings.Contains(script, "'keyreeve "+leaf.Path()) && !strings.Contains(script, `\'keyreeve `+leaf.Path()) {
				t.Errorf("%s: nothing completes %s", shell, leaf.Path())
			}
		}
		if need(shell) == "" {
			t.Logf("%s is not installed; its script is not read by it (Debian: apt-get install %s)", shell, shell)
			continue
		}
		cmd := exec.Command(shell, check)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
}

// request finds what a line of roff begins with, if that is a request.
var request = regexp.MustCompile(`(?m)^[.'][^ \n]*`)

// Each command that is not hidden has a page with the sections that a reader looks for, and
// groff has nothing against it.
func TestManPages(t *testing.T) {
	pages := manual.Pages(parser().Model)
	for _, leaf := range parser().Model.Leaves(true) {
		name := "keyreeve-" + strings.ReplaceAll(leaf.Path(), " ", "-") + ".1"
		for _, part := range []string{".TH KEYREEVE", "\n.SH NAME\nkeyreeve", "\n.SH SYNOPSIS\n.B keyreeve", "\n.SH DESCRIPTION\n", "\n.SH FLAGS\n", "\n.SH SEE ALSO\n"} {
			if !strings.Contains(pages[name], part) {
				t.Errorf("the page %s has no %q", name, part)
			}
		}
	}
	if !strings.Contains(pages["keyreeve.1"], "\n.SH EXIT STATUS") || strings.Contains(pages["keyreeve.1"], "bench-echo") {
		t.Error("keyreeve.1 has no exit statuses, or a hidden command")
	}
	for name, text := range pages {
		for _, r := range request.FindAllString(text, -1) {
			if !strings.Contains(" .TH .SH .TP .B .BR .PP .RS .RE .nf .fi ", " "+r+" ") {
				t.Errorf("%s has the line %s, which is no macro that is meant", name, r)
			}
		}
		if need("groff") == "" {
			continue
		}
		cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if need("groff") == "" {
		t.Log("groff is not installed; it reads no page (Debian: apt-get install groff-base)")
	}
}

// call finds a call of the program in an example; what belongs to the shell ends it.
var call = regexp.MustCompile(`keyreeve ([^|<>()]+)`)

// argument finds an argument, with its quotation marks.
var argument = regexp.MustCompile(`"[^"]*"|[^ ]+`)

// Each example is a command line that the program takes, and each command over REST has one.
func TestExamples(t *testing.T) {
	for _, leaf := range parser().Model.Leaves(true) {
		if leaf.ClosestGroup() != nil && !strings.Contains(leaf.Detail, "keyreeve "+leaf.Path()) {
			t.Errorf("%s has no example", leaf.Path())
		}
		for line := range strings.Lines(leaf.Detail) {
			if !strings.HasPrefix(line, "    $ ") {
				continue
			}
			for _, m := range call.FindAllStringSubmatch(line, -1) {
				var args []string
				for _, a := range argument.FindAllString(strings.TrimSpace(m[1]), -1) {
					args = append(args, strings.Trim(a, `"`))
				}
				if _, err := parser().Parse(args); err != nil && !strings.Contains(line, "$ man ") {
					t.Errorf("%s: %v", strings.TrimSpace(line), err)
				}
			}
		}
	}
}
