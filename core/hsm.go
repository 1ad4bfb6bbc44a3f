package core

import "context"

// KeySpec says what key to make or import.
type KeySpec struct {
	Kind   KeyKind
	Class  Class
	Mode   Mode
	Bits   int              // of a symmetric key, or an RSA modulus
	Curve  RecommendedCurve // EC
	Format KeyFormatType    // of the clear bytes given to Import
	CKAID  []byte           // CKA_ID for Mode resident, named in an intent before
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
	// Reclass wraps a key again for a stricter class, from C to X or N, or from X
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
