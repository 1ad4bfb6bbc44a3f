package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// CreateKeyPair makes a private and a public key inside the token, linked to
// each other (KMIP 1.4 §4.2, 2.1 §6.1.9).
func (e *Engine) CreateKeyPair(ctx context.Context, c *core.Caller, in *core.CreateKeyPairInput) (core.CreateKeyPairOutput, error) {
	return run(e, ctx, c, core.ActionCreateKeyPair, in, (*call).createKeyPair)
}

func (k *call) createKeyPair(in *core.CreateKeyPairInput) (out core.CreateKeyPairOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	private, public, err := k.halves(in)
	if err != nil {
		return out, err
	}
	k.storage = either(in.PrivateProtection, in.CommonProtection)
	if !permitted(either(in.PublicProtection, in.CommonProtection), core.ClassC) {
		return out, core.Errorf(core.PublicProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", protection(core.ClassC))
	}
	spec, err := pairSpec(private)
	if err != nil {
		return out, err
	}
	if spec.Class, err = k.custody(private, true); err != nil {
		return out, err
	}
	if err := k.place(private, &spec); err != nil {
		return out, err
	}
	if err := k.makePair(private, public, spec); err != nil {
		return out, err
	}
	k.record.Object = private.ID
	k.record.Detail = "public key " + public.ID
	if err := k.bear(core.ChangeOf(core.InsertObject{Object: private}, core.InsertObject{Object: public})); err != nil {
		return out, err
	}
	return core.CreateKeyPairOutput{PrivateID: private.ID, PublicID: public.ID}, nil
}

// either is what is said of one half, or else what is said of both.
func either(own, common []int32) []int32 {
	if len(own) > 0 {
		return own
	}
	return common
}

// halves makes both newborns; what is common goes to both. What one half says of
// itself overrides it, or is added where an attribute may have several values.
func (k *call) halves(in *core.CreateKeyPairInput) (private, public *core.ManagedObject, err error) {
	if private, err = k.half(core.ObjectTypePrivateKey, in.Private, in.PrivateTemplates, in); err != nil {
		return nil, nil, err
	}
	if public, err = k.half(core.ObjectTypePublicKey, in.Public, in.PublicTemplates, in); err != nil {
		return nil, nil, err
	}
	if private.Algorithm() != public.Algorithm() || private.Attributes.Num(core.TagCryptographicLength) != public.Attributes.Num(core.TagCryptographicLength) {
		return nil, nil, core.Errorf(core.InvalidField, "the private and the public key are asked for with different algorithms or lengths")
	}
	private.Attributes = private.Attributes.Add(linkOf(core.LinkTypePublicKeyLink, public.ID))
	public.Attributes = public.Attributes.Add(linkOf(core.LinkTypePrivateKeyLink, private.ID)).
		Set(core.TagSensitive, core.Bool(false)).Set(core.TagExtractable, core.Bool(true)).
		Set(core.TagAlwaysSensitive, core.Bool(false)).Set(core.TagNeverExtractable, core.Bool(false))
	setProtection(public, core.ClassC)
	return private, public, nil
}

func (k *call) half(t core.ObjectType, own core.Attributes, templates []string, in *core.CreateKeyPairInput) (*core.ManagedObject, error) {
	given, err := k.template(own, templates)
	if err == nil && t == core.ObjectTypePublicKey {
		err = openly(given)
	}
	if err != nil {
		return nil, err
	}
	shared, err := k.template(in.Common, in.CommonTemplates)
	if err != nil {
		return nil, err
	}
	given = overlay(shared, given, several)
	if err := checkTemplate(given); err != nil {
		return nil, err
	}
	if err := k.requireForPair(given); err != nil {
		return nil, err
	}
	return k.newborn(t, k.withMask(t, given))
}

func (k *call) requireForPair(given core.Attributes) error {
	for _, t := range []core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicUsageMask} {
		if !given.Has(t) && (t == core.TagCryptographicAlgorithm || k.caller.Version < core.V2_0) {
			return core.Errorf(core.InvalidMessage, "%s needs a %v for each half", k.action, t)
		}
	}
	return nil
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

func pairSpec(o *core.ManagedObject) (core.KeySpec, error) {
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

// makePair has the token make both halves and completes their attributes.
func (k *call) makePair(private, public *core.ManagedObject, spec core.KeySpec) error {
	var facts core.KeyFacts
	var spki []byte
	var err error
	private.Material, public.Material, spki, facts, err = k.ports.HSM.GeneratePair(k.ctx, private.Key(), public.Key(), spec)
	if err != nil {
		return err
	}
	k.record.Where = facts.Where
	for _, o := range []*core.ManagedObject{private, public} {
		o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits))).
			Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
		if spec.Curve != 0 {
			o.Attributes = o.Attributes.Set(core.TagCryptographicDomainParameters, core.DomainParameters{Curve: spec.Curve}.Value())
		}
		setGenerator(o)
	}
	sum, err := k.ports.Formats.Digest(core.HashSHA256, spki)
	if err != nil {
		return err
	}
	setDigest(private, facts.SHA256)
	setDigest(public, sum)
	return nil
}
