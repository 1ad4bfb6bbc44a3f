package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of Derive Key.
const (
	maxBases        = 2  // the key, and Secret Data that is the Derivation Data
	maxDerivedLinks = 64 // of one base object. Each derived key has the Link to its base
)

// DeriveKey makes a symmetric key or Secret Data from base objects of the server (KMIP 1.4
// §4.6, 2.1 §6.1.14). The HSM port derives, so key bytes do not pass here. The derived key is
// of the class of its base, or of a stricter one.
func (v *Verbs) DeriveKey(ctx context.Context, c *core.Caller, in *operation.DeriveKeyInput) (operation.DeriveKeyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDeriveKey, in, deriveKey)
}

func deriveKey(k *engine.Call, in *operation.DeriveKeyInput) (out operation.DeriveKeyOutput, err error) {
	given, err := mergeTemplates(k, in.Attributes, in.TemplateNames)
	if err != nil {
		return out, err
	}
	given = activatedNow(k, given, in.ActivateNow)
	k.Asked = askedNew(withMask(k, in.ObjectType, given), rules.SymmetricSpec)
	bases, err := findBases(k, in.IDs)
	if err != nil {
		return out, err
	}
	p, err := planDerivation(k, in, bases)
	if err != nil {
		return out, err
	}
	fresh, err := p.derive(k, in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.Involve(fresh.ID, core.RoleMade)
	k.Record.Detail = "derived " + fresh.ID + " by " + in.Method.String()
	return operation.DeriveKeyOutput{ID: fresh.ID, Base: p.base, Made: fresh}, storeDerived(k, fresh, given, bases)
}

// findBases returns the objects that a request names, in its order. The caller must be
// allowed to derive from each of them.
func findBases(k *engine.Call, ids []core.Identifier) (bases []*core.ManagedObject, err error) {
	switch {
	case len(ids) == 0:
		return nil, core.Errorf(core.InvalidMessage, "Derive Key names no object to derive from")
	case len(ids) > maxBases:
		return nil, core.Errorf(core.InvalidField, "%d objects are named; a key is derived from one, and perhaps Secret Data that is the Derivation Data", len(ids))
	case len(ids) == maxBases && ids[0].Text == ids[1].Text:
		return nil, core.Errorf(core.InvalidField, "object %s is named twice", core.ClientText(ids[0].Text))
	}
	o, err := k.FindObject(ids[0])
	if err != nil {
		return nil, err
	}
	bases = append(bases, o)
	if len(ids) == maxBases {
		if o, err = findSecond(k, ids[1].Text); err != nil {
			return nil, err
		}
		bases = append(bases, o)
	}
	for _, o := range bases {
		if err := requireBase(k, o); err != nil {
			return nil, err
		}
	}
	return bases, nil
}

// findSecond returns an object that is named beside the target.
func findSecond(k *engine.Call, id string) (*core.ManagedObject, error) {
	k.Involve(core.ClientText(id), core.RoleSource)
	o, err := k.LoadObject(id)
	if err == nil {
		_, err = k.Decide(k.Action, o)
	}
	if err == nil {
		err = engine.RequireAvailable(k.Action, o)
	}
	if err != nil {
		return nil, err
	}
	k.AddGrant(core.RoleSource, k.Action, id, k.UseCheck(true))
	return k.LoadObject(id) // a gate may have counted the use in it
}

// requireBase refuses an object that nothing is derived from.
func requireBase(k *engine.Call, o *core.ManagedObject) error {
	if o.Type != core.ObjectTypeSymmetricKey && o.Type != core.ObjectTypeSecretData {
		return core.Errorf(core.InvalidObjectType, "keys are derived from Symmetric Keys and Secret Data; object %s is a %v", o.ID, o.Type)
	}
	if err := k.Require(o, k.UseCheck(true)); err != nil {
		return err
	}
	if err := rules.CheckMask(o, core.MaskDeriveKey); err != nil {
		return err
	}
	return k.LoadKeysOf(o)
}

// derivation is a complete derivation with its base objects.
type derivation struct {
	core.Derivation
	base   *core.ManagedObject
	dataOf *core.ManagedObject // Secret Data that is the Derivation Data; nil: none
}

// planDerivation completes a derivation. Of two base objects, the Secret Data is the
// Derivation Data; the second one if both are.
func planDerivation(k *engine.Call, in *operation.DeriveKeyInput, bases []*core.ManagedObject) (p derivation, err error) {
	if in.ObjectType != core.ObjectTypeSymmetricKey && in.ObjectType != core.ObjectTypeSecretData {
		return p, core.Errorf(core.InvalidObjectType, "Derive Key makes Symmetric Keys and Secret Data, and no %v", in.ObjectType)
	}
	if err := rules.CheckDerivationMethod(in.Method, k.Caller.Version); err != nil {
		return p, err
	}
	p.Derivation = core.Derivation{Method: in.Method, Salt: in.Parameters.Salt, IV: in.Parameters.IV}
	switch data := in.Parameters.Data; len(data) {
	case 0:
	case 1:
		p.Data = data[0]
	default:
		return p, core.Errorf(core.InvalidField, "%v has one Derivation Data, and the request has %d", in.Method, len(data))
	}
	p.base = bases[0]
	if len(bases) == maxBases {
		if p.dataOf = bases[1]; p.base.Type == core.ObjectTypeSecretData && p.dataOf.Type == core.ObjectTypeSymmetricKey {
			p.base, p.dataOf = p.dataOf, p.base
		}
		if p.dataOf.Type != core.ObjectTypeSecretData {
			return p, core.Errorf(core.InvalidField, "objects %s and %s are both keys; the second object of a derivation is Secret Data", p.base.ID, p.dataOf.ID)
		}
	}
	asked := in.Parameters.Parameters
	if err := rules.CompleteDerivation(&p.Derivation, asked, in.Parameters.Iterations, p.base, p.dataOf); err != nil {
		return p, err
	}
	if !offersParameters(p.base, asked) {
		return p, core.Errorf(core.BadCryptographicParameters, "object %s has Cryptographic Parameters, and none of them are those of the request", p.base.ID)
	}
	return p, nil
}

// derive makes the derived object. It stores nothing.
func (p *derivation) derive(k *engine.Call, t core.ObjectType, given core.Attributes) (*core.ManagedObject, error) {
	if !given.Has(core.TagCryptographicLength) {
		return nil, core.Errorf(core.InvalidField, "Derive Key needs a Cryptographic Length")
	}
	if err := requireForKey(k, t, given); err != nil {
		return nil, err
	}
	o, err := newObject(k, t, withMask(k, t, given))
	if err != nil {
		return nil, err
	}
	if t == core.ObjectTypeSecretData {
		o.Attributes = o.Attributes.Set(core.TagSecretDataType, core.Enum(core.SecretDataTypeSeed))
	}
	spec, err := rules.SymmetricSpec(o)
	if err != nil {
		return nil, err
	}
	if err := rules.CheckDerivedSecret(&p.Derivation, p.base, spec.Bits); err != nil {
		return nil, err
	}
	if err := p.placeDerived(k, o, &spec); err != nil {
		return nil, err
	}
	base, err := p.keys(k)
	if err == nil {
		err = p.markBase(k)
	}
	if err != nil {
		return nil, err
	}
	for _, used := range []*core.ManagedObject{p.base, p.dataOf} {
		if used == nil {
			continue
		}
		if err := k.Consume(used, spec.Bits/8, nil); err != nil {
			return nil, err
		}
		o.Attributes = o.Attributes.Add(linkTo(core.LinkTypeDerivationBaseObjectLink, used.ID))
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.Derive(k.Ctx, o.Key(), spec, base, &p.Derivation); err != nil {
		return nil, err
	}
	k.Record.ExecutedIn = facts.ExecutedIn
	o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits))).Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	setGenerator(o)
	return o, nil
}

