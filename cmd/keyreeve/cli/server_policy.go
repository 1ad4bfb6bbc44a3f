package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core/jsontext"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

type serverPolicyShowCmd struct {
	where
	Version string `help:"The version; left out: the newest."`
	Tests   bool   `help:"Print its tests instead."`
}

// Run prints the text.
func (c *serverPolicyShowCmd) Run() error {
	v, err := c.readServerPolicy(c.Version)
	if err != nil {
		return err
	}
	if !v.InForce {
		warnOf(fmt.Sprintf("version %d is not in force on this node", v.Version))
	}
	text := v.Policy
	if c.Tests {
		text = v.Tests
	}
	for line := range strings.Lines(text) {
		fmt.Println(sourceLine(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

// sourceLine returns a line of source text for a terminal. Only tabs stay as they are.
func sourceLine(line string) string {
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = jsontext.ForTerminal(parts[i])
	}
	return strings.Join(parts, "\t")
}

func (w *where) readServerPolicy(version string) (v adminsocket.ServerPolicy, err error) {
	return v, w.askServer("GET", "/policy/server", url.Values{"version": {version}}, &v)
}

// serverPolicyChange is a command that puts a policy in force.
type serverPolicyChange struct {
	where
	Reason string `help:"Why, for those who read the history."`
}

type serverPolicyApplyCmd struct {
	serverPolicyChange
	File     string `arg:"" optional:"" type:"existingfile" help:"The policy."`
	Tests    string `arg:"" optional:"" type:"existingfile" help:"Its tests."`
	Default  bool   `help:"Take the default policy of the release that the server runs."`
	Expected string `help:"The version that it replaces; left out: any."`
}

// Run stores the next version. It prints warnings to standard error.
func (c *serverPolicyApplyCmd) Run() error {
	texts := adminsocket.PolicyTexts{Default: c.Default}
	if c.Default == (c.Tests != "") {
		return fmt.Errorf("give a policy and its tests, or --default")
	}
	if !c.Default {
		policy, err := os.ReadFile(c.File)
		if err != nil {
			return err
		}
		tests, err := os.ReadFile(c.Tests)
		if err != nil {
			return err
		}
		texts.Policy, texts.Tests = string(policy), string(tests)
	}
	body, err := json.Marshal(texts)
	if err != nil {
		return err
	}
	return c.putInForce("PUT", "/policy/server", url.Values{"expected": {c.Expected}}, body)
}

// putInForce asks for a new version and says which one is in force.
func (c *serverPolicyChange) putInForce(method, path string, q url.Values, body []byte) error {
	q.Set("reason", c.Reason)
	var out adminsocket.AppliedPolicy
	if err := c.askServerWith(method, path, q, body, &out); err != nil {
		return err
	}
	warnOfEach(out.Warnings)
	fmt.Printf("version %d of the server's policy is in force, sha256 %s\n", out.Version, out.Hash)
	return nil
}

type serverPolicyHistoryCmd struct{ listing }

// Run lists the versions, newest first.
func (c *serverPolicyHistoryCmd) Run() error {
	for below := int64(0); ; {
		var page []adminsocket.ServerPolicy
		if err := c.askServer("GET", "/policy/server/history", url.Values{"below": {fmt.Sprint(below)}}, &page); err != nil {
			return err
		}
		if err := printLines(page, c.JSON, serverPolicyLine); err != nil || len(page) == 0 || page[len(page)-1].Version == 1 {
			return err
		}
		below = page[len(page)-1].Version
	}
}

// serverPolicyLine shows a version to people.
func serverPolicyLine(v adminsocket.ServerPolicy) string {
	state := "replaced"
	if v.InForce {
		state = "in force"
	}
	line := fmt.Sprintf("%d | %s | %s | %s | from the %s | %s", v.Version, state, time.Unix(v.At, 0).UTC().Format(time.RFC3339), v.Author, v.Origin, v.Reason)
	return oneLine(strings.TrimSuffix(line, " | "))
}

type serverPolicyRollbackCmd struct {
	serverPolicyChange
	Version int64 `arg:"" help:"The version whose text is taken again."`
}

// Run stores the old text as the newest version.
func (c *serverPolicyRollbackCmd) Run() error {
	return c.putInForce("POST", "/policy/server/rollback", url.Values{"version": {fmt.Sprint(c.Version)}}, nil)
}

type serverPolicyDiffCmd struct {
	where
	File    string `arg:"" type:"existingfile" help:"The file."`
	Tests   bool   `help:"Compare it with the tests."`
	Version string `help:"The version that it is compared with; left out: the newest."`
}

// Run prints the lines from the first to the last that differ: those of the version with -,
// those of the file with +.
func (c *serverPolicyDiffCmd) Run() error {
	v, err := c.readServerPolicy(c.Version)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	was := v.Policy
	if c.Tests {
		was = v.Tests
	}
	removed, added, first := differingLines(was, string(text))
	if len(removed)+len(added) == 0 {
		return nil
	}
	fmt.Printf("@@ from line %d of version %d @@\n", first, v.Version)
	for _, line := range slices.Concat(removed, added) {
		fmt.Println(sourceLine(line))
	}
	return exitStatus(differs)
}

// differingLines returns what is between the common beginning and the common end of two
// texts, and the number of the first line that differs.
func differingLines(before, after string) (removed, added []string, first int) {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for first < min(len(was), len(is)) && was[first] == is[first] {
		first++
	}
	was, is = was[first:], is[first:]
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	for _, line := range was {
		removed = append(removed, "-"+line)
	}
	for _, line := range is {
		added = append(added, "+"+line)
	}
	return removed, added, first + 1
}
