package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/server"
)

type clientDoctorCmd struct {
	ofTenant
	Name string `arg:"" help:"Name of the client: an enrolled one, or another principal that a certificate names."`
	JSON bool   `help:"Print all that is known as JSON."`
}

// Help says what is shown.
func (c *clientDoctorCmd) Help() string {
	return `It asks the node on this machine alone, which remembers since its start. A request is shown
without keys, passwords and data. What is not known to be harmless is hidden.

Examples:

    $ keyreeve client doctor rgw1 --dir dev
    $ keyreeve client doctor array7 --tenant storage --json --config keyreeve.yaml`
}

// Run prints what the client last sent that was refused.
func (c *clientDoctorCmd) Run() error {
	var out server.ClientDiagnosis
	if err := c.askServer("GET", "/clients/doctor", c.query("name", c.Name), &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out)
	}
	fmt.Print(diagnosisText(&out))
	return nil
}

// diagnosisText shows a diagnosis to people, newest first.
func diagnosisText(d *server.ClientDiagnosis) string {
	var s strings.Builder
	kind := "not enrolled"
	if d.Enrolled {
		kind = "enrolled"
	}
	fmt.Fprintf(&s, "client %s of tenant %s, %s\n", d.Name, d.Tenant, kind)
	if l := d.LastSuccess; l != nil {
		fmt.Fprintf(&s, "last success: %s from %s at %s\n", l.Operation, l.Address, l.At)
	} else {
		s.WriteString("last success: none among the newest records\n")
	}
	for i := range d.Connections {
		one := &d.Connections[i]
		fmt.Fprintf(&s, "\nconnection refused at %s from %s\n  %s\n  certificate %s, serial %s, of %s, until %s\n", clock(one.At), one.Address, one.Why, one.Subject, one.Serial, one.Issuer, clock(one.ExpiresAt))
		if !one.Verified {
			s.WriteString("  no authority vouches for this certificate: anyone can have made it\n")
		}
	}
	for i := range d.Requests {
		writeRequest(&s, &d.Requests[i])
	}
	if len(d.Connections)+len(d.Requests) == 0 {
		s.WriteString(nothingRefused)
	}
	if len(d.Hints) > 0 {
		s.WriteString("\nwhat can be done:\n- " + strings.Join(d.Hints, "\n- ") + "\n")
	}
	return s.String()
}

const nothingRefused = `
This node has refused nothing of the client since it started. If the client cannot connect:
- it may not reach this node
- it may refuse the server's certificate, or speak no TLS that the server speaks; then the server never
  sees the client's certificate: see keyreeve audit list --operation Login
`

func writeRequest(s *strings.Builder, r *server.RefusedSent) {
	version := "a version of KMIP that could not be read"
	if r.Version != "" {
		version = "KMIP " + r.Version
	}
	fmt.Fprintf(s, "\nrequest refused at %s from %s, %s, request %s\n", clock(r.At), r.Address, version, r.RequestID)
	if r.Times > 1 {
		fmt.Fprintf(s, "  it failed in this way %d times, since %s\n", r.Times, clock(r.FirstAt))
	}
	if r.Sender != "" {
		fmt.Fprintf(s, "  sent for user %s\n", r.Sender)
	}
	for _, f := range r.Failures {
		what := "the whole message"
		if f.Item > 0 {
			what = fmt.Sprintf("item %d", f.Item)
		}
		if f.Operation != "" {
			what += ", " + f.Operation
		}
		fmt.Fprintf(s, "  %s: %s: %s\n", what, f.Reason, f.Message)
	}
	if r.More > 0 {
		fmt.Fprintf(s, "  and %d more\n", r.More)
	}
	for _, one := range r.Decisions {
		if len(one.Reasons) > 0 {
			fmt.Fprintf(s, "  the policy on %s: %s: %s\n", one.Operation, one.Outcome, strings.Join(one.Reasons, "; "))
		}
	}
	if len(r.Sent) > 0 {
		s.WriteString("  sent:\n    " + strings.Join(r.Sent, "\n    ") + "\n")
	}
}

// clock shows a time in seconds.
func clock(t time.Time) string { return t.Format(time.RFC3339) }
