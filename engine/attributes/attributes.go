// Package attributes has the operations on attributes: Get Attributes, Get Attribute
// List, Add, Modify, Set and Delete Attribute, and Locate, which finds objects by them.
//
// They run on the road of package engine. An object that the caller may not see is
// neither shown nor counted. Start at [Verbs.GetAttributes] or [Verbs.Locate].
package attributes

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	pages  *fair.Slots // of Locate, in memory
}

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e, newPages()} }

// SearchPages returns how many pages of searches are in memory, and how many wait.
func (v *Verbs) SearchPages() fair.Usage { return v.pages.Usage() }

// GetAttributes returns the named attributes, or all (KMIP 1.4 §4.12, 2.1 §6.1.20). An
// attribute that the object lacks is left out.
func (v *Verbs) GetAttributes(ctx context.Context, c *core.Caller, in *operation.GetAttributesInput) (operation.GetAttributesOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributes, in, getAttributes)
}

func getAttributes(k *engine.Call, in *operation.GetAttributesInput) (out operation.GetAttributesOutput, err error) {
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
	out.ID, out.Owner, out.Group, out.Class, out.Version = o.ID, o.Owner, o.Group, o.Material.Class, o.ChangeNumber()
	if len(in.Names) == 0 {
		out.Attributes, err = k.ShownAttributes(o)
	} else {
		out.Attributes, err = k.NamedAttributes(o, in.Names)
	}
	return out, err
}

// GetAttributeList returns the names of an object's attributes (KMIP 1.4 §4.13, 2.1
// §6.1.21).
func (v *Verbs) GetAttributeList(ctx context.Context, c *core.Caller, in *operation.GetAttributeListInput) (operation.GetAttributeListOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributeList, in, getAttributeList)
}

func getAttributeList(k *engine.Call, in *operation.GetAttributeListInput) (out operation.GetAttributeListOutput, err error) {
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
		return operation.GetAttributeListOutput{}, err
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

// AddAttribute adds an attribute instance (KMIP 1.4 §4.14, 2.1 §6.1.2).
func (v *Verbs) AddAttribute(ctx context.Context, c *core.Caller, in *operation.AddAttributeInput) (operation.AttributeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionAddAttribute, in, addAttribute)
}

func addAttribute(k *engine.Call, in *operation.AddAttributeInput) (operation.AttributeOutput, error) {
	ref := in.Attribute.Ref()
	k.InvolveRequested(ref.Tag, &in.Attribute.Value)
	return changeAttribute(k, in.ID, ref, func(o *core.ManagedObject) (core.Attributes, core.Attribute, error) {
		if r := core.RuleOf(ref.Tag); r != nil && !r.Multiple && o.Attributes.Find(ref) >= 0 {
			return nil, core.Attribute{}, core.Errorf(core.AttributeSingleValued, "%s has a value; it can be modified, not added to", r.Name)
		}
		return addInstance(k, o, in.Attribute)
	})
}

// addInstance returns the attributes of o with one more instance, and the instance.
func addInstance(k *engine.Call, o *core.ManagedObject, a core.Attribute) (core.Attributes, core.Attribute, error) {
	if err := rules.CheckNewAttribute(&a); err != nil {
		return nil, core.Attribute{}, err
	}
	if err := requireInTime(k, o, a.Tag); err != nil {
		return nil, core.Attribute{}, err
	}
	if len(o.Attributes) >= rules.MaxAttributes {
		return nil, core.Attribute{}, core.Errorf(core.IndexOutOfBounds, "the object has %d attributes; %d is the most", len(o.Attributes), rules.MaxAttributes)
	}
	next := o.Attributes.Add(a)
	if a.Tag == core.TagUsageLimits {
		next = rules.InitUsageLimits(next)
	}
	all := next.All(a.Ref())
	return next, all[len(all)-1], nil
}

// ModifyAttribute changes an attribute instance (KMIP 1.4 §4.15, 2.1 §6.1.34).
func (v *Verbs) ModifyAttribute(ctx context.Context, c *core.Caller, in *operation.ModifyAttributeInput) (operation.AttributeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionModifyAttribute, in, modifyAttribute)
}

func modifyAttribute(k *engine.Call, in *operation.ModifyAttributeInput) (operation.AttributeOutput, error) {
	k.InvolveRequested(in.New.Tag, &in.New.Value)
	return changeAttribute(k, in.ID, in.New.Ref(), func(o *core.ManagedObject) (core.Attributes, core.Attribute, error) {
		i, err := rules.FindInstance(o, in.Name, in.CurrentValue)
		if err == nil && o.Attributes[i].Ref() != in.New.Ref() {
			err = core.Errorf(core.InvalidField, "%s cannot become %s", core.ClientText(in.Name.String()), core.ClientText(in.New.Ref().String()))
		}
		if err != nil {
			return nil, core.Attribute{}, err
		}
		return replaceInstance(k, o, i, &in.New)
	})
}