// markBase marks a base key that may also make envelopes, if it encrypts blocks of the caller's
// choice in this derivation.
func (p *derivation) markBase(k *engine.Call) error {
	if p.Method != core.DerivationMethodENCRYPT || p.base.Mask()&core.MaskEncrypt == 0 || !rules.NeedsRawMark(p.base, &p.Parameters, nil) {
		return nil
	}
	_, err := engine.CountUse(k, p.base.ID, rules.MarkRawCipher)
	return err
}

// placeDerived chooses where the derived key is kept. If the request leaves that open, the
// class is not weaker than that of the base. A derived key has been as secret as its base.
func (p *derivation) placeDerived(k *engine.Call, o *core.ManagedObject, s *core.KeySpec) (err error) {
	class := p.base.Material.Class
	if class != core.ClassC && !o.Attributes.Has(core.TagSensitive) {
		o.Attributes = o.Attributes.Set(core.TagSensitive, core.Bool(true))
	}
	if class == core.ClassN && !o.Attributes.Has(core.TagExtractable) {
		o.Attributes = o.Attributes.Set(core.TagExtractable, core.Bool(false))
	}
	if s.Class, err = chooseCustody(k, o, true); err != nil {
		return err
	}
	if err := checkDerivedClass(p.base, s.Class); err != nil {
		return err
	}
	for _, t := range []core.Tag{core.TagAlwaysSensitive, core.TagNeverExtractable} {
		o.Attributes = o.Attributes.Set(t, core.Bool(o.Attributes.Bool(t) && p.base.Attributes.Bool(t)))
	}
	return chooseMode(k, o, s)
}

