package format

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Names of the fields that conditions look at. Those of tags and of attributes of the
// principal are a prefix and the name of the attribute.
const (
	DoorField       = "door"
	TagPrefix       = "tags."
	ObjectPrefix    = "object."
	PrincipalPrefix = "principal."
	ParameterPrefix = "parameters."
)

// namedValues is a member whose values are known, or any if values is nil.
type namedValues struct {
	name   string
	values []string
}

// objectFields are the members of the condition object. Types, algorithms and states are
// spelled as in the standard.
var objectFields = []namedValues{
	{"type", enumNames(core.TagObjectType)},
	{"state", enumNames(core.TagState)},
	{"algorithm", enumNames(core.TagCryptographicAlgorithm)},
	{"class", []string{string(core.ClassN), string(core.ClassX), string(core.ClassC)}},
	{"objectGroup", nil},
	{"owner", nil},
	{"group", nil},
	{ownedMember, flagValues},
}

// ownedMember says whether the principal of the request owns the object.
const ownedMember = "ownedByCaller"

// flagValues are the values of members that are true or false in the document.
var flagValues = []string{"true", "false"}

// wrappedParameter says whether Get or Export wraps the key. No other action has it.
const wrappedParameter = "wrapped"

// parameterFields are the members of the condition parameters: what the request asks for,
// or what the key's own parameters say if the request leaves it open.
var parameterFields = []namedValues{
	{"algorithm", enumNames(core.TagCryptographicAlgorithm)},
	{"mode", enumNames(core.TagBlockCipherMode)},
	{"padding", enumNames(core.TagPaddingMethod)},
	{"hash", enumNames(core.TagHashingAlgorithm)},
	{"signature", enumNames(core.TagDigitalSignatureAlgorithm)},
	{wrappedParameter, flagValues},
	{lengthParameter, nil},
	{usageParameter, enumNames(core.TagCryptographicUsageMask)},
}

// Parameters of a key that is made, taken or replaced: its length in bits, a whole number in the
// document, and the bits of its Cryptographic Usage Mask.
const (
	lengthParameter = "length"
	usageParameter  = "usage"
	maxLength       = 1 << 20
)

// FixedFields lists the fields whose names are known: all but tags and attributes of the
// principal.
func FixedFields() []string {
	all := []string{DoorField}
	for _, f := range objectFields {
		all = append(all, ObjectPrefix+f.name)
	}
	for _, f := range parameterFields {
		all = append(all, ParameterPrefix+f.name)
	}
	return all
}

var doors = []string{string(core.DoorKMIP), string(core.DoorREST), string(core.DoorClock), string(core.DoorAdmin)}

var strengths = map[string]core.Strength{
	"password": core.StrengthPassword, "token": core.StrengthToken, "code": core.StrengthCode, "certificate": core.StrengthCertificate,
}

func enumNames(t core.Tag) (names []string) {
	for _, v := range t.Info().Enum.Values {
		names = append(names, v.Name)
	}
	return names
}

func fieldNames(fields []namedValues) (names []string) {
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// tagAttributePrefix begins the names of the attributes that hold tags.
const tagAttributePrefix = "x-keyreeve-tag-"

// tagField returns the field of a tag: "env" is the attribute x-keyreeve-tag-env, and
// "x-Site" or "y-Site" is the custom attribute of that name.
func tagField(name string) string {
	if strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "y-") {
		return TagPrefix + name
	}
	return TagPrefix + tagAttributePrefix + name
}

// isNumber reports whether the values of a member are whole numbers in the document.
func (v *namedValues) isNumber() bool { return v.name == lengthParameter }

// isFlag reports whether a member is true or false in the document.
func (v *namedValues) isFlag() bool { return slices.Equal(v.values, flagValues) }

// changingFields are the members of the condition object that a change of attributes changes.
// The state has actions of its own, and the others never change.
var changingFields = []string{"objectGroup", "class"}

// Labels lists the labels of objects that the conditions name: tags and other custom
// attributes, Object Groups and classes.
func (d *Document) Labels() (labels []core.PolicyLabel) {
	for i := range d.Statements {
		s := &d.Statements[i]
		add := func(field string, values []string) {
			for _, v := range values {
				labels = append(labels, core.PolicyLabel{Field: field, Value: v, Denies: s.Effect == Deny})
			}
		}
		for name, values := range s.Conditions.Tags {
			add(tagField(name), values)
		}
		for _, name := range changingFields {
			add(ObjectPrefix+name, s.Conditions.Object[name])
		}
	}
	return labels
}
