package core

import "context"

// KeySpec describes a key to make or import.
type KeySpec struct {
	Kind   KeyKind
	Class  Class
	Mode   Mode
	Bits   int              // of a symmetric key, or an RSA modulus
	Curve  RecommendedCurve // EC
	Format KeyFormatType    // of the clear bytes given to Import
	CKAID  []byte           // CKA_ID for Mode resident; an intent names it before
	TTLV   []byte           // Import of class X: the TTLV Key Value to keep as a second blob; nil: none

	// Registered is what Import hashes for the Digest, if that is not the form of the
	// clear bytes. nil: the clear bytes.
	Registered []byte
}

// KeyFacts is what the HSM tells about a key that it made or imported.
type KeyFacts struct {
	SHA256     []byte // of the clear bytes; nil if it must stay unknown
	ExecutedIn string
}

// Cipher is one Encrypt or Decrypt. Parameters are complete: the engine has
// merged the request's with the key's and the defaults.
type Cipher struct {
	Parameters CryptographicParameters
	Data       []byte
	IV         []byte // if it is empty at Encrypt and the mode needs one, the HSM makes it
	AAD        []byte
	Tag        []byte // Decrypt, AEAD
}

// Ciphered is the result of a [Cipher]. IV is set only if the HSM made it, Tag only in
// AEAD modes.
type Ciphered struct {
	Data, IV, Tag []byte
	ExecutedIn    string
}

// Derivation is how a key is derived from a base key (KMIP 1.4 §4.6, 2.1 §7.12). The engine
// has completed it.
type Derivation struct {
	Method     DerivationMethod
	PRF        CryptographicAlgorithm  // an HMAC, or AES for CMAC; 0 for HASH and ENCRYPT
	Parameters CryptographicParameters // HASH: the hash; ENCRYPT: algorithm, mode and padding
	Data       []byte
	DataOf     *Key // Secret Data whose value is the data; nil: Data
	IV, Salt   []byte
	Iterations int // of PBKDF2
}

// Transport is how keys are wrapped under the public half of a transport key: by RSA-OAEP,
// with the same hash in MGF1.
type Transport struct {
	Hash HashingAlgorithm
	AES  bool // an AES key is wrapped in this way, and the key under it, by AES Key Wrap Padding
}

// HSM is the token, or group of tokens, that makes, keeps and uses keys. Only the
// bytes of class C and data leave it, and only through Clear. Every method checks the
// row MAC of a Key with material before it uses the key; a wrong one is Tampered.
// Other errors have the code TokenUnavailable, UnsupportedByHSM, CryptographicFailure,
// BadCryptographicParameters, InvalidField, Sensitive or NotExtractable. Safe for
// concurrent use.
type HSM interface {
	Generate(ctx context.Context, k Key, s KeySpec) (Material, KeyFacts, error)
	// GeneratePair makes a private key for k. It also returns the public half, as
	// SubjectPublicKeyInfo and as material that is sealed for the key public.
	GeneratePair(ctx context.Context, k, public Key, s KeySpec) (private, pub Material, spki []byte, facts KeyFacts, err error)
	// Import takes the clear bytes of a key, or data that D seals. It does not keep
	// clear. A private key of class N or X that does not work is InvalidField.
	Import(ctx context.Context, k Key, s KeySpec, clear []byte) (Material, KeyFacts, error)
	// ImportWrapped takes a key that a client wrapped under the key with, in the
	// encoding No Encoding.
	ImportWrapped(ctx context.Context, k Key, s KeySpec, with Key, p CryptographicParameters, wrapped []byte) (Material, KeyFacts, error)
	// MakeTransportKey makes an RSA pair that only unwraps, and tries it. It returns the
	// public half as SubjectPublicKeyInfo.
	MakeTransportKey(ctx context.Context, k Key, t Transport) (Material, []byte, error)
	// ImportTransported takes a key that was wrapped under the transport key with.
	ImportTransported(ctx context.Context, k Key, s KeySpec, with Key, t Transport, wrapped []byte) (Material, KeyFacts, error)
	// Derive makes a key from the key base. Its class may not be weaker than that of base:
	// PermissionDenied. A base of class N or X is used by the HSM alone, and only if it
	// can: UnsupportedByHSM.
	Derive(ctx context.Context, k Key, s KeySpec, base Key, d *Derivation) (Material, KeyFacts, error)
	// DeriveBytes fills out with bytes that are derived from a class C key, and says where
	// this ran. The bytes of another class do not leave in clear: Sensitive.
	DeriveBytes(ctx context.Context, base Key, d *Derivation, out []byte) (where string, err error)
	// Reclass wraps a key again for a stricter class, from C to X or N, or from X
	// to N. The class of a token object or a public key cannot change:
	// IllegalOperation.
	Reclass(ctx context.Context, k Key, to Class) (Material, error)

	// Clear appends the clear bytes of a class C key or of data to dst. The
	// caller zeroes them.
	Clear(ctx context.Context, k Key, dst []byte) ([]byte, error)
	// WrapOut wraps k under with. If ttlv is nil, it wraps the raw bytes (No Encoding);
	// if ttlv is empty, the stored TTLV blob of k; otherwise ttlv, which is the TTLV
	// Key Value of a class C key.
	WrapOut(ctx context.Context, k, with Key, p CryptographicParameters, ttlv []byte) ([]byte, error)
	// WrapBytes wraps bytes that are no key of the server, and says where this ran.
	WrapBytes(ctx context.Context, with Key, p CryptographicParameters, b []byte) (wrapped []byte, where string, err error)

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
	// ForgetTenant drops them for all objects of a tenant. It is cheap if there are none.
	ForgetTenant(tenant string)

	// MakeKeySet makes the keys of a set that the token lacks, and returns the
	// check values of all. It destroys nothing. The code is ObjectAlreadyExists if
	// the token has an object in the place of a key, but with other attributes.
	MakeKeySet(ctx context.Context, s KeySet) (checks []byte, err error)
	// KeySetExists reports whether the token has a key of the set with this number.
	KeySetExists(ctx context.Context, number int64) (bool, error)
	// KeySets lists all of keyreeve's sets of keys in the token, including those of
	// other installations. It relies on the labels of the token objects.
	KeySets(ctx context.Context) ([]TokenKeySet, error)
	// LoadKeySets finds all active sets of one or more tenants in the token and
	// compares attributes and check values of every key. Until it has succeeded, no
	// other method works for a tenant.
	LoadKeySets(ctx context.Context, sets []KeySet) error
	// DestroyKeySet removes the keys of the set with the number of s from the token, and
	// forgets the keys of its tenant. nil means that they are certainly not in the token.
	DestroyKeySet(ctx context.Context, s KeySet) error
	// DestroyObject removes the token object of a resident key: the one whose label
	// and CKA_ID are those of o. It removes nothing else, in particular no tenant key.
	// nil means that the object is certainly not in the token. A module that has failed
	// to remove it must read its objects again before it may say so.
	DestroyObject(ctx context.Context, o TokenObject) error
	// Objects lists the token objects of resident keys of this installation.
	Objects(ctx context.Context) ([]TokenObject, error)
	// ObjectLabel returns the label of the token object of a resident key.
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
	Stuck                                        int      // calls that have not returned for too long
	Sessions, InUse, CachedHandles, CachedCopies int
	Waiting                                      int // calls that wait for a session
}
