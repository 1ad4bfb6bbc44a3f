package hsm

// Use is one use of a key.
type Use struct {
	Operation Uses // Encrypt, Decrypt, Sign or Digest
	Mechanism Mechanism
	Data      []byte
	Into      []byte // room for the result, which the caller zeroes: of Decrypt; also of Encrypt and Sign, if the result is a secret
}

// Used is the answer to a Use.
type Used struct {
	Data []byte
	IV   []byte // AES-GCM: the IV in use; some HSMs choose it themselves
}

// Wrapping wraps Key, or Bytes if Key is nil.
type Wrapping struct {
	Under     *Key          // nil: PublicKey
	PublicKey *RSAPublicKey // becomes an object for this call only
	Mechanism Mechanism
	Key       *Key // unwrapped by its Template for this call only
	Bytes     []byte
}

// RSAPublicKey is an RSA public key, both numbers big-endian.
type RSAPublicKey struct{ Modulus, Exponent []byte }

// Order makes one key, by one of Generate, Bytes and Unwrap. The key is kept as a blob if
// KEK is given, as a token object if the template has a label, else not at all. An order
// that leaves a token object is never repeated after an error: the object may be there.
type Order struct {
	Template Template

	Generate    bool     // a secret key, or a pair if the type is of a private key
	ModulusBits int      // of an RSA pair
	Bytes       []byte   // CKA_VALUE of a new object; the caller zeroes it
	Unwrap      *Wrapped // an object from wrapped bytes

	Expect  *PublicParts // of an unwrapped private key; else the code is InvalidField
	Digest  bool         // asks for the SHA-256 of a secret key, if the HSM can make it
	Measure bool         // asks for CKA_VALUE_LEN, if the HSM tells it
	KEK     string       // the label of the KEK that the key is wrapped under
}

// Wrapped is wrapped bytes with the key that they are wrapped under.
type Wrapped struct {
	Under     *Key
	Mechanism Mechanism
	Blob      []byte

	// Inner is wrapped under the AES key in Blob, which exists for this call only and does
	// nothing but unwrap. Inner.Under is nil. nil: Blob is the key itself.
	Inner *Wrapped
}

// PublicParts are the parts of a pair that an HSM shows. In an Order, ModulusBits and
// Curve are compared, each if it is given.
type PublicParts struct {
	RSA         RSAPublicKey
	Point       []byte // CKA_EC_POINT
	ModulusBits int
	Curve       []byte // CKA_EC_PARAMS
}

// Made is the result of an Order.
type Made struct {
	Blob   []byte
	SHA256 []byte // nil: not asked for, or this HSM cannot make it
	Bytes  int    // 0: not asked for, or this HSM does not tell it
	Public PublicParts
}
