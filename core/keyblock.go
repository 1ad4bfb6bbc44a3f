package core

// ObjectBody is a Managed Object as it travels in Register and Get: the key
// block, value or data that the type calls for (KMIP 1.4 §2.2, 2.1 §2).
type ObjectBody struct {
	Type             ObjectType
	KeyBlock         KeyBlock        // keys, secret data, split keys, PGP keys
	SecretDataType   SecretDataType  // Secret Data
	OpaqueDataType   uint32          // Opaque Object
	OpaqueData       []byte          // Opaque Object
	CertificateType  CertificateType // Certificate
	CertificateValue []byte          // Certificate
	Template         Attributes      // Template, KMIP 1.x only
	Split            *SplitKey       // Split Key
	PGPKeyVersion    int32           // PGP Key
}

// SplitKey holds the fields that a Split Key has beside its key block.
type SplitKey struct {
	Parts      int32
	Identifier int32
	Threshold  int32
	Method     SplitKeyMethod
	PrimeField []byte // Big Integer; nil when absent
}

// KeyBlock is KMIP 1.4 §2.1.3, 2.1 §3.1. Exactly one of Material, Transparent
// and Wrapped holds the Key Value; all are nil when there is none (Key Value
// Present false).
type KeyBlock struct {
	Format      KeyFormatType
	Compression KeyCompressionType // 0: none
	Algorithm   CryptographicAlgorithm
	Length      int32      // bits; 0: absent
	Material    []byte     // Key Material as a Byte String; secret
	Transparent []Field    // Key Material as a structure; secret
	Attributes  Attributes // inside the Key Value
	Wrapped     []byte     // the Key Value as one Byte String, when Wrapping is set
	Wrapping    *KeyWrappingData
}

// KeyWrappingData says how a key block is wrapped (KMIP 1.4 §2.1.5).
type KeyWrappingData struct {
	Method       WrappingMethod
	Encryption   *WrappingKeyInfo
	MACSignature *WrappingKeyInfo
	MAC          []byte
	IV           []byte
	Encoding     EncodingOption // 0: absent, which means TTLV Encoding
}

// WrappingKeyInfo names a key that wraps or signs (Encryption Key Information,
// MAC/Signature Key Information, KMIP 1.4 §2.1.5).
type WrappingKeyInfo struct {
	ID         string
	Parameters *CryptographicParameters

	Key *Identifier // a key family that the REST door names; the engine sets ID to the version that is used
}

// KeyWrappingSpecification is what a client asks Get to wrap with (KMIP 1.4 §2.1.6).
type KeyWrappingSpecification struct {
	Method         WrappingMethod
	Encryption     *WrappingKeyInfo
	MACSignature   *WrappingKeyInfo
	AttributeNames []AttributeName
	Encoding       EncodingOption // 0: absent, which means TTLV Encoding
}
