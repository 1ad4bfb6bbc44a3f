package objects

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// mergeTemplates checks the attributes that a client gives to a new object and merges
// them with those of the Templates that it names (KMIP 1.x). Later Templates replace
// earlier ones, and given attributes replace those of Templates (KMIP 1.4 §4).
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

// setContent stores the content of a registered Template; see [rules.TemplateContent].
func setContent(o *core.ManagedObject, content core.Attributes) error {
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

// findTemplate returns the first Template of the tenant that has a Name and that the
// caller may read. If there is none, it fails with ItemNotFound.
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
			return nil, err // the policy has failed, so it is not known which Template is meant
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "no Template is named %s", core.ClientText(name))
}
