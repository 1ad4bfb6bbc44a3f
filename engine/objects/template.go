package objects

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// mergeTemplates checks the attributes that a client gives a new object and lays them
// over those of the Templates that it names (KMIP 1.x), the last of which has
// the last word (KMIP 1.4 §4).
func mergeTemplates(k *engine.Call, given core.Attributes, names []string) (core.Attributes, error) {
	if err := rules.CheckNewAttributes(given); err != nil {
		return nil, err
	}
	if len(names) > rules.MaxTemplates {
		return nil, core.Errorf(core.InvalidField, "%d Templates are named; a request may name %d", len(names), rules.MaxTemplates)
	}
	if len(names) == 0 {
		return rules.Overlay(nil, given, rules.MayHaveSeveral), nil
	}
	var out core.Attributes
	for _, n := range names {
		t, err := findTemplate(k, n)
		if err != nil {
			return nil, err
		}
		out = rules.Overlay(out, rules.TemplateContent(t).Without(core.AttributeName{Tag: core.TagName}), rules.MayHaveSeveral)
		if err := rules.CheckCount(out); err != nil { // in each round, because merging takes quadratic time
			return nil, err
		}
	}
	out = rules.Overlay(out, given, rules.MayHaveSeveral)
	return out, rules.CheckNewAttributes(out)
}

// keepContent is the reverse of contentOf, for a Template that is registered.
func keepContent(o *core.ManagedObject, content core.Attributes) error {
	if err := rules.CheckNewAttributes(content); err != nil {
		return err
	}
	var fields []core.Field
	for _, a := range content {
		switch a.Tag {
		case core.TagName:
			return core.Errorf(core.InvalidField, "the Name of a Template stands in the Template-Attribute, not in the Template, since KMIP 1.2")
		case 0:
			fields = append(fields, core.Field{Tag: core.TagAttribute, Value: a.Structure()})
		default:
			fields = append(fields, core.Field{Tag: a.Tag, Value: a.Value})
		}
	}
	o.Attributes = o.Attributes.Set(core.TagTemplate, core.Structure(fields...))
	return rules.CheckTotalSize(o.Attributes)
}

// findTemplate finds the one Template of the tenant with a Name that the
// caller may read.
func findTemplate(k *engine.Call, name string) (*core.ManagedObject, error) {
	f := core.Filter{Now: k.Now, WholeTenant: true, Attributes: core.Attributes{
		{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeTemplate)},
		{Tag: core.TagName, Value: core.Name{Text: name}.Value()}}}
	found, err := k.Ports.Store.Candidates(k.Ctx, k.Caller.Principal.Tenant, f, 0, core.CandidatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !f.Matches(o) || o.StateAt(k.Now).Gone() {
			continue
		}
		_, err := k.Decide(core.ActionGetAttributes, o)
		if err == nil {
			k.Involve(o.ID, core.RoleSource)
			return o, nil
		}
		if core.CodeOf(err) != core.PermissionDenied {
			return nil, err // else the object would be made without the Template's attributes, or not be found
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "no Template is named %s", core.ClientText(name))
}
