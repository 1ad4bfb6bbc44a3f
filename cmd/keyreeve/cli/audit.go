package cli

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/server"
)

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
	for _, more := range []string{e.Code, e.ExecutedIn, strings.Join(e.Reasons, ", "), e.Detail} {
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
