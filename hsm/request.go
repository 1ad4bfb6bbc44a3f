package hsm

// Use is one use of a key.
type Use struct {
	Operation Uses // Encrypt, Decrypt, Sign or Digest
	Mechanism Mechanism
	Data      []byte
	Into      []byte // Decrypt: room for the plaintext, which the caller zeroes
}

// Used is the answer to a Use.
type Used struct {
	Data []byte
	IV   []byte // AES-GCM: the IV that was used, which some HSMs choose themselves
}

// Wrapping wraps Key, or Bytes if Key is nil.
type Wrapping struct {
	Under     *Key          // nil: PublicKey
	PublicKey *RSAPublicKey // becomes an object for this one call
	Mechanism Mechanism
	Key       *Key // unwrapped by its Template for this one call
	Bytes     []byte
}

// RSAPublicKey is an RSA public key, both numbers big-endian.
type RSAPublicKey struct{ Modulus, Exponent []byte }

// Order makes one key, from one of Generate, Bytes and Unwrap. It is kept as a blob
// if KEK is given, as a token object if the template has a label, else not at all. An
// order that leaves a token object is never made a second time after an error: the
// object may be there.
type Order struct {
	Template Template

	Generate    bool     // a secret key, or a pair if the type is of a private key
	ModulusBits int      // of an RSA pair
	Bytes       []byte   // CKA_VALUE of a new object; the caller zeroes it
	Unwrap      *Wrapped // an object from wrapped bytes

	Expect  *PublicParts // what an unwrapped private key must have, else InvalidField
	Digest  bool         // SHA-256 of a secret key, where the HSM makes it
	Measure bool         // CKA_VALUE_LEN, where the HSM tells it
	KEK     string       // the label of the key of a set that it is wrapped under
}

// Wrapped names wrapped bytes and what they are wrapped under.
type Wrapped struct {
	Under     *Key
	Mechanism Mechanism
	Blob      []byte
}

// PublicParts is what an HSM shows of a pair. In an Order, ModulusBits and Curve
// are compared, each if it is given.
type PublicParts struct {
	RSA         RSAPublicKey
	Point       []byte // CKA_EC_POINT
	ModulusBits int
	Curve       []byte // CKA_EC_PARAMS
}

// Made is what came of an Order.
type Made struct {
	Blob   []byte
	SHA256 []byte // nil: not asked for, or not made by this HSM
	Bytes  int    // 0: not asked for, or not told by this HSM
	Public PublicParts
}
