package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Create makes a symmetric key or Secret Data in the token (KMIP 1.4 §4.1, 2.1 §6.1.8).
func (v *Verbs) Create(ctx context.Context, c *core.Caller, in *operation.CreateInput) (operation.CreateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCreate, in, create)
}

func create(k *engine.Call, in *operation.CreateInput) (out operation.CreateOutput, err error) {
	k.StorageMasks = in.ProtectionMasks
	given, err := mergeTemplates(k, in.Attributes, in.TemplateNames)
	if err != nil {
		return out, err
	}
	given = activatedNow(k, given, in.ActivateNow)
	if err := decideKey(k, nil, askedNew(withMask(k, in.ObjectType, given), rules.SymmetricSpec)); err != nil {
		return out, err
	}
	if in.ObjectType != core.ObjectTypeSymmetricKey && in.ObjectType != core.ObjectTypeSecretData {
		return out, core.Errorf(core.InvalidObjectType, "Create makes Symmetric Keys and Secret Data; %v come by another operation", in.ObjectType)
	}
	o, err := generateKey(k, in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.Record.Object = o.ID
	if err := insertNew(k, core.ChangeOf(core.InsertObject{Object: o})); err != nil {
		return out, err
	}
	return operation.CreateOutput{ObjectType: o.Type, ID: o.ID, Made: o}, nil
}

// activatedNow adds the time of the operation as Activation Date, if that is asked for. It is not
// in the request: an approval is bound to the request, and a later time would be another request.
func activatedNow(k *engine.Call, given core.Attributes, asked bool) core.Attributes {
	if !asked {
		return given
	}
	return given.Set(core.TagActivationDate, core.Date(k.Now))
}

// generateKey makes a symmetric key or Secret Data with new material. It stores nothing.
func generateKey(k *engine.Call, t core.ObjectType, given core.Attributes) (*core.ManagedObject, error) {
	if err := requireForKey(k, t, given); err != nil {
		return nil, err
	}
	o, err := newObject(k, t, withMask(k, t, given))
	if err != nil {
		return nil, err
	}
	if t == core.ObjectTypeSecretData {
		o.Attributes = o.Attributes.Set(core.TagSecretDataType, core.Enum(core.SecretDataTypePassword))
	}
	spec, err := rules.SymmetricSpec(o)
	if err != nil {
		return nil, err
	}
	if err := placeKey(k, o, &spec, true); err != nil {
		return nil, err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.Generate(k.Ctx, o.Key(), spec); err != nil {
		return nil, err
	}
	k.Record.ExecutedIn = facts.ExecutedIn
	o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits))).Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	setGenerator(o)
	return o, nil
}

// requireForKey refuses a request without the attributes that KMIP 1.4 Table 165
// requires. KMIP 2.x requires no Cryptographic Usage Mask; see withMask.
func requireForKey(k *engine.Call, t core.ObjectType, given core.Attributes) error {
	if t == core.ObjectTypeSymmetricKey && !given.Has(core.TagCryptographicAlgorithm) {
		return core.Errorf(core.InvalidField, "%s needs a Cryptographic Algorithm", k.Action)
	}
	if t == core.ObjectTypeSymmetricKey && !given.Has(core.TagCryptographicUsageMask) && k.Caller.Version < core.V2_0 {
		return core.Errorf(core.InvalidField, "%s needs a Cryptographic Usage Mask", k.Action)
	}
	return nil
}

// withMask adds a Cryptographic Usage Mask if a client of KMIP 2.x gives none. Every new
// object has one, and the server may set it (2.1 §4.17).
func withMask(k *engine.Call, t core.ObjectType, given core.Attributes) core.Attributes {
	if k.Caller.Version < core.V2_0 || given.Has(core.TagCryptographicUsageMask) {
		return given
	}
	v, _ := given.Get(core.TagCryptographicAlgorithm)
	return given.Set(core.TagCryptographicUsageMask, core.Mask(rules.ImpliedMask(t, core.CryptographicAlgorithm(v.Uint()))))
}

// placeKey chooses where a new key is kept: its class and its mode. generated means that
// the server makes the material.
func placeKey(k *engine.Call, o *core.ManagedObject, s *core.KeySpec, generated bool) (err error) {
	if s.Class, err = chooseCustody(k, o, generated); err != nil {
		return err
	}
	return chooseMode(k, o, s)
}

// chooseMode sets the mode in s and loads the tenant's keys. For a token object it also
// stores the intent and sets the CKA_ID.
func chooseMode(k *engine.Call, o *core.ManagedObject, s *core.KeySpec) error {
	s.Mode = core.ModeWrapped
	for _, a := range o.Attributes.All(rules.CustodyAttribute) {
		switch core.Mode(a.Value.Text) {
		case core.ModeResident:
			s.Mode = core.ModeResident
			if s.Kind == core.KeyData || s.Kind == core.KeyPublic {
				return core.Errorf(core.InvalidField, "a %v is kept in the database, so x-keyreeve-custody = resident has no effect; leave it out", o.Type)
			}
		case core.ModeWrapped:
			if s.Kind == core.KeyEd25519 && s.Class != core.ClassC {
				return core.Errorf(core.InvalidField, "an Ed25519 key of class %s is kept in the HSM, which cannot wrap it, so x-keyreeve-custody = wrapped has no effect; leave it out", s.Class)
			}
		default:
			return core.Errorf(core.InvalidField, "x-keyreeve-custody is %q; it may be wrapped or resident", core.ClientText(a.Value.Text))
		}
	}
	if s.Kind == core.KeyEd25519 && s.Class != core.ClassC {
		s.Mode = core.ModeResident // an Ed25519 private key cannot be wrapped by the token (docs/KMIP.md)
	}
	if s.Kind == core.KeyData {
		s.Mode = core.ModeData
	}
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return err
	}
	if err := rules.CheckTenantKey(row, o, s); err != nil {
		return err
	}
	if err := k.Engine.Tenants.Load(k.Ctx, o.Tenant); err != nil {
		return err
	}
	if s.Mode == core.ModeResident {
		return k.IntendTokenObject(o, s)
	}
	return nil
}

