package core

import "context"

// Clock tells the time, so that tests can.
type Clock interface {
	Now() int64      // Unix seconds
	NowMicro() int64 // Unix microseconds
	Mono() int64     // microseconds since some start; unlike the others it is never set back
}

// Store keeps metadata. The implementations behave alike, which storetest
// proves. All methods are safe for concurrent use. Errors carry the codes
// ItemNotFound, ObjectAlreadyExists, Conflict or StoreUnavailable. A row that
// was changed behind the server is Tampered, and nothing of it is returned;
// TokenUnavailable if the key of its seal is not there.
type Store interface {
	// Object returns a snapshot with its Material.
	Object(ctx context.Context, tenant, id string) (*ManagedObject, error)

	// Candidates returns objects that MAY match f: every match is among them,
	// others can be. They come newest first, in descending Seq, or as f says oldest
	// first, and begin beyond the given Seq, or where 0 is given with the first. It
	// uses an index for Name, links, groups, vendor attributes and the typed
	// columns. Material is left out. Fewer than limit rows mean that there are no
	// more.
	Candidates(ctx context.Context, tenant string, f Filter, beyond int64, limit int) ([]*ManagedObject, error)

	// Commit stores a change as one transaction, durable when it returns nil.
	// Commits of many callers may share one sync.
	Commit(ctx context.Context, c *Change) error

	// InstallationID returns what the database says of itself, which nothing
	// vouches for: the keys that could are found by it. ItemNotFound if keyreeve
	// init has not been run on the database.
	InstallationID(ctx context.Context) (string, error)

	// Installation returns the row of the installation, sealed by the system set.
	Installation(ctx context.Context) (Installation, error)

	// KeySets lists the sets of a tenant, of every tenant when it is "". If rows were
	// changed behind the server, it returns the others, and an error of code Tampered
	// that names them; then use the list for looking alone.
	KeySets(ctx context.Context, tenant string) ([]KeySet, error)

	// Intents lists what was begun and not finished, and the ids of rows of intents
	// that were changed behind the server, of which nothing else is returned: one
	// such row must not hide the others.
	Intents(ctx context.Context) (sound []Intent, tampered []string, err error)

	// Residents returns which of the given CKA_IDs an object row names that is
	// not destroyed.
	// It is a hint: the rows' seals are not checked.
	Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error)

	// RowHash returns the SHA-256 of an object's row at o.Version: of what its
	// seal covers, except Seq.
	RowHash(o *ManagedObject) ([]byte, error)

	// Usage returns what a tenant has, as the changes that are stored counted it.
	Usage(ctx context.Context, tenant string) (Usage, error)

	// DueDates lists dates of objects that were reached at or before a time and are
	// not noted yet, in order, beginning after the given one. They are hints: the
	// row of the object has the last word.
	DueDates(ctx context.Context, until int64, after DueDate, limit int) ([]DueDate, error)

	// Records reads the audit records back.
	Records(ctx context.Context, q RecordQuery) ([]StoredEntry, error)

	// Shared reports whether other processes may change rows, so that snapshots
	// must not be trusted for longer than SnapshotLease.
	Shared() bool

	Health(ctx context.Context) error
	Close() error
}

// SnapshotLeaseMS is how long, in milliseconds, a snapshot of a shared store
// may be used (promise 5: revoked everywhere within a second).
const SnapshotLeaseMS = 800

// Filter narrows Locate for the store. The engine checks each candidate again.
type Filter struct {
	Now         int64      // for states that dates have moved on
	Attributes  Attributes // the request's; see Matches
	Owner       string     // with Groups: only objects of this owner or these groups
	Groups      []string
	Everyone    bool // ignore Owner and Groups: the policy lets the principal see the tenant
	OldestFirst bool
}

// DueDate is a date of an object at which the clock changes what the object may do.
type DueDate struct {
	Tenant string
	ID     string // Unique Identifier
	Tag    Tag
	At     int64 // Unix seconds
}

// Intent is written before an effect outside the database, so that a crash
// leaves a trace. It is a record, never an order: nothing is destroyed because
// a row says so.
type Intent struct {
	ID      string // of the token object: its CKA_ID in hexadecimal
	Tenant  string
	Kind    string // "create-token-object", "destroy-token-object"
	Token   []byte // CKA_ID
	Object  string // Unique Identifier
	Label   string // CKA_LABEL of the token object
	Time    int64  // Unix seconds
	Process string // random; the process that will carry it out
	Nonce   string // random; of this intent
}

