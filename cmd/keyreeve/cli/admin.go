package cli

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// call asks a running server over its admin socket.
func (w *where) call(method, path string, q url.Values, out any) error {
	cfg, err := w.load()
	if err != nil {
		return err
	}
	return server.Ask(cfg.AdminSocket(), method, path, q, out)
}

type auditCmd struct {
	List auditListCmd `cmd:"" help:"List records, newest first."`
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
	tenant, name, err := c.who()
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
		if err := c.call("GET", "/audit", q, &got); err != nil {
			return err
		}
		if err := c.print(got.Entries); err != nil {
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

// who returns the tenant and the name that --tenant and --principal ask for. A
// principal may be written as list shows it, TENANT/NAME.
func (c *auditListCmd) who() (tenant, name string, err error) {
	tenant, name, both := strings.Cut(c.Principal, "/")
	switch {
	case !both:
		return c.Tenant, c.Principal, nil
	case c.Tenant != "" && c.Tenant != tenant:
		return "", "", fmt.Errorf("--principal %s is of tenant %q, and --tenant asks for %q; leave one out", c.Principal, tenant, c.Tenant)
	}
	return tenant, name, nil
}

func (c *auditListCmd) print(entries []audit.Entry) error {
	for _, e := range entries {
		if c.JSON {
			if err := printJSON(e); err != nil {
				return err
			}
			continue
		}
		fmt.Println(line(e))
	}
	return nil
}

// line shows an entry to people. Who is not known is shown by address; what a
// terminal would act on is shown as a question mark.
func line(e audit.Entry) string {
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
	for _, more := range []string{e.Code, e.Where, strings.Join(e.Reasons, ", "), e.Detail} {
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

// escaped writes what a terminal would act on, such as a change of direction, as
// JSON escapes: the same JSON to programs, harmless to people.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

type policyCmd struct {
	Simulate simulateCmd `cmd:"" help:"Ask what the policy would say, without doing anything. Exits with 0 for allow, 2 for deny, 1 if it cannot be asked."`
	Reload   reloadCmd   `cmd:"" help:"Read the policy file again. If the new policy fails its tests, the old one stays in force."`
}

type simulateCmd struct {
	where
	As     string   `help:"Who asks: NAME, or TENANT/NAME." required:""`
	Do     string   `help:"The operation, such as Get." required:""`
	Object string   `help:"Unique Identifier of the object, where there is one."`
	From   string   `help:"Address it is asked from." default:"127.0.0.1"`
	At     string   `help:"Time it is asked at, such as 2026-01-31T12:00:00Z; left out: now."`
	Group  []string `help:"A group of the principal, where its certificate is not in DIR/certs."`
	Role   []string `help:"A role of it."`
}

func (c *simulateCmd) Run() error {
	q := url.Values{"as": {c.As}, "do": {c.Do}, "object": {c.Object}, "from": {c.From}, "at": {c.At}, "group": c.Group, "role": c.Role}
	if c.Dir != "" && len(c.Group)+len(c.Role) == 0 {
		identity(c.Dir, c.As, q)
	}
	var out server.Simulated
	if err := c.call("GET", "/policy/simulate", q, &out); err != nil {
		return err
	}
	fmt.Println(map[bool]string{true: "allow", false: "deny"}[out.Allow])
	for _, r := range out.Reasons {
		fmt.Println(" ", r)
	}
	if !out.Allow {
		return exitStatus(denied)
	}
	return nil
}

// identity takes tenant, groups and roles from the principal's certificate.
func identity(dir, as string, q url.Values) {
	name := as[strings.LastIndex(as, "/")+1:]
	block, err := pemfile.One(filepath.Join(dir, "certs", filepath.Base(name)+".pem"), "CERTIFICATE")
	if err != nil {
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	if r, ok := certs.ReadIdentity(cert); ok && (as == name || as == r.Tenant+"/"+r.Name) {
		q.Set("as", r.Tenant+"/"+r.Name)
		q["group"], q["role"] = r.Groups, r.Roles
	}
}

type reloadCmd struct{ where }

func (c *reloadCmd) Run() error {
	var out struct{ Policy string }
	if err := c.call("POST", "/policy/reload", nil, &out); err != nil {
		return err
	}
	fmt.Println("policy", out.Policy)
	return nil
}

type healthCmd struct{ where }

func (c *healthCmd) Run() error {
	var out httpd.Health
	if err := c.call("GET", "/health", nil, &out); err != nil {
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
