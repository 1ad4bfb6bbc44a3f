// Package operation holds the inputs and outputs of the operations, as both doors hand them to
// the engine.
//
// Slices of an input belong to the door and may be reused once the operation has returned; the
// engine copies what it keeps. Byte slices of an output that hold key bytes are the caller's to
// zero ([core.Secret]).
package operation

import "github.com/keyreeve/keyreeve/core"

type (
	// DiscoverVersionsInput is KMIP 1.4 §4.26, 2.1 §6.1.16.
	DiscoverVersionsInput  struct{ Versions []core.Version }
	DiscoverVersionsOutput struct{ Versions []core.Version }

	// QueryInput is KMIP 1.4 §4.25, 2.1 §6.1.40. Object Groups narrow the defaults
	// that are asked for; there are none here.
	QueryInput struct {
		Functions    []core.QueryFunction
		ObjectGroups []string
	}
	QueryOutput struct {
		Operations             []core.Operation
		ObjectTypes            []core.ObjectType
		VendorIdentification   string
		ServerInformation      []core.Field // nil: not asked
		ApplicationNamespaces  []string
		Extensions             []core.Field // Extension Information structures
		AttestationTypes       []core.AttestationType
		RNGs                   []core.Field // RNG Parameters structures
		Profiles               []core.Field // Profile Information structures
		Validations            []core.Field // Validation Information structures
		Capabilities           []core.Field // Capability Information structures
		ClientRegistration     []core.ClientRegistrationMethod
		Defaults               []core.Field // Defaults Information; nil: not asked
		StorageProtectionMasks []int32
	}

	// CreateInput is KMIP 1.4 §4.1, 2.1 §6.1.8.
	CreateInput struct {
		ObjectType      core.ObjectType
		Attributes      core.Attributes
		TemplateNames   []string // Template-Attribute of 1.x may name Templates
		ProtectionMasks []int32  // Protection Storage Masks of 2.x
		ActivateNow     bool     // set the Activation Date to the time of the operation
	}
	CreateOutput struct {
		ObjectType core.ObjectType
		ID         string
		Attributes core.Attributes // set by the server though not asked for; 1.x may show them
		Made       *core.ManagedObject
	}

	// CreateKeyPairInput is KMIP 1.4 §4.2, 2.1 §6.1.9.
	CreateKeyPairInput struct {
		Common, Private, Public                               core.Attributes
		CommonTemplates, PrivateTemplates, PublicTemplates    []string
		CommonProtection, PrivateProtection, PublicProtection []int32
		ActivateNow                                           bool // as for Create, both halves
	}
	CreateKeyPairOutput struct {
		PrivateID, PublicID string
		Private             *core.ManagedObject
	}

	// RegisterInput is KMIP 1.4 §4.3, 2.1 §6.1.43.
	RegisterInput struct {
		ObjectType      core.ObjectType
		Attributes      core.Attributes
		TemplateNames   []string
		Object          core.ObjectBody
		ProtectionMasks []int32
	}
	RegisterOutput struct {
		ID         string
		Attributes core.Attributes
	}

	// GetInput is KMIP 1.4 §4.11, 2.1 §6.1.19.
	GetInput struct {
		ID            core.Identifier
		Format        core.KeyFormatType // 0: as stored
		WrapType      core.KeyWrapType
		Compression   core.KeyCompressionType
		Specification *core.KeyWrappingSpecification
	}
	GetOutput struct {
		ObjectType core.ObjectType
		ID         string
		Object     core.ObjectBody
		Secret     *core.Secret // owns the key bytes in Object; Release after the answer is written
	}

	// GetAttributesInput is KMIP 1.4 §4.12, 2.1 §6.1.20. No names: all.
	GetAttributesInput struct {
		ID    core.Identifier
		Names []core.AttributeName
	}
	GetAttributesOutput struct {
		ID         string
		Attributes core.Attributes

		// What is no attribute of KMIP.
		Owner, Group string
		Class        core.Class
		Version      int64 // ChangeNumber of the object
	}

	// GetAttributeListInput is KMIP 1.4 §4.13, 2.1 §6.1.21.
	GetAttributeListInput  struct{ ID core.Identifier }
	GetAttributeListOutput struct {
		ID    string
		Names []core.AttributeName
	}

	// AddAttributeInput is KMIP 1.4 §4.14, 2.1 §6.1.2. Attribute.Index is
	// ignored: the server assigns it.
	AddAttributeInput struct {
		ID        core.Identifier
		Attribute core.Attribute
	}
	// ModifyAttributeInput is KMIP 1.4 §4.15, 2.1 §6.1.34. Current names the
	// instance: by its index (1.x; Indexed false means 0) or, in 2.x, by its
	// present value. SetAttribute is 2.1 §6.1.51.
	ModifyAttributeInput struct {
		ID           core.Identifier
		Name         core.AttributeName
		CurrentValue *core.Value
		New          core.Attribute
	}
	SetAttributeInput struct {
		ID        core.Identifier
		Attribute core.Attribute
	}
	// DeleteAttributeInput is KMIP 1.4 §4.16, 2.1 §6.1.13.
	DeleteAttributeInput struct {
		ID           core.Identifier
		Name         core.AttributeName
		CurrentValue *core.Value
	}
	// AttributeOutput answers the four.
	AttributeOutput struct {
		ID        string
		Attribute core.Attribute
	}

	// AliasInput names an alias and, to set it, the key that gets it. No operation of KMIP
	// sets aliases.
	AliasInput struct {
		Alias string
		Key   core.Identifier
	}
	AliasOutput struct {
		Alias      string
		ID, Family string // of the newest version, and of version 1
	}

	// LocateInput is KMIP 1.4 §4.9, 2.1 §6.1.28. Negative MaximumItems: no limit. After
	// and Show are for lists in pages.
	LocateInput struct {
		MaximumItems  int32
		OffsetItems   int32
		StorageStatus uint32
		GroupMember   core.ObjectGroupMember
		Attributes    core.Attributes

		After string // Unique Identifier of the last object of the page before; "": from the beginning
		Show  bool   // also list the attributes of the objects that are found
	}
	LocateOutput struct {
		Located int32 // objects that match in all; -1: not counted
		IDs     []string
		Shown   []LocatedObject // one for each of IDs, if Show was asked for
	}
	// LocatedObject is an object that was found. Only its ID is set if the caller may not
	// read its attributes.
	LocatedObject struct {
		ID           string
		Attributes   core.Attributes
		Owner, Group string
	}

	// VersionsInput names a key whose versions are listed, as LocatedObject has them.
	VersionsInput struct {
		Key   core.Identifier
		Limit int
		After string // Unique Identifier of the last version of the page before; "": from the newest
	}

	// LifeInput names the object of Archive and Recover (KMIP 1.4 §4.22, §4.23, 2.1 §6.1.4,
	// §6.1.42), Disable, Enable, Restore and Purge. IDOutput answers them and Soft Delete.
	LifeInput       struct{ ID core.Identifier }
	SoftDeleteInput struct {
		ID        core.Identifier
		Retention int64 // seconds in which the object can be restored; 0: the default
	}

	// ActivateInput, RevokeInput and DestroyInput are KMIP 1.4 §4.19 to §4.21,
	// 2.1 §6.1.1, §6.1.44 and §6.1.15; IDOutput answers them.
	ActivateInput struct{ ID core.Identifier }
	RevokeInput   struct {
		ID                   core.Identifier
		Code                 core.RevocationReasonCode
		Message              string
		CompromiseOccurrence *int64 // Unix seconds
	}
	DestroyInput struct{ ID core.Identifier }
	IDOutput     struct {
		ID      string
		Changed *core.ManagedObject // no part of the answer over KMIP
	}

	// RekeyInput is KMIP 1.4 §4.4, 2.1 §6.1.46. Offset: seconds from the new
	// key's Initial Date to its Activation Date.
	RekeyInput struct {
		ID              core.Identifier
		Offset          *int64
		Attributes      core.Attributes
		TemplateNames   []string
		ProtectionMasks []int32
	}

	// RekeyKeyPairInput is KMIP 1.4 §4.5, 2.1 §6.1.47. ID names the private key. Offset is
	// as for Re-key.
	RekeyKeyPairInput struct {
		ID     core.Identifier
		Offset *int64
		CreateKeyPairInput
	}

	// RotateInput is a key that gets a new version. PublicID is that of the new public key, if
	// the key is a pair.
	RotateInput struct {
		ID         core.Identifier
		ActivateAt int64 // Activation Date of the new version, Unix seconds; 0: now
	}
	RotateOutput struct {
		Made     *core.ManagedObject
		PublicID string
	}

	// DeriveKeyInput is KMIP 1.4 §4.6, 2.1 §6.1.14. IDs are the base key, and perhaps
	// Secret Data whose value is the Derivation Data.
	DeriveKeyInput struct {
		ObjectType    core.ObjectType
		IDs           []core.Identifier
		Method        core.DerivationMethod
		Parameters    DerivationParameters
		Attributes    core.Attributes
		TemplateNames []string
	}
	// DerivationParameters is KMIP 1.4 §4.6, 2.1 §7.12. Data is repeated in 2.x only.
	DerivationParameters struct {
		Parameters *core.CryptographicParameters
		IV         []byte
		Data       [][]byte
		Salt       []byte
		Iterations *int32
	}
	DeriveKeyOutput struct {
		ID         string
		Attributes core.Attributes // set by the server though not asked for; 1.x may show them
	}

	// CheckInput is KMIP 1.4 §4.10, 2.1 §6.1.7. What the object does not satisfy
	// is answered by an error; the output's fields are for clients of others.
	CheckInput struct {
		ID               core.Identifier
		UsageLimitsCount *int64
		Mask             *core.UsageMask
		LeaseTime        *uint32
	}
	CheckOutput struct {
		ID               string
		UsageLimitsCount *int64
		Mask             *core.UsageMask
		LeaseTime        *uint32
	}

	// EncryptInput is KMIP 1.4 §4.29, 2.1 §6.1.17; DecryptInput 1.4 §4.30,
	// 2.1 §6.1.11. Parameters nil: those of the key. For Decrypt the tag of an
	// AEAD mode may stand in Tag (1.4 and later) or at the end of Data.
	EncryptInput struct {
		ID          core.Identifier
		Parameters  *core.CryptographicParameters
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
		ID          core.Identifier
		Parameters  *core.CryptographicParameters
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
		ID             core.Identifier
		Parameters     *core.CryptographicParameters
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
		ID             core.Identifier
		Parameters     *core.CryptographicParameters
		Data, Digested []byte
		Signature      []byte
		Correlation    []byte
		Init, Final    *bool
	}
	SignatureVerifyOutput struct {
		ID          string
		Validity    core.ValidityIndicator
		Data        []byte
		Correlation []byte
	}

	// MACInput is KMIP 1.4 §4.33, 2.1 §6.1.32; MACVerifyInput 1.4 §4.34, 2.1 §6.1.33.
	MACInput struct {
		ID          core.Identifier
		Parameters  *core.CryptographicParameters
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
		ID          core.Identifier
		Parameters  *core.CryptographicParameters
		Data        []byte
		MAC         []byte
		Correlation []byte
		Init, Final *bool
	}
	MACVerifyOutput struct {
		ID          string
		Validity    core.ValidityIndicator
		Correlation []byte
	}

	// HashInput is KMIP 1.4 §4.37, 2.1 §6.1.24.
	HashInput struct {
		Parameters  *core.CryptographicParameters
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
