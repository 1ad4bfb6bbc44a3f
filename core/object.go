package core

// ManagedObject is one object with everything known of it but its key bytes
// (KMIP 1.4 §2.2, 2.1 §2). Snapshots are immutable: a change makes a new one
// with Version+1.
type ManagedObject struct {
	Tenant  string
	ID      string // Unique Identifier
	Type    ObjectType
	Owner   string // Principal.ID of who made it
	Group   string // whose members may use it besides the owner; "" nobody. Not the Object Group attribute
	Version int64  // 1 at birth; every stored change adds one
	Seq     int64  // order of birth within the store; Locate answers in the reverse

	// Attributes holds all of them, those included that the store also keeps
	// in columns of their own.
	Attributes Attributes
	Material   Material
}

// DefaultOperationPolicy is the Operation Policy Name of an object whose client
// named none (KMIP 1.4 §3.18.2). It is implied and not stored: a client may still
// add a name. keyreeve's own policy does not depend on it.
const DefaultOperationPolicy = "default"

// OperationPolicyName returns the name that a client of KMIP 1.x sees. A Template
// has one only if its client gave it.
func (o *ManagedObject) OperationPolicyName() (string, bool) {
	if v, ok := o.Attributes.Get(TagOperationPolicyName); ok {
		return v.Text, true
	}
	return DefaultOperationPolicy, o.Type != ObjectTypeTemplate
}

// Algorithm is the Cryptographic Algorithm attribute, 0 when absent.
func (o *ManagedObject) Algorithm() CryptographicAlgorithm {
	return CryptographicAlgorithm(o.Attributes.Num(TagCryptographicAlgorithm))
}

// Mask is the Cryptographic Usage Mask attribute, 0 when absent.
func (o *ManagedObject) Mask() UsageMask {
	return UsageMask(uint32(o.Attributes.Num(TagCryptographicUsageMask)))
}

// Key names the object to the HSM.
func (o *ManagedObject) Key() Key {
	return Key{Tenant: o.Tenant, ID: o.ID, Type: o.Type, Algorithm: o.Algorithm(), Mask: o.Mask(), Bits: int(o.Attributes.Num(TagCryptographicLength)), Material: &o.Material}
}

// Class says how far key material may go (docs/DESIGN.md, Custody).
type Class string

// The three classes; KMIP's Extractable and Sensitive choose.
const (
	ClassN Class = "N" // never leaves the token
	ClassX Class = "X" // leaves wrapped only
	ClassC Class = "C" // may leave in clear
)

// ClassOf returns the class that the attributes Sensitive and Extractable name.
func ClassOf(sensitive, extractable bool) Class {
	switch {
	case !extractable:
		return ClassN
	case sensitive:
		return ClassX
	}
	return ClassC
}

// Mode says where material lies.
type Mode string

// The modes. A public key, a certificate, an opaque object or a secret that is
// no key the token knows is ModeData: sealed by AES-GCM under the tenant's D.
const (
	ModeWrapped  Mode = "wrapped"  // blob under the class's KEK, in the database
	ModeResident Mode = "resident" // object in the token
	ModeData     Mode = "data"     // blob under D, in the database
)

// Material is a row's custody part. The blob is never clear.
type Material struct {
	Mode   Mode
	Class  Class
	Epoch  int           // of the KEK or D that sealed Blob
	Wrap   string        // format of Blob: "aes-kw", "aes-gcm", "" for resident
	Kind   KeyKind       // what the clear bytes are
	Format KeyFormatType // how the clear bytes are encoded: Raw, PKCS_8, X_509 (SubjectPublicKeyInfo is X_509), Opaque ...
	Length int           // true length of the clear bytes; 0 where only the token knows it
	CKAID  []byte        // CKA_ID of a resident object
	Blob   []byte
	TTLV   []byte // second blob: the TTLV Key Value of a registered class X key, under KEK-X
	MAC    []byte // over identity, type, algorithm, mask and blob
}

// KeyKind is what a token takes a key for.
type KeyKind string

// The kinds. KindData never becomes a key in the token.
const (
	KeyAES     KeyKind = "aes"
	KeyDES3    KeyKind = "des3"
	KeyGeneric KeyKind = "generic" // HMAC keys, and secrets only stored and derived from
	KeyRSA     KeyKind = "rsa"     // private, PKCS#8
	KeyEC      KeyKind = "ec"      // private, PKCS#8
	KeyEd25519 KeyKind = "ed25519" // private, PKCS#8
	KeyPublic  KeyKind = "public"  // SubjectPublicKeyInfo
	KeyData    KeyKind = "data"
)

// Key names a key to the HSM: identity, what the row MAC binds, and material.
// Handle and memory caches are keyed by (Tenant, ID) and hold the row MAC they
// were filled under, so that a changed row never meets an old handle.
type Key struct {
	Tenant    string
	ID        string
	Type      ObjectType
	Algorithm CryptographicAlgorithm
	Mask      UsageMask
	Bits      int // Cryptographic Length
	Material  *Material
}

// TokenObject names the token object of a resident key: an object of its tenant,
// by which its label is made, and its CKA_ID.
type TokenObject struct {
	Tenant, ID string
	CKAID      []byte
}

// KeyPurposes are the keys of a set, in the order in which they are made: one
// key that wraps keys for each class, D for data, R for the seals of rows and
// nothing else, V for derivation, and the spare S.
var KeyPurposes = []string{"N", "X", "C", "D", "R", "V", "S"}

// KeySetState is the state of a set of keys.
type KeySetState string

// The states of a set of keys.
const (
	KeySetPending KeySetState = "pending" // the token may lack some of its keys; nothing is sealed under it
	KeySetActive  KeySetState = "active"
	KeySetRetired KeySetState = "retired" // was never finished, and is not used
)

// MaxKeyEpoch is the largest epoch of a tenant's keys: seals have two bytes for it.
const MaxKeyEpoch = 1<<16 - 1

// KeySet is a set of seven keys in the token that belongs to one tenant for
// good. Its number is in the labels of its keys.
type KeySet struct {
	Number int64 // from 1; number 0 is the system set, which no row names
	Tenant string
	Epoch  int // from 1, within the tenant
	State  KeySetState
	Checks []byte // check values of the keys; the HSM makes and compares them; nil while pending
}

// TokenKeySet is a set of keys as it lies in the token.
type TokenKeySet struct {
	Label   string // what the labels of its keys begin with
	Own     bool   // it belongs to the installation that is served
	Number  int64
	Objects map[string]int // by purpose, how many objects have the label
}

// Installation is one keyreeve: its database and its token bear the same ID.
type Installation struct {
	ID      string // 32 hex digits, random
	Created int64  // Unix seconds
	Checks  []byte // check values of the keys of the system set
}