// insertNew stores new objects and finishes their intents in one transaction. If it
// fails, the reconciler removes the orphaned token objects.
func insertNew(k *engine.Call, ch *core.Change) error {
	for _, w := range core.WritesOf[core.InsertObject](ch) {
		closeCreateIntent(ch, w.Object)
	}
	return k.Commit(ch)
}

// closeCreateIntent finishes the intent of a new resident key. If the reconciler has
// finished it already, the key is removed and the change must fail.
func closeCreateIntent(ch *core.Change, o *core.ManagedObject) {
	if o.Material.Mode == core.ModeResident {
		ch.Add(core.FinishIntent{ID: engine.IntentID(o.Material.CKAID), MustBeOpen: true})
	}
}

// CreateKeyPair makes a private key and a public key in the token and links them to each
// other (KMIP 1.4 §4.2, 2.1 §6.1.9).
func (v *Verbs) CreateKeyPair(ctx context.Context, c *core.Caller, in *operation.CreateKeyPairInput) (operation.CreateKeyPairOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCreateKeyPair, in, createKeyPair)
}

func createKeyPair(k *engine.Call, in *operation.CreateKeyPairInput) (out operation.CreateKeyPairOutput, err error) {
	private, public, err := makeHalves(k, in)
	if err != nil {
		return out, err
	}
	if err := decideKey(k, nil, askedPair(private.Attributes, public.Attributes)); err != nil {
		return out, err
	}
	if err := makePair(k, private, public, in); err != nil {
		return out, err
	}
	k.Record.Object = private.ID
	k.Record.Detail = "public key " + public.ID
	if err := insertNew(k, core.ChangeOf(core.InsertObject{Object: private}, core.InsertObject{Object: public})); err != nil {
		return out, err
	}
	return operation.CreateKeyPairOutput{PrivateID: private.ID, PublicID: public.ID, Private: private}, nil
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
func makeHalves(k *engine.Call, in *operation.CreateKeyPairInput) (private, public *core.ManagedObject, err error) {
	if private, err = makeHalf(k, core.ObjectTypePrivateKey, in.Private, in.PrivateTemplates, in); err != nil {
		return nil, nil, err
	}
	if public, err = makeHalf(k, core.ObjectTypePublicKey, in.Public, in.PublicTemplates, in); err != nil {
		return nil, nil, err
	}
	return private, public, joinHalves(private, public)
}

// joinHalves links two halves to each other. The public one gets the attributes that every
// public key has.
func joinHalves(private, public *core.ManagedObject) error {
	if private.Algorithm() != public.Algorithm() || private.Attributes.Num(core.TagCryptographicLength) != public.Attributes.Num(core.TagCryptographicLength) {
		return core.Errorf(core.InvalidField, "the private and the public key are asked for with different algorithms or lengths")
	}
	private.Attributes = private.Attributes.Add(linkTo(core.LinkTypePublicKeyLink, public.ID))
	public.Attributes = public.Attributes.Add(linkTo(core.LinkTypePrivateKeyLink, private.ID)).
		Set(core.TagSensitive, core.Bool(false)).Set(core.TagExtractable, core.Bool(true)).
		Set(core.TagAlwaysSensitive, core.Bool(false)).Set(core.TagNeverExtractable, core.Bool(false))
	rules.SetStorage(public, core.ClassC)
	return nil
}

// makeHalf makes the object of one half.
func makeHalf(k *engine.Call, t core.ObjectType, own core.Attributes, templates []string, in *operation.CreateKeyPairInput) (*core.ManagedObject, error) {
	given, err := askedHalf(k, t, own, templates, in)
	if err != nil {
		return nil, err
	}
	if err := requireForPair(k, given); err != nil {
		return nil, err
	}
	return newObject(k, t, withMask(k, t, given))
}

// askedHalf returns the attributes that a request has for one half of a pair.
func askedHalf(k *engine.Call, t core.ObjectType, own core.Attributes, templates []string, in *operation.CreateKeyPairInput) (core.Attributes, error) {
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
	given = activatedNow(k, rules.Overlay(shared, given, rules.MayHaveSeveral), in.ActivateNow)
	return given, rules.CheckNewAttributes(given)
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

// makePair chooses where the halves of a pair are kept, makes their material in the token and
// adds the attributes that depend on it.
func makePair(k *engine.Call, private, public *core.ManagedObject, in *operation.CreateKeyPairInput) error {
	k.StorageMasks = ownOrCommon(in.PrivateProtection, in.CommonProtection)
	if !rules.PermitsClass(ownOrCommon(in.PublicProtection, in.CommonProtection), core.ClassC) {
		return core.Errorf(core.PublicProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", rules.StorageOf(core.ClassC))
	}
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return err
	}
	spec, err := rules.PairSpec(private, row.WeakKeys)
	if err != nil {
		return err
	}
	if err := placeKey(k, private, &spec, true); err != nil {
		return err
	}
	return generatePair(k, private, public, spec)
}

// generatePair makes the material of both halves in the token.
func generatePair(k *engine.Call, private, public *core.ManagedObject, spec core.KeySpec) error {
	var facts core.KeyFacts
	var spki []byte
	key, err := engine.KeyFor(k, private)
	if err != nil {
		return err
	}
	private.Material, public.Material, spki, facts, err = k.Ports.HSM.GeneratePair(k.Ctx, key, public.Key(), spec)
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
