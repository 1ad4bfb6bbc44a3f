package format

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keyreeve/keyreeve/core"
)

// firstExtension is the first value of an enumeration that vendors may define.
const firstExtension = 0x8000_0000

// keptAsGiven reports whether the bytes of a key pair are stored unread in a format.
func keptAsGiven(f core.KeyFormatType) bool {
	return f == core.KeyFormatTypeRaw || f == core.KeyFormatTypeOpaque || f == core.KeyFormatTypePKCS12 || f >= firstExtension
}

// asGiven stores key bytes that cannot be read here unchanged, as data. No operation
// uses them, and Get returns them only in the same format. They can only have class C.
// why says what cannot be read; nil: the format.
func asGiven(n core.Normalized, kb *core.KeyBlock, class core.Class, why error) (core.Normalized, error) {
	if !keptAsGiven(kb.Format) && why != errPassword && (kb.Algorithm == core.AlgorithmRSA || kb.Algorithm == core.AlgorithmEd25519) {
		return n, core.Errorf(core.InvalidField, "the Cryptographic Algorithm is %v, but the key has another one", kb.Algorithm)
	}
	switch {
	case len(kb.Material) == 0 && kb.Transparent == nil:
		return n, core.Errorf(core.InvalidField, "the Key Material is empty or not a Byte String")
	case class != core.ClassC && why != nil:
		return n, core.Errorf(core.InvalidField, "the key can only be stored unread, because %v; register it with Sensitive False and Extractable True", why)
	case class != core.ClassC:
		return n, core.Errorf(core.InvalidField, "a key in format %v can only be stored unread; register it with Sensitive False and Extractable True", kb.Format)
	}
	n.Kind, n.Bytes = core.KeyData, bytes.Clone(kb.Material)
	return n, nil
}

// transparentFormat is a format whose Key Material is a structure that is never read
// here, or only on some curves (KMIP 1.4 §2.1.7, 2.1 §3.1).
type transparentFormat struct {
	private    bool
	fields     []core.Tag // that it must have
	algorithms []core.CryptographicAlgorithm
}

var (
	ecAlgorithms  = []core.CryptographicAlgorithm{core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH}
	ecPrivateTags = []core.Tag{core.TagRecommendedCurve, core.TagD}
	ecPublicTags  = []core.Tag{core.TagRecommendedCurve, core.TagQString}

	transparentFormats = map[core.KeyFormatType]transparentFormat{
		core.KeyFormatTypeTransparentDSAPrivateKey:   {true, []core.Tag{core.TagP, core.TagQ, core.TagG, core.TagX}, []core.CryptographicAlgorithm{core.AlgorithmDSA}},
		core.KeyFormatTypeTransparentDSAPublicKey:    {false, []core.Tag{core.TagP, core.TagQ, core.TagG, core.TagY}, []core.CryptographicAlgorithm{core.AlgorithmDSA}},
		core.KeyFormatTypeTransparentDHPrivateKey:    {true, []core.Tag{core.TagP, core.TagG, core.TagX}, []core.CryptographicAlgorithm{core.AlgorithmDH}},
		core.KeyFormatTypeTransparentDHPublicKey:     {false, []core.Tag{core.TagP, core.TagG, core.TagY}, []core.CryptographicAlgorithm{core.AlgorithmDH}},
		core.KeyFormatTypeTransparentECDHPrivateKey:  {true, ecPrivateTags, ecAlgorithms},
		core.KeyFormatTypeTransparentECDHPublicKey:   {false, ecPublicTags, ecAlgorithms},
		core.KeyFormatTypeTransparentECMQVPrivateKey: {true, ecPrivateTags, []core.CryptographicAlgorithm{core.AlgorithmECMQV}},
		core.KeyFormatTypeTransparentECMQVPublicKey:  {false, ecPublicTags, []core.CryptographicAlgorithm{core.AlgorithmECMQV}},
		core.KeyFormatTypeTransparentECDSAPrivateKey: {true, ecPrivateTags, ecAlgorithms},
		core.KeyFormatTypeTransparentECDSAPublicKey:  {false, ecPublicTags, ecAlgorithms},
		core.KeyFormatTypeTransparentECPrivateKey:    {true, ecPrivateTags, ecAlgorithms},
		core.KeyFormatTypeTransparentECPublicKey:     {false, ecPublicTags, ecAlgorithms},
	}
)

// readTransparent reports whether the structures of a format are read if they are on a
// supported curve.
func readTransparent(f core.KeyFormatType) bool {
	switch f {
	case core.KeyFormatTypeTransparentECPrivateKey, core.KeyFormatTypeTransparentECPublicKey, core.KeyFormatTypeTransparentECDSAPrivateKey, core.KeyFormatTypeTransparentECDSAPublicKey:
		return true
	}
	return false
}

// transparentAsGiven stores a structure that cannot be read here unchanged. The caller
// encodes it: Bytes is nil. It reports whether the key is such a structure.
func transparentAsGiven(n core.Normalized, kb *core.KeyBlock, private bool, class core.Class) (core.Normalized, bool, error) {
	f, found := transparentFormats[kb.Format]
	v := core.Structure(kb.Transparent...)
	curve := core.RecommendedCurve(v.Field(core.TagRecommendedCurve).Uint())
	if !found || f.private != private || kb.Transparent == nil || (readTransparent(kb.Format) && (curve == 0 || curveNamed(curve) != nil)) {
		return n, false, nil
	}
	for _, tag := range f.fields {
		if v.Field(tag).IsZero() {
			return n, true, invalid("the Key Material is not a key in format %v: %v is missing", kb.Format, tag)
		}
	}
	if err := checkAlgorithm(kb.Algorithm, f.algorithms...); err != nil {
		return n, true, err
	}
	if n.Algorithm == 0 {
		n.Algorithm = f.algorithms[0]
	}
	n.Curve, n.Length = curve, bitLen(v.Field(core.TagP).Bytes)
	var why error
	if readTransparent(kb.Format) {
		why = errCurve
	}
	n, err := asGiven(n, kb, class, why)
	return n, true, err
}

// unreadPublic reports whether der is a SubjectPublicKeyInfo whose algorithm or curve is
// not supported here.
func unreadPublic(der cryptobyte.String) bool {
	var seq, alg, oid, curve, key cryptobyte.String
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() || !seq.ReadASN1(&alg, asn1.SEQUENCE) || !alg.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!seq.ReadASN1(&key, asn1.BIT_STRING) || !seq.Empty() {
		return false
	}
	switch {
	case bytes.Equal(oid, oidRSA), bytes.Equal(oid, oidEd25519):
		return false
	case bytes.Equal(oid, oidEC):
		return !alg.ReadASN1(&curve, asn1.OBJECT_IDENTIFIER) || curveByOID(curve) == nil
	}
	return true
}
