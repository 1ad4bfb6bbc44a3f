package core

// Outcome is how an action ended.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed" // done
	Denied  Outcome = "denied"  // the policy, or authentication, refused
	Failed  Outcome = "failed"  // allowed, but it could not be done
)

// Record is the audit record of one action. It never holds key bytes,
// plaintext, PINs or tokens.
type Record struct {
	Time        int64 // Unix microseconds, when the action began
	Tenant      string
	Principal   string
	Fingerprint string // of the client certificate
	NamedBy     string // the setting that names the principal; "": its certificate's URI, or the directory of users
	Method      string // how the principal proved itself, one of Methods; "": it did not, or the server itself acted
	Strength    Strength
	Token       string // ID of the access token that proved the principal; "": none did
	Address     string
	Door        Door
	RequestID   string
	ClientRef   string
	Action      Action           // ActionLogin for a failed handshake or credential
	Object      string           // Unique Identifier of the target; "" if there is none
	Involved    []InvolvedObject // all objects but the target
	Outcome     Outcome
	Code        Code     // of the error; Internal with Outcome Allowed means none
	Reasons     []string // what in the policy decided
	PolicyHash  string
	ExecutedIn  string // where cryptography ran: "token", "memory", "software", ""
	DurationUS  int64
	Detail      string // a short fact for people: "state Active -> Deactivated"

	// Changes are the object rows that were stored with the record. With them an old
	// row that someone put back later can be recognized.
	Changes []RowChange
}

// ObjectRole is the part that an object had in an action.
type ObjectRole string

// The roles of objects.
const (
	RoleTarget      ObjectRole = "target"       // the request names it, or it is the first object that the request makes
	RoleWrappingKey ObjectRole = "wrapping key" // it wraps or unwraps the target
	RoleSource      ObjectRole = "source"       // its attributes or value went into the target
	RoleReplacement ObjectRole = "replacement"  // Re-key made it in place of the target
	RoleMade        ObjectRole = "made"         // made beside the target, such as the other half of a pair
	RoleChanged     ObjectRole = "changed"      // changed beside the target
	RoleRemoved     ObjectRole = "removed"      // removed by Undo
	RoleLinked      ObjectRole = "linked"       // named by a Link that was added, removed or searched for
)

// InvolvedObject is an object that was part of an action.
type InvolvedObject struct {
	ID   string // Unique Identifier
	Role ObjectRole
}

// RowChange is one version of an object's row. With it the log can be compared with
// the database.
type RowChange struct {
	Object  string // Unique Identifier
	Version int64
	Hash    []byte // Store.RowHash; nil: the row was deleted
}

// Entry is a record as it is stored and, later, hashed into the log: Body is
// canonical JSON made by package audit.
type Entry struct {
	Node   string // that made the record
	Tenant string
	Time   int64 // Unix microseconds
	Body   []byte
}

// PendingRecords are records that are not stored yet. Not safe for concurrent use.
type PendingRecords struct{ Entries []*Entry }

// RecordQuery selects records, newest first. Empty fields select all.
type RecordQuery struct {
	Tenant       string
	Since, Until int64 // Unix microseconds; 0: open
	Before       int64 // for paging: only records with a smaller number
	Limit        int   // at most 1000
}

// StoredEntry is an Entry with its number in the store, and its count.
type StoredEntry struct {
	Number int64 // the order of records; it can have gaps that mean nothing

	// Count is given when the entry is committed: 1, 2, 3 ... for each Writer of
	// a Node, across restarts, without a gap. If one is missing, a record that was
	// stored has been removed.
	Writer int64
	Count  int64
	Entry
}