// Undo remembers how to take back what a batch has done. The engine fills it;
// [Engine.Undo] uses it. Not safe for concurrent use.
type Undo struct{ Steps []UndoStep }

// UndoStep is one change taken back: Made is deleted, or After goes back to Before.
type UndoStep struct{ Before, After *ManagedObject }

// KeySpec says what key to make or import.
type KeySpec struct {
	Kind   KeyKind
	Class  Class
	Mode   Mode
	Bits   int              // of a symmetric key, or an RSA modulus
	Curve  RecommendedCurve // EC
	Format KeyFormatType    // of the clear bytes given to Import
	Token  []byte           // CKA_ID for Mode resident, named in an intent before
	TTLV   []byte           // Import of class X: the TTLV Key Value to keep as a second blob; nil: none

	// Registered is, for Import, what the Digest is made of where that is another
	// form than the bytes; nil: the bytes.
	Registered []byte
}

// KeyFacts is what the token tells of a key it made or took.
type KeyFacts struct {
	SHA256 []byte // of the clear bytes; nil where nobody may know
	Where  string
}

// Cipher is one Encrypt or Decrypt. Parameters are complete: the engine has
// merged the request's with the key's and the defaults.
type Cipher struct {
	Parameters CryptographicParameters
	Data       []byte
	IV         []byte // empty at Encrypt with a mode that needs one: make it
	AAD        []byte
	Tag        []byte // Decrypt, AEAD
}

// Ciphered is the answer: IV only where it was made here, Tag for AEAD modes.
type Ciphered struct {
	Data, IV, Tag []byte
	Where         string
}

// HSM is the token, or group of tokens, that makes, keeps and uses keys. Only
// class C bytes and data leave it, and only through Clear. Every method checks
// the row MAC of a Key with material before it is used; a wrong one is Tampered. Errors carry TokenUnavailable, UnsupportedByHSM,
// CryptographicFailure, BadCryptographicParameters, InvalidField, Sensitive or
// NotExtractable. Safe for concurrent use.
type HSM interface {
	Generate(ctx context.Context, k Key, s KeySpec) (Material, KeyFacts, error)
	// GeneratePair makes a private key for k and returns beside it the public
	// half as SubjectPublicKeyInfo, sealed for the key public.
	GeneratePair(ctx context.Context, k, public Key, s KeySpec) (private, pub Material, spki []byte, facts KeyFacts, err error)
	// Import takes clear bytes: a key, or data for D. It does not keep clear. A
	// private key of class N or X that does not work is InvalidField.
	Import(ctx context.Context, k Key, s KeySpec, clear []byte) (Material, KeyFacts, error)
	// ImportWrapped takes a key that a client wrapped (No Encoding) under key with.
	ImportWrapped(ctx context.Context, k Key, s KeySpec, with Key, p CryptographicParameters, wrapped []byte) (Material, KeyFacts, error)
	// Reclass wraps a key anew for a stricter class, from C to X or N, or from X
	// to N. A token object and a public key keep theirs: IllegalOperation.
	Reclass(ctx context.Context, k Key, to Class) (Material, error)

	// Clear appends the clear bytes of a class C key or of data to dst. The
	// caller zeroes them.
	Clear(ctx context.Context, k Key, dst []byte) ([]byte, error)
	// WrapOut wraps k under with: its raw bytes (No Encoding), or the given TTLV
	// Key Value of a class C key, or with ttlv empty and not nil its stored TTLV blob.
	WrapOut(ctx context.Context, k, with Key, p CryptographicParameters, ttlv []byte) ([]byte, error)

	Encrypt(ctx context.Context, k Key, c *Cipher) (Ciphered, error)
	Decrypt(ctx context.Context, k Key, c *Cipher) (Ciphered, error)
	Sign(ctx context.Context, k Key, p CryptographicParameters, data []byte, digested bool) (sig []byte, where string, err error)
	Verify(ctx context.Context, k Key, p CryptographicParameters, data []byte, digested bool, sig []byte) (ok bool, where string, err error)
	MAC(ctx context.Context, k Key, p CryptographicParameters, data []byte) (mac []byte, where string, err error)
	MACVerify(ctx context.Context, k Key, p CryptographicParameters, data, mac []byte) (ok bool, where string, err error)
	Random(ctx context.Context, dst []byte) error
	Seed(ctx context.Context, seed []byte) error

	// Forget drops cached handles and memory copies of an object.
	Forget(tenant, id string)

	// MakeKeySet makes the keys of a set that the token lacks, and returns the
	// check values of all. It destroys nothing. The code is ObjectAlreadyExists if
	// the token has an object in the place of a key that is not as it was made.
	MakeKeySet(ctx context.Context, s KeySet) (checks []byte, err error)
	// KeySetExists reports whether the token has a key of the set with this number.
	KeySetExists(ctx context.Context, number int64) (bool, error)
	// KeySets lists all sets of keys of keyreeve in the token, those of other
	// installations included, by what the labels of token objects say.
	KeySets(ctx context.Context) ([]TokenKeySet, error)
	// LoadKeySets finds all active sets of one or more tenants in the token and
	// compares attributes and check values of every key. Without it no other method
	// works for a tenant.
	LoadKeySets(ctx context.Context, sets []KeySet) error
	// DestroyObject removes the token object of a resident key: the one whose label
	// and CKA_ID are those of o, and nothing else, in particular no tenant key. nil
	// means that it is certain not to be in the token: a module that has failed to
	// remove it is not believed until it has read its objects again.
	DestroyObject(ctx context.Context, o TokenObject) error
	// Objects lists the token objects of resident keys of this installation.
	Objects(ctx context.Context) ([]TokenObject, error)
	// ObjectLabel is the label of the token object of a resident key.
	ObjectLabel(tenant, id string) string

	Health(ctx context.Context) HSMHealth
	Close(ctx context.Context) error
}

