package objects

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// What Re-key and Re-key Key Pair have in common: what a replacement inherits, in which class
// it may be kept, and how it is linked to the old object.

// checkReplacement refuses attributes of a replacement for o that would change its class or
// its labels without the right.
func checkReplacement(k *engine.Call, o *core.ManagedObject, given core.Attributes) error {
	if err := checkNewCustody(k, o, given); err != nil {
		return err
	}
	return engine.RequireMayRelabel(k, o, &core.ManagedObject{Attributes: given, Material: core.Material{Class: classOfGiven(o, given)}})
}

// replace adds the replacement of o, version n of its family, to a change and returns the
// successor of o, which has no Name. The owner of o owns the replacement, also if another
// principal makes it.
func replace(k *engine.Call, ch *core.Change, f *family, o, fresh *core.ManagedObject, n int64) (*core.ManagedObject, error) {
	for _, old := range []*core.ManagedObject{o, f.newest} {
		if err := checkNewClass(k, old, fresh.Material.Class); err != nil {
			return nil, err
		}
	}
	fresh.Owner, fresh.Group = o.Owner, o.Group
	fresh.Attributes = fresh.Attributes.Add(linkTo(core.LinkTypeReplacedObjectLink, o.ID))
	ch.Add(core.InsertObject{Object: fresh})
	closeCreateIntent(ch, fresh)
	k.Involve(fresh.ID, core.RoleReplacement)
	next := o.Successor()
	next.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagName}).
		Add(linkTo(core.LinkTypeReplacementObjectLink, fresh.ID))
	return next, f.addVersion(k, ch, o, next, fresh, n)
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
// a client can set, and those that are asked for. Of an attribute with one value, the one
// that is asked for wins. With an Offset, dates are moved. If the length or the curve of a
// pair is asked for, neither is inherited, because one follows from the other.
func inheritAttributes(k *engine.Call, o *core.ManagedObject, asked core.Attributes, offset *int64) (core.Attributes, error) {
	newSize := asked.Has(core.TagCryptographicLength) || asked.Has(core.TagCryptographicDomainParameters)
	var out core.Attributes
	for _, a := range o.Attributes {
		r := core.RuleOf(a.Tag)
		if (a.Tag != 0 && (r == nil || !r.ClientSets)) || notInherited[a.Tag] {
			continue
		}
		if rules.IsOfFamily(a.Ref()) || slices.Contains(core.CipherAttributes, a.Ref()) {
			continue
		}
		if newSize && (a.Tag == core.TagCryptographicLength || a.Tag == core.TagCryptographicDomainParameters) {
			continue
		}
		out = out.Add(a)
	}
	out = rules.Overlay(out, asked, func(n core.AttributeName) bool { return n.Tag != 0 && n.Several() })
	if offset == nil {
		return out, nil
	}
	if err := checkOffset(o, asked, *offset); err != nil {
		return nil, err
	}
	return moveDates(o, out, k.Now+*offset), nil
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
