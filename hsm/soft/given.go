package soft

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keyreeve/keyreeve/core"
)

// firstExtension is the first value of an enumeration that is a vendor's own.
const firstExtension = 0x8000_0000

// keptAsGiven lists the formats in which the bytes of a key pair are not looked at.
func keptAsGiven(f core.KeyFormatType) bool {
	return f == core.KeyFormatTypeRaw || f == core.KeyFormatTypeOpaque || f == core.KeyFormatTypePKCS12 || f >= firstExtension
}

// asGiven keeps key bytes that are not read here as they came: as data, which no
// operation uses and Get gives back in the same format alone. Only class C can be
// promised for them. why says what is not read; nil: the format.
func asGiven(n core.Normalized, kb *core.KeyBlock, class core.Class, why error) (core.Normalized, error) {
	if !keptAsGiven(kb.Format) && why != errPassword && (kb.Algorithm == core.AlgorithmRSA || kb.Algorithm == core.AlgorithmEd25519) {
		return n, core.Errorf(core.InvalidField, "the Cryptographic Algorithm is given as %v and the key is of another", kb.Algorithm)
	}
	switch {
	case len(kb.Material) == 0:
		return n, core.Errorf(core.InvalidField, "the Key Material is not a Byte String with at least one byte")
	case class != core.ClassC && why != nil:
		return n, core.Errorf(core.InvalidField, "the key is kept as it comes, because %v; register it with Sensitive False and Extractable True", why)
	case class != core.ClassC:
		return n, core.Errorf(core.InvalidField, "a key in format %v is kept as it comes; register it with Sensitive False and Extractable True", kb.Format)
	}
	n.Kind, n.Bytes = core.KeyData, bytes.Clone(kb.Material)
	return n, nil
}

// unreadPublic reports whether der is a SubjectPublicKeyInfo of an algorithm or a
// curve that is not read here.
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
