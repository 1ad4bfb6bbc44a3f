package objects

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// checkReplaceable is the check of Re-key: it replaces symmetric keys that are not destroyed.
func checkReplaceable(o *core.ManagedObject, now int64) error {
	if o.Type != core.ObjectTypeSymmetricKey {
		return core.Errorf(core.InvalidObjectType, "Re-key replaces symmetric keys; object %s is a %v", o.ID, o.Type)
	}
	return engine.NotDestroyed(o, now)
}

// checkReplaceablePair is the check of Re-key Key Pair: it replaces pairs that are not destroyed,
// by their private key.
func checkReplaceablePair(o *core.ManagedObject, now int64) error {
	if o.Type != core.ObjectTypePrivateKey {
		return core.Errorf(core.InvalidObjectType, "Re-key Key Pair replaces a key pair by its private key; object %s is a %v", o.ID, o.Type)
	}
	return engine.NotDestroyed(o, now)
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
		asked, err := mergeTemplates(k, in.Attributes, in.TemplateNames)
		if err != nil {
			return nil, err
		}
		given, err := inheritAttributes(k, o, asked, in.Offset)
		if err != nil {
			return nil, err
		}
		if err := decideReplacement(k, o, askedNew(given, rules.SymmetricSpec)); err != nil {
			return nil, err
		}
		if err := checkReplacement(k, o, given); err != nil {
			return nil, err
		}
		f, err := findFamily(k, o)
		if err != nil {
			return nil, err
		}
		n, err := f.nextVersion()
		if err == nil {
			err = f.requireMayMove(k, o, given)
		}
		if err != nil {
			return nil, err
		}
		if fresh, err = generateKey(k, o.Type, given); err != nil {
			return nil, err
		}
		k.Record.Detail = "replaced by " + fresh.ID
		return replace(k, ch, &f, o, fresh, n)
	})
	if err != nil {
		return out, err
	}
	return operation.CreateOutput{ObjectType: fresh.Type, ID: fresh.ID, Made: fresh}, nil
}

// ReKeyKeyPair makes a replacement for a key pair, which the request names by its private
// key. Each new half gets the attributes and the names of the old one (KMIP 1.4 §4.5, 2.1
// §6.1.47). The caller needs the right for both halves. The old ones keep their states.
func (v *Verbs) ReKeyKeyPair(ctx context.Context, c *core.Caller, in *operation.RekeyKeyPairInput) (operation.CreateKeyPairOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionReKeyKeyPair, in, reKeyKeyPair)
}

func reKeyKeyPair(k *engine.Call, in *operation.RekeyKeyPairInput) (out operation.CreateKeyPairOutput, err error) {
	k.Asked, k.StateCheck = askedKey(slices.Concat(in.Private, in.Common)), checkReplaceablePair
	_, err = k.Change(in.ID, func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		if err := checkReplaceablePair(o, k.Now); err != nil {
			return nil, err
		}
		var next *core.ManagedObject
		next, out, err = replacePair(k, ch, o, in)
		return next, err
	})
	if err != nil {
		return operation.CreateKeyPairOutput{}, err
	}
	return out, nil
}

// replacePair makes a new pair for a private key and its public key, adds both replacements to
// ch and returns the successor of the private key. Both halves are the same version of their
// families.
func replacePair(k *engine.Call, ch *core.Change, oldPrivate *core.ManagedObject, in *operation.RekeyKeyPairInput) (next *core.ManagedObject, out operation.CreateKeyPairOutput, err error) {
	oldPublic, err := publicHalf(k, oldPrivate)
	if err != nil {
		return nil, out, err
	}
	private, public, err := newHalves(k, oldPrivate, oldPublic, in)
	if err != nil {
		return nil, out, err
	}
	ofPrivate, ofPublic, n, err := findFamilies(k, [2]*core.ManagedObject{oldPrivate, oldPublic}, [2]*core.ManagedObject{private, public})
	if err != nil {
		return nil, out, err
	}
	if err := makePair(k, private, public, &in.CreateKeyPairInput); err != nil {
		return nil, out, err
	}
	nextPublic, err := replace(k, ch, ofPublic, oldPublic, public, n)
	if err != nil {
		return nil, out, err
	}
	engine.ChangeBeside(k, ch, oldPublic, nextPublic)
	k.Record.Detail = "replaced by " + private.ID + ", public key " + oldPublic.ID + " by " + public.ID
	next, err = replace(k, ch, ofPrivate, oldPrivate, private, n)
	return next, operation.CreateKeyPairOutput{PrivateID: private.ID, PublicID: public.ID, Private: private}, err
}

