package format

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// maxKeyBytes bounds the material of one object.
const maxKeyBytes = 512 * 1024

// Formats implements Normalize and Render of [core.Formats]. Each kind of key is
// stored in one form: symmetric keys raw, private keys as PKCS#8, public keys as
// SubjectPublicKeyInfo, both in DER. All other bytes are stored as they came.
type Formats struct{}

// Complete implements the whole of [core.Formats], with the hashes and the Key Value in
// TTLV of other packages. Make it with [With].
type Complete struct {
	Formats
	digest         func(core.HashingAlgorithm, []byte) ([]byte, error)
	encodeKeyValue func([]byte, *core.KeyBlock, core.Version) ([]byte, error)
	decodeKeyValue func([]byte, *core.KeyBlock, core.Version) error
}

var _ core.Formats = Complete{}

// With returns the Formats that hash by digest, and write and read the Key Value by the
// other two; see [core.Formats] for what each must do.
func With(digest func(core.HashingAlgorithm, []byte) ([]byte, error), encodeKeyValue func([]byte, *core.KeyBlock, core.Version) ([]byte, error), decodeKeyValue func([]byte, *core.KeyBlock, core.Version) error) Complete {
	return Complete{Formats{}, digest, encodeKeyValue, decodeKeyValue}
}

// Digest hashes data.
func (c Complete) Digest(h core.HashingAlgorithm, data []byte) ([]byte, error) {
	return c.digest(h, data)
}

// EncodeKeyValue appends the Key Value of kb as a TTLV structure.
func (c Complete) EncodeKeyValue(dst []byte, kb *core.KeyBlock, v core.Version) ([]byte, error) {
	return c.encodeKeyValue(dst, kb, v)
}

// DecodeKeyValue fills kb from a TTLV Key Value.
func (c Complete) DecodeKeyValue(ttlv []byte, kb *core.KeyBlock, v core.Version) error {
	return c.decodeKeyValue(ttlv, kb, v)
}

// Normalize checks the Key Block that a client registers and converts it to the stored
// form. Format stays the registered one: Get returns the key in it by default.
func (Formats) Normalize(t core.ObjectType, kb *core.KeyBlock, class core.Class) (core.Normalized, error) {
	n := core.Normalized{Format: kb.Format, Algorithm: kb.Algorithm}
	if kb.Compression != 0 && kb.Compression != core.KeyCompressionTypeECPublicKeyTypeUncompressed {
		return n, core.Errorf(core.KeyCompressionTypeNotSupported, "Key Compression Type %v is not supported; register the public key uncompressed", kb.Compression)
	}
	if len(kb.Material) > maxKeyBytes {
		return n, core.Errorf(core.InvalidField, "the Key Material has %d bytes; at most %d are kept", len(kb.Material), maxKeyBytes)
	}
	if kb.Material == nil && kb.Transparent == nil {
		return n, core.Errorf(core.KeyValueNotPresent, "the Key Block has no Key Value")
	}
	switch t {
	case core.ObjectTypePrivateKey:
		return normalizePrivate(n, kb, class)
	case core.ObjectTypePublicKey:
		return normalizePublic(n, kb)
	}
	return normalizeSymmetric(n, t, kb)
}

// symmetricKinds lists the algorithms whose bytes become a key of the HSM, and the
// lengths in bytes that such a key may have; nil: any. Bytes of other lengths are kept
// as data (a 1,024-bit "AES" key is the secret of a disk).
var symmetricKinds = map[core.CryptographicAlgorithm]struct {
	kind    core.KeyKind
	lengths []int
}{
	core.AlgorithmAES:        {core.KeyAES, []int{16, 24, 32}},
	core.AlgorithmDES3:       {core.KeyDES3, []int{16, 24}},
	core.AlgorithmHMACMD5:    {core.KeyGeneric, nil},
	core.AlgorithmHMACSHA1:   {core.KeyGeneric, nil},
	core.AlgorithmHMACSHA224: {core.KeyGeneric, nil},
	core.AlgorithmHMACSHA256: {core.KeyGeneric, nil},
	core.AlgorithmHMACSHA384: {core.KeyGeneric, nil},
	core.AlgorithmHMACSHA512: {core.KeyGeneric, nil},
}

