package hsm

// Uses are the uses of an object (CKA_ENCRYPT, CKA_SIGN and so on), or of a mechanism
// (CKF_ENCRYPT and so on).
type Uses uint16

// The uses. Only mechanisms have Generate and Digest.
const (
	Encrypt Uses = 1 << iota
	Decrypt
	Sign
	Verify
	Wrap
	Unwrap
	Derive
	Generate
	Digest
)

// KeyType is CKA_CLASS and CKA_KEY_TYPE together.
type KeyType uint8

// The key types. The last three are private keys.
const (
	GenericSecret KeyType = iota
	AES
	DES2
	DES3
	RSA
	EC
	EdwardsEC
)

// IsPrivate reports whether t is a private key and not a secret key.
func (t KeyType) IsPrivate() bool { return t >= RSA }

// Template is the type of an object of the HSM with its protection and its uses. It is
// applied in full: every use that it does not name is forbidden.
type Template struct {
	Type         KeyType
	Sensitive    bool
	Extractable  bool
	Uses         Uses
	Unmodifiable bool
	Bytes        int    // CKA_VALUE_LEN of a key to be generated; 0: left out
	Curve        []byte // CKA_EC_PARAMS, in DER; nil: left out
	Label        string // of an object that stays in the HSM; "": it does not stay
	CKAID        []byte // of an object that stays in the HSM
}

// Key names a key. A key of a set has only a label, and is loaded by LoadKeys. A resident
// key has a label and a CKA_ID. A wrapped key has a blob, the label of its KEK, and the
// template that it is unwrapped by.
type Key struct {
	Label    string
	CKAID    []byte
	KEK      string // the label of the KEK that Blob is wrapped under
	Blob     []byte // by AES key wrap (RFC 3394)
	Template Template

	// Tenant and ID name the object that the key belongs to; see Forget.
	Tenant, ID string
	// MAC stands for all fields above: a kept handle is only used for the MAC that it
	// was made for. nil: no handle is kept.
	MAC []byte
}

// KeyTemplate says what a key of a set may do. By it the HSM enforces the promises of the
// classes.
type KeyTemplate struct {
	Purpose   string // for messages
	Type      KeyType
	Uses      Uses
	Mechanism MechanismType // the only one that may use it
	Wraps     []Flag        // a key must have these to be wrapped under it
	Unwraps   []Flag        // a key that is unwrapped under it has these
}

// Flag is a line of a template inside a template.
type Flag struct {
	Attribute Attribute
	Value     bool
}

// Attribute is one of the attributes that protect a key.
type Attribute uint8

// The attributes CKA_PRIVATE, CKA_SENSITIVE and CKA_EXTRACTABLE.
const (
	Private Attribute = iota
	Sensitive
	Extractable
)

// SetKeyBytes is the length of each key of a set.
const SetKeyBytes = 32

// SetKey is one key of a set.
type SetKey struct {
	Label    string
	Template KeyTemplate
	Check    []byte // the value that it must have; nil takes any
	Probe    bool   // from now on it is used to probe the HSM
}

// SetKeys are keys that are loaded together, such as those of one tenant.
type SetKeys struct {
	Name string
	Keys []SetKey
}

// Object is a token object.
type Object struct {
	Label string
	CKAID []byte
}
