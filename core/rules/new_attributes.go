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

// Bounds of the attributes that clients give to one object.
const (
	MaxAttributes     = 256       // instances that clients give
	MaxAttributeBytes = 64 * 1024 // of all attributes together: Locate reads many objects at once
	MaxTextBytes      = 64 * 1024 // bytes of one text or byte string
	maxNameBytes      = 1024      // bytes of a vendor attribute's name, and of its vendor's; it is part of an index
	MaxTemplates      = 16        // named in one request
)

// MayHaveSeveral reports whether an object may have several values of an attribute.
// The vendor attribute x-keyreeve-custody has one: a key is kept in one place.
func MayHaveSeveral(n core.AttributeName) bool { return n != CustodyAttribute && n.Several() }

// Overlay merges two lists of attributes. Of an attribute with one value, the upper
// list's value replaces the other. Of an attribute for which several returns true,
// the result has the values of both lists. The instances of one attribute are
// adjacent in the result and have new indexes.
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

// TemplateContent lists the attributes that a Template gives to objects made from it.
// Since KMIP 1.2 they are separate from the Template's own attributes (1.2 §2.2.6).
// They are stored under the tag Template, which is no attribute and so never shown.
// Before KMIP 1.2 they are all attributes of the Template that a client can set.
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
	return Overlay(content, nil, MayHaveSeveral)
}

// CheckCount refuses more than [MaxAttributes] attributes.
func CheckCount(as core.Attributes) error {
	if len(as) > MaxAttributes {
		return core.Errorf(core.IndexOutOfBounds, "%d attributes are given; an object has at most %d", len(as), MaxAttributes)
	}
	return nil
}

// CheckTotalSize refuses attributes that take more than [MaxAttributeBytes] together.
func CheckTotalSize(as core.Attributes) error {
	if size := as.Size(); size > MaxAttributeBytes {
		return core.Errorf(core.InvalidField, "the attributes of the object would take %d bytes; %d is the most", size, MaxAttributeBytes)
	}
	return nil
}

// CheckNewAttributes refuses attributes that a client may not give to a new object.
func CheckNewAttributes(as core.Attributes) error {
	if err := CheckCount(as); err != nil {
		return err
	}
	if err := CheckTotalSize(as); err != nil {
		return err
	}
	given := map[core.Tag]bool{}
	for i := range as {
		if err := CheckNewAttribute(&as[i]); err != nil {
			return err
		}
		if r := core.RuleOf(as[i].Tag); r != nil && !r.Multiple && given[r.Tag] {
			return core.Errorf(core.AttributeSingleValued, "%s has one value, and two are given", r.Name)
		}
		given[as[i].Tag] = true
	}
	return CheckNames(as)
}

// CheckNewAttribute refuses an attribute that only the server sets, and a value that
// the attribute cannot have.
func CheckNewAttribute(a *core.Attribute) error {
	if a.Tag == 0 {
		return CheckVendorAttribute(a)
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

// CheckVendorAttribute refuses a vendor attribute without a name or a value, with a
// name that is too long, or one that only the server sets.
func CheckVendorAttribute(a *core.Attribute) error {
	switch {
	case OnlyServerSets(a.Ref()):
		return core.Errorf(core.AttributeReadOnly, "%s is set by the server alone, as are all attributes of vendor y", core.ClientText(a.Ref().String()))
	case a.Vendor == "" || a.Name == "":
		return core.Errorf(core.InvalidField, "a vendor attribute needs a vendor and a name")
	case readsLikeOurs(a.Vendor):
		return core.Errorf(core.InvalidField, "%s would read like an attribute of vendor x or y; take a vendor that is not X or Y and does not begin with x- or y-", core.ClientText(a.Ref().String()))
	case len(a.Vendor) > maxNameBytes || len(a.Name) > maxNameBytes:
		return core.Errorf(core.InvalidField, "the name of a vendor attribute is longer than %d bytes", maxNameBytes)
	case !plainText(a.Vendor) || !plainText(a.Name):
		return core.Errorf(core.InvalidField, "the name of a vendor attribute is not UTF-8 text without NUL")
	case a.Value.IsZero():
		return core.Errorf(core.InvalidField, "%s has no value", core.ClientText(a.Ref().String()))
	}
	return CheckText(a.Ref(), a.Value)
}

// readsLikeOurs reports whether names with a vendor read like those of vendor x or y, without
// being theirs: "x-keyreeve" with "tag-env" reads like "x" with "keyreeve-tag-env". Key policies
// name attributes of these two vendors.
func readsLikeOurs(vendor string) bool {
	first, _, more := strings.Cut(strings.ToLower(vendor), "-")
	return (first == "x" || first == "y") && (more || vendor != first)
}

// requiredFields lists the fields that an attribute's structure must have (KMIP 1.4
// §3). The Usage Limits Count is not among them, because the server sets it.
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

// CheckValue refuses a value that an attribute of the standard cannot have: of another
// type, without a required field, too long, or contradictory in itself.
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
	return CheckText(a.Ref(), a.Value)
}

// checkKind refuses a value whose type is not that of its attribute.
func checkKind(a *core.Attribute) error {
	info := a.Tag.Info() // nil: a vendor's own tag, which may have any type
	if info != nil && info.Kind != core.KindAny && a.Value.Kind != info.Kind {
		return core.Errorf(core.InvalidField, "%v is a %v, not a %v", a.Tag, info.Kind, a.Value.Kind)
	}
	return nil
}

// plainText reports whether s is UTF-8 without NUL, which databases cannot store.
func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// CheckText refuses a value with a text or byte string over [MaxTextBytes], or with a
// text that is not UTF-8. It looks into structures too.
func CheckText(n core.AttributeName, v core.Value) error {
	if len(v.Text) > MaxTextBytes || len(v.Bytes) > MaxTextBytes {
		return core.Errorf(core.InvalidField, "%s is longer than %d bytes", core.ClientText(n.String()), MaxTextBytes)
	}
	if !plainText(v.Text) {
		return core.Errorf(core.InvalidField, "%s is not UTF-8 text without NUL", core.ClientText(n.String()))
	}
	for _, f := range v.Fields {
		if err := CheckText(n, f.Value); err != nil {
			return err
		}
	}
	return nil
}
