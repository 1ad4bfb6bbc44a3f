package engine

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Labels of an object are its Object Groups, its tags and other custom attributes, and its
// class. They decide which statements of key policies concern it, so a change of attributes
// could escape a denial, or give the caller what a statement allows for another label.

// IsForeign reports whether o belongs neither to the caller nor to a group of the caller,
// who then acts on it by a role or a statement.
func IsForeign(k *Call, o *core.ManagedObject) bool {
	p := k.Caller.Principal
	return o.Owner != p.ID && !p.InGroup(o.Group)
}

// RequireMayRelabel asks the policy for Detach Policy or Attach Policy if next has other
// labels than o:
//
//   - Detach Policy, if it leaves an Object Group that has key policies, or if another tag
//     would escape a policy of the object or of its Object Groups
//   - Attach Policy, if o is foreign and joins an Object Group that has key policies, or
//     gets another tag
//   - Detach Policy, if it loses a label that a denial names, and Attach Policy, if it gains one
//     that a permission names: in a policy of the object, of its Object Groups, or of any user,
//     role or group of the tenant
func RequireMayRelabel(k *Call, o, next *core.ManagedObject) error {
	if k.Ports.Facts == nil {
		return nil
	}
	escaped, gained, err := policiesNamingChange(k, o, next)
	if err == nil {
		err = requireForLabels(k, o, next, slices.Concat(escaped, gained))
	}
	if err == nil && len(escaped) > 0 {
		_, err = k.Decide(core.ActionDetachPolicy, nil)
	}
	if err == nil && len(gained) > 0 {
		_, err = k.Decide(core.ActionAttachPolicy, nil)
	}
	if err == nil {
		err = requireForObject(k, o, next)
	}
	return err
}

// policiesNamingChange lists the key policies with denials that next can escape, and those
// with permissions that next can gain.
func policiesNamingChange(k *Call, o, next *core.ManagedObject) (escaped, gained []string, err error) {
	before, after := labelsOf(o), labelsOf(next)
	if escaped, err = policiesNaming(k, o, labelsBeyond(before, after, true)); err == nil {
		gained, err = policiesNaming(k, o, labelsBeyond(after, before, false))
	}
	return escaped, gained, err
}

func policiesNaming(k *Call, o *core.ManagedObject, labels []core.PolicyLabel) ([]string, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	policies, err := k.Ports.Facts.PoliciesNaming(o, labels)
	if err != nil {
		return nil, undecided(err)
	}
	return policies, nil
}

// labelsOf lists the labels of an object, as conditions name them.
func labelsOf(o *core.ManagedObject) (labels []core.PolicyLabel) {
	if o.Material.Class != "" {
		labels = append(labels, core.PolicyLabel{Field: "object.class", Value: string(o.Material.Class)})
	}
	for i := range o.Attributes {
		switch a := &o.Attributes[i]; {
		case a.Tag == core.TagObjectGroup:
			labels = append(labels, core.PolicyLabel{Field: "object.objectGroup", Value: a.Value.Text})
		case core.FamilyAttribute.Names(a), core.NewestAttribute.Names(a): // no request chooses the value
		case (a.Vendor == "x" || a.Vendor == "y") && a.Value.Kind == core.KindTextString: // of other vendors conditions see nothing
			labels = append(labels, core.PolicyLabel{Field: "tags." + a.Vendor + "-" + a.Name, Value: a.Value.Text})
		}
	}
	return labels
}

// labelsBeyond lists the labels that other lacks, as those of denials or of permissions.
func labelsBeyond(labels, other []core.PolicyLabel, denies bool) (beyond []core.PolicyLabel) {
	for _, l := range labels {
		if !slices.Contains(other, l) {
			beyond = append(beyond, core.PolicyLabel{Field: l.Field, Value: l.Value, Denies: denies})
		}
	}
	return beyond
}

// requireForObject makes the checks of [RequireMayRelabel] that look at what is attached to
// the object and its Object Groups, whatever the policies name.
func requireForObject(k *Call, o, next *core.ManagedObject) error {
	err := requireIfGoverned(k, core.ActionDetachPolicy, o.Tenant, groupsBeyond(o, next))
	if err == nil && IsForeign(k, o) {
		err = requireIfGoverned(k, core.ActionAttachPolicy, o.Tenant, groupsBeyond(next, o))
	}
	if err != nil || hasSameTags(o, next) {
		return err
	}
	switch {
	case IsForeign(k, o):
		_, err = k.Decide(core.ActionAttachPolicy, nil)
	case len(o.Policies()) > 0:
		_, err = k.Decide(core.ActionDetachPolicy, nil)
	default:
		err = requireIfGoverned(k, core.ActionDetachPolicy, o.Tenant, groupsBeyond(o, &core.ManagedObject{}))
	}
	return err
}

// requireForLabels demands the approvals of the key policies that next escapes: the named ones,
// those of an Object Group that it leaves and, if it has other tags, those of o and of its
// Object Groups.
func requireForLabels(k *Call, o, next *core.ManagedObject, policies []string) error {
	if k.Ports.Approvals == nil {
		return nil
	}
	escaped := next
	if !hasSameTags(o, next) {
		escaped = &core.ManagedObject{}
	}
	var gates []core.Gate
	for _, group := range groupsBeyond(o, escaped) {
		more, err := k.Ports.Approvals.HolderGuards(o.Tenant, core.ObjectGroupHolder+group)
		if err != nil {
			return undecided(err)
		}
		gates = append(gates, more...)
	}
	if escaped != next {
		policies = append(policies, o.Policies()...)
	}
	slices.Sort(policies)
	for _, policy := range slices.Compact(policies) {
		more, err := k.Ports.Approvals.PolicyGuards(o.Tenant, policy)
		if err != nil {
			return undecided(err)
		}
		gates = append(gates, more...)
	}
	return RequireApprovals(k, gates, o)
}

// requireIfGoverned asks the policy for an action if key policies are attached to one of
// some Object Groups.
func requireIfGoverned(k *Call, action core.Action, tenant string, groups []string) error {
	for _, group := range groups {
		governed, err := k.Ports.Facts.GovernsGroup(tenant, group)
		if err != nil {
			return undecided(err)
		}
		if governed {
			_, err := k.Decide(action, nil)
			return err
		}
	}
	return nil
}

// groupsBeyond lists the Object Groups of o that other lacks.
func groupsBeyond(o, other *core.ManagedObject) (groups []string) {
	name := core.AttributeName{Tag: core.TagObjectGroup}
	for _, a := range o.Attributes.All(name) {
		if !slices.ContainsFunc(other.Attributes.All(name), func(b core.Attribute) bool { return b.Value.Text == a.Value.Text }) {
			groups = append(groups, a.Value.Text)
		}
	}
	return groups
}

// hasSameTags reports whether two objects have the same tags.
func hasSameTags(o, other *core.ManagedObject) bool { return slices.Equal(tagsOf(o), tagsOf(other)) }

// tagsOf lists the tags of an object, each with its value, sorted.
func tagsOf(o *core.ManagedObject) (tags []string) {
	for i := range o.Attributes {
		if a := &o.Attributes[i]; a.Vendor == "x" && strings.HasPrefix(a.Name, tagAttribute) {
			tags = append(tags, a.Name+"\x00"+a.Value.Text)
		}
	}
	slices.Sort(tags)
	return tags
}

// tagAttribute begins the names of the custom attributes that are tags in key policies.
const tagAttribute = "keyreeve-tag-"
