package engine

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds on what one object may carry.
const (
	maxAttributes     = 256       // instances that clients give
	maxAttributeBytes = 64 * 1024 // of all attributes together: Locate reads many objects at once
	maxAttributeText  = 64 * 1024 // bytes of one text or byte string
	maxAttributeName  = 1024      // bytes of a vendor attribute's name, and of its vendor's; it is part of an index
	maxTemplates      = 16        // named in one request
)

// fieldBytes is what a value takes beside its text or bytes.
const fieldBytes = 32

// sizeOf is what attributes take in memory and in the store, about.
func sizeOf(as core.Attributes) int {
	n := 0
	for i := range as {
		n += len(as[i].Vendor) + len(as[i].Name) + valueSize(&as[i].Value)
	}
	return n
}

func valueSize(v *core.Value) int {
	n := fieldBytes + len(v.Text) + len(v.Bytes)
	for i := range v.Fields {
		n += valueSize(&v.Fields[i].Value)
	}
	return n
}

func tooLarge(size int) error {
	return core.Errorf(core.InvalidField, "the attributes of the object would take %d bytes; %d is the most", size, maxAttributeBytes)
}

// template checks the attributes that a client gives a new object and resolves
// the Templates that it names (KMIP 1.x): what stands in the request itself
// overrides what a Template says.
func (k *call) template(given core.Attributes, names []string) (core.Attributes, error) {
	if err := checkTemplate(given, k.caller.Version); err != nil {
		return nil, err
	}
	if len(names) > maxTemplates {
		return nil, core.Errorf(core.InvalidField, "%d Templates are named; a request may name %d", len(names), maxTemplates)
	}
	out := slices.Clone(given)
	for _, n := range slices.Backward(names) { // the last of them takes precedence
		t, err := k.findTemplate(n)
		if err != nil {
			return nil, err
		}
		out = union(out, slices.DeleteFunc(slices.Clone(t.Attributes), func(a core.Attribute) bool {
			r := core.RuleOf(a.Tag)
			return a.Tag == core.TagName || (r != nil && !r.ClientSets)
		}))
	}
	if len(out) > maxAttributes {
		return nil, tooMany(len(out))
	}
	return reindex(out), nil
}

// union appends to as what more has beside it: the other values of attributes
// that may have several, and single ones that as lacks (KMIP 1.4 §4.1, §4.2).
func union(as, more core.Attributes) core.Attributes {
	for _, a := range more {
		r := core.RuleOf(a.Tag)
		known := func(b core.Attribute) bool {
			return a.Ref() == b.Ref() && (r == nil || !r.Multiple || a.Value.Equal(b.Value))
		}
		if !slices.ContainsFunc(as, known) {
			as = append(as, a)
		}
	}
	return as
}

func tooMany(n int) error {
	return core.Errorf(core.InvalidField, "%d attributes are given; an object has at most %d", n, maxAttributes)
}

// findTemplate finds the one Template of the tenant with a Name that the
// caller may read.
func (k *call) findTemplate(name string) (*core.ManagedObject, error) {
	f := core.Filter{Now: k.now, Everyone: true, Attributes: core.Attributes{
		{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeTemplate)},
		{Tag: core.TagName, Value: core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text(name)})}}}
	found, err := k.Store.Candidates(k.ctx, k.caller.Principal.Tenant, f, 0, locatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !f.Matches(o) || o.StateAt(k.now).Gone() {
			continue
		}
		if _, err := k.decide(core.OperationGetAttributes, o); err == nil {
			return o, nil
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "no Template is named %s", printable(name))
}

// checkTemplate refuses what a client may not give a new object.
func checkTemplate(as core.Attributes, v core.Version) error {
	if len(as) > maxAttributes {
		return tooMany(len(as))
	}
	for i := range as {
		if err := checkNew(&as[i]); err != nil {
			return err
		}
		if r := core.RuleOf(as[i].Tag); r != nil && !r.Multiple && as[:i].Find(as[i].Ref()) >= 0 {
			return core.Errorf(core.AttributeSingleValued, "%s has one value, and two are given", r.Name)
		}
	}
	return checkNames(as)
}

// checkNew refuses an attribute that no client may set, or whose value is not
// of its type.
func checkNew(a *core.Attribute) error {
	if a.Tag == 0 {
		return checkCustom(a)
	}
	r := core.RuleOf(a.Tag)
	switch {
	case r == nil:
		return core.Errorf(core.InvalidAttribute, "%v is no attribute", a.Tag)
	case !r.ClientSets:
		return core.Errorf(core.AttributeReadOnly, "%s is set by the server alone", r.Name)
	}
	return checkValue(a)
}

func checkCustom(a *core.Attribute) error {
	switch {
	case a.Vendor == "y":
		return core.Errorf(core.AttributeReadOnly, "attributes of vendor y are set by the server alone")
	case a.Vendor == "" || a.Name == "":
		return core.Errorf(core.InvalidField, "a vendor attribute needs a vendor and a name")
	case len(a.Vendor) > maxAttributeName || len(a.Name) > maxAttributeName:
		return core.Errorf(core.InvalidField, "the name of a vendor attribute is longer than %d bytes", maxAttributeName)
	case !plainText(a.Vendor) || !plainText(a.Name):
		return core.Errorf(core.InvalidField, "the name of a vendor attribute is not UTF-8 text without NUL")
	case a.Value.IsZero():
		return core.Errorf(core.InvalidField, "%s has no value", printable(a.Ref().String()))
	}
	return checkSize(a.Ref(), a.Value)
}

func checkValue(a *core.Attribute) error {
	if want := a.Tag.Info().Kind; want != core.KindAny && a.Value.Kind != want {
		return core.Errorf(core.InvalidField, "%v is a %v, not a %v", a.Tag, want, a.Value.Kind)
	}
	if a.Tag == core.TagCryptographicLength && a.Value.Num < 0 {
		return core.Errorf(core.InvalidField, "Cryptographic Length is negative")
	}
	if a.Tag == core.TagUsageLimits {
		return checkUsageLimits(a.Value)
	}
	return checkSize(a.Ref(), a.Value)
}

func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func checkSize(n core.AttributeName, v core.Value) error {
	if len(v.Text) > maxAttributeText || len(v.Bytes) > maxAttributeText {
		return core.Errorf(core.InvalidField, "%s is longer than %d bytes", printable(n.String()), maxAttributeText)
	}
	if !plainText(v.Text) {
		return core.Errorf(core.InvalidField, "%s is not UTF-8 text without NUL", printable(n.String()))
	}
	for _, f := range v.Fields {
		if err := checkSize(n, f.Value); err != nil {
			return err
		}
	}
	return nil
}

// checkNames refuses the same Name twice on one object, and a Name without a value.
func checkNames(as core.Attributes) error {
	names := as.All(core.AttributeName{Tag: core.TagName})
	for i, a := range names {
		text := a.Value.Field(core.TagNameValue).Text
		if text == "" {
			return core.Errorf(core.InvalidField, "a Name has no Name Value")
		}
		for _, b := range names[:i] {
			if b.Value.Field(core.TagNameValue).Text == text {
				return core.Errorf(core.NonUniqueNameAttribute, "the object has the Name %s already", printable(text))
			}
		}
	}
	return nil
}

// reindex brings instances of one attribute together and numbers them from 0.
func reindex(as core.Attributes) core.Attributes {
	var out core.Attributes
	for _, a := range as {
		out = out.Add(a)
	}
	return out
}
