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

// sizeOf is what attributes take in memory and in the store, about; the content
// of a Template counts too.
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

// template checks the attributes that a client gives a new object and lays them
// over those of the Templates that it names (KMIP 1.x), the last of which has
// the last word (KMIP 1.4 §4).
func (k *call) template(given core.Attributes, names []string) (core.Attributes, error) {
	if err := checkTemplate(given); err != nil {
		return nil, err
	}
	if len(names) > maxTemplates {
		return nil, core.Errorf(core.InvalidField, "%d Templates are named; a request may name %d", len(names), maxTemplates)
	}
	if len(names) == 0 {
		return overlay(nil, given, several), nil
	}
	var out core.Attributes
	for _, n := range names {
		t, err := k.findTemplate(n)
		if err != nil {
			return nil, err
		}
		out = overlay(out, contentOf(t).Without(core.AttributeName{Tag: core.TagName}), several)
		if len(out) > maxAttributes { // each round, since joining takes time with their square
			return nil, tooMany(len(out))
		}
	}
	out = overlay(out, given, several)
	return out, checkTemplate(out)
}

// several reports whether an object may have more than one value of an attribute;
// it is kept in one place.
func several(n core.AttributeName) bool { return n != custodyAttribute && n.Several() }

// overlay joins two lists: of an attribute that has one value the upper list's
// counts, of one that may have several the union. Instances of one attribute come
// to stand beside each other, with new indexes.
func overlay(under, upper core.Attributes, several func(core.AttributeName) bool) core.Attributes {
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

// contentOf lists the attributes that a Template gives to what is made of it.
// Since KMIP 1.2 they are apart from the Template's own (1.2 §2.2.6) and kept
// under the tag Template, which is no attribute and so never shown; before,
// they are those that a client can set.
func contentOf(t *core.ManagedObject) core.Attributes {
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
	return overlay(content, nil, several)
}

// keepContent is the reverse of contentOf, for a Template that is registered.
func (k *call) keepContent(o *core.ManagedObject, content core.Attributes) error {
	if err := checkTemplate(content); err != nil {
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
	if size := sizeOf(o.Attributes); size > maxAttributeBytes {
		return tooLarge(size)
	}
	return nil
}

func tooMany(n int) error {
	return core.Errorf(core.IndexOutOfBounds, "%d attributes are given; an object has at most %d", n, maxAttributes)
}

// findTemplate finds the one Template of the tenant with a Name that the
// caller may read.
func (k *call) findTemplate(name string) (*core.ManagedObject, error) {
	f := core.Filter{Now: k.now, Everyone: true, Attributes: core.Attributes{
		{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeTemplate)},
		{Tag: core.TagName, Value: core.Name{Text: name}.Value()}}}
	found, err := k.ports.Store.Candidates(k.ctx, k.caller.Principal.Tenant, f, 0, locatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !f.Matches(o) || o.StateAt(k.now).Gone() {
			continue
		}
		_, err := k.decide(core.ActionGetAttributes, o)
		if err == nil {
			k.involve(o.ID, core.RoleSource)
			return o, nil
		}
		if core.CodeOf(err) != core.PermissionDenied {
			return nil, err // else the object would be made without the Template's attributes, or not be found
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "no Template is named %s", printable(name))
}

// checkTemplate refuses what a client may not give a new object.
func checkTemplate(as core.Attributes) error {
	if len(as) > maxAttributes {
		return tooMany(len(as))
	}
	if size := sizeOf(as); size > maxAttributeBytes {
		return tooLarge(size)
	}
	given := map[core.Tag]bool{}
	for i := range as {
		if err := checkNew(&as[i]); err != nil {
			return err
		}
		if r := core.RuleOf(as[i].Tag); r != nil && !r.Multiple && given[r.Tag] {
			return core.Errorf(core.AttributeSingleValued, "%s has one value, and two are given", r.Name)
		}
		given[as[i].Tag] = true
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

// needed lists the fields that an attribute's structure must have (KMIP 1.4 §3); a
// client leaves the Usage Limits Count to the server.
var needed = map[core.Tag][]core.Tag{
	core.TagName:                           {core.TagNameValue, core.TagNameType},
	core.TagAlternativeName:                {core.TagAlternativeNameValue, core.TagAlternativeNameType},
	core.TagRotateName:                     {core.TagRotateNameValue, core.TagRotateNameType},
	core.TagLink:                           {core.TagLinkType, core.TagLinkedObjectIdentifier},
	core.TagUsageLimits:                    {core.TagUsageLimitsTotal, core.TagUsageLimitsUnit},
	core.TagApplicationSpecificInformation: {core.TagApplicationNamespace},
	core.TagKeyValueLocation:               {core.TagKeyValueLocationValue, core.TagKeyValueLocationType},
	core.TagRandomNumberGenerator:          {core.TagRNGAlgorithm},
}

func checkValue(a *core.Attribute) error {
	if a.Value.IsZero() {
		return core.Errorf(core.InvalidField, "%v has no value", a.Tag)
	}
	if err := checkKind(a); err != nil {
		return err
	}
	for _, f := range needed[a.Tag] {
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
	return checkSize(a.Ref(), a.Value)
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
	taken := map[string]bool{}
	for _, a := range as.All(core.AttributeName{Tag: core.TagName}) {
		text := core.NameOf(a.Value).Text
		switch {
		case text == "":
			return core.Errorf(core.InvalidField, "a Name has no Name Value")
		case taken[text]:
			return core.Errorf(core.NonUniqueNameAttribute, "the object has the Name %s already", printable(text))
		}
		taken[text] = true
	}
	return nil
}
