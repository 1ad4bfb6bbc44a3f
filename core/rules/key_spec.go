package rules

import "github.com/keyreeve/keyreeve/core"

// ImpliedMask allows what keys of the algorithm are there for, and neither wrapping
// nor derivation, which can carry other keys away.
func ImpliedMask(t core.ObjectType, alg core.CryptographicAlgorithm) core.UsageMask {
	rsa := alg == core.AlgorithmRSA
	switch {
	case t == core.ObjectTypePrivateKey && rsa:
		return core.MaskSign | core.MaskDecrypt
	case t == core.ObjectTypePublicKey && rsa:
		return core.MaskVerify | core.MaskEncrypt
	case t == core.ObjectTypePrivateKey:
		return core.MaskSign
	case t == core.ObjectTypePublicKey:
		return core.MaskVerify
	case t == core.ObjectTypeSecretData:
		return 0
	case symmetricSizes[alg].kind == core.KeyGeneric && alg != core.AlgorithmChaCha20 && alg != core.AlgorithmChaCha20Poly1305:
		return core.MaskMACGenerate | core.MaskMACVerify
	}
	return core.MaskEncrypt | core.MaskDecrypt
}

// symmetricSizes lists, per algorithm the token can make keys for, the kind,
// the lengths in bits that are keys, and the length that is taken when none is
// asked for. An empty list means any whole number of bytes up to maxGeneric.
var symmetricSizes = map[core.CryptographicAlgorithm]struct {
	kind  core.KeyKind
	bits  []int64
	usual int64
}{
	core.AlgorithmAES:              {core.KeyAES, []int64{128, 192, 256}, 256},
	core.AlgorithmDES3:             {core.KeyDES3, []int64{112, 128, 168, 192}, 168},
	core.AlgorithmHMACSHA1:         {core.KeyGeneric, nil, 160},
	core.AlgorithmHMACSHA224:       {core.KeyGeneric, nil, 224},
	core.AlgorithmHMACSHA256:       {core.KeyGeneric, nil, 256},
	core.AlgorithmHMACSHA384:       {core.KeyGeneric, nil, 384},
	core.AlgorithmHMACSHA512:       {core.KeyGeneric, nil, 512},
	core.AlgorithmChaCha20:         {core.KeyGeneric, []int64{256}, 256},
	core.AlgorithmChaCha20Poly1305: {core.KeyGeneric, []int64{256}, 256},
	0:                              {core.KeyGeneric, nil, 256}, // Secret Data
}

// Bounds on generated secrets, in bits.
const (
	minGeneric = 64
	maxGeneric = 4096
)

// quantumSafeBits is what a symmetric key needs to be Quantum Safe (KMIP 2.1
// §4.45): search by a quantum computer halves its strength.
const quantumSafeBits = 256

func SymmetricSpec(o *core.ManagedObject) (core.KeySpec, error) {
	alg, bits := o.Algorithm(), o.Attributes.Num(core.TagCryptographicLength)
	size, ok := symmetricSizes[alg]
	if !ok {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "keys of algorithm %v cannot be made here; see docs/KMIP.md for those that can", alg)
	}
	if bits == 0 {
		bits = size.usual
	}
	if o.Attributes.Bool(core.TagQuantumSafe) && bits < quantumSafeBits {
		return core.KeySpec{}, core.Errorf(core.GeneralFailure, "a key of %d bits is not Quantum Safe; ask for %d", bits, quantumSafeBits)
	}
	if !validLength(size.bits, bits) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "%d bits is no length of a key for %v", bits, alg)
	}
	return core.KeySpec{Kind: size.kind, Bits: int(bits), Format: core.KeyFormatTypeRaw}, nil
}

func validLength(allowed []int64, bits int64) bool {
	for _, b := range allowed {
		if b == bits {
			return true
		}
	}
	return len(allowed) == 0 && bits%8 == 0 && bits >= minGeneric && bits <= maxGeneric
}

// curveOfLength is the curve that a length names when no Recommended Curve does.
var curveOfLength = map[int64]core.RecommendedCurve{
	256: core.RecommendedCurveP256, 384: core.RecommendedCurveP384, 521: core.RecommendedCurveP521}

// lengthOfCurve lists the curves that keys can be made on, with their lengths in bits.
var lengthOfCurve = map[core.RecommendedCurve]int{
	core.RecommendedCurveP256: 256, core.RecommendedCurveP384: 384, core.RecommendedCurveP521: 521}

// minRSABits and maxRSABits bound generated RSA keys; tokens take far smaller
// ones, which nobody should use, and larger ones block the token for minutes.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

func PairSpec(o *core.ManagedObject) (core.KeySpec, error) {
	if o.Attributes.Bool(core.TagQuantumSafe) {
		return core.KeySpec{}, core.Errorf(core.GeneralFailure, "no key pair that can be made here is Quantum Safe")
	}
	bits := o.Attributes.Num(core.TagCryptographicLength)
	s := core.KeySpec{Bits: int(bits), Format: core.KeyFormatTypePKCS8}
	switch o.Algorithm() {
	case core.AlgorithmRSA:
		if bits == 0 {
			s.Bits = minRSABits
		}
		if s.Bits < minRSABits || s.Bits > maxRSABits || s.Bits%256 != 0 {
			return s, core.Errorf(core.InvalidField, "RSA keys are made with %d to %d bits in steps of 256, not %d", minRSABits, maxRSABits, s.Bits)
		}
		s.Kind = core.KeyRSA
	case core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH:
		return s, curveSpec(o, bits, &s)
	case core.AlgorithmEd25519:
		s.Kind, s.Curve, s.Bits = core.KeyEd25519, core.RecommendedCurveCURVE25519, 256
	default:
		return s, core.Errorf(core.InvalidField, "key pairs of algorithm %v cannot be made here; see docs/KMIP.md for those that can", o.Algorithm())
	}
	return s, nil
}

// curveSpec takes the curve from Cryptographic Domain Parameters, else from
// the length.
func curveSpec(o *core.ManagedObject, bits int64, s *core.KeySpec) error {
	if v, ok := o.Attributes.Get(core.TagCryptographicDomainParameters); ok {
		s.Curve = core.DomainParametersOf(v).Curve
	} else if s.Curve = curveOfLength[bits]; bits == 0 {
		s.Curve = core.RecommendedCurveP256
	}
	n, ok := lengthOfCurve[s.Curve]
	if !ok || (bits != 0 && int(bits) != n) {
		return core.Errorf(core.InvalidField, "elliptic curve keys are made on P-256, P-384 and P-521; curve %v with %d bits is none of them", s.Curve, bits)
	}
	s.Kind, s.Bits = core.KeyEC, n
	return nil
}