// SetAttribute adds an attribute that the object lacks and modifies one that it has
// once. If it has several instances, the code is MultiValuedAttribute (KMIP 2.0
// §6.1.47, 2.1 §6.1.51).
func (v *Verbs) SetAttribute(ctx context.Context, c *core.Caller, in *operation.SetAttributeInput) (operation.AttributeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSetAttribute, in, setAttribute)
}

func setAttribute(k *engine.Call, in *operation.SetAttributeInput) (operation.AttributeOutput, error) {
	ref := in.Attribute.Ref()
	k.InvolveRequested(ref.Tag, &in.Attribute.Value)
	return changeAttribute(k, in.ID, ref, func(o *core.ManagedObject) (core.Attributes, core.Attribute, error) {
		switch i, n := o.Attributes.Find(ref), len(o.Attributes.All(ref)); {
		case n > 1:
			return nil, core.Attribute{}, core.Errorf(core.MultiValuedAttribute, "object %s has %d instances of %s; use Modify Attribute or Delete Attribute", o.ID, n, core.ClientText(ref.String()))
		case n == 1:
			return replaceInstance(k, o, i, &in.Attribute)
		}
		return addInstance(k, o, in.Attribute)
	})
}

// DeleteAttribute removes an attribute instance (KMIP 1.4 §4.16, 2.1 §6.1.13). Without
// index or value, KMIP 1.x removes the first instance and KMIP 2.x removes all.
func (v *Verbs) DeleteAttribute(ctx context.Context, c *core.Caller, in *operation.DeleteAttributeInput) (operation.AttributeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDeleteAttribute, in, deleteAttribute)
}

func deleteAttribute(k *engine.Call, in *operation.DeleteAttributeInput) (operation.AttributeOutput, error) {
	ref := in.Name
	ref.Index, ref.Indexed = 0, false
	k.InvolveRequested(ref.Tag, in.CurrentValue)
	return changeAttribute(k, in.ID, ref, func(o *core.ManagedObject) (core.Attributes, core.Attribute, error) {
		i, err := rules.FindInstance(o, in.Name, in.CurrentValue)
		if err != nil {
			return nil, core.Attribute{}, err
		}
		if r := core.RuleOf(ref.Tag); r != nil && !r.ClientDeletes {
			return nil, core.Attribute{}, core.Errorf(core.AttributeReadOnly, "%s cannot be deleted by a client", r.Name)
		}
		if rules.OnlyServerSets(ref) {
			return nil, core.Attribute{}, core.Errorf(core.AttributeReadOnly, "%s is set by the server and cannot be deleted", core.ClientText(ref.String()))
		}
		gone := o.Attributes[i]
		if ref.Tag == core.TagUsageLimits {
			if err := rules.RequireUnusedLimits(gone.Value); err != nil {
				return nil, core.Attribute{}, err
			}
		}
		if k.Caller.Version >= core.V2_0 && in.CurrentValue == nil {
			return o.Attributes.Without(ref), gone, nil
		}
		return o.Attributes.Without(core.AttributeName{Tag: ref.Tag, Vendor: ref.Vendor, Name: ref.Name, Index: gone.Index, Indexed: true}), gone, nil
	})
}

// changeAttribute is common to the four operations: it finds the object, asks the
// policy, edits, checks the changed object and commits. It also works on destroyed
// objects, which still have attributes.
func changeAttribute(k *engine.Call, id core.Identifier, ref core.AttributeName, edit func(*core.ManagedObject) (core.Attributes, core.Attribute, error)) (out operation.AttributeOutput, err error) {
	next, err := k.Change(id, func(o *core.ManagedObject, _ *core.Change) (*core.ManagedObject, error) {
		as, a, err := edit(o)
		if err != nil {
			return nil, err
		}
		next := o.Successor()
		next.Attributes, out.Attribute = as, a
		if err := checkChanged(k, o, next, ref); err != nil {
			return nil, err
		}
		k.Record.Detail = core.ClientText(ref.String())
		return next, nil
	})
	if err != nil {
		return operation.AttributeOutput{}, err
	}
	if ref.Tag == core.TagSensitive || ref.Tag == core.TagExtractable {
		k.Ports.HSM.Forget(next.Tenant, next.ID) // cached copies of the old class
	}
	out.ID = next.ID
	return out, nil
}

// fixedAtCreation lists attributes that an object has from its creation or never: they
// describe the key, and some are sealed with its material.
var fixedAtCreation = map[core.Tag]bool{core.TagCryptographicAlgorithm: true, core.TagCryptographicLength: true, core.TagCryptographicDomainParameters: true,
	core.TagCryptographicUsageMask: true, core.TagCertificateType: true}

// checkChanged refuses a changed object that breaks a rule.
func checkChanged(k *engine.Call, o, next *core.ManagedObject, ref core.AttributeName) error {
	if fixedAtCreation[ref.Tag] && o.Type != core.ObjectTypeTemplate {
		return core.Errorf(core.AttributeReadOnly, "%v is given when an object is made, and not added later", ref.Tag)
	}
	if ref == rules.CustodyAttribute && o.Type != core.ObjectTypeTemplate {
		return core.Errorf(core.AttributeReadOnly, "%s is chosen when an object is made", ref)
	}
	if next.Attributes.Size() > o.Attributes.Size() {
		if err := rules.CheckTotalSize(next.Attributes); err != nil {
			return err
		}
	}
	switch ref.Tag {
	case core.TagName:
		k.ClaimNames(next.Attributes)
		return rules.CheckNames(next.Attributes)
	case core.TagActivationDate, core.TagDeactivationDate, core.TagProcessStartDate, core.TagProtectStopDate:
		return rules.CheckDates(next)
	case core.TagSensitive, core.TagExtractable:
		return changeCustody(k, o, next)
	}
	return engine.RequireMayRelabel(k, o, next)
}

