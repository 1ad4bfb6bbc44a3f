package rules

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// CustodyAttribute lets a client choose a token object: vendor attribute
// x-keyreeve-custody = "resident".
var CustodyAttribute = core.AttributeName{Vendor: "x", Name: "keyreeve-custody"}

// Bounds on what one object may carry.
const (
	MaxAttributes     = 256       // instances that clients give
	MaxAttributeBytes = 64 * 1024 // of all attributes together: Locate reads many objects at once
	MaxAttributeText  = 64 * 1024 // bytes of one text or byte string
	maxAttributeName  = 1024      // bytes of a vendor attribute's name, and of its vendor's; it is part of an index
	MaxTemplates      = 16        // named in one request
)

func TooLarge(size int) error {
	return core.Errorf(core.InvalidField, "the attributes of the object would take %d bytes; %d is the most", size, MaxAttributeBytes)
}

// HasSeveral reports whether an object may have more than one value of an attribute;
// it is kept in one place.
func HasSeveral(n core.AttributeName) bool { return n != CustodyAttribute && n.Several() }

// Overlay joins two lists: of an attribute that has one value the upper list's
// counts, of one that may have several the union. Instances of one attribute come
// to stand beside each other, with new indexes.
func Overlay(under, upper core.Attributes, several func(core.AttributeName) bool) core.Attributes {
	given := map[core.AttributeName]bool{}
	for i := range upper {
		given[upper[i].Ref()] = true
	}
	groups := map[core.AttributeName]core.Attributes{}
	var order []core.AttributeName
	add := func(a core.Attribute, once bool) {
		ref := a.Ref()
		group, known := groups[ref]
		if !known {
			order = append(order, ref)
		}
		if once && slices.ContainsFunc(group, func(b core.Attribute) bool { return b.Value.Equal(a.Value) }) {
			return
		}
		a.Index = len(group)
		groups[ref] = append(group, a)
	}
	for _, a := range under {
		if ref := a.Ref(); several(ref) || !given[ref] {
			add(a, false)
		}
	}
	for _, a := range upper {
		add(a, true)
	}
	out := make(core.Attributes, 0, len(under)+len(upper))
	for _, ref := range order {
		out = append(out, groups[ref]...)
	}
	return out
}

// TemplateContent lists the attributes that a Template gives to what is made of it.
// Since KMIP 1.2 they are apart from the Template's own (1.2 §2.2.6) and kept
// under the tag Template, which is no attribute and so never shown; before,
// they are those that a client can set.
func TemplateContent(t *core.ManagedObject) core.Attributes {
	var content core.Attributes
	if v, ok := t.Attributes.Get(core.TagTemplate); ok {
		for _, f := range v.Fields {
			a := core.Attribute{Tag: f.Tag, Value: f.Value}
			if f.Tag == core.TagAttribute {
				a = core.VendorAttributeOf(f.Value)
			}
			content = append(content, a)
		}
	} else {
		for _, a := range t.Attributes {
			if r := core.RuleOf(a.Tag); a.Tag == 0 || (r != nil && r.ClientSets) {
				content = append(content, a)
			}
		}
	}
	return Overlay(content, nil, HasSeveral)
}

func TooMany(n int) error {
	return core.Errorf(core.IndexOutOfBounds, "%d attributes are given; an object has at most %d", n, MaxAttributes)
}

// CheckTemplate refuses what a client may not give a new object.
func CheckTemplate(as core.Attributes) error {
	if len(as) > MaxAttributes {
		return TooMany(len(as))
	}
	if size := as.Size(); size > MaxAttributeBytes {
		return TooLarge(size)
	}
	given := map[core.Tag]bool{}
	for i := range as {
		if err := CheckNew(&as[i]); err != nil {
			return err
		}
		if r := core.RuleOf(as[i].Tag); r != nil && !r.Multiple && given[r.Tag] {
			return core.Errorf(core.AttributeSingleValued, "%s has one value, and two are given", r.Name)
		}
		given[as[i].Tag] = true
	}
	return CheckNames(as)
}

