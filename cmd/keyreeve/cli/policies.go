package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core/jsontext"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// ofTenant is a command about one tenant's policies, users or roles.
type ofTenant struct {
	where
	Tenant string `help:"The tenant." default:"default"`
}

// withReason is a command that changes something and says why.
type withReason struct {
	ofTenant
	Reason string `help:"Why, for those who read the history."`
}

// query returns the parameters of a question, without empty ones.
func (o *ofTenant) query(pairs ...string) url.Values {
	q := url.Values{"tenant": {o.Tenant}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// tenantListing is a command that lists policies, users or roles.
type tenantListing struct {
	ofTenant
	JSON bool `help:"One JSON object a line."`
}

type policyListCmd struct{ tenantListing }

// Run lists the newest versions.
func (c *policyListCmd) Run() error {
	return printPages(&c.tenantListing, "/policies", func(p server.PolicyVersion) string { return p.Name }, policyLine)
}

// printPages asks for all pages of a list and prints them.
func printPages[T any](l *tenantListing, path string, name func(T) string, line func(T) string) error {
	return eachPage(&l.ofTenant, path, name, func(page []T) error { return printLines(page, l.JSON, line) })
}

// eachPage asks for all pages of a list.
func eachPage[T any](o *ofTenant, path string, name func(T) string, do func(page []T) error) error {
	for after := ""; ; {
		var page []T
		if err := o.askServer("GET", path, o.query("after", after), &page); err != nil {
			return err
		}
		if err := do(page); err != nil || len(page) < server.AdminPage {
			return err
		}
		after = name(page[len(page)-1])
	}
}

// policyLine shows a version to people.
func policyLine(p server.PolicyVersion) string {
	line := fmt.Sprintf("%s@%d | %s | %s | %s | %s", p.Name, p.Version, policyState(p.State, p.ActivateAt), p.At.Format(time.RFC3339), p.Author, p.Reason)
	return oneLine(strings.TrimSuffix(line, " | "))
}

// policyState shows the state of a version to people.
func policyState(state string, activateAt *time.Time) string {
	switch state {
	case server.PolicyActive:
		return "in force"
	case server.PolicyWaiting:
		return "waits until " + activateAt.Format(time.RFC3339)
	}
	return state
}

type policyShowCmd struct {
	ofTenant
	Name    string `arg:"" help:"Name of the policy."`
	Version string `help:"The version; left out: the newest, which can be one that waits."`
}

// Run prints the document. It says on standard error if the version is not in force.
func (c *policyShowCmd) Run() error {
	q := c.query("name", c.Name, "version", c.Version)
	var out server.PolicyVersion
	if err := c.askServer("GET", "/policies/one", q, &out); err != nil {
		return err
	}
	warnUnlessInForce(&out)
	return printIndented(out.Document)
}

// warnUnlessInForce says which version was answered, if it is not in force.
func warnUnlessInForce(p *server.PolicyVersion) {
	if p.State != server.PolicyActive {
		warnOf(fmt.Sprintf("%s@%d is not in force: %s; see policy history", p.Name, p.Version, policyState(p.State, p.ActivateAt)))
	}
}

// printIndented prints a document with an indentation, for people and for git.
func printIndented(document json.RawMessage) error {
	var out bytes.Buffer
	if err := json.Indent(&out, document, "", "  "); err != nil {
		return err
	}
	for line := range strings.Lines(out.String()) {
		fmt.Println(jsontext.ForTerminal(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

type policyApplyCmd struct {
	withReason
	Name     string `arg:"" help:"Name of the policy."`
	File     string `arg:"" type:"existingfile" help:"The policy as JSON; see docs/authorization.md."`
	Expected string `help:"The version that it replaces, 0 if it must be new; left out: any."`
	At       string `help:"Time from which it is in force, such as 2026-12-31T00:00:00Z; left out: at once. Until then the version before stays in force."`
}

// Run stores the next version. It prints warnings to standard error.
func (c *policyApplyCmd) Run() error {
	document, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	var out server.SavedPolicy
	if err := c.askServerWith("PUT", "/policies/one", c.query("name", c.Name, "reason", c.Reason, "expected", c.Expected, "at", c.At), document, &out); err != nil {
		return err
	}
	return printSaved(out)
}

func printSaved(out server.SavedPolicy) error {
	warnOfEach(out.Warnings)
	if out.ActivateAt != nil {
		fmt.Printf("policy %s@%d waits until %s\n", out.Name, out.Version, out.ActivateAt.Format(time.RFC3339))
	} else {
		fmt.Printf("policy %s@%d is in force\n", out.Name, out.Version)
	}
	for _, target := range out.Attached {
		fmt.Println("attached to", oneLine(target))
	}
	return nil
}

// removal is a command that ends a policy, a user or a role.
type removal struct {
	withReason
	Name string `arg:"" help:"Its name."`
}

func (r *removal) remove(path, kind string) error {
	if err := r.askServer("DELETE", path, r.query("name", r.Name, "reason", r.Reason), nil); err != nil {
		return err
	}
	fmt.Println(kind, r.Name, "is removed")
	return nil
}

type policyDeleteCmd struct{ removal }

// Run ends the policy.
func (c *policyDeleteCmd) Run() error { return c.remove("/policies/one", "policy") }

type policyHistoryCmd struct {
	ofTenant
	Name string `arg:"" help:"Name of the policy."`
	JSON bool   `help:"One JSON object a line, with the documents."`
}

// Run lists the versions, newest first.
func (c *policyHistoryCmd) Run() error {
	for below := ""; ; {
		var page []server.PolicyVersion
		if err := c.askServer("GET", "/policies/history", c.query("name", c.Name, "below", below), &page); err != nil {
			return err
		}
		if err := printLines(page, c.JSON, policyLine); err != nil || len(page) == 0 || page[len(page)-1].Version == 1 {
			return err
		}
		below = fmt.Sprint(page[len(page)-1].Version)
	}
}

type policyRollbackCmd struct {
	withReason
	Name    string `arg:"" help:"Name of the policy."`
	Version int64  `arg:"" help:"The version whose document is taken again."`
}

// Run stores the old document as the newest version.
func (c *policyRollbackCmd) Run() error {
	var out server.SavedPolicy
	if err := c.askServer("POST", "/policies/rollback", c.query("name", c.Name, "version", fmt.Sprint(c.Version), "reason", c.Reason), &out); err != nil {
		return err
	}
	return printSaved(out)
}

type policyWithdrawCmd struct {
	withReason
	Name string `arg:"" help:"Name of the policy."`
}

// Run stores the version that is in force as the newest one.
func (c *policyWithdrawCmd) Run() error {
	var out server.SavedPolicy
	if err := c.askServer("POST", "/policies/withdraw", c.query("name", c.Name, "reason", c.Reason), &out); err != nil {
		return err
	}
	return printSaved(out)
}

type policyReplayCmd struct {
	ofTenant
	Name  string `arg:"" help:"Name of the policy."`
	File  string `arg:"" optional:"" type:"existingfile" help:"The document that would be its next version; left out: the newest version, such as one that waits."`
	Since string `required:"" help:"Only requests from then on, such as 2026-01-31T12:00:00Z."`
	Until string `help:"Only requests until then; left out: until now."`
	Limit int    `help:"Records that are looked at, the newest first." default:"10000"`
	JSON  bool   `help:"One JSON object a line."`
}

// Run lists the requests whose decision flips, and those whose decision cannot be known. It
// says on standard error how far it is.
func (c *policyReplayCmd) Run() error {
	in := httpd.ReplayQuestion{Since: c.Since, Until: cmp.Or(c.Until, time.Now().UTC().Format(time.RFC3339))}
	if c.File != "" {
		document, err := os.ReadFile(c.File)
		if err != nil {
			return err
		}
		in.Document = document
	}
	looked, flips, undecided := 0, 0, 0
	for more := true; more && looked < c.Limit; {
		in.Limit = new(min(c.Limit-looked, replayedAtOnce))
		page, err := c.replayPage(&in)
		if err != nil {
			return err
		}
		looked, flips, undecided = looked+page.Records, flips+len(page.Flips), undecided+len(page.Undecided)
		if err := printLines(slices.Concat(page.Flips, page.Undecided), c.JSON, replayedLine); err != nil {
			return err
		}
		in.PageToken, more = page.NextPageToken, page.NextPageToken != ""
		fmt.Fprintf(os.Stderr, "%d records: %d requests flip, %d are undecided\n", looked, flips, undecided)
		if !more || looked < c.Limit {
			continue
		}
		warnOf("there are more records; raise --limit, or take a shorter period")
	}
	if flips+undecided > 0 {
		return exitStatus(differs)
	}
	return nil
}

// replayedAtOnce is how many records are looked at before the command says how far it is.
const replayedAtOnce = 500

func (c *policyReplayCmd) replayPage(in *httpd.ReplayQuestion) (page httpd.ReplayAnswer, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return page, err
	}
	return page, c.askServerWith("POST", "/policies/replay", c.query("name", c.Name), body, &page)
}

// replayedLine shows a request to people.
func replayedLine(r httpd.ReplayedRequest) string {
	verdict := "undecided, the record lacks " + strings.Join(r.Lacks, ", ")
	if r.Decision != "" {
		verdict = "now " + r.Decision + ": " + strings.Join(r.Reasons, ", ")
	}
	return oneLine(fmt.Sprintf("%s | %s | %s | %s | %s %s | %s", r.Time, r.Principal, r.Action, cmp.Or(r.KeyID, "no object"), r.Door, r.Address, verdict))
}

type canaryAddCmd struct {
	withReason
	Name        string            `arg:"" help:"Name of the canary."`
	As          string            `help:"Who asks: the name of a principal." required:""`
	Group       []string          `help:"A group of it; repeat it for more."`
	Role        []string          `help:"A role of it; repeat it for more."`
	Attribute   map[string]string `help:"NAME=VALUE, an attribute of it; repeat it for more." mapsep:"none"`
	Do          string            `help:"A word or a name of an action, such as decrypt." required:""`
	Object      string            `help:"Unique Identifier of the object; left out: none."`
	From        string            `help:"Address it is asked from; left out: not known."`
	Door        string            `help:"kmip or rest." default:"kmip"`
	At          string            `help:"Time it is asked at, such as 2026-01-31T12:00:00Z; left out: the time of each check."`
	Expect      string            `help:"deny or allow: what the decision must stay." default:"deny" enum:"deny,allow"`
	Description string            `help:"What it is for."`
}

// Run stores the canary.
func (c *canaryAddCmd) Run() error {
	body, err := json.Marshal(httpd.Canary{Description: c.Description, Principal: c.As, Groups: c.Group, Roles: c.Role, Attributes: c.Attribute, Action: c.Do, KeyID: c.Object,
		Door: c.Door, Address: c.From, At: c.At, Expect: c.Expect, Reason: c.Reason})
	if err != nil {
		return err
	}
	if err := c.askServerWith("PUT", "/policies/canaries/one", c.query("name", c.Name), body, nil); err != nil {
		return err
	}
	fmt.Println("canary", c.Name, "holds")
	return nil
}

type canaryListCmd struct{ tenantListing }

// Run lists the canaries.
func (c *canaryListCmd) Run() error {
	var all []httpd.NamedCanary
	if err := c.askServer("GET", "/policies/canaries", c.query(), &all); err != nil {
		return err
	}
	return printLines(all, c.JSON, canaryLine)
}

// canaryLine shows a canary to people.
func canaryLine(c httpd.NamedCanary) string {
	who := c.Principal + strings.Join(append([]string{""}, c.Groups...), " group:") + strings.Join(append([]string{""}, c.Roles...), " role:")
	line := fmt.Sprintf("%s | %s | %s | %s | %s | %s %s | %s", c.Name, c.Expect, who, c.Action, cmp.Or(c.KeyID, "no object"), c.Door, c.Address, c.Description)
	return oneLine(strings.TrimSuffix(line, " | "))
}

type canaryRemoveCmd struct{ removal }

// Run removes the canary.
func (c *canaryRemoveCmd) Run() error { return c.remove("/policies/canaries/one", "canary") }

// attachment is a command about a policy and what it is attached to.
type attachment struct {
	ofTenant
	Name   string `arg:"" help:"Name of the policy."`
	Object string `help:"Unique Identifier of an object." xor:"target" required:""`
	To     string `help:"user:NAME, role:NAME, group:NAME or keyGroup:NAME." xor:"target" required:""`
}

func (a *attachment) change(path, done string) error {
	if err := a.askServer("POST", path, a.query("name", a.Name, "object", a.Object, "holder", a.To), nil); err != nil {
		return err
	}
	fmt.Println("policy", a.Name, done, a.Object+a.To)
	return nil
}

type policyAttachCmd struct{ attachment }

// Run attaches the policy.
func (c *policyAttachCmd) Run() error { return c.change("/policies/attach", "is attached to") }

type policyDetachCmd struct{ attachment }

// Run detaches the policy.
func (c *policyDetachCmd) Run() error { return c.change("/policies/detach", "is not attached to") }
