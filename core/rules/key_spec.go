package rules

import "github.com/keyreeve/keyreeve/core"

// ImpliedMask returns the Cryptographic Usage Mask of a new key whose client gave
// none. It allows the usual uses of the algorithm. It never allows wrapping or
// derivation, because both can carry other keys away.
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

// symmetricSizes lists the algorithms that the token can make keys for. bits are the
// allowed lengths; nil allows every whole number of bytes from minGeneric to
// maxGeneric bits. usual is the length if the client gives none.
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

// quantumSafeBits is the least length of a symmetric key that is Quantum Safe (KMIP
// 2.1 §4.45), because a search by a quantum computer halves its strength.
const quantumSafeBits = 256

// SymmetricSpec returns kind, length and format of the symmetric key or Secret Data
// that the attributes of o describe. An algorithm or a length that cannot be made is
// an error of code InvalidField.
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
	if !isKeyLength(size.bits, bits) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "%d bits is no length of a key for %v", bits, alg)
	}
	return core.KeySpec{Kind: size.kind, Bits: int(bits), Format: core.KeyFormatTypeRaw}, nil
}

// isKeyLength reports whether keys may have a length, in bits; see symmetricSizes.
func isKeyLength(allowed []int64, bits int64) bool {
	for _, b := range allowed {
		if b == bits {
			return true
		}
	}
	return len(allowed) == 0 && bits%8 == 0 && bits >= minGeneric && bits <= maxGeneric
}

// curveOfLength maps a length in bits to the curve that is used if the client gives
// no Recommended Curve.
var curveOfLength = map[int64]core.RecommendedCurve{
	256: core.RecommendedCurveP256, 384: core.RecommendedCurveP384, 521: core.RecommendedCurveP521}

// lengthOfCurve lists the curves that keys can be made on, with their lengths in bits.
var lengthOfCurve = map[core.RecommendedCurve]int{
	core.RecommendedCurveP256: 256, core.RecommendedCurveP384: 384, core.RecommendedCurveP521: 521}

// Bounds of generated RSA keys, in bits. Tokens accept far smaller keys, which are not
// safe. Larger keys keep a token busy for minutes.
const (
	minRSABits     = 2048
	minWeakRSABits = 1024
	maxRSABits     = 4096
)

// PairSpec returns kind, length, curve and format of the key pair that the attributes
// of its private key describe. An algorithm, length or curve that cannot be made is
// an error of code InvalidField. RSA keys under 2048 bits can be made only if weak keys
// are allowed.
func PairSpec(o *core.ManagedObject, allowWeak bool) (core.KeySpec, error) {
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
		least := minRSABits
		if allowWeak {
			least = minWeakRSABits
		}
		if s.Bits < least || s.Bits > maxRSABits || s.Bits%256 != 0 {
			return s, core.Errorf(core.InvalidField, "RSA keys are made with %d to %d bits in steps of 256, not %d (weakKeys in the settings of the tenant)", least, maxRSABits, s.Bits)
		}
		s.Kind = core.KeyRSA
	case core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH:
		return s, setCurve(o, bits, &s)
	case core.AlgorithmEd25519:
		s.Kind, s.Curve, s.Bits = core.KeyEd25519, core.RecommendedCurveCURVE25519, 256
	default:
		return s, core.Errorf(core.InvalidField, "key pairs of algorithm %v cannot be made here; see docs/KMIP.md for those that can", o.Algorithm())
	}
	return s, nil
}

// setCurve chooses the curve from the Cryptographic Domain Parameters, or else from
// the length.
func setCurve(o *core.ManagedObject, bits int64, s *core.KeySpec) error {
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
