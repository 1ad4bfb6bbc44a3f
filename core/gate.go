package core

import "context"

// Gate is what a statement of a key policy demands besides its conditions. Until it is
// open, a statement that allows does not count, and one that denies does.
type Gate struct {
	Statement string // "POLICY@VERSION/SID"
	Denies    bool   // the statement denies until the gate is open; otherwise it allows from then on
	GateTerms
}

// GateTerms are the terms on which a gate opens. All that are set must be met.
type GateTerms struct {
	Approvals *ApprovalTerms // nil: none are needed
	Rate      *RateTerms     // nil: no bound
	TotalUse  int64          // how often the statement permits a use of one object, in all; 0: no bound
}

// RateTerms bound how often one principal does what a statement is about with one object.
type RateTerms struct {
	Uses int64 // at least 1
	Per  int64 // seconds, at least 1
}

// ApprovalTerms say how many others must approve a request, and who they can be.
type ApprovalTerms struct {
	Needed int      `json:"needed"` // 1 to MaxApprovers
	From   []string `json:"from"`   // "user:alice", "role:custodian", "group:security", "client:web", "*"; sorted
}

// MaxApprovers bounds the approvals that one statement can demand.
const MaxApprovers = 16

// WaitingRequest is a request that needs approvals.
type WaitingRequest struct {
	Tenant    string
	Requester string // as TENANT/ID
	Action    Action
	Object    string // Unique Identifier; "": none
	Detail    string // what is asked for, for people
	Hash      []byte // SHA-256 of the canonical request
	Gates     []Gate // with approvals
	Now       int64  // Unix seconds
	Expires   int64  // Unix seconds
}

// GivenApproval is what was approved of a request.
type GivenApproval struct {
	ID      string
	Tenant  string
	Version int64          // of its entry
	Author  string         // of the request, as TENANT/ID
	Given   map[string]int // how many have approved, by statement
}

// ApprovalDesk keeps requests that wait for approvals. Safe for concurrent use.
type ApprovalDesk interface {
	// FindApproval returns what was approved of a request; nil if it does not wait.
	FindApproval(r *WaitingRequest) (*GivenApproval, error)
	// AskApproval lets a request wait, durably, and returns the ID of the approval. If the same
	// one waits, it returns that. QuotaExceeded if too many wait.
	AskApproval(ctx context.Context, r *WaitingRequest) (id string, err error)
	// UseUp returns the write that ends an approval. Of two changes with it one fails with
	// Conflict. The caller tells ShowStored of the change that has stored it.
	UseUp(a *GivenApproval, now int64) Write
	ShowStored(*Change)

	// PolicyGuards returns the gates with approvals of a key policy, in force or waiting to be.
	// HolderGuards returns those of the policies that are attached to a holder such as
	// "role:ops". Changing what they guard needs the same approvals.
	PolicyGuards(tenant, policy string) ([]Gate, error)
	HolderGuards(tenant, holder string) ([]Gate, error)
}
