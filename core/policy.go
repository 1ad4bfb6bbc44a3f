package core

import "context"

// AccessRequest is all that a decision may depend on. Object nil is a declared
// "no object" (Create, Query, Locate itself).
type AccessRequest struct {
	Action    Action
	Principal *Principal
	Object    *ManagedObject
	State     State // Object's, at Now
	Door      Door
	Address   string
	Now       int64 // Unix seconds
}

// Decision is the policy's answer. Scope is filled for Locate without object:
// how far the principal may see, "tenant" or "own" (its own and its groups').
type Decision struct {
	Allow      bool
	Reasons    []string // rules that allowed or denied
	PolicyHash string
	Scope      string
}

// Policy decides every operation. An error means deny; it never comes with
// Allow. Safe for concurrent use.
type Policy interface {
	Decide(ctx context.Context, r *AccessRequest) (Decision, error)
	Health(ctx context.Context) error
}
