package rules

import "github.com/keyreeve/keyreeve/core"

// MatchKey compares the attributes of a key, its Key Block and its bytes, and adds
// the attributes that are missing. A contradiction is an error of code InvalidField;
// nothing is corrected (KMIP 1.4 §2.1.3, §4.3). n has the facts that the bytes show;
// a field of n that is 0 is not known.
func MatchKey(o *core.ManagedObject, n *core.Normalized, kb *core.KeyBlock) error {
	for _, rule := range []func(*core.ManagedObject, *core.Normalized, *core.KeyBlock) error{matchAlgorithm, matchLength, matchCurve} {
		if err := rule(o, n, kb); err != nil {
			return err
		}
	}
	return nil
}

func matchAlgorithm(o *core.ManagedObject, n *core.Normalized, kb *core.KeyBlock) error {
	attribute := o.Algorithm()
	if attribute != 0 && kb.Algorithm != 0 && !sameAlgorithm(attribute, kb.Algorithm) {
		return core.Errorf(core.InvalidField, "the Cryptographic Algorithm is %v in the attributes and %v in the Key Block", attribute, kb.Algorithm)
	}
	alg := n.Algorithm
	if alg == 0 {
		alg = kb.Algorithm
	}
	if attribute != 0 && alg != 0 && !sameAlgorithm(attribute, alg) {
		return core.Errorf(core.InvalidField, "the Cryptographic Algorithm is given as %v and the key is for %v", attribute, alg)
	}
	if attribute == 0 && alg != 0 {
		o.Attributes = o.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(alg))
	}
	return nil
}

// sameAlgorithm reports whether two names mean one algorithm. Elliptic curve keys
// have three names.
func sameAlgorithm(a, b core.CryptographicAlgorithm) bool {
	ec := func(x core.CryptographicAlgorithm) bool {
		return x == core.AlgorithmEC || x == core.AlgorithmECDSA || x == core.AlgorithmECDH
	}
	return a == b || (ec(a) && ec(b))
}

// matchLength compares lengths and keeps the Cryptographic Length as the client
// gave it, with or without parity bits.
func matchLength(o *core.ManagedObject, n *core.Normalized, kb *core.KeyBlock) error {
	attribute, block := int(o.Attributes.Num(core.TagCryptographicLength)), int(kb.Length)
	if block < 0 {
		return core.Errorf(core.InvalidField, "the Cryptographic Length in the Key Block is negative")
	}
	alg := o.Algorithm()
	if attribute != 0 && block != 0 && withParity(alg, attribute) != withParity(alg, block) {
		return core.Errorf(core.InvalidField, "the Cryptographic Length is %d in the attributes and %d in the Key Block", attribute, block)
	}
	given := attribute
	if given == 0 {
		given = block
	}
	switch {
	case given == 0 && n.Length != 0:
		given = withoutParity(alg, n.Length)
	case n.Length != 0 && withParity(alg, given) != n.Length:
		return core.Errorf(core.InvalidField, "the Cryptographic Length is given as %d and the key has %d bits", given, n.Length)
	}
	if given != 0 && attribute == 0 {
		o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(given)))
	}
	return nil
}

// desBits maps the lengths of DES and 3DES keys without parity bits to those with
// parity bits. Clients use both.
var desBits = map[int]int{56: 64, 112: 128, 168: 192}

func hasParity(alg core.CryptographicAlgorithm) bool {
	return alg == core.AlgorithmDES3 || alg == core.AlgorithmDES
}

// withParity returns the length in bits of a key's bytes, parity bits included.
func withParity(alg core.CryptographicAlgorithm, bits int) int {
	if full, ok := desBits[bits]; ok && hasParity(alg) {
		return full
	}
	return bits
}

// withoutParity returns the Cryptographic Length of a key whose client gave none.
func withoutParity(alg core.CryptographicAlgorithm, full int) int {
	for bits, f := range desBits {
		if f == full && hasParity(alg) {
			return bits
		}
	}
	return full
}

// matchCurve compares the Cryptographic Domain Parameters with the key.
func matchCurve(o *core.ManagedObject, n *core.Normalized, _ *core.KeyBlock) error {
	v, ok := o.Attributes.Get(core.TagCryptographicDomainParameters)
	if !ok || n.Kind == "" || n.Kind == core.KeyData {
		return nil
	}
	curve := core.DomainParametersOf(v).Curve
	if curve != 0 && n.Curve == 0 {
		return core.Errorf(core.InvalidField, "the Recommended Curve is given as %v and the key is on no curve", curve)
	}
	if curve != 0 && curve != n.Curve {
		return core.Errorf(core.InvalidField, "the Recommended Curve is given as %v and the key is on %v", curve, n.Curve)
	}
	if q := v.Field(core.TagQlength); n.Curve != 0 && !q.IsZero() && int(q.Num) != n.Length {
		return core.Errorf(core.InvalidField, "the Qlength is given as %d and the key has %d bits", q.Num, n.Length)
	}
	return nil
}
