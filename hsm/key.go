package hsm

// Uses are what an object may do (CKA_ENCRYPT, CKA_SIGN and so on), or what a
// mechanism is for (CKF_ENCRYPT and so on).
type Uses uint16

// The uses. Generate and Digest are of mechanisms alone.
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

// Template says what an object of the HSM is and may do. It is applied in full:
// every use that is not named is forbidden.
type Template struct {
	Type         KeyType
	Sensitive    bool
	Extractable  bool
	Uses         Uses
	Unmodifiable bool
	Bytes        int    // CKA_VALUE_LEN of a key to be generated; 0: left out
	Curve        []byte // CKA_EC_PARAMS, in DER; nil: left out
	Label        string // of an object that stays in the HSM; "": none
	CKAID        []byte // of the same
}

// Key names a key. A key of a set has a label alone, and is loaded by LoadKeys. A
// resident key has a label and a CKA_ID. A wrapped key has a blob, the label of its
// KEK, and the template that it is unwrapped by.
type Key struct {
	Label    string
	CKAID    []byte
	KEK      string // the label of the KEK that Blob is wrapped under
	Blob     []byte // by AES key wrap (RFC 3394)
	Template Template

	// Tenant and ID name the object that the key belongs to; see Forget.
	Tenant, ID string
	// MAC stands for everything above: a handle that is kept is used for this MAC
	// alone. nil: no handle is kept.
	MAC []byte
}

// KeyTemplate says what a key of a set may do. The HSM enforces by it what the
// classes promise.
type KeyTemplate struct {
	Purpose   string // for sentences
	Type      KeyType
	Uses      Uses
	Mechanism MechanismType // the only one that it may be used by
	Wraps     []Flag        // what a key must have to be wrapped under it
	Unwraps   []Flag        // what a key has that was unwrapped under it
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
	Probe    bool   // the HSM is tried with it from now on
}

// SetKeys are the keys that are loaded together, such as those of one tenant.
type SetKeys struct {
	Name string
	Keys []SetKey
}

// Object is a token object.
type Object struct {
	Label string
	CKAID []byte
}
