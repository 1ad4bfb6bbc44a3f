package core

import "context"

// IntentTable reads the intents.
type IntentTable interface {
	// Intents lists the intents that are not finished, and the IDs of rows that were
	// tampered with. Nothing else of such a row is returned, and it does not hide the
	// others.
	Intents(ctx context.Context) (sound []Intent, tampered []string, err error)
}

// Intent is written before an effect outside the database, so that a crash
// leaves a trace. It is a record, never an order: nothing is destroyed because
// a row says so.
type Intent struct {
	ID      string // of the token object: its CKA_ID in hexadecimal
	Tenant  string
	Kind    IntentKind
	CKAID   []byte // CKA_ID
	Object  string // Unique Identifier
	Label   string // CKA_LABEL of the token object
	Time    int64  // Unix seconds
	Process string // random; the process that will carry it out
	Nonce   string // random; of this intent
}

// IntentKind is the effect that an intent announces.
type IntentKind string

// The kinds of intents.
const (
	IntentCreateObject  IntentKind = "create-token-object"
	IntentDestroyObject IntentKind = "destroy-token-object"
)

// BeginIntent stores an intent.
type BeginIntent struct{ Intent Intent }

// ForTenant implements [Write].
func (w BeginIntent) ForTenant() string { return w.Intent.Tenant }

// FinishIntent removes an intent.
type FinishIntent struct {
	ID string

	// MustBeOpen makes the change fail with Conflict if the intent is no longer
	// there.
	MustBeOpen bool
}

// ForTenant implements [Write].
func (FinishIntent) ForTenant() string { return OwnWork }
