package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// ReKey makes a replacement for a symmetric key: new bytes, a new Unique
// Identifier, the old key's attributes and its names (KMIP 1.4 §4.4, 2.1
// §6.1.46). The old key keeps its state.
func (v *Verbs) ReKey(ctx context.Context, c *core.Caller, in *core.RekeyInput) (core.CreateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionReKey, in, reKey)
}

func reKey(k *engine.Call, in *core.RekeyInput) (out core.CreateOutput, err error) {
	var fresh *core.ManagedObject
	k.StorageMasks = in.ProtectionMasks
	_, err = k.Change(in.ID, func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		if o.Type != core.ObjectTypeSymmetricKey {
			return nil, core.Errorf(core.InvalidObjectType, "Re-key replaces symmetric keys; object %s is a %v", o.ID, o.Type)
		}
		if o.StateAt(k.Now).Gone() {
			return nil, core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
		}
		given, err := inheritAttributes(k, o, in)
		if err != nil {
			return nil, err
		}
		if err := checkNewCustody(k, o, given); err != nil {
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
	return core.CreateOutput{ObjectType: fresh.Type, ID: fresh.ID}, nil
}

// isForeign reports whether o belongs neither to the caller nor to a group of the caller,
// who then re-keys it as an administrator.
func isForeign(k *engine.Call, o *core.ManagedObject) bool {
	p := k.Caller.Principal
	return o.Owner != p.ID && !p.InGroup(o.Group)
}

// checkNewClass refuses a replacement in a less strict class than the old key, because
// its value could then leave although the old one could not. The class of another
// principal's key may not change at all.
func checkNewClass(k *engine.Call, o *core.ManagedObject, to core.Class) error {
	was := o.Material.Class
	if rules.Stricter(was, to) || (to != was && isForeign(k, o)) {
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
		if isForeign(k, o) && given.Bool(t) != o.Attributes.Bool(t) {
			return core.Errorf(core.PermissionDenied, "object %s belongs to another principal, so its replacement keeps its %v; leave the attribute out", o.ID, t)
		}
	}
	mode := func(as core.Attributes) string {
		for _, a := range as.All(rules.CustodyAttribute) {
			return a.Value.Text
		}
		return string(core.ModeWrapped)
	}
	if isForeign(k, o) && mode(given) != mode(o.Attributes) {
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
func inheritAttributes(k *engine.Call, o *core.ManagedObject, in *core.RekeyInput) (core.Attributes, error) {
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
