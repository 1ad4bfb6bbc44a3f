package cli

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/jsontext"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// askServer asks a running server over its admin socket.
func (w *where) askServer(method, path string, q url.Values, out any) error {
	cfg, err := w.loadSettings()
	if err != nil {
		return err
	}
	return adminsocket.Ask(cfg.AdminSocket(), method, path, q, out)
}

// askServerWith is askServer with a body.
func (w *where) askServerWith(method, path string, q url.Values, body []byte, out any) error {
	cfg, err := w.loadSettings()
	if err != nil {
		return err
	}
	return adminsocket.AskWith(cfg.AdminSocket(), method, path, q, body, out)
}

// listing is a command that lists what a running server has.
type listing struct {
	where
	JSON bool `help:"One JSON object a line."`
}

// printList asks for a list and prints it.
func printList[T any](l *listing, path string, line func(T) string) error {
	var all []T
	if err := l.askServer("GET", path, nil, &all); err != nil {
		return err
	}
	return printLines(all, l.JSON, line)
}

// printLines prints a line for each of a list: as JSON, or as people read it.
func printLines[T any](all []T, asJSON bool, line func(T) string) error {
	for _, one := range all {
		if !asJSON {
			fmt.Println(line(one))
		} else if err := printJSON(one); err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints a value as one line that is harmless to a terminal.
func printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fmt.Println(jsontext.ForTerminal(string(b)))
	return nil
}

type reloadCmd struct{ where }

func (c *reloadCmd) Run() error {
	var out adminsocket.ReloadedPolicy
	if err := c.askServer("POST", "/policy/reload", nil, &out); err != nil {
		return err
	}
	if out.Note != "" {
		warnOf(out.Note)
	}
	fmt.Println("policy", out.Policy)
	return nil
}

type simulateCmd struct {
	where
	As     string   `help:"Who asks: NAME, or TENANT/NAME." required:""`
	Do     string   `help:"The action: a word such as rotate, or a name such as Get. A word can stand for several actions; all of them must be permitted." required:""`
	Object string   `help:"Unique Identifier of the object, where there is one."`
	From   string   `help:"Address it is asked from." default:"127.0.0.1"`
	At     string   `help:"Time it is asked at, such as 2026-01-31T12:00:00Z; left out: now."`
	Group  []string `help:"A group of the principal. Without groups and roles, those of its certificate in DIR/certs, or of the user or enrolled client of its name."`
	Role   []string `help:"A role of the principal."`

	Algorithm string   `help:"Algorithm of the key that create, register or Re-key makes, such as AES."`
	Length    string   `help:"Length of that key in bits; left out: the one that Create chooses for its algorithm."`
	Usage     []string `help:"A use of that key, such as Encrypt; repeat it for more."`
}

func (c *simulateCmd) Run() error {
	q := url.Values{"as": {c.As}, "do": {c.Do}, "object": {c.Object}, "from": {c.From}, "at": {c.At}, "group": c.Group, "role": c.Role, "algorithm": {c.Algorithm}, "length": {c.Length}, "usage": c.Usage}
	if c.Dir != "" && len(c.Group)+len(c.Role) == 0 {
		addIdentity(c.Dir, c.As, q)
	}
	var out server.Simulated
	if err := c.askServer("GET", "/policy/simulate", q, &out); err != nil {
		return err
	}
	fmt.Println(map[bool]string{true: "allow", false: "deny"}[out.Allow])
	if !strings.EqualFold(out.Action, c.Do) {
		fmt.Println("  action", out.Action)
	}
	for _, r := range out.Reasons {
		fmt.Println(" ", r)
	}
	for _, s := range out.Statements {
		fmt.Println(" ", statementLine(s))
	}
	if !out.Allow {
		return exitStatus(denied)
	}
	return nil
}

type explainCmd struct {
	where
	Object string   `help:"Unique Identifier of the object." required:""`
	As     string   `help:"The principal: NAME, or TENANT/NAME; left out: each that the server knows."`
	Tenant string   `help:"The tenant of the object, if no principal is named." default:"default"`
	From   string   `help:"Address the requests come from." default:"127.0.0.1"`
	At     string   `help:"Time they come at, such as 2026-01-31T12:00:00Z; left out: now."`
	Group  []string `help:"A group of the principal, where its certificate is not in DIR/certs."`
	Role   []string `help:"A role of it."`
}

func (c *explainCmd) Run() error {
	q := url.Values{"object": {c.Object}, "as": {c.As}, "tenant": {c.Tenant}, "from": {c.From}, "at": {c.At}, "group": c.Group, "role": c.Role}
	if c.As == "" {
		return c.explainAll(q)
	}
	if c.Dir != "" && len(c.Group)+len(c.Role) == 0 {
		addIdentity(c.Dir, c.As, q)
	}
	var out server.Explained
	if err := c.askServer("GET", "/policy/explain", q, &out); err != nil {
		return err
	}
	for _, a := range out.Actions {
		fmt.Println(oneLine(fmt.Sprintf("%-5s  %s: %s", map[bool]string{true: "allow", false: "deny"}[a.Allow], a.Action, strings.Join(a.Reasons, "; "))))
	}
	return nil
}

// explainAll prints a line for each principal that the server knows.
func (c *explainCmd) explainAll(q url.Values) error {
	for {
		var out server.Explained
		if err := c.askServer("GET", "/policy/explain", q, &out); err != nil {
			return err
		}
		for _, p := range out.Principals {
			fmt.Println(oneLine(p.Principal + "  " + accessText(&p)))
		}
		if len(out.Principals) < server.ExplainPage {
			return nil
		}
		q.Set("after", out.Principals[len(out.Principals)-1].Principal)
	}
}

func accessText(p *server.ExplainedPrincipal) string {
	switch {
	case p.Refusal != "":
		return "nothing: " + p.Refusal
	case len(p.Actions) == 0:
		return "nothing"
	}
	return strings.Join(p.Actions, ", ")
}

// statementLine says whether a statement of a key policy matches, and why not.
func statementLine(s server.ExplainedStatement) string {
	switch {
	case s.Counts:
		return oneLine(fmt.Sprintf("%s (%s) matches", s.Statement, s.Effect))
	case s.Matched:
		return oneLine(fmt.Sprintf("%s (%s) matches and does not count beside an exclusive policy", s.Statement, s.Effect))
	}
	return oneLine(fmt.Sprintf("%s (%s) does not match: %s", s.Statement, s.Effect, strings.Join(s.Unmet, ", ")))
}

// addIdentity takes tenant, groups and roles from the principal's certificate.
func addIdentity(dir, as string, q url.Values) {
	name := as[strings.LastIndex(as, "/")+1:]
	block, err := pemfile.One(filepath.Join(dir, "certs", filepath.Base(name)+".pem"), "CERTIFICATE")
	if err != nil {
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	if r, ok := identity.Of(cert); ok && (as == name || as == r.Tenant+"/"+r.Name) {
		q.Set("as", r.Tenant+"/"+r.Name)
		q["group"], q["role"] = r.Groups, r.Roles
	}
}

type healthCmd struct{ where }

func (c *healthCmd) Run() error {
	var out httpd.Health
	if err := c.askServer("GET", "/health", nil, &out); err != nil {
		return err
	}
	names := make([]string, 0, len(out.Parts))
	for n := range out.Parts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		p := out.Parts[n]
		fmt.Println(strings.TrimRight(fmt.Sprintf("%-7s %s %s", n, condition(p), strings.Join(append(p.Notes, p.Problem), " ")), " "))
	}
	if !out.Ready {
		return fmt.Errorf("the server is not ready")
	}
	return nil
}

// condition is a part's state in a word.
func condition(p httpd.Part) string {
	switch {
	case !p.Ready:
		return "PROBLEM"
	case p.Degraded:
		return "degraded"
	}
	return "ok"
}

type keysCmd struct{ listing }

func (c *keysCmd) Run() error { return printList(&c.listing, "/hsm/keys", keySetLine) }

// keySetLine shows one to people.
func keySetLine(s upkeep.KeySetStatus) string {
	state := s.State
	if s.Tenant != "" {
		state += fmt.Sprintf(", tenant %s, epoch %d", s.Tenant, s.Epoch)
	}
	return oneLine(strings.TrimSuffix(fmt.Sprintf("%s | %s | %d keys | %s", s.Label, state, s.Keys, s.Note), " | "))
}

type orphansListCmd struct{ listing }

func (w *where) orphans() (out []upkeep.Orphan, err error) {
	err = w.askServer("GET", "/hsm/orphans", nil, &out)
	return out, err
}

func (c *orphansListCmd) Run() error {
	all, err := c.orphans()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(os.Stderr, "no orphans")
	}
	return printLines(all, c.JSON, orphanLine)
}

