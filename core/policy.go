package core

import "context"

// AccessRequest is everything that a decision may depend on. Object is nil if the
// action has none (Create, Query), or before objects are found (Locate).
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
// which objects the principal may see, "tenant" or "own" (its own and its groups').
type Decision struct {
	Allow      bool
	Reasons    []string // rules that allowed or denied
	PolicyHash string
	Scope      string
}

// Policy decides every action. An error means that the request is denied; Allow is
// then false. Safe for concurrent use.
type Policy interface {
	Decide(ctx context.Context, r *AccessRequest) (Decision, error)
	Health(ctx context.Context) error
}
