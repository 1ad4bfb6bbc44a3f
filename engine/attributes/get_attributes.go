package attributes

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// GetAttributes returns the named attributes, or all (KMIP 1.4 §4.12, 2.1 §6.1.20). An
// attribute that the object lacks is left out.
func (v *Verbs) GetAttributes(ctx context.Context, c *core.Caller, in *core.GetAttributesInput) (core.GetAttributesOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributes, in, getAttributes)
}

func getAttributes(k *engine.Call, in *core.GetAttributesInput) (out core.GetAttributesOutput, err error) {
	o, err := k.FindObject(in.ID)
	if err != nil {
		return out, err
	}
	named := make(map[core.AttributeName]bool, len(in.Names))
	for _, n := range in.Names {
		if named[n] {
			return out, core.Errorf(core.InvalidMessage, "%s is named twice", core.ClientText(n.String()))
		}
		named[n] = true
	}
	if err := k.ReserveMemory(engine.AnswerBytes(o)); err != nil {
		return out, err
	}
	out.ID = o.ID
	if len(in.Names) == 0 {
		out.Attributes, err = k.ShownAttributes(o)
	} else {
		out.Attributes, err = k.NamedAttributes(o, in.Names)
	}
	return out, err
}

// GetAttributeList returns the names of an object's attributes (KMIP 1.4 §4.13, 2.1
// §6.1.21).
func (v *Verbs) GetAttributeList(ctx context.Context, c *core.Caller, in *core.GetAttributeListInput) (core.GetAttributeListOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributeList, in, getAttributeList)
}

func getAttributeList(k *engine.Call, in *core.GetAttributeListInput) (out core.GetAttributeListOutput, err error) {
	o, err := k.FindObject(in.ID)
	if err != nil {
		return out, err
	}
	if err := k.ReserveMemory(engine.AttributeBytes * len(o.Attributes)); err != nil {
		return out, err
	}
	out.ID = o.ID
	all, err := k.ShownAttributes(o)
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
