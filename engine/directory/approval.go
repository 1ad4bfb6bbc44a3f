package directory

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Approval is what the directory keeps of a request that waits until others approve it. It
// is good for one request of one principal. The entry is deleted when the approval was used,
// denied or withdrawn.
type Approval struct {
	Requester   string         `json:"requester"` // as TENANT/ID
	Action      string         `json:"action"`    // its name
	Object      string         `json:"object,omitempty"`
	Detail      string         `json:"detail,omitempty"` // what is asked for, for people
	RequestHash []byte         `json:"requestHash"`      // SHA-256 of the canonical request
	Needs       []ApprovalNeed `json:"needs"`
	Approvers   []Approver     `json:"approvers,omitempty"`
	Created     int64          `json:"created"` // Unix seconds
	Expires     int64          `json:"expires"` // Unix seconds
}

// ApprovalNeed is a statement of a key policy that demands approvals.
type ApprovalNeed struct {
	Statement string `json:"statement"` // "POLICY@VERSION/SID"
	core.ApprovalTerms
}

// Approver is a principal that has approved a request.
type Approver struct {
	Principal  string   `json:"principal"`  // as TENANT/ID
	At         int64    `json:"at"`         // Unix seconds
	Statements []string `json:"statements"` // of which needs it was named then
}

// Bounds of an approval.
const (
	MinApprovalLifetime = time.Minute
	MaxApprovalLifetime = 30 * 24 * time.Hour
	maxApprovalNeeds    = 64
	maxApprovers        = 256
)

// Check returns an error if a field of a is out of its bounds.
func (a *Approval) Check() error {
	lifetime := time.Duration(a.Expires-a.Created) * time.Second
	switch {
	case a.Requester == "" || len(a.Requester) > core.MaxDirectoryAuthor || a.Action == "":
		return core.Errorf(core.InvalidField, "an approval has a requester and an action")
	case len(a.RequestHash) != sha256.Size:
		return core.Errorf(core.InvalidField, "requestHash: it has %d bytes, not %d", len(a.RequestHash), sha256.Size)
	case len(a.Needs) == 0 || len(a.Needs) > maxApprovalNeeds || len(a.Approvers) > maxApprovers:
		return core.Errorf(core.InvalidField, "an approval has 1 to %d needs and at most %d approvers", maxApprovalNeeds, maxApprovers)
	case a.Created <= 0 || lifetime < MinApprovalLifetime || lifetime > MaxApprovalLifetime:
		return core.Errorf(core.InvalidField, "an approval lives %v to %v, not %v", MinApprovalLifetime, MaxApprovalLifetime, lifetime)
	}
	for i := range a.Needs {
		if n := &a.Needs[i]; n.Statement == "" || n.Needed < 1 || n.Needed > core.MaxApprovers || len(n.From) == 0 {
			return core.Errorf(core.InvalidField, "needs[%d]: it names 1 to %d approvals and the principals that can give them", i, core.MaxApprovers)
		}
	}
	for i, one := range a.Approvers {
		if one.Principal == "" || one.Principal == a.Requester || slices.ContainsFunc(a.Approvers[:i], func(other Approver) bool { return other.Principal == one.Principal }) {
			return core.Errorf(core.InvalidField, "approvers[%d]: it is the requester or is there twice", i)
		}
	}
	return nil
}

// Given returns how many principals have approved for a statement.
func (a *Approval) Given(statement string) (n int) {
	for i := range a.Approvers {
		if slices.Contains(a.Approvers[i].Statements, statement) {
			n++
		}
	}
	return n
}

// NamesApprover reports whether a principal may approve the request.
func (a *Approval) NamesApprover(p *core.Principal) bool {
	return slices.ContainsFunc(a.Needs, func(n ApprovalNeed) bool { return n.NamesApprover(p) })
}

// NamesApprover reports whether a principal may approve for a statement. "*" is every
// principal of the tenant. The administrator on the server's machine must be named as
// role:system.
func (n *ApprovalNeed) NamesApprover(p *core.Principal) bool {
	if p.Tenant == core.SystemTenant {
		return slices.Contains(n.From, "role:"+core.SystemRole) && p.HasRole(core.SystemRole)
	}
	return slices.ContainsFunc(n.From, func(name string) bool { return isNamed(p, name) })
}

// isNamed reports whether a name of a key policy is that of a principal of a tenant. A client
// is a principal that a certificate proved.
func isNamed(p *core.Principal, name string) bool {
	kind, id, _ := strings.Cut(name, ":")
	switch kind {
	case "*":
		return true
	case "user":
		return p.ID == id
	case "client":
		return p.ID == id && p.Strength == core.StrengthCertificate
	case "group":
		return p.InGroup(id)
	case "role":
		return id != core.SystemRole && p.HasRole(id) // the role that a certificate may claim is not that of the socket
	}
	return false
}

// newApprovalID returns a random ID, which is never used again.
func newApprovalID() string { return rand.Text() }

// StoredApproval is an approval with its place in the directory.
type StoredApproval struct {
	Approval
	ID      string
	Tenant  string
	Version int64 // of its entry
}
