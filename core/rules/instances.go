package rules

import "github.com/keyreeve/keyreeve/core"

// FindInstance returns the position of the attribute instance that a request names:
// by value (KMIP 2.x), by index, or else the first one.
func FindInstance(o *core.ManagedObject, n core.AttributeName, value *core.Value) (int, error) {
	if r := core.RuleOf(n.Tag); n.Tag != 0 && r == nil {
		return 0, core.Errorf(core.InvalidAttribute, "%v is no attribute", n.Tag)
	}
	byName := n
	byName.Indexed = false
	if _, implied := o.OperationPolicyName(); implied && n.Tag == core.TagOperationPolicyName {
		return 0, core.Errorf(core.AttributeReadOnly, "%v cannot be changed or deleted by a client", n.Tag)
	}
	if o.Attributes.Find(byName) < 0 {
		return 0, core.Errorf(core.AttributeNotFound, "object %s has no %s", o.ID, core.ClientText(n.String()))
	}
	if value != nil {
		for i := range o.Attributes {
			if byName.Names(&o.Attributes[i]) && o.Attributes[i].Value.Equal(*value) {
				return i, nil
			}
		}
		return 0, core.Errorf(core.AttributeInstanceNotFound, "object %s has no %s of that value", o.ID, core.ClientText(n.String()))
	}
	i := o.Attributes.Find(n)
	if i < 0 {
		return 0, core.Errorf(core.AttributeInstanceNotFound, "object %s has no %s with index %d", o.ID, core.ClientText(n.String()), n.Index)
	}
	return i, nil
}

// CheckNames refuses two equal Names on one object, and a Name without a value.
func CheckNames(as core.Attributes) error {
	taken := map[string]bool{}
	for _, a := range as.All(core.AttributeName{Tag: core.TagName}) {
		text := core.NameOf(a.Value).Text
		switch {
		case text == "":
			return core.Errorf(core.InvalidField, "a Name has no Name Value")
		case taken[text]:
			return core.Errorf(core.NonUniqueNameAttribute, "the object has the Name %s already", core.ClientText(text))
		}
		taken[text] = true
	}
	return nil
}
