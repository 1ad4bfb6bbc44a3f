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
	asked := askedNew(private.Attributes, func(o *core.ManagedObject) (core.KeySpec, error) { return rules.PairSpec(o, true) })
	asked.UsageMask |= public.Mask()
	if err := decideKey(k, nil, asked); err != nil {
		return out, err
	}
	k.StorageMasks = ownOrCommon(in.PrivateProtection, in.CommonProtection)
	if !rules.PermitsClass(ownOrCommon(in.PublicProtection, in.CommonProtection), core.ClassC) {
		return out, core.Errorf(core.PublicProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", rules.StorageOf(core.ClassC))
	}
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return out, err
	}
	spec, err := rules.PairSpec(private, row.WeakKeys)
	if err != nil {
		return out, err
	}
	if err := placeKey(k, private, &spec, true); err != nil {
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
func makeHalf(k *engine.Call, t core.ObjectType, own core.Attributes, templates []string, in *operation.CreateKeyPairInput) (*core.ManagedObject, error) {
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

// checkReplaceable is the check of Re-key: it replaces symmetric keys that are not destroyed.
func checkReplaceable(o *core.ManagedObject, now int64) error {
	if o.Type != core.ObjectTypeSymmetricKey {
		return core.Errorf(core.InvalidObjectType, "Re-key replaces symmetric keys; object %s is a %v", o.ID, o.Type)
	}
	if o.StateAt(now).Gone() {
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	}
	return nil
}

// ReKey makes a replacement for a symmetric key: new bytes, a new Unique
// Identifier, the old key's attributes and its names (KMIP 1.4 §4.4, 2.1
// §6.1.46). The old key keeps its state.
func (v *Verbs) ReKey(ctx context.Context, c *core.Caller, in *operation.RekeyInput) (operation.CreateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionReKey, in, reKey)
}

func reKey(k *engine.Call, in *operation.RekeyInput) (out operation.CreateOutput, err error) {
	var fresh *core.ManagedObject
	k.StorageMasks = in.ProtectionMasks
	k.Asked, k.StateCheck = askedKey(in.Attributes), checkReplaceable
	_, err = k.Change(in.ID, func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		if err := checkReplaceable(o, k.Now); err != nil {
			return nil, err
		}
		given, err := inheritAttributes(k, o, in)
		if err != nil {
			return nil, err
		}
		if err := decideReplacement(k, o, given); err != nil {
			return nil, err
		}
		if err := checkNewCustody(k, o, given); err != nil {
			return nil, err
		}
		if err := engine.RequireMayRelabel(k, o, &core.ManagedObject{Attributes: given, Material: core.Material{Class: classOfGiven(o, given)}}); err != nil {
			return nil, err
		}
		if fresh, err = generateKey(k, o.Type, given); err != nil {
			return nil, err
		}
		if err := checkNewClass(k, o, fresh.Material.Class); err != nil {
			return nil, err
		}
		// The owner of the old key owns the replacement, also if another principal
		// re-keys it.
		fresh.Owner, fresh.Group = o.Owner, o.Group
		fresh.Attributes = fresh.Attributes.Add(linkTo(core.LinkTypeReplacedObjectLink, o.ID))
		ch.Add(core.InsertObject{Object: fresh})
		closeCreateIntent(ch, fresh)
		next := o.Successor()
		next.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagName}).
			Add(linkTo(core.LinkTypeReplacementObjectLink, fresh.ID))
		k.Involve(fresh.ID, core.RoleReplacement)
		k.Record.Detail = "replaced by " + fresh.ID
		return next, nil
	})
	if err != nil {
		return out, err
	}
	return operation.CreateOutput{ObjectType: fresh.Type, ID: fresh.ID, Made: fresh}, nil
}

// classOfGiven returns the class that the replacement of o gets by its attributes. Those that
// it lacks are those of o.
func classOfGiven(o *core.ManagedObject, given core.Attributes) core.Class {
	if !given.Has(core.TagSensitive) || !given.Has(core.TagExtractable) {
		return o.Material.Class
	}
	return core.ClassOf(given.Bool(core.TagSensitive), given.Bool(core.TagExtractable))
}

