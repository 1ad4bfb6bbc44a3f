package httpd

import (
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// Approval is a request that waits for approvals.
type Approval struct {
	ApprovalID  string         `json:"approvalId"`
	Requester   string         `json:"requester"` // TENANT/NAME
	Action      string         `json:"action"`
	KeyID       string         `json:"keyId,omitempty"`
	Detail      string         `json:"detail,omitempty"`
	Needs       []ApprovalNeed `json:"needs"`
	Approvers   []string       `json:"approvers"` // TENANT/NAME
	RequestedAt string         `json:"requestedAt"`
	ExpiresAt   string         `json:"expiresAt"`
}

// ApprovalNeed says how many approvals a statement demands.
type ApprovalNeed struct {
	Statement string   `json:"statement"`
	Needed    int      `json:"needed"`
	Given     int      `json:"given"`
	From      []string `json:"from"`
}

// ApprovalShown returns what both this door and the admin socket show of an approval.
func ApprovalShown(a *admin.StoredApproval) Approval {
	out := Approval{ApprovalID: a.ID, Requester: a.Requester, Action: a.Action, KeyID: a.Object, Detail: a.Detail, Approvers: []string{}, RequestedAt: door.TimeText(a.Created), ExpiresAt: door.TimeText(a.Expires)}
	for i := range a.Needs {
		n := &a.Needs[i]
		out.Needs = append(out.Needs, ApprovalNeed{Statement: n.Statement, Needed: n.Needed, Given: a.Given(n.Statement), From: n.From})
	}
	for _, one := range a.Approvers {
		out.Approvers = append(out.Approvers, one.Principal)
	}
	return out
}

// approvalPage is the answer of GET /v1/approvals.
type approvalPage struct {
	Approvals     []Approval `json:"approvals"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
}

func (s *service) approvals() *admin.ApprovalVerbs { return admin.NewApprovalVerbs(s.Admin) }

func listApprovals(s *service, c *core.Caller, r *http.Request) (page approvalPage, err error) {
	name := func(a *admin.StoredApproval) string { return a.ID }
	page.Approvals, page.NextPageToken, err = door.PageOf(s.Door, c, r, core.ActionReadApprovals, s.approvals().List, name, ApprovalShown)
	return page, err
}

func getApproval(s *service, c *core.Caller, r *http.Request) (Approval, error) {
	a, err := s.approvals().Read(r.Context(), c, "", r.PathValue("approvalId"))
	return ApprovalShown(&a), err
}

// approvalAnswer is the body of POST .../approve and .../deny.
type approvalAnswer struct {
	Reason string `json:"reason"` // "": none
}

// approvalInput reads the answer to a request that waits.
func (s *service) approvalInput(c *core.Caller, r *http.Request, action core.Action) (admin.ApprovalInput, error) {
	var in approvalAnswer
	err := s.DecodeFor(c, r, action, &in)
	return admin.ApprovalInput{ID: r.PathValue("approvalId"), Reason: in.Reason}, err
}

func approveRequest(s *service, c *core.Caller, r *http.Request) (Approval, error) {
	in, err := s.approvalInput(c, r, core.ActionApproveRequest)
	if err != nil {
		return Approval{}, err
	}
	a, err := s.approvals().Approve(r.Context(), c, in)
	return ApprovalShown(&a), err
}

func denyRequest(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	in, err := s.approvalInput(c, r, core.ActionDenyRequest)
	if err != nil {
		return door.Nothing{}, err
	}
	return door.Nothing{}, s.approvals().Deny(r.Context(), c, in)
}
