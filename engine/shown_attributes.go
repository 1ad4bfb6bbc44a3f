package engine

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// AttributeBytes is about how many bytes an attribute takes in memory beside its value.
const AttributeBytes = 128

// AnswerBytes returns about how many bytes the attributes of o take in an answer.
func AnswerBytes(o *core.ManagedObject) int {
	return o.Attributes.Size() + AttributeBytes*len(o.Attributes)
}

// isUnlisted reports whether an attribute is shown only to callers that name it. A server that begins to
// count the uses of a key must not change what its clients read: PyKMIP fails at an attribute
// of vendor y.
func isUnlisted(n core.AttributeName) bool {
	return n.Tag == 0 && slices.Contains(core.CipherAttributes, n)
}

// ShownAttributes lists the attributes of o that the caller may know, with the State as
// of now. Attributes for the server's own use are left out.
func (k *Call) ShownAttributes(o *core.ManagedObject) (core.Attributes, error) {
	out := make(core.Attributes, 0, len(o.Attributes))
	for _, a := range o.Attributes {
		if a.Tag != 0 && core.RuleOf(a.Tag) == nil || isUnlisted(a.Ref()) {
			continue
		}
		switch a.Tag {
		case core.TagDigest:
			if ok, err := k.MayKnowDigest(o); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		case core.TagState:
			a.Value = core.Enum(o.StateAt(k.Now))
		}
		out = append(out, a)
	}
	if name, ok := o.OperationPolicyName(); ok && k.SpeaksKMIP1() && !out.Has(core.TagOperationPolicyName) {
		out = append(out, core.Attribute{Tag: core.TagOperationPolicyName, Value: core.Text(name)})
	}
	return out, nil
}

// inClear says that a value leaves without being wrapped.
var inClear = false

// MayKnowDigest reports whether the caller may know the Digest of o. No caller may know
// that of class N, whose value no caller may read. The Digest of Secret Data makes it
// possible to guess a password, so only callers that may Get o in clear may know it.
func (k *Call) MayKnowDigest(o *core.ManagedObject) (bool, error) {
	switch {
	case o.Material.Class == core.ClassN, o.Attributes.Has(core.TagExtractable) && !o.Attributes.Bool(core.TagExtractable): // a search reads no Material
		return false, nil
	case o.Type != core.ObjectTypeSecretData:
		return true, nil
	}
	return k.Permits(core.ActionGet, o, core.Asked{Wrapped: &inClear})
}

// NamedAttributes lists the instances of the named attributes, in the order of the names.
// Attributes that the caller may not know are left out.
func (k *Call) NamedAttributes(o *core.ManagedObject, names []core.AttributeName) (out core.Attributes, err error) {
	all, err := k.ShownAttributes(o)
	if err != nil {
		return nil, err
	}
	groups := map[core.AttributeName]core.Attributes{}
	for _, a := range all {
		groups[a.Ref()] = append(groups[a.Ref()], a)
	}
	for _, n := range names {
		if isUnlisted(n) {
			out = append(out, o.Attributes.All(n)...)
		}
		out = append(out, groups[n]...)
	}
	return out, nil
}