func normalizeSymmetric(n core.Normalized, t core.ObjectType, kb *core.KeyBlock) (core.Normalized, error) {
	switch kb.Format {
	case core.KeyFormatTypeTransparentSymmetricKey:
		key := core.Structure(kb.Transparent...).Field(core.TagKey)
		if key.Kind != core.KindByteString {
			return n, core.Errorf(core.InvalidField, "the Transparent Symmetric Key has no Key")
		}
		if len(key.Bytes) > maxKeyBytes {
			return n, core.Errorf(core.InvalidField, "the Key has %d bytes; at most %d are kept", len(key.Bytes), maxKeyBytes)
		}
		n.Bytes = bytes.Clone(key.Bytes)
	case core.KeyFormatTypeRaw, core.KeyFormatTypeOpaque:
		n.Bytes = append(make([]byte, 0, len(kb.Material)), kb.Material...)
	default:
		return n, core.Errorf(core.KeyFormatTypeNotSupported, "a %v cannot be registered as %v; use Raw, Opaque or Transparent Symmetric Key", t, kb.Format)
	}
	if len(n.Bytes) == 0 {
		return n, core.Errorf(core.InvalidField, "the key has no bytes")
	}
	n.Length, n.Kind = 8*len(n.Bytes), core.KeyData
	if t != core.ObjectTypeSymmetricKey {
		return n, nil
	}
	if rule, ok := symmetricKinds[kb.Algorithm]; ok && (rule.lengths == nil || slices.Contains(rule.lengths, len(n.Bytes))) {
		n.Kind = rule.kind
	}
	return n, nil
}

func normalizePublic(n core.Normalized, kb *core.KeyBlock) (core.Normalized, error) {
	spki := kb.Format == core.KeyFormatTypeX509 || kb.Format == core.KeyFormatTypePKCS8
	if (keptAsGiven(kb.Format) && kb.Format != core.KeyFormatTypePKCS12) || (spki && unreadPublic(kb.Material)) {
		return asGiven(n, kb, core.ClassC, nil)
	}
	if n, kept, err := transparentAsGiven(n, kb, false, core.ClassC); kept {
		return n, err
	}
	pub, err := parsePublic(kb)
	if err != nil {
		return n, err
	}
	if n.Bytes, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		return n, core.Wrap(core.InvalidField, err, "the public key cannot be stored")
	}
	n.Kind = core.KeyPublic
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if err = checkRSA(k); err == nil {
			err = checkAlgorithm(kb.Algorithm, core.AlgorithmRSA)
		}
		n.Algorithm, n.Length = core.AlgorithmRSA, k.N.BitLen()
	case *ecdsa.PublicKey:
		err = checkAlgorithm(kb.Algorithm, core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH)
		n.Length, n.Curve = k.Curve.Params().BitSize, curveName(k.Curve)
		if n.Algorithm == 0 {
			n.Algorithm = core.AlgorithmEC
		}
	case ed25519.PublicKey:
		err = checkAlgorithm(kb.Algorithm, core.AlgorithmEd25519, core.AlgorithmEC) // 1.x has no name for Ed25519
		n.Algorithm, n.Length, n.Curve = core.AlgorithmEd25519, 256, core.RecommendedCurveCURVE25519
	default:
		err = core.Errorf(core.InvalidField, "public keys of this kind are not supported; use RSA, EC or Ed25519")
	}
	return n, err
}

func parsePublic(kb *core.KeyBlock) (any, error) {
	v := core.Structure(kb.Transparent...)
	var pub any
	var err error
	switch kb.Format {
	case core.KeyFormatTypePKCS1:
		pub, err = x509.ParsePKCS1PublicKey(kb.Material)
	case core.KeyFormatTypeX509, core.KeyFormatTypePKCS8:
		pub, err = x509.ParsePKIXPublicKey(kb.Material)
	case core.KeyFormatTypeTransparentRSAPublicKey:
		e := new(big.Int).SetBytes(v.Field(core.TagPublicExponent).Bytes)
		pub = &rsa.PublicKey{N: new(big.Int).SetBytes(v.Field(core.TagModulus).Bytes), E: int(e.Int64())}
		if e.BitLen() > 31 || e.Sign() == 0 || v.Field(core.TagModulus).IsZero() {
			err = core.Errorf(core.InvalidField, "Modulus or Public Exponent is missing or too large")
		}
	case core.KeyFormatTypeTransparentECPublicKey, core.KeyFormatTypeTransparentECDSAPublicKey:
		c := curveNamed(core.RecommendedCurve(v.Field(core.TagRecommendedCurve).Uint()))
		if c == nil {
			return nil, core.Errorf(core.InvalidField, "the Recommended Curve is not supported; use P-224, P-256, P-384 or P-521")
		}
		pub, err = ecdsa.ParseUncompressedPublicKey(c.curve, v.Field(core.TagQString).Bytes)
	default:
		return nil, core.Errorf(core.KeyFormatTypeNotSupported, "a Public Key cannot be registered as %v; see docs/KMIP.md for the formats", kb.Format)
	}
	if err != nil {
		return nil, core.Wrap(core.InvalidField, err, "the Key Material is not a public key in format %v", kb.Format)
	}
	return pub, nil
}

