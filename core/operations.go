package core

// The inputs and outputs of the operations, as both doors hand them to the
// engine. Slices of an input belong to the door and may be reused once the
// operation has returned; the engine copies what it keeps. Byte slices of an
// output that hold key bytes are the caller's to zero (see Secret).

// Identifier names an object in a request: by Text, or in KMIP 2.x by a
// reference to what the same batch has answered so far (Enum: KMIP 2.1 §11.58;
// Nth: §4.58). All zero means the ID Placeholder. The door resolves it; the
// engine reads Text alone.
type Identifier struct {
	Text string
	Enum UniqueIdentifierEnum
	Nth  *int32
}

// ID makes an Identifier of a known Unique Identifier.
func ID(text string) Identifier { return Identifier{Text: text} }

type (
	// DiscoverVersionsInput is KMIP 1.4 §4.26, 2.1 §6.1.16.
	DiscoverVersionsInput  struct{ Versions []Version }
	DiscoverVersionsOutput struct{ Versions []Version }

	// QueryInput is KMIP 1.4 §4.25, 2.1 §6.1.40. Object Groups narrow the defaults
	// that are asked for; there are none here.
	QueryInput struct {
		Functions    []QueryFunction
		ObjectGroups []string
	}
	QueryOutput struct {
		Operations             []Operation
		ObjectTypes            []ObjectType
		VendorIdentification   string
		ServerInformation      []Field // nil: not asked
		ApplicationNamespaces  []string
		Extensions             []Field // Extension Information structures
		AttestationTypes       []AttestationType
		RNGs                   []Field // RNG Parameters structures
		Profiles               []Field // Profile Information structures
		Validations            []Field // Validation Information structures
		Capabilities           []Field // Capability Information structures
		ClientRegistration     []ClientRegistrationMethod
		Defaults               []Field // Defaults Information; nil: not asked
		StorageProtectionMasks []int32
	}

	// CreateInput is KMIP 1.4 §4.1, 2.1 §6.1.8.
	CreateInput struct {
		ObjectType      ObjectType
		Attributes      Attributes
		TemplateNames   []string // Template-Attribute of 1.x may name Templates
		ProtectionMasks []int32  // Protection Storage Masks of 2.x
	}
	CreateOutput struct {
		ObjectType ObjectType
		ID         string
		Attributes Attributes // set by the server though not asked for; 1.x may show them
	}

	// CreateKeyPairInput is KMIP 1.4 §4.2, 2.1 §6.1.9.
	CreateKeyPairInput struct {
		Common, Private, Public                               Attributes
		CommonTemplates, PrivateTemplates, PublicTemplates    []string
		CommonProtection, PrivateProtection, PublicProtection []int32
	}
	CreateKeyPairOutput struct {
		PrivateID, PublicID string
	}

	// RegisterInput is KMIP 1.4 §4.3, 2.1 §6.1.43.
	RegisterInput struct {
		ObjectType      ObjectType
		Attributes      Attributes
		TemplateNames   []string
		Object          ObjectBody
		ProtectionMasks []int32
	}
	RegisterOutput struct {
		ID         string
		Attributes Attributes
	}

	// GetInput is KMIP 1.4 §4.11, 2.1 §6.1.19.
	GetInput struct {
		ID            Identifier
		Format        KeyFormatType // 0: as stored
		WrapType      KeyWrapType
		Compression   KeyCompressionType
		Specification *KeyWrappingSpecification
	}
	GetOutput struct {
		ObjectType ObjectType
		ID         string
		Object     ObjectBody
		Secret     *Secret // owns the key bytes in Object; Release after the answer is written
	}

	// GetAttributesInput is KMIP 1.4 §4.12, 2.1 §6.1.20. No names: all.
	GetAttributesInput struct {
		ID    Identifier
		Names []AttributeName
	}
	GetAttributesOutput struct {
		ID         string
		Attributes Attributes
	}

	// GetAttributeListInput is KMIP 1.4 §4.13, 2.1 §6.1.21.
	GetAttributeListInput  struct{ ID Identifier }
	GetAttributeListOutput struct {
		ID    string
		Names []AttributeName
	}

	// AddAttributeInput is KMIP 1.4 §4.14, 2.1 §6.1.2. Attribute.Index is
	// ignored: the server assigns it.
	AddAttributeInput struct {
		ID        Identifier
		Attribute Attribute
	}
	// ModifyAttributeInput is KMIP 1.4 §4.15, 2.1 §6.1.34. Current names the
	// instance: by its index (1.x; Indexed false means 0) or, in 2.x, by its
	// present value. SetAttribute is 2.1 §6.1.51.
	ModifyAttributeInput struct {
		ID           Identifier
		Name         AttributeName
		CurrentValue *Value
		New          Attribute
	}
	SetAttributeInput struct {
		ID        Identifier
		Attribute Attribute
	}
	// DeleteAttributeInput is KMIP 1.4 §4.16, 2.1 §6.1.13.
	DeleteAttributeInput struct {
		ID           Identifier
		Name         AttributeName
		CurrentValue *Value
	}
	// AttributeOutput answers the four.
	AttributeOutput struct {
		ID        string
		Attribute Attribute
	}

	// LocateInput is KMIP 1.4 §4.9, 2.1 §6.1.28. Negative MaximumItems: no limit.
	LocateInput struct {
		MaximumItems  int32
		OffsetItems   int32
		StorageStatus uint32
		GroupMember   ObjectGroupMember
		Attributes    Attributes
	}
	LocateOutput struct {
		Located int32 // objects that match in all; -1: not counted
		IDs     []string
	}

	// ActivateInput, RevokeInput and DestroyInput are KMIP 1.4 §4.19 to §4.21,
	// 2.1 §6.1.1, §6.1.44 and §6.1.15; IDOutput answers them.
	ActivateInput struct{ ID Identifier }
	RevokeInput   struct {
		ID                   Identifier
		Code                 RevocationReasonCode
		Message              string
		CompromiseOccurrence *int64 // Unix seconds
	}
	DestroyInput struct{ ID Identifier }
	IDOutput     struct{ ID string }

	// RekeyInput is KMIP 1.4 §4.4, 2.1 §6.1.46. Offset: seconds from the new
	// key's Initial Date to its Activation Date.
	RekeyInput struct {
		ID              Identifier
		Offset          *int64
		Attributes      Attributes
		TemplateNames   []string
		ProtectionMasks []int32
	}

	// CheckInput is KMIP 1.4 §4.10, 2.1 §6.1.7. What the object does not satisfy
	// is answered by an error; the output's fields are for clients of others.
	CheckInput struct {
		ID               Identifier
		UsageLimitsCount *int64
		Mask             *UsageMask
		LeaseTime        *uint32
	}
	CheckOutput struct {
		ID               string
		UsageLimitsCount *int64
		Mask             *UsageMask
		LeaseTime        *uint32
	}

	// EncryptInput is KMIP 1.4 §4.29, 2.1 §6.1.17; DecryptInput 1.4 §4.30,
	// 2.1 §6.1.11. Parameters nil: those of the key. For Decrypt the tag of an
	// AEAD mode may stand in Tag (1.4 and later) or at the end of Data.
	EncryptInput struct {
		ID          Identifier
		Parameters  *CryptographicParameters
		Data        []byte
		IV          []byte
		AAD         []byte
		Correlation []byte
		Init, Final *bool
	}
	EncryptOutput struct {
		ID          string
		Data        []byte
		IV          []byte // only where the server made it
		Tag         []byte // AEAD modes
		Correlation []byte
	}
	DecryptInput struct {
		ID          Identifier
		Parameters  *CryptographicParameters
		Data        []byte
		IV          []byte
		AAD         []byte
		Tag         []byte
		Correlation []byte
		Init, Final *bool
	}
	DecryptOutput struct {
		ID          string
		Data        []byte
		Correlation []byte
	}

	// SignInput is KMIP 1.4 §4.31, 2.1 §6.1.55; SignatureVerifyInput 1.4 §4.32,
	// 2.1 §6.1.56. Digested replaces Data where the client hashed itself.
	SignInput struct {
		ID             Identifier
		Parameters     *CryptographicParameters
		Data, Digested []byte
		Correlation    []byte
		Init, Final    *bool
	}
	SignOutput struct {
		ID          string
		Signature   []byte
		Correlation []byte
	}
	SignatureVerifyInput struct {
		ID             Identifier
		Parameters     *CryptographicParameters
		Data, Digested []byte
		Signature      []byte
		Correlation    []byte
		Init, Final    *bool
	}
	SignatureVerifyOutput struct {
		ID          string
		Validity    ValidityIndicator
		Data        []byte
		Correlation []byte
	}

	// MACInput is KMIP 1.4 §4.33, 2.1 §6.1.32; MACVerifyInput 1.4 §4.34, 2.1 §6.1.33.
	MACInput struct {
		ID          Identifier
		Parameters  *CryptographicParameters
		Data        []byte
		Correlation []byte
		Init, Final *bool
	}
	MACOutput struct {
		ID          string
		MAC         []byte
		Correlation []byte
	}
	MACVerifyInput struct {
		ID          Identifier
		Parameters  *CryptographicParameters
		Data        []byte
		MAC         []byte
		Correlation []byte
		Init, Final *bool
	}
	MACVerifyOutput struct {
		ID          string
		Validity    ValidityIndicator
		Correlation []byte
	}

	// HashInput is KMIP 1.4 §4.37, 2.1 §6.1.24.
	HashInput struct {
		Parameters  *CryptographicParameters
		Data        []byte
		Correlation []byte
		Init, Final *bool
	}
	HashOutput struct {
		Data        []byte
		Correlation []byte
	}

	// RNGRetrieveInput is KMIP 1.4 §4.35, 2.1 §6.1.49, Length in bytes;
	// RNGSeedInput 1.4 §4.36, 2.1 §6.1.50, Amount the bytes that were used.
	RNGRetrieveInput  struct{ Length int32 }
	RNGRetrieveOutput struct{ Data []byte }
	RNGSeedInput      struct{ Data []byte }
	RNGSeedOutput     struct{ Amount int32 }
)
