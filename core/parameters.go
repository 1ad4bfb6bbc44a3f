package core

// CryptographicParameters are the options of one use of a key (KMIP 1.4 §3.6,
// 2.1 §4.16). Zero enumerations and nil pointers stand for "not given".
type CryptographicParameters struct {
	BlockCipherMode           BlockCipherMode
	PaddingMethod             PaddingMethod
	HashingAlgorithm          HashingAlgorithm
	KeyRoleType               KeyRoleType
	DigitalSignatureAlgorithm DigitalSignatureAlgorithm
	CryptographicAlgorithm    CryptographicAlgorithm
	RandomIV                  *bool
	IVLength                  *int32 // bits
	TagLength                 *int32 // bytes
	FixedFieldLength          *int32 // bits
	InvocationFieldLength     *int32 // bits
	CounterLength             *int32 // bits
	InitialCounterValue       *int32
	SaltLength                *int32 // bytes
	MaskGenerator             MaskGenerator
	MaskGeneratorHashing      HashingAlgorithm
	PSource                   []byte
	TrailerField              *int32
}

// SetField sets one field. It returns false if the structure has no such field. The
// codec and [ParametersOf] use it.
func (p *CryptographicParameters) SetField(t Tag, v Value) bool {
	number := func() *int32 { n := int32(v.Num); return &n }
	switch t {
	case TagBlockCipherMode:
		p.BlockCipherMode = BlockCipherMode(v.Uint())
	case TagPaddingMethod:
		p.PaddingMethod = PaddingMethod(v.Uint())
	case TagHashingAlgorithm:
		p.HashingAlgorithm = HashingAlgorithm(v.Uint())
	case TagKeyRoleType:
		p.KeyRoleType = KeyRoleType(v.Uint())
	case TagDigitalSignatureAlgorithm:
		p.DigitalSignatureAlgorithm = DigitalSignatureAlgorithm(v.Uint())
	case TagCryptographicAlgorithm:
		p.CryptographicAlgorithm = CryptographicAlgorithm(v.Uint())
	case TagRandomIV:
		b := v.Num != 0
		p.RandomIV = &b
	case TagIVLength:
		p.IVLength = number()
	case TagTagLength:
		p.TagLength = number()
	case TagFixedFieldLength:
		p.FixedFieldLength = number()
	case TagInvocationFieldLength:
		p.InvocationFieldLength = number()
	case TagCounterLength:
		p.CounterLength = number()
	case TagInitialCounterValue:
		p.InitialCounterValue = number()
	case TagSaltLength:
		p.SaltLength = number()
	case TagMaskGenerator:
		p.MaskGenerator = MaskGenerator(v.Uint())
	case TagMaskGeneratorHashingAlgorithm:
		p.MaskGeneratorHashing = HashingAlgorithm(v.Uint())
	case TagPSource:
		p.PSource = v.Bytes
	case TagTrailerField:
		p.TrailerField = number()
	default:
		return false
	}
	return true
}

// Bounds of the IVs of GCM, in bytes.
const (
	MinGCMIV = 8
	MaxGCMIV = 64
)

// IVBytes returns the length in bytes of an IV that the server makes: usual, unless
// IV Length gives another one, which only GCM allows (any).
func (p *CryptographicParameters) IVBytes(usual int, any bool) (int, error) {
	if p.IVLength == nil || int64(*p.IVLength) == 8*int64(usual) {
		return usual, nil
	}
	if n := int(*p.IVLength); any && n%8 == 0 && n/8 >= MinGCMIV && n/8 <= MaxGCMIV {
		return n / 8, nil
	}
	return 0, Errorf(InvalidField, "the IV Length is %d bits; the IV of this mode has %d", *p.IVLength, 8*usual)
}

// ParametersOf reads the attribute Cryptographic Parameters.
func ParametersOf(v Value) CryptographicParameters {
	var p CryptographicParameters
	for _, f := range v.Fields {
		p.SetField(f.Tag, f.Value)
	}
	return p
}

// Fields lists the given fields in the standard's order.
func (p *CryptographicParameters) Fields() []Field {
	var fs []Field
	enum := func(t Tag, v uint32) {
		if v != 0 {
			fs = append(fs, Field{t, Enum(v)})
		}
	}
	num := func(t Tag, v *int32) {
		if v != nil {
			fs = append(fs, Field{t, Int(*v)})
		}
	}
	enum(TagBlockCipherMode, uint32(p.BlockCipherMode))
	enum(TagPaddingMethod, uint32(p.PaddingMethod))
	enum(TagHashingAlgorithm, uint32(p.HashingAlgorithm))
	enum(TagKeyRoleType, uint32(p.KeyRoleType))
	enum(TagDigitalSignatureAlgorithm, uint32(p.DigitalSignatureAlgorithm))
	enum(TagCryptographicAlgorithm, uint32(p.CryptographicAlgorithm))
	if p.RandomIV != nil {
		fs = append(fs, Field{TagRandomIV, Bool(*p.RandomIV)})
	}
	num(TagIVLength, p.IVLength)
	num(TagTagLength, p.TagLength)
	num(TagFixedFieldLength, p.FixedFieldLength)
	num(TagInvocationFieldLength, p.InvocationFieldLength)
	num(TagCounterLength, p.CounterLength)
	num(TagInitialCounterValue, p.InitialCounterValue)
	num(TagSaltLength, p.SaltLength)
	enum(TagMaskGenerator, uint32(p.MaskGenerator))
	enum(TagMaskGeneratorHashingAlgorithm, uint32(p.MaskGeneratorHashing))
	if p.PSource != nil {
		fs = append(fs, Field{TagPSource, Bytes(p.PSource)})
	}
	num(TagTrailerField, p.TrailerField)
	return fs
}