// changeCustody applies a change of Sensitive or Extractable. If the new class is
// stricter, the material is wrapped again. Always Sensitive and Never Extractable are
// adjusted (KMIP 1.4 §3.48 to §3.51). The standard also allows a less strict class;
// this server refuses it, because a value that could not leave must not leave later.
func changeCustody(k *engine.Call, o, next *core.ManagedObject) error {
	sensitive, extractable := next.Attributes.Bool(core.TagSensitive), next.Attributes.Bool(core.TagExtractable)
	next.Attributes = next.Attributes.
		Set(core.TagAlwaysSensitive, core.Bool(sensitive && o.Attributes.Bool(core.TagAlwaysSensitive))).
		Set(core.TagNeverExtractable, core.Bool(!extractable && o.Attributes.Bool(core.TagNeverExtractable)))
	was, to := o.Material.Class, core.ClassOf(sensitive, extractable)
	switch {
	case o.StateAt(k.Now).Gone():
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	case was == to || o.Material.Mode == "":
		return nil
	case rules.Stricter(was, to):
		return core.Errorf(core.PermissionDenied, "object %s is kept in class %s and cannot be kept in class %s, which is less strict; create or register it so", o.ID, was, to)
	case slices.Contains(k.Settings.Defaults.ForbidClasses, to):
		return core.Errorf(core.PermissionDenied, "this server keeps no objects with Sensitive %v and Extractable %v", sensitive, extractable)
	}
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return err
	}
	if err := rules.CheckTenantClass(row, to); err != nil {
		return err
	}
	changed := *next
	changed.Material.Class = to
	if err := engine.RequireMayRelabel(k, o, &changed); err != nil {
		return err
	}
	if err := k.LoadKeysOf(o); err != nil {
		return err
	}
	m, err := k.Ports.HSM.Reclass(k.Ctx, o.Key(), to)
	if err != nil {
		return err
	}
	next.Material = m
	rules.SetStorage(next, to)
	if o.Type == core.ObjectTypeSecretData || to == core.ClassN { // see setDigest
		next.Attributes = next.Attributes.Without(core.AttributeName{Tag: core.TagDigest})
	}
	return nil
}

// replaceInstance returns the attributes of o with a new value of instance i, and the
// instance.
func replaceInstance(k *engine.Call, o *core.ManagedObject, i int, a *core.Attribute) (core.Attributes, core.Attribute, error) {
	if err := mayModify(k, o, a); err != nil {
		return nil, core.Attribute{}, err
	}
	v := a.Value
	if a.Tag == core.TagUsageLimits {
		var err error
		if v, err = rules.ReplaceUsageLimits(o.Attributes[i].Value, v); err != nil {
			return nil, core.Attribute{}, err
		}
	}
	next := o.Attributes.Replace(i, v)
	return next, next[i], nil
}

// mayModify refuses a change that the rule of the attribute forbids to clients now.
func mayModify(k *engine.Call, o *core.ManagedObject, a *core.Attribute) error {
	if a.Tag == 0 {
		return rules.CheckVendorAttribute(a)
	}
	r := core.RuleOf(a.Tag)
	if r == nil {
		return core.Errorf(core.InvalidAttribute, "%v is no attribute", a.Tag)
	}
	if r.ClientChanges == core.ModifyNever {
		return core.Errorf(core.AttributeReadOnly, "%s cannot be changed by a client", r.Name)
	}
	if err := requireInTime(k, o, a.Tag); err != nil {
		return err
	}
	return rules.CheckValue(a)
}

// requireInTime refuses a date that the state of the object no longer allows. A Template
// has no State and accepts every date.
func requireInTime(k *engine.Call, o *core.ManagedObject, t core.Tag) error {
	r, s := core.RuleOf(t), o.StateAt(k.Now)
	switch {
	case r == nil || s == 0:
	case r.ClientChanges == core.ModifyPreActive && s != core.PreActive:
		return core.Errorf(core.WrongState, "%s can be given only while Pre-Active; object %s is %v", r.Name, o.ID, s)
	case r.ClientChanges == core.ModifyUntilReached && s != core.PreActive && s != core.Active:
		return core.Errorf(core.WrongState, "%s can be given only while Pre-Active or Active; object %s is %v", r.Name, o.ID, s)
	case r.ClientChanges == core.ModifyUntilReached:
		if v, ok := o.Attributes.Get(t); ok && v.Num <= k.Now {
			return core.Errorf(core.WrongState, "the %s of object %s has been reached", r.Name, o.ID)
		}
	}
	return nil
}