// checkDerivedClass refuses a derived key of a weaker class than its base.
func checkDerivedClass(base *core.ManagedObject, to core.Class) error {
	if was := base.Material.Class; rules.Stricter(was, to) {
		return core.Errorf(core.PermissionDenied, "object %s is kept in class %s, and a key that is derived from it cannot be kept in class %s; leave Sensitive and Extractable out", base.ID, was, to)
	}
	return nil
}

// keys returns the base key for the HSM port, and completes the derivation by the key whose
// value is the data.
func (p *derivation) keys(k *engine.Call) (base core.Key, err error) {
	if p.dataOf != nil {
		data, err := engine.KeyFor(k, p.dataOf)
		if err != nil {
			return base, err
		}
		p.DataOf = &data
	}
	return engine.KeyFor(k, p.base)
}

// storeDerived stores a derived object, and its Link in the base objects. They are checked
// again, since deriving may have taken long.
func storeDerived(k *engine.Call, fresh *core.ManagedObject, given core.Attributes, bases []*core.ManagedObject) error {
	link := linkTo(core.LinkTypeDerivedKeyLink, fresh.ID)
	if !hasRoomForLink(bases[0], link) {
		if err := recheckBases(k, bases, fresh); err != nil {
			return err
		}
		return insertNew(k, core.ChangeOf(core.InsertObject{Object: fresh}))
	}
	var before, after *core.ManagedObject // of the second base object
	_, err := k.Change(core.ID(bases[0].ID), func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		if err := recheckBase(k, o, fresh); err != nil {
			return nil, err
		}
		k.ClaimNames(given)
		ch.Add(core.InsertObject{Object: fresh})
		closeCreateIntent(ch, fresh)
		if before, after = nil, nil; len(bases) == maxBases {
			var err error
			if before, err = findSecond(k, bases[1].ID); err == nil {
				err = recheckBase(k, before, fresh)
			}
			if err != nil {
				return nil, err
			}
			if hasRoomForLink(before, link) {
				after = withLink(before, link)
				ch.Add(engine.SuccessorWrites(before, after, k.Now)...)
			}
		}
		return withLink(o, link), nil
	})
	if err == nil && after != nil {
		k.NoteUndo(before, after)
	}
	return err
}

// recheckBases reads the base objects again, and checks each of them.
func recheckBases(k *engine.Call, bases []*core.ManagedObject, fresh *core.ManagedObject) error {
	for _, b := range bases {
		now, err := k.LoadObject(b.ID)
		if err == nil {
			err = engine.RequireAvailable(k.Action, now)
		}
		if err == nil {
			err = recheckBase(k, now, fresh)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recheckBase refuses a derived key whose base may no longer be used, or has become of a
// stricter class.
func recheckBase(k *engine.Call, base, fresh *core.ManagedObject) error {
	if err := k.Require(base, k.UseCheck(true)); err != nil {
		return err
	}
	return checkDerivedClass(base, fresh.Material.Class)
}

// withLink returns the successor of o with a Link.
func withLink(o *core.ManagedObject, link core.Attribute) *core.ManagedObject {
	next := o.Successor()
	next.Attributes = o.Attributes.Add(link)
	return next
}

// hasRoomForLink reports whether an object can take one more Link to a derived key. Without
// the bound, a key that is derived from often would become too large to be changed.
func hasRoomForLink(o *core.ManagedObject, link core.Attribute) bool {
	links := 0
	for _, a := range o.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if core.LinkOf(a.Value).Type == core.LinkTypeDerivedKeyLink {
			links++
		}
	}
	next := withLink(o, link).Attributes
	return links < maxDerivedLinks && rules.CheckCount(next) == nil && rules.CheckTotalSize(next) == nil
}
