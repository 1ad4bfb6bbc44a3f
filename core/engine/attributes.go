package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// GetAttributes returns the attributes named, or all (KMIP 1.4 §4.12, 2.1
// §6.1.20). A name that the object has no value for is left out.
func (e *Engine) GetAttributes(ctx context.Context, c *core.Caller, in *core.GetAttributesInput) (core.GetAttributesOutput, error) {
	return run(e, ctx, c, core.OperationGetAttributes, in, (*call).getAttributes)
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
	out.ID = o.ID
	if len(in.Names) == 0 {
		out.Attributes = k.shown(o)
	} else {
		out.Attributes = k.named(o, in.Names)
	}
	return out, nil
}

// shown lists o's attributes as of now: the state as dates have moved it, and
// nothing that is kept for the server's own use, or that the caller may not know.
func (k *call) shown(o *core.ManagedObject) core.Attributes {
	out := make(core.Attributes, 0, len(o.Attributes))
	for _, a := range o.Attributes {
		if (a.Tag != 0 && core.RuleOf(a.Tag) == nil) || (a.Tag == core.TagDigest && !k.mayKnowDigest(o)) {
			continue
		}
		if a.Tag == core.TagState {
			a.Value = core.Enum(o.StateAt(k.now))
		}
		out = append(out, a)
	}
	if name, ok := o.OperationPolicyName(); ok && k.style1() && !out.Has(core.TagOperationPolicyName) {
		out = append(out, core.Attribute{Tag: core.TagOperationPolicyName, Value: core.Text(name)})
	}
	return out
}

// mayKnowDigest asks whether the caller may Get o, where the Digest tells of its
// value: that of a password lets it be guessed, by an auditor too.
func (k *call) mayKnowDigest(o *core.ManagedObject) bool {
	if o.Type != core.ObjectTypeSecretData {
		return true
	}
	d, err := k.Policy.Decide(k.ctx, &core.AccessRequest{Operation: core.OperationGet, Principal: k.caller.Principal, Object: o, State: o.StateAt(k.now),
		Door: k.caller.Door, Address: k.record.Address, Now: k.now})
	return err == nil && d.Allow
}

// named lists the instances of the attributes named, in the order of the names.
func (k *call) named(o *core.ManagedObject, names []core.AttributeName) core.Attributes {
	groups := map[core.AttributeName]core.Attributes{}
	for _, a := range k.shown(o) {
		groups[a.Ref()] = append(groups[a.Ref()], a)
	}
	var out core.Attributes
	for _, n := range names {
		out = append(out, groups[n]...)
	}
	return out
}

// GetAttributeList names the attributes that an object has (KMIP 1.4 §4.13,
// 2.1 §6.1.21).
func (e *Engine) GetAttributeList(ctx context.Context, c *core.Caller, in *core.GetAttributeListInput) (core.GetAttributeListOutput, error) {
	return run(e, ctx, c, core.OperationGetAttributeList, in, (*call).getAttributeList)
}

func (k *call) getAttributeList(in *core.GetAttributeListInput) (out core.GetAttributeListOutput, err error) {
	o, err := k.object(in.ID)
	if err != nil {
		return out, err
	}
	out.ID = o.ID
	listed := map[core.AttributeName]bool{}
	for _, a := range k.shown(o) {
		if n := a.Ref(); !listed[n] {
			listed[n] = true
			out.Names = append(out.Names, n)
		}
	}
	return out, nil
}
