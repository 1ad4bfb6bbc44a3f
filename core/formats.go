package core

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