// checkNewClass refuses a replacement in a less strict class than the old key, because
// its value could then leave although the old one could not. The class of another
// principal's key may not change at all.
func checkNewClass(k *engine.Call, o *core.ManagedObject, to core.Class) error {
	was := o.Material.Class
	if rules.Stricter(was, to) || (to != was && engine.IsForeign(k, o)) {
		return core.Errorf(core.PermissionDenied, "object %s is kept in class %s, and its replacement cannot be kept in class %s; leave Sensitive and Extractable out", o.ID, was, to)
	}
	return nil
}

// checkNewCustody makes the same check from the attributes, before a key is made. It also
// checks the mode.
func checkNewCustody(k *engine.Call, o *core.ManagedObject, given core.Attributes) error {
	sensitive, extractable := given.Bool(core.TagSensitive), given.Bool(core.TagExtractable)
	if given.Has(core.TagSensitive) && given.Has(core.TagExtractable) {
		if err := checkNewClass(k, o, core.ClassOf(sensitive, extractable)); err != nil {
			return err
		}
	}
	for _, t := range []core.Tag{core.TagSensitive, core.TagExtractable} {
		if engine.IsForeign(k, o) && given.Bool(t) != o.Attributes.Bool(t) {
			return core.Errorf(core.PermissionDenied, "object %s belongs to another principal, so its replacement keeps its %v; leave the attribute out", o.ID, t)
		}
	}
	mode := func(as core.Attributes) string {
		for _, a := range as.All(rules.CustodyAttribute) {
			return a.Value.Text
		}
		return string(core.ModeWrapped)
	}
	if engine.IsForeign(k, o) && mode(given) != mode(o.Attributes) {
		return core.Errorf(core.PermissionDenied, "object %s is kept as %s, and so is its replacement; leave x-keyreeve-custody out", o.ID, mode(o.Attributes))
	}
	return nil
}

// notInherited lists attributes that a replacement does not inherit (KMIP 1.4 Table 173),
// besides those that only the server sets.
var notInherited = map[core.Tag]bool{core.TagLink: true, core.TagOriginalCreationDate: true, core.TagRandomNumberGenerator: true,
	core.TagFresh: true}

// inheritAttributes returns the attributes of the replacement: those of the old key that
// a client can set, and those of the request. Of an attribute with one value, the
// request's value wins. With an Offset, dates are moved.
func inheritAttributes(k *engine.Call, o *core.ManagedObject, in *operation.RekeyInput) (core.Attributes, error) {
	asked, err := mergeTemplates(k, in.Attributes, in.TemplateNames)
	if err != nil {
		return nil, err
	}
	var out core.Attributes
	for _, a := range o.Attributes {
		r := core.RuleOf(a.Tag)
		if (a.Tag != 0 && (r == nil || !r.ClientSets)) || notInherited[a.Tag] {
			continue
		}
		out = out.Add(a)
	}
	out = rules.Overlay(out, asked, func(n core.AttributeName) bool { return n.Tag != 0 && n.Several() })
	if in.Offset == nil {
		return out, nil
	}
	if err := checkOffset(o, asked, *in.Offset); err != nil {
		return nil, err
	}
	return moveDates(o, out, k.Now+*in.Offset), nil
}

// checkOffset refuses an Offset together with dates, and an Offset that cannot move the
// old key's dates (KMIP 1.4 §11.5).
func checkOffset(o *core.ManagedObject, asked core.Attributes, offset int64) error {
	if offset < 0 {
		return core.Errorf(core.InvalidField, "the Offset is negative")
	}
	for _, t := range engine.ScheduledDates {
		if asked.Has(t) {
			return core.Errorf(core.InvalidMessage, "an Offset and the %v are given; give one of them", t)
		}
		if o.Attributes.Has(t) && !o.Attributes.Has(core.TagActivationDate) {
			return core.Errorf(core.IllegalOperation, "object %s has a %v and no Activation Date that an Offset could move it by", o.ID, t)
		}
	}
	return nil
}

// moveDates sets the Activation Date to activation and moves the other dates by the same
// time (KMIP 1.4 Table 172).
func moveDates(o *core.ManagedObject, as core.Attributes, activation int64) core.Attributes {
	old, _ := o.Attributes.Get(core.TagActivationDate)
	for _, t := range engine.ScheduledDates {
		v, ok := o.Attributes.Get(t)
		switch {
		case t == core.TagActivationDate:
			as = as.Set(t, core.Date(activation))
		case ok:
			as = as.Set(t, core.Date(v.Num+activation-old.Num))
		}
	}
	return as
}
