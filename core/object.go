package core

// ManagedObject is one object with everything that is known about it, except its key
// bytes (KMIP 1.4 §2.2, 2.1 §2). Snapshots are immutable: a change makes a new one
// with Version+1.
type ManagedObject struct {
	Tenant  string
	ID      string // Unique Identifier
	Type    ObjectType
	Owner   string // Principal.ID of its creator
	Group   string // its members may use the object too; "": none. Not the attribute Object Group
	Version int64  // 1 at creation; every stored change adds one
	Seq     int64  // order of creation in the store; Locate lists the newest object first

	// Attributes holds all attributes, including those that the store also keeps in
	// columns of their own.
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

// Algorithm returns the Cryptographic Algorithm, 0 if there is none.
func (o *ManagedObject) Algorithm() CryptographicAlgorithm {
	return CryptographicAlgorithm(o.Attributes.Num(TagCryptographicAlgorithm))
}

// Mask returns the Cryptographic Usage Mask, 0 if there is none.
func (o *ManagedObject) Mask() UsageMask {
	return UsageMask(uint32(o.Attributes.Num(TagCryptographicUsageMask)))
}

// Key identifies the object to the HSM.
func (o *ManagedObject) Key() Key {
	return Key{Tenant: o.Tenant, ID: o.ID, Type: o.Type, Algorithm: o.Algorithm(), Mask: o.Mask(), Bits: int(o.Attributes.Num(TagCryptographicLength)), Material: &o.Material}
}

// Class says whether key material may leave the token (docs/DESIGN.md, Custody).
type Class string

// The three classes; KMIP's Extractable and Sensitive choose.
const (
	ClassN Class = "N" // never leaves the token
	ClassX Class = "X" // leaves only wrapped
	ClassC Class = "C" // may leave in clear
)

// ClassOf returns the class for the attributes Sensitive and Extractable.
func ClassOf(sensitive, extractable bool) Class {
	switch {
	case !extractable:
		return ClassN
	case sensitive:
		return ClassX
	}
	return ClassC
}

// Mode says where key material is stored.
type Mode string

// The modes. A public key, a certificate, an opaque object or a secret that is
// not a key for the token is ModeData: sealed by AES-GCM under the tenant's D.
const (
	ModeWrapped  Mode = "wrapped"  // blob under the class's KEK, in the database
	ModeResident Mode = "resident" // object in the token
	ModeData     Mode = "data"     // blob under D, in the database
)

// Successor returns a copy of o that is to be changed and stored in its place.
func (o *ManagedObject) Successor() *ManagedObject {
	next := *o
	return &next
}

// Material is the part of a row that holds the key material. Blob is never in clear.
type Material struct {
	Mode   Mode
	Class  Class
	Epoch  int           // of the KEK or D that sealed Blob
	Wrap   string        // format of Blob: "aes-kw", "aes-gcm", "" for resident
	Kind   KeyKind       // what the clear bytes are
	Format KeyFormatType // how the clear bytes are encoded: Raw, PKCS_8, X_509 (SubjectPublicKeyInfo is X_509), Opaque ...
	Length int           // true length of the clear bytes; 0 if only the token knows it
	CKAID  []byte        // CKA_ID of a resident object
	Blob   []byte
	TTLV   []byte // second blob: the TTLV Key Value of a registered class X key, under KEK-X
	MAC    []byte // over identity, type, algorithm, mask and blob
}

// KeyKind is the kind that a key has for the token.
type KeyKind string

// The kinds. KindData never becomes a key in the token.
const (
	KeyAES     KeyKind = "aes"
	KeyDES3    KeyKind = "des3"
	KeyGeneric KeyKind = "generic" // HMAC keys, and secrets that are only stored or derived from
	KeyRSA     KeyKind = "rsa"     // private, PKCS#8
	KeyEC      KeyKind = "ec"      // private, PKCS#8
	KeyEd25519 KeyKind = "ed25519" // private, PKCS#8
	KeyPublic  KeyKind = "public"  // SubjectPublicKeyInfo
	KeyData    KeyKind = "data"
)

// Key identifies a key to the HSM: its identity, the fields that the row MAC covers,
// and its material. The caches of handles and plaintexts are keyed by (Tenant, ID).
// Their entries hold the row MAC, so that a changed row never uses an old handle.
type Key struct {
	Tenant    string
	ID        string
	Type      ObjectType
	Algorithm CryptographicAlgorithm
	Mask      UsageMask
	Bits      int // Cryptographic Length
	Material  *Material

	NoSoftware bool // the key is never used in Go because the token lacks a mechanism
}

// TokenObject identifies the token object of a resident key: by tenant and object,
// from which its label is made, and by its CKA_ID.
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

	KeySetDestroyed KeySetState = "destroyed" // its tenant was deleted, and the token has none of its keys
)

// MaxKeyEpoch is the largest epoch of a tenant's keys: seals have two bytes for it.
const MaxKeyEpoch = 1<<16 - 1

// KeySet is a set of seven keys in the token that belongs to one tenant forever. Its number is in the labels of its keys.
type KeySet struct {
	Number int64 // from 1; number 0 is the system set, which has no row
	Tenant string
	Epoch  int // from 1, within the tenant
	State  KeySetState
	Checks []byte // check values of the keys; the HSM makes and compares them; nil while pending
}

// TokenKeySet is a set of keys as the token has it.
type TokenKeySet struct {
	Label   string // what the labels of its keys begin with
	Own     bool   // it belongs to the installation that is served
	Number  int64
	Objects map[string]int // by purpose, how many objects have the label
}

// Installation is one installation of keyreeve. Its database and its token have the
// same ID.
type Installation struct {
	ID      string // 32 hex digits, random
	Created int64  // Unix seconds
	Checks  []byte // check values of the keys of the system set
}
