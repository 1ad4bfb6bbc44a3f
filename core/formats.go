package core

// Normalized is registered key material in the form that is stored.
type Normalized struct {
	Bytes     []byte // clear; the caller zeroes it
	Kind      KeyKind
	Format    KeyFormatType // how Bytes are encoded
	Algorithm CryptographicAlgorithm
	Length    int // Cryptographic Length in bits
	Curve     RecommendedCurve
}

// Formats converts key material from one Key Format Type to another.
// Errors carry KeyFormatTypeNotSupported or InvalidField.
type Formats interface {
	// Normalize checks a key block that is not wrapped and converts it to the stored
	// form. For classes N and X it makes no other copy in clear. It then leaves it to
	// Import to find out whether the numbers of a private key belong together.
	Normalize(t ObjectType, kb *KeyBlock, c Class) (Normalized, error)
	// Render fills Format, and Material or Transparent, of kb with the clear
	// bytes of m in the wanted format. kb's slices may alias clear.
	Render(clear []byte, m *Material, alg CryptographicAlgorithm, wanted KeyFormatType, kb *KeyBlock) error
	// Digest hashes data. An unknown hash is InvalidField.
	Digest(h HashingAlgorithm, data []byte) ([]byte, error)
	// EncodeKeyValue appends the Key Value of kb as a TTLV structure, for TTLV Encoding
	// of wrapped keys (KMIP 1.4 §2.1.6). If dst is too short, it is replaced before
	// key bytes are in it.
	EncodeKeyValue(dst []byte, kb *KeyBlock, v Version) ([]byte, error)
	// DecodeKeyValue fills kb's material and attributes from a TTLV Key Value, which
	// they alias. Anything else is InvalidField.
	DecodeKeyValue(ttlv []byte, kb *KeyBlock, v Version) error
}