// Render writes stored bytes in the wanted format into a Key Block.
func (Formats) Render(clear []byte, m *core.Material, alg core.CryptographicAlgorithm, want core.KeyFormatType, kb *core.KeyBlock) error {
	kb.Format = want
	switch m.Kind {
	case core.KeyRSA, core.KeyEC, core.KeyEd25519:
		return renderPrivate(clear, want, kb)
	case core.KeyPublic:
		return renderPublic(clear, want, kb)
	}
	if !symmetricFormat(m.Format) && want != m.Format {
		return unrenderable(want)
	}
	switch want {
	case m.Format, core.KeyFormatTypeRaw, core.KeyFormatTypeOpaque:
		if kb.Material = clear; want != core.KeyFormatTypeTransparentSymmetricKey {
			return nil
		}
		fallthrough
	case core.KeyFormatTypeTransparentSymmetricKey:
		kb.Material, kb.Transparent = nil, []core.Field{{Tag: core.TagKey, Value: core.Bytes(clear)}}
		return nil
	}
	return unrenderable(want)
}

// symmetricFormat reports whether a format holds bytes that may also be returned as Raw.
func symmetricFormat(f core.KeyFormatType) bool {
	return f == core.KeyFormatTypeRaw || f == core.KeyFormatTypeOpaque || f == core.KeyFormatTypeTransparentSymmetricKey
}

func unrenderable(want core.KeyFormatType) error {
	return core.Errorf(core.KeyFormatTypeNotSupported, "the object cannot be returned as %v; leave out Key Format Type to get it as it was registered", want)
}

func renderPrivate(pkcs8 []byte, want core.KeyFormatType, kb *core.KeyBlock) error {
	if want == core.KeyFormatTypePKCS8 {
		kb.Material = pkcs8
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return core.Wrap(core.CryptographicFailure, err, "the private key cannot be read")
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if want == core.KeyFormatTypePKCS1 {
			kb.Material = x509.MarshalPKCS1PrivateKey(k)
			return nil
		}
		if want == core.KeyFormatTypeTransparentRSAPrivateKey && len(k.Primes) == 2 {
			kb.Transparent = rsaFields(k)
			return nil
		}
	case *ecdsa.PrivateKey:
		return renderEC(k, want, kb)
	}
	return unrenderable(want)
}

func renderEC(k *ecdsa.PrivateKey, want core.KeyFormatType, kb *core.KeyBlock) (err error) {
	switch want {
	case core.KeyFormatTypeECPrivateKey:
		kb.Material, err = x509.MarshalECPrivateKey(k)
		return err
	case core.KeyFormatTypeTransparentECPrivateKey, core.KeyFormatTypeTransparentECDSAPrivateKey:
		d, err := k.Bytes()
		kb.Transparent = []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(curveName(k.Curve))}, {Tag: core.TagD, Value: core.BigInt(positive(d))}}
		return err
	}
	return unrenderable(want)
}

// positive puts a zero byte before a number whose top bit would make it negative.
func positive(b []byte) []byte {
	if len(b) == 0 || b[0]&0x80 != 0 {
		return append([]byte{0}, b...)
	}
	return b
}

func rsaFields(k *rsa.PrivateKey) []core.Field {
	num := func(t core.Tag, n *big.Int) core.Field {
		return core.Field{Tag: t, Value: core.BigInt(positive(n.Bytes()))}
	}
	return []core.Field{num(core.TagModulus, k.N), num(core.TagPrivateExponent, k.D), num(core.TagPublicExponent, big.NewInt(int64(k.E))),
		num(core.TagP, k.Primes[0]), num(core.TagQ, k.Primes[1]), num(core.TagPrimeExponentP, k.Precomputed.Dp),
		num(core.TagPrimeExponentQ, k.Precomputed.Dq), num(core.TagCRTCoefficient, k.Precomputed.Qinv)}
}

func renderPublic(spki []byte, want core.KeyFormatType, kb *core.KeyBlock) error {
	if want == core.KeyFormatTypeX509 {
		kb.Material = spki
		return nil
	}
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return core.Wrap(core.CryptographicFailure, err, "the public key cannot be read")
	}
	switch k := pub.(type) {
	case *rsa.PublicKey:
		switch want {
		case core.KeyFormatTypePKCS1:
			kb.Material = x509.MarshalPKCS1PublicKey(k)
			return nil
		case core.KeyFormatTypePKCS8:
			kb.Material = spki
			return nil
		case core.KeyFormatTypeTransparentRSAPublicKey:
			kb.Transparent = []core.Field{{Tag: core.TagModulus, Value: core.BigInt(positive(k.N.Bytes()))},
				{Tag: core.TagPublicExponent, Value: core.BigInt(positive(big.NewInt(int64(k.E)).Bytes()))}}
			return nil
		}
	case *ecdsa.PublicKey:
		if want == core.KeyFormatTypeTransparentECPublicKey || want == core.KeyFormatTypeTransparentECDSAPublicKey {
			q, err := k.Bytes()
			kb.Transparent = []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(curveName(k.Curve))}, {Tag: core.TagQString, Value: core.Bytes(q)}}
			return err
		}
	}
	return unrenderable(want)
}