// findFamilies loads the families of both halves of a pair, with the number of their next
// version, which fresh will be. It is larger than all in both.
func findFamilies(k *engine.Call, old, fresh [2]*core.ManagedObject) (ofPrivate, ofPublic *family, n int64, err error) {
	var families [2]family
	for i, o := range old {
		if families[i], err = findFamily(k, o); err != nil {
			return nil, nil, 0, err
		}
		next, err := families[i].nextVersion()
		if err == nil {
			err = families[i].requireMayMove(k, o, fresh[i].Attributes)
		}
		if err != nil {
			return nil, nil, 0, err
		}
		n = max(n, next)
	}
	return &families[0], &families[1], n, nil
}

// publicHalf returns the public key of a private key, if the caller may replace it. The two
// must have a Link to each other, because a client can give a key a Link to any other one.
func publicHalf(k *engine.Call, private *core.ManagedObject) (*core.ManagedObject, error) {
	id := linkedFrom(private, core.LinkTypePublicKeyLink)
	if id == "" {
		return nil, core.Errorf(core.InvalidObjectType, "the private key %s has no Link to a public key, so it is no pair", private.ID)
	}
	public, err := engine.FindBeside(k, id)
	isPublic := func() bool {
		return public.Type == core.ObjectTypePublicKey && linkedFrom(public, core.LinkTypePrivateKeyLink) == private.ID
	}
	if core.CodeOf(err) == core.ItemNotFound || err == nil && !isPublic() {
		err = core.Errorf(core.InvalidObjectType, "the object %s to which the private key %s has a Link is not its public key", core.ClientText(id), private.ID)
	}
	if err == nil {
		err = engine.NotDestroyed(public, k.Now)
	}
	return public, err
}

// linkedFrom returns the Unique Identifier in the first Link of a type, "" if there is none.
func linkedFrom(o *core.ManagedObject, t core.LinkType) string {
	for _, a := range o.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if l := core.LinkOf(a.Value); l.Type == t {
			return l.ID
		}
	}
	return ""
}

// newHalves returns both halves of the replacement of a pair, without material.
func newHalves(k *engine.Call, oldPrivate, oldPublic *core.ManagedObject, in *operation.RekeyKeyPairInput) (private, public *core.ManagedObject, err error) {
	givenPrivate, err := inheritHalf(k, oldPrivate, in.Private, in.PrivateTemplates, in)
	if err != nil {
		return nil, nil, err
	}
	givenPublic, err := inheritHalf(k, oldPublic, in.Public, in.PublicTemplates, in)
	if err != nil {
		return nil, nil, err
	}
	asked := askedPair(givenPrivate, givenPublic)
	for _, half := range []struct {
		old   *core.ManagedObject
		given core.Attributes
	}{{oldPrivate, givenPrivate}, {oldPublic, givenPublic}} {
		if err := decideReplacement(k, half.old, asked); err != nil {
			return nil, nil, err
		}
		if err := checkReplacement(k, half.old, half.given); err != nil {
			return nil, nil, err
		}
	}
	if private, err = newObject(k, core.ObjectTypePrivateKey, givenPrivate); err != nil {
		return nil, nil, err
	}
	if public, err = newObject(k, core.ObjectTypePublicKey, givenPublic); err != nil {
		return nil, nil, err
	}
	return private, public, joinHalves(private, public)
}

// inheritHalf returns the attributes of one new half: those of the old half, and those that
// the request has for it.
func inheritHalf(k *engine.Call, o *core.ManagedObject, own core.Attributes, templates []string, in *operation.RekeyKeyPairInput) (core.Attributes, error) {
	asked, err := askedHalf(k, o.Type, own, templates, &in.CreateKeyPairInput)
	if err != nil {
		return nil, err
	}
	return inheritAttributes(k, o, asked, in.Offset)
}
