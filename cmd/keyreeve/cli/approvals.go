package cli

import (
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/server/httpd"
)

type approvalListCmd struct{ tenantListing }

// Run lists the requests that wait.
func (c *approvalListCmd) Run() error {
	return printPages(&c.tenantListing, "/approvals", func(a httpd.Approval) string { return a.ApprovalID }, approvalLine)
}

// approvalLine shows one to people.
func approvalLine(a httpd.Approval) string {
	var needs []string
	for _, n := range a.Needs {
		needs = append(needs, fmt.Sprintf("%s: %d of %d", n.Statement, n.Given, n.Needed))
	}
	return oneLine(fmt.Sprintf("%s | %s | %s | %s | %s | until %s", a.ApprovalID, a.Requester, a.Action, strings.TrimSpace(a.KeyID+" "+a.Detail), strings.Join(needs, ", "), a.ExpiresAt))
}

// namedApproval is a command about one request that waits.
type namedApproval struct {
	withReason
	ID string `arg:"" help:"ID of the approval, which the refusal and the list have."`
}

type approvalShowCmd struct {
	ofTenant
	ID string `arg:"" help:"ID of the approval."`
}

// Run prints the request.
func (c *approvalShowCmd) Run() error {
	out := httpd.Approval{}
	err := c.askServer("GET", "/approvals/one", c.query("name", c.ID), &out)
	if err == nil {
		err = printJSON(out)
	}
	return err
}

type approvalApproveCmd struct{ namedApproval }

// Run approves the request.
func (c *approvalApproveCmd) Run() error {
	var out httpd.Approval
	if err := c.askServer("POST", "/approvals/approve", c.query("name", c.ID, "reason", c.Reason), &out); err != nil {
		return err
	}
	fmt.Println(approvalLine(out))
	return nil
}

type approvalDenyCmd struct{ namedApproval }

// Run ends the request.
func (c *approvalDenyCmd) Run() error {
	if err := c.askServer("POST", "/approvals/deny", c.query("name", c.ID, "reason", c.Reason), nil); err != nil {
		return err
	}
	fmt.Println("approval", c.ID, "is denied")
	return nil
}