// CheckNew refuses an attribute that no client may set, or whose value is not
// of its type.
func CheckNew(a *core.Attribute) error {
	if a.Tag == 0 {
		return CheckCustom(a)
	}
	r := core.RuleOf(a.Tag)
	switch {
	case r == nil:
		return core.Errorf(core.InvalidAttribute, "%v is no attribute", a.Tag)
	case !r.ClientSets:
		return core.Errorf(core.AttributeReadOnly, "%s is set by the server alone", r.Name)
	}
	return CheckValue(a)
}

func CheckCustom(a *core.Attribute) error {
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
		return core.Errorf(core.InvalidField, "%s has no value", core.ClientText(a.Ref().String()))
	}
	return CheckSize(a.Ref(), a.Value)
}

// requiredFields lists the fields that an attribute's structure must have (KMIP 1.4 §3); a
// client leaves the Usage Limits Count to the server.
var requiredFields = map[core.Tag][]core.Tag{
	core.TagName:                           {core.TagNameValue, core.TagNameType},
	core.TagAlternativeName:                {core.TagAlternativeNameValue, core.TagAlternativeNameType},
	core.TagRotateName:                     {core.TagRotateNameValue, core.TagRotateNameType},
	core.TagLink:                           {core.TagLinkType, core.TagLinkedObjectIdentifier},
	core.TagUsageLimits:                    {core.TagUsageLimitsTotal, core.TagUsageLimitsUnit},
	core.TagApplicationSpecificInformation: {core.TagApplicationNamespace},
	core.TagKeyValueLocation:               {core.TagKeyValueLocationValue, core.TagKeyValueLocationType},
	core.TagRandomNumberGenerator:          {core.TagRNGAlgorithm},
}

func CheckValue(a *core.Attribute) error {
	if a.Value.IsZero() {
		return core.Errorf(core.InvalidField, "%v has no value", a.Tag)
	}
	if err := checkKind(a); err != nil {
		return err
	}
	for _, f := range requiredFields[a.Tag] {
		if a.Value.Field(f).IsZero() {
			return core.Errorf(core.InvalidField, "the %v has no %v", a.Tag, f)
		}
	}
	switch {
	case a.Tag == core.TagLink && a.Value.Field(core.TagLinkedObjectIdentifier).Kind != core.KindTextString:
		return core.Errorf(core.InvalidField, "a Linked Object Identifier is a Text String; references into a batch are of KMIP 2.x")
	case a.Tag == core.TagApplicationSpecificInformation && a.Value.Field(core.TagApplicationData).IsZero():
		return core.Errorf(core.NamespaceNotSupported, "no Application Data is made here for any Application Namespace; give it")
	case a.Tag == core.TagCryptographicLength && a.Value.Num < 0:
		return core.Errorf(core.InvalidField, "Cryptographic Length is negative")
	case a.Tag == core.TagUsageLimits:
		return checkUsageLimits(a.Value)
	}
	return CheckSize(a.Ref(), a.Value)
}

// checkKind refuses a value of another type than its attribute's.
func checkKind(a *core.Attribute) error {
	info := a.Tag.Info() // nil: a vendor's own tag, which may have any type
	if info != nil && info.Kind != core.KindAny && a.Value.Kind != info.Kind {
		return core.Errorf(core.InvalidField, "%v is a %v, not a %v", a.Tag, info.Kind, a.Value.Kind)
	}
	return nil
}

func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func CheckSize(n core.AttributeName, v core.Value) error {
	if len(v.Text) > MaxAttributeText || len(v.Bytes) > MaxAttributeText {
		return core.Errorf(core.InvalidField, "%s is longer than %d bytes", core.ClientText(n.String()), MaxAttributeText)
	}
	if !plainText(v.Text) {
		return core.Errorf(core.InvalidField, "%s is not UTF-8 text without NUL", core.ClientText(n.String()))
	}
	for _, f := range v.Fields {
		if err := CheckSize(n, f.Value); err != nil {
			return err
		}
	}
	return nil
}