// orphanLine shows one to people.
func orphanLine(o upkeep.Orphan) string {
	age := "of unknown age"
	if o.Began != 0 {
		age = "since " + time.Unix(o.Began, 0).UTC().Format(time.RFC3339)
	}
	can := "purgeable"
	if !o.Purgeable {
		can = "not purgeable"
	}
	return oneLine(fmt.Sprintf("%s %s/%s | %s | %s, %s | %s | %s", o.TokenObject, o.Tenant, o.ID, o.Label, cmp.Or(o.Kind, "no intent"), age, o.Why, can))
}

type orphansPurgeCmd struct {
	where
	IDs []string `arg:"" optional:"" name:"id" help:"CKA_IDs in hexadecimal, as list shows them."`
	All bool     `help:"All that list calls purgeable."`
	Yes bool     `help:"Do not ask for a confirmation."`
}

func (c *orphansPurgeCmd) Run() error {
	if c.All == (len(c.IDs) > 0) {
		return fmt.Errorf("name the token objects by their CKA_IDs, or give --all")
	}
	all, err := c.orphans()
	if err != nil {
		return err
	}
	q := url.Values{}
	for _, o := range all {
		if slices.Contains(c.IDs, o.TokenObject) || (c.All && o.Purgeable) {
			fmt.Println(orphanLine(o))
			q.Add("id", o.TokenObject)
		} else if c.All {
			fmt.Println("left alone:", orphanLine(o))
		}
	}
	for _, id := range c.IDs {
		if !slices.Contains(q["id"], id) {
			return fmt.Errorf("%q is the CKA_ID of no orphan in the HSM, so nothing was destroyed; see keyreeve hsm orphans list", id)
		}
	}
	if len(q["id"]) == 0 {
		fmt.Fprintln(os.Stderr, "no orphan is purgeable; nothing was destroyed")
		return nil
	}
	if !c.Yes {
		if err := client.Confirm(fmt.Sprintf("destroy %d", len(q["id"]))); err != nil {
			return err
		}
	}
	var out server.Purged
	if err := c.askServer("POST", "/hsm/orphans/purge", q, &out); err != nil {
		return err
	}
	fmt.Printf("%d token objects destroyed\n", len(out.Purged))
	if out.Problem != "" {
		return fmt.Errorf("%d token objects were not destroyed: %s", len(q["id"])-len(out.Purged), out.Problem)
	}
	return nil
}

