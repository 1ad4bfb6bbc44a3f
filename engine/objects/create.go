package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Create makes a symmetric key or Secret Data in the token (KMIP 1.4 §4.1, 2.1 §6.1.8).
func (v *Verbs) Create(ctx context.Context, c *core.Caller, in *core.CreateInput) (core.CreateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCreate, in, create)
}

func create(k *engine.Call, in *core.CreateInput) (out core.CreateOutput, err error) {
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	if in.ObjectType != core.ObjectTypeSymmetricKey && in.ObjectType != core.ObjectTypeSecretData {
		return out, core.Errorf(core.InvalidObjectType, "Create makes Symmetric Keys and Secret Data; %v come by another operation", in.ObjectType)
	}
	k.StorageMasks = in.ProtectionMasks
	given, err := mergeTemplates(k, in.Attributes, in.TemplateNames)
	if err != nil {
		return out, err
	}
	o, err := generateKey(k, in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.Record.Object = o.ID
	if err := insertNew(k, core.ChangeOf(core.InsertObject{Object: o})); err != nil {
		return out, err
	}
	return core.CreateOutput{ObjectType: o.Type, ID: o.ID}, nil
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
	if spec.Class, err = chooseCustody(k, o, true); err != nil {
		return nil, err
	}
	if err := chooseMode(k, o, &spec); err != nil {
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
