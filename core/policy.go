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

	// Policies are the versions, in force at Now, of the key policies that are attached to
	// the object, its Object Groups, and the principal with its roles and groups.
	Policies []DirectoryVersion

	// Asked is what the request asks for, for conditions of key policies.
	Asked Asked

	// Statements are the statements of Policies that match the request. The policy finds
	// them itself if there are Policies.
	Statements MatchedStatements
	// Granted names the statements whose gates are open.
	Granted []string
	// Rights are the principal's own roles, declared by the tenant, that permit Action.
	Rights []string
}

// Asked is what a request asks a key to be used with, or what it asks for if it makes, takes or
// replaces a key: algorithm, length and mask.
type Asked struct {
	Parameters *CryptographicParameters // nil: the request names none, so those of the object count
	Wrapped    *bool                    // whether the value leaves wrapped; nil: it does not leave
	Length     int32                    // of the new key, in bits; 0: not named
	UsageMask  UsageMask                // of the new key, of both halves of a pair; 0: not named
}

// AccessFacts adds to a request what the directory has about it: Policies and Rights. It
// fails if that cannot be relied on; the request must then be denied. Safe for concurrent
// use.
type AccessFacts interface {
	AddFacts(r *AccessRequest) error
	// GovernsGroup reports whether key policies are attached to an Object Group.
	GovernsGroup(tenant, group string) (bool, error)
	// PoliciesNaming lists the key policies, in force or waiting, that name one of some labels
	// and are attached to o, to its Object Groups, or to a user, role or group of its tenant.
	PoliciesNaming(o *ManagedObject, labels []PolicyLabel) ([]string, error)
	// Propose returns the facts as they would be with versions of entries that are not stored.
	Propose(entries []*DirectoryEntry) AccessFacts
}

// PolicyLabel is a value of an attribute that a condition of a key policy names. If an object
// loses one that denies, it can escape a denial. If it gains another one, a permission can
// begin to match.
type PolicyLabel struct {
	Field  string // "tags.x-keyreeve-tag-env", "object.objectGroup", "object.class"
	Value  string
	Denies bool // the statement denies
}

// MatchedStatements names the statements of key policies that match a request, as
// "POLICY@VERSION/SID", sorted. A statement in Deny denies, whatever permits. If
// Exclusive is set, a policy of the key is exclusive: the request is permitted only by a
// statement in Allow. Gates are those of matching statements that are not open: first those
// that deny, in the order of their names.
type MatchedStatements struct {
	Allow, Deny []string
	Exclusive   bool
	Gates       []Gate
}

// Decision is the policy's answer. Scope is filled for Locate without object:
// which objects the principal may see, "tenant" or "own" (its own and its groups').
type Decision struct {
	Allow      bool
	Reasons    []string // rules and statements that allowed or denied
	PolicyHash string
	Scope      string
	Gates      []Gate // of a denial: if they were open, the request would be permitted
}

// Policy decides every action. An error means that the request is denied; Allow is
// then false. Safe for concurrent use.
type Policy interface {
	Decide(ctx context.Context, r *AccessRequest) (Decision, error)
	Health(ctx context.Context) error
}

// PolicySource is the text of a policies.rego with the text of its tests.
type PolicySource struct {
	Policy, Tests         string
	PolicyName, TestsName string // for messages; "": the names of the default policy
}

// ServerPolicy is the policy that decides the requests of a server, and can be replaced
// while it does. While none is in force, every request is denied.
type ServerPolicy interface {
	Policy
	// Hash returns the SHA-256 of the text of the policy in force in hex, "" if none is.
	Hash() string
	// Prepare compiles a policy and runs its tests. It fails with PolicyUnavailable if the
	// policy cannot be used.
	Prepare(ctx context.Context, s PolicySource) (PreparedPolicy, error)
	// Suspend takes the policy out of force. why is the error of each decision from then on.
	Suspend(why error)
}

// PreparedPolicy is a policy that can be put in force. It decides as it would then.
type PreparedPolicy interface {
	Policy
	Hash() string
	Activate()
}

// StatementVerdict says about one statement of a key policy whether it matches a request,
// and why not.
type StatementVerdict struct {
	Statement string // "POLICY@VERSION/SID"
	Effect    string // "allow" or "deny"
	Matched   bool
	Counts    bool     // false if it matched but an exclusive policy takes its effect away
	Unmet     []string // sorted: "actions", "principal", "conditions.ipAddress"; empty if it matched
}

// KeyPolicies reads key policies as people write them, and explains them.
type KeyPolicies interface {
	// Explain says which statements of the key policies of a request match it, and why
	// the others do not.
	Explain(ctx context.Context, r *AccessRequest) ([]StatementVerdict, error)

	// FindStatements fills r.Statements with the statements of r.Policies that match.
	FindStatements(ctx context.Context, r *AccessRequest) error

	// Reads lists what the statements of r.Policies about r.Action look at: principals such
	// as "role:admin", conditions such as "conditions.parameters.mode", and "gate". Sorted.
	Reads(r *AccessRequest) ([]string, error)

	// Propose returns key policies with a document in the place of a version of a policy.
	// All others are as they are stored. It fails with InvalidField if the document is wrong.
	Propose(v DirectoryVersion, document []byte) (KeyPolicies, error)

	// CheckKeyPolicy reads the document of a policy that is stored under a name, and
	// runs its tests. It fails with InvalidField and the path of the first fault. exists
	// says which names such as "user:alice" exist.
	CheckKeyPolicy(ctx context.Context, name string, document []byte, exists func(name string) bool) (KeyPolicyFacts, error)
}

// KeyPolicyFacts is what is known of a key policy without an evaluation.
type KeyPolicyFacts struct {
	Hash       string // SHA-256 of its normal form, hex
	Statements int
	Exclusive  bool
	Keys       []string // Unique Identifiers of the objects that the document names
	Holders    []string // the other holders that it names, as "role:admin"
	Warnings   []string
}
