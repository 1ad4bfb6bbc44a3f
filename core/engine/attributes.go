package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// GetAttributes returns the attributes named, or all (KMIP 1.4 §4.12, 2.1
// §6.1.20). A name that the object has no value for is left out.
func (e *Engine) GetAttributes(ctx context.Context, c *core.Caller, in *core.GetAttributesInput) (core.GetAttributesOutput, error) {
	return run(e, ctx, c, core.ActionGetAttributes, in, (*call).getAttributes)
}

func (k *call) getAttributes(in *core.GetAttributesInput) (out core.GetAttributesOutput, err error) {
	o, err := k.object(in.ID)
	if err != nil {
		return out, err
	}
	named := make(map[core.AttributeName]bool, len(in.Names))
	for _, n := range in.Names {
		if named[n] {
			return out, core.Errorf(core.InvalidMessage, "%s is named twice", printable(n.String()))
		}
		named[n] = true
	}
	if err := k.room(roomOf(o)); err != nil {
		return out, err
	}
	out.ID = o.ID
	if len(in.Names) == 0 {
		out.Attributes, err = k.shown(o)
	} else {
		out.Attributes, err = k.named(o, in.Names)
	}
	return out, err
}

// attributeBytes is what an attribute takes in memory beside its values.
const attributeBytes = 128

// roomOf is about what the attributes of o take in an answer.
func roomOf(o *core.ManagedObject) int {
	return sizeOf(o.Attributes) + attributeBytes*len(o.Attributes)
}

// shown lists o's attributes as of now: the state as dates have moved it, and
// nothing that is kept for the server's own use, or that the caller may not know.
func (k *call) shown(o *core.ManagedObject) (core.Attributes, error) {
	out := make(core.Attributes, 0, len(o.Attributes))
	for _, a := range o.Attributes {
		if a.Tag != 0 && core.RuleOf(a.Tag) == nil {
			continue
		}
		switch a.Tag {
		case core.TagDigest:
			if ok, err := k.mayKnowDigest(o); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		case core.TagState:
			a.Value = core.Enum(o.StateAt(k.now))
		}
		out = append(out, a)
	}
	if name, ok := o.OperationPolicyName(); ok && k.style1() && !out.Has(core.TagOperationPolicyName) {
		out = append(out, core.Attribute{Tag: core.TagOperationPolicyName, Value: core.Text(name)})
	}
	return out, nil
}

// mayKnowDigest reports whether the caller may know the Digest of o. Nobody may
// know that of class N, whose value nobody may read. The Digest of Secret Data
// lets a password be guessed, by an auditor too, so it is for callers who may Get o.
func (k *call) mayKnowDigest(o *core.ManagedObject) (bool, error) {
	switch {
	case o.Material.Class == core.ClassN, o.Attributes.Has(core.TagExtractable) && !o.Attributes.Bool(core.TagExtractable): // a search reads no Material
		return false, nil
	case o.Type != core.ObjectTypeSecretData:
		return true, nil
	}
	return k.permits(core.ActionGet, o)
}

// named lists the instances of the attributes named, in the order of the names.
func (k *call) named(o *core.ManagedObject, names []core.AttributeName) (out core.Attributes, err error) {
	all, err := k.shown(o)
	if err != nil {
		return nil, err
	}
	groups := map[core.AttributeName]core.Attributes{}
	for _, a := range all {
		groups[a.Ref()] = append(groups[a.Ref()], a)
	}
	for _, n := range names {
		out = append(out, groups[n]...)
	}
	return out, nil
}

// GetAttributeList names the attributes that an object has (KMIP 1.4 §4.13,
// 2.1 §6.1.21).
func (e *Engine) GetAttributeList(ctx context.Context, c *core.Caller, in *core.GetAttributeListInput) (core.GetAttributeListOutput, error) {
	return run(e, ctx, c, core.ActionGetAttributeList, in, (*call).getAttributeList)
}

func (k *call) getAttributeList(in *core.GetAttributeListInput) (out core.GetAttributeListOutput, err error) {
	o, err := k.object(in.ID)
	if err != nil {
		return out, err
	}
	if err := k.room(attributeBytes * len(o.Attributes)); err != nil {
		return out, err
	}
	out.ID = o.ID
	all, err := k.shown(o)
	if err != nil {
		return core.GetAttributeListOutput{}, err
	}
	listed := map[core.AttributeName]bool{}
	for _, a := range all {
		if n := a.Ref(); !listed[n] {
			listed[n] = true
			out.Names = append(out.Names, n)
		}
	}
	return out, nil
}