type auditListCmd struct {
	where
	Tenant    string `help:"Only this tenant's."`
	Principal string `help:"Only this principal's: NAME, or TENANT/NAME."`
	Object    string `help:"Only those of this Unique Identifier."`
	Operation string `help:"Only this operation's, such as Get."`
	Outcome   string `help:"Only allowed, denied or failed ones."`
	Since     string `help:"Only later ones, such as 2026-01-31T12:00:00Z."`
	Until     string `help:"Only earlier ones, such as 2026-01-31T12:00:00Z."`
	Limit     int    `help:"How many; 0: all." default:"20"`
	JSON      bool   `help:"One JSON object a line."`
}

func (c *auditListCmd) Run() error {
	tenant, name, err := c.principalFilter()
	if err != nil {
		return err
	}
	q := url.Values{"tenant": {tenant}, "principal": {name}, "object": {c.Object}, "operation": {c.Operation}, "outcome": {c.Outcome}}
	for name, at := range map[string]string{"since": c.Since, "until": c.Until} {
		if at == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return fmt.Errorf("--%s must be a time such as 2026-01-31T12:00:00Z", name)
		}
		q.Set(name, fmt.Sprint(t.UnixMicro()))
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit must be a number of records, or 0 for all")
	}
	const page = 1000 // records asked for at once
	found := 0
	for left, more := c.Limit, true; more; {
		ask := page
		if c.Limit > 0 {
			ask = min(page, left)
		}
		q.Set("limit", fmt.Sprint(ask))
		var got server.AuditPage
		if err := c.askServer("GET", "/audit", q, &got); err != nil {
			return err
		}
		if err := printLines(got.Entries, c.JSON, recordLine); err != nil {
			return err
		}
		left, found = left-len(got.Entries), found+len(got.Entries)
		q.Set("before", fmt.Sprint(got.Before))
		more = got.Before != 0 && (c.Limit == 0 || left > 0)
	}
	if found == 0 {
		fmt.Fprintln(os.Stderr, "no record fits")
	}
	return nil
}

// principalFilter returns the tenant and the name that --tenant and --principal ask for. A
// principal may be written as list shows it, TENANT/NAME.
func (c *auditListCmd) principalFilter() (tenant, name string, err error) {
	tenant, name, both := strings.Cut(c.Principal, "/")
	switch {
	case !both:
		return c.Tenant, c.Principal, nil
	case c.Tenant != "" && c.Tenant != tenant:
		return "", "", fmt.Errorf("--principal %s is of tenant %q, and --tenant asks for %q; leave one out", c.Principal, tenant, c.Tenant)
	}
	return tenant, name, nil
}

// recordLine shows an entry to people. A client that is not known is shown by its
// address. Characters that a terminal would act on become question marks.
func recordLine(e audit.Entry) string {
	who := e.Tenant + "/" + e.Principal
	switch {
	case e.Principal == "":
		who = "from " + e.Address
	case e.Tenant == "":
		who = e.Principal
	}
	s := strings.TrimRight(fmt.Sprintf("%s %-7s %-4s %s %s %s", e.Time, e.Outcome, e.Door, who, e.Operation, e.Object), " ")
	for i, o := range e.Involved {
		sep := ", "
		if i == 0 {
			sep = " | with "
		}
		s += sep + o.Role + " " + o.Object
	}
	claim := ""
	if e.Operation == core.ActionLogin.String() && e.ClientRef != "" && !strings.Contains(e.Detail, e.ClientRef) {
		claim = "claims to be " + e.ClientRef
	}
	for _, more := range []string{claim, e.Code, e.ExecutedIn, strings.Join(e.Reasons, ", "), e.Detail} {
		if more != "" {
			s += " | " + more
		}
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