// Sealer makes and checks the seals of database rows. The key of a tenant's
// seals is in the token; tenant "" names the system set, which seals the rows
// that decide about tenants or belong to none. The caller writes a row in one
// canonical form, with the table's name in it, so that a row of one table is
// never valid in another. Errors carry TokenUnavailable when the tenant's keys
// are not loaded, CryptographicFailure when the seal is wrong. Safe for
// concurrent use.
type Sealer interface {
	// Seal returns the seal of a row under the newest key R: two bytes of its
	// epoch, big endian, then 32 bytes.
	Seal(tenant string, row []byte) ([]byte, error)
	// CheckSeal returns an error unless seal is the seal of row.
	CheckSeal(tenant string, row, seal []byte) error
}

// HSMHealth is the state of a token for people and probes.
type HSMHealth struct {
	Ready                                        bool
	Label                                        string
	Serial                                       string
	Module                                       string
	Refusals                                     []string // classes and mechanisms refused by the self-test, each with its reason
	Problem                                      string   // a sentence; "" when ready
	Stuck                                        int      // calls that have not come back for too long
	Sessions, InUse, CachedHandles, CachedCopies int
	Waiting                                      int // calls that wait for a session
}

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

// Journal turns a record into the bytes that are stored.
type Journal interface {
	Seal(r *Record) Entry
}

// Normalized is what a client registered, brought to the form that is stored.
type Normalized struct {
	Bytes     []byte // clear; the caller zeroes it
	Kind      KeyKind
	Format    KeyFormatType // how Bytes are encoded
	Algorithm CryptographicAlgorithm
	Length    int // Cryptographic Length in bits
	Curve     RecommendedCurve
}

// Formats turns key material from one Key Format Type into another; pure.
// Errors carry KeyFormatTypeNotSupported or InvalidField.
type Formats interface {
	// Normalize checks a key block without wrapping and brings it to the stored
	// form. Of class N and X it makes no other copy in clear than that; whether a
	// private key's numbers belong together is then for Import to find out.
	Normalize(t ObjectType, kb *KeyBlock, c Class) (Normalized, error)
	// Render fills Format, and Material or Transparent, of kb with the clear
	// bytes of m in the format wanted. kb's slices may alias clear.
	Render(clear []byte, m *Material, alg CryptographicAlgorithm, wanted KeyFormatType, kb *KeyBlock) error
	// Digest hashes data; InvalidField for a hash it does not know.
	Digest(h HashingAlgorithm, data []byte) ([]byte, error)
	// EncodeKeyValue appends the Key Value of kb as a TTLV structure, for TTLV Encoding
	// of wrapped keys (KMIP 1.4 §2.1.6). A dst that is too short is left before a
	// key is in it.
	EncodeKeyValue(dst []byte, kb *KeyBlock, v Version) ([]byte, error)
	// DecodeKeyValue fills kb's material and attributes from a TTLV Key Value,
	// which they alias; InvalidField for what is none.
	DecodeKeyValue(ttlv []byte, kb *KeyBlock, v Version) error
}
