package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// CreateKeyPair makes a private key and a public key in the token and links them to each
// other (KMIP 1.4 §4.2, 2.1 §6.1.9).
func (v *Verbs) CreateKeyPair(ctx context.Context, c *core.Caller, in *core.CreateKeyPairInput) (core.CreateKeyPairOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCreateKeyPair, in, createKeyPair)
}

func createKeyPair(k *engine.Call, in *core.CreateKeyPairInput) (out core.CreateKeyPairOutput, err error) {
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	private, public, err := makeHalves(k, in)
	if err != nil {
		return out, err
	}
	k.StorageMasks = ownOrCommon(in.PrivateProtection, in.CommonProtection)
	if !rules.PermitsClass(ownOrCommon(in.PublicProtection, in.CommonProtection), core.ClassC) {
		return out, core.Errorf(core.PublicProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", rules.StorageOf(core.ClassC))
	}
	spec, err := rules.PairSpec(private)
	if err != nil {
		return out, err
	}
	if spec.Class, err = chooseCustody(k, private, true); err != nil {
		return out, err
	}
	if err := chooseMode(k, private, &spec); err != nil {
		return out, err
	}
	if err := makePair(k, private, public, spec); err != nil {
		return out, err
	}
	k.Record.Object = private.ID
	k.Record.Detail = "public key " + public.ID
	if err := insertNew(k, core.ChangeOf(core.InsertObject{Object: private}, core.InsertObject{Object: public})); err != nil {
		return out, err
	}
	return core.CreateKeyPairOutput{PrivateID: private.ID, PublicID: public.ID}, nil
}

// ownOrCommon returns the masks of one half, or those of both halves if it has none.
func ownOrCommon(own, common []int32) []int32 {
	if len(own) > 0 {
		return own
	}
	return common
}

// makeHalves makes both objects, without material. Common attributes apply to both.
// The attributes of one half replace them, or are added if an attribute may have
// several values.
func makeHalves(k *engine.Call, in *core.CreateKeyPairInput) (private, public *core.ManagedObject, err error) {
	if private, err = makeHalf(k, core.ObjectTypePrivateKey, in.Private, in.PrivateTemplates, in); err != nil {
		return nil, nil, err
	}
	if public, err = makeHalf(k, core.ObjectTypePublicKey, in.Public, in.PublicTemplates, in); err != nil {
		return nil, nil, err
	}
	if private.Algorithm() != public.Algorithm() || private.Attributes.Num(core.TagCryptographicLength) != public.Attributes.Num(core.TagCryptographicLength) {
		return nil, nil, core.Errorf(core.InvalidField, "the private and the public key are asked for with different algorithms or lengths")
	}
	private.Attributes = private.Attributes.Add(linkTo(core.LinkTypePublicKeyLink, public.ID))
	public.Attributes = public.Attributes.Add(linkTo(core.LinkTypePrivateKeyLink, private.ID)).
		Set(core.TagSensitive, core.Bool(false)).Set(core.TagExtractable, core.Bool(true)).
		Set(core.TagAlwaysSensitive, core.Bool(false)).Set(core.TagNeverExtractable, core.Bool(false))
	rules.SetStorage(public, core.ClassC)
	return private, public, nil
}

// makeHalf makes the object of one half.
func makeHalf(k *engine.Call, t core.ObjectType, own core.Attributes, templates []string, in *core.CreateKeyPairInput) (*core.ManagedObject, error) {
	given, err := mergeTemplates(k, own, templates)
	if err == nil && t == core.ObjectTypePublicKey {
		err = requireReadable(given)
	}
	if err != nil {
		return nil, err
	}
	shared, err := mergeTemplates(k, in.Common, in.CommonTemplates)
	if err != nil {
		return nil, err
	}
	given = rules.Overlay(shared, given, rules.MayHaveSeveral)
	if err := rules.CheckNewAttributes(given); err != nil {
		return nil, err
	}
	if err := requireForPair(k, given); err != nil {
		return nil, err
	}
	return newObject(k, t, withMask(k, t, given))
}

// requireForPair refuses a half without the attributes that KMIP 1.4 §4.2 requires.
func requireForPair(k *engine.Call, given core.Attributes) error {
	for _, t := range []core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicUsageMask} {
		if !given.Has(t) && (t == core.TagCryptographicAlgorithm || k.Caller.Version < core.V2_0) {
			return core.Errorf(core.InvalidMessage, "%s needs a %v for each half", k.Action, t)
		}
	}
	return nil
}

// makePair makes the material of both halves in the token and adds the attributes that
// depend on it.
func makePair(k *engine.Call, private, public *core.ManagedObject, spec core.KeySpec) error {
	var facts core.KeyFacts
	var spki []byte
	var err error
	private.Material, public.Material, spki, facts, err = k.Ports.HSM.GeneratePair(k.Ctx, private.Key(), public.Key(), spec)
	if err != nil {
		return err
	}
	k.Record.ExecutedIn = facts.ExecutedIn
	for _, o := range []*core.ManagedObject{private, public} {
		o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits))).
			Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
		if spec.Curve != 0 {
			o.Attributes = o.Attributes.Set(core.TagCryptographicDomainParameters, core.DomainParameters{Curve: spec.Curve}.Value())
		}
		setGenerator(o)
	}
	sum, err := k.Ports.Formats.Digest(core.HashSHA256, spki)
	if err != nil {
		return err
	}
	setDigest(private, facts.SHA256)
	setDigest(public, sum)
	return nil
}
