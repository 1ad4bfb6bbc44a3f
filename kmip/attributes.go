package kmip

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// isV1 reports whether attributes travel as Attribute structures with a name
// (KMIP 1.x) and not as fields of their own (2.x).
func (c *coder) isV1() bool { return c.version < core.V2_0 }

// templateTags are the tags of a set of attributes in both styles.
type templateTags struct{ style1, style2 core.Tag }

var (
	plainTemplate   = templateTags{core.TagTemplateAttribute, core.TagAttributes}
	commonTemplate  = templateTags{core.TagCommonTemplateAttribute, core.TagCommonAttributes}
	privateTemplate = templateTags{core.TagPrivateKeyTemplateAttribute, core.TagPrivateKeyAttributes}
	publicTemplate  = templateTags{core.TagPublicKeyTemplateAttribute, core.TagPublicKeyAttributes}
)

// template is the set of attributes for a new object: Template-Attribute, which
// may also name Templates (KMIP 1.4 §2.1.8), or Attributes (2.1 §5.1).
func template(c *coder, tags templateTags, as *core.Attributes, names *[]string, must bool) {
	if !c.isV1() {
		attributesV2(c, tags.style2, as, must)
		return
	}
	if !c.reading && !must && len(*as) == 0 && (names == nil || len(*names) == 0) {
		return
	}
	c.structure(tags.style1, must, func() {
		templateNames(c, names)
		attributesV1(c, as)
	})
}

// templateNames reads the Names of Templates inside a Template-Attribute.
func templateNames(c *coder, names *[]string) {
	if c.reading {
		c.eachField(core.TagName, core.KindStructure, MaxTemplateNames, func(it item) {
			v := it.valueOf().Field(core.TagNameValue)
			if v.Kind != core.KindTextString || names == nil {
				c.fail(core.Errorf(core.InvalidMessage, "a Template is named by a Name with a Name Value"))
				return
			}
			*names = append(*names, v.Text)
		})
		return
	}
	if names == nil {
		return
	}
	for _, n := range *names {
		c.out = appendValue(c.out, core.TagName, core.PlainName(n).Value())
	}
}

// attributeSet is the attributes of an object: in 1.x a run of Attribute structures,
// in 2.x one structure, which may be required.
func attributeSet(c *coder, as *core.Attributes, must bool) {
	if c.isV1() {
		attributesV1(c, as)
	} else {
		attributesV2(c, core.TagAttributes, as, must)
	}
}

// attributesV1 is a run of Attribute structures (KMIP 1.4 §2.1.1).
func attributesV1(c *coder, as *core.Attributes) {
	if c.reading {
		*as = slices.Grow(*as, min(countItems(c.frame.rest), MaxAttributes))
		c.eachField(core.TagAttribute, core.KindStructure, MaxAttributes, func(it item) {
			var a core.Attribute
			readAttributeV1(c, it, &a)
			*as = append(*as, a)
		})
		return
	}
	for i := range *as {
		writeAttributeV1(c, &(*as)[i])
	}
}

// attributesV2 is a structure whose fields are attributes (KMIP 2.1 §5.1).
func attributesV2(c *coder, t core.Tag, as *core.Attributes, must bool) {
	if c.reading {
		it, ok := c.takeField(t, core.KindStructure, must)
		if !ok {
			return
		}
		*as = slices.Grow(*as, min(countItems(it.value), MaxAttributes))
		n := 0
		for b := it.value; len(b) > 0 && c.err == nil; {
			var f item
			f, b = nextItem(b)
			if n++; n > MaxAttributes && !c.client {
				c.fail(core.Errorf(core.InvalidField, "%v has more than %d attributes", t, MaxAttributes))
				return
			}
			var a core.Attribute
			readAttributeV2(c, f, &a)
			*as = append(*as, a)
		}
		return
	}
	if !must && len(*as) == 0 {
		return
	}
	var at int
	c.out, at = openStructure(c.out, t)
	for i := range *as {
		writeAttributeV2(c, &(*as)[i])
	}
	closeStructure(c.out, at)
}

// attribute is one attribute that a payload holds: an Attribute structure, or a
// structure of the given tag around the attribute's own field.
func attribute(c *coder, style2 core.Tag, a *core.Attribute, must bool) (present bool) {
	if c.isV1() {
		if c.reading {
			it, ok := c.takeField(core.TagAttribute, core.KindStructure, must)
			if ok {
				readAttributeV1(c, it, a)
			}
			return ok
		}
		writeAttributeV1(c, a)
		return true
	}
	if !c.reading {
		return c.structure(style2, true, func() { writeAttributeV2(c, a) })
	}
	it, ok := c.takeField(style2, core.KindStructure, must)
	if !ok {
		return false
	}
	held := 0
	for b := it.value; len(b) > 0 && c.err == nil; {
		var f item
		f, b = nextItem(b)
		if held++; held > 1 {
			c.fail(core.Errorf(core.InvalidField, "%v holds more than one attribute", style2))
			return false
		}
		readAttributeV2(c, f, a)
	}
	if held == 0 {
		c.fail(core.Errorf(core.InvalidMessage, "%v holds no attribute", style2))
	}
	return c.err == nil
}

// readAttributeV1 reads an Attribute structure. Some clients put the index before the
// value and some after it.
func readAttributeV1(c *coder, it item, a *core.Attribute) {
	c.readStructure(it, func() {
		var name string
		var index *int32
		c.textField(core.TagAttributeName, &name, true)
		numberField(c, core.TagAttributeIndex, core.KindInteger, &index)
		n, err := nameFromV1(name, c.version)
		if err != nil {
			c.fail(err)
			return
		}
		a.Tag, a.Vendor, a.Name = n.Tag, n.Vendor, n.Name
		if index != nil {
			a.Index = int(*index)
			if *index < 0 {
				c.fail(core.Errorf(core.InvalidField, "the Attribute Index of %s is negative", name))
			}
		}
		if f, ok := c.takeField(core.TagAttributeValue, core.KindAny, false); ok {
			a.Value = attributeValue(c, a.Ref(), f)
		}
	})
}

// attributeValue checks a value against its attribute's type and keeps it.
func attributeValue(c *coder, n core.AttributeName, it item) core.Value {
	if have := len(it.value); have > maxAttributeBytes && !c.client {
		c.fail(core.Errorf(core.InvalidField, "the value of an attribute has %d bytes; the limit is %d", have, maxAttributeBytes))
		return core.Value{}
	}
	if n.Tag != 0 {
		typed := it
		typed.tag = n.Tag
		if err := checkTyped(typed); err != nil {
			c.fail(err)
			return core.Value{}
		}
	}
	return it.valueOf()
}

// nameFromV1 returns the attribute that has a name in KMIP 1.x.
func nameFromV1(name string, v core.Version) (core.AttributeName, error) {
	if r := core.RuleByName(name); r != nil {
		if !v.Within(r.Since, r.Until) {
			return core.AttributeName{}, core.Errorf(core.InvalidField, "KMIP %v has no attribute %s", v, r.Name)
		}
		return core.AttributeName{Tag: r.Tag}, nil
	}
	if vendor, own, ok := strings.Cut(name, "-"); ok && own != "" && (vendor == "x" || vendor == "y") {
		return core.AttributeName{Vendor: vendor, Name: own}, nil
	}
	const maxShown = 64
	return core.AttributeName{}, core.Errorf(core.InvalidField, "there is no attribute %.*q; the names of custom attributes begin with x-", maxShown, name)
}

// nameToV1 is the reverse. Attributes of vendors other than x and y have no name in
// 1.x: only 2.x can name them.
func nameToV1(n core.AttributeName, v core.Version) (string, bool) {
	if n.Tag == 0 {
		return n.Vendor + "-" + n.Name, n.Vendor == "x" || n.Vendor == "y"
	}
	return n.Tag.String(), hasAttribute(v, n.Tag)
}

// hasAttribute reports whether a version has an attribute.
func hasAttribute(v core.Version, t core.Tag) bool {
	r := core.RuleOf(t)
	return r != nil && v.Within(r.Since, r.Until)
}

// writeAttributeV1 leaves out attributes that the version does not have. No index
// means index 0. Answers have index 0 nevertheless if the attribute may have several
// values, because PyKMIP needs it there.
func writeAttributeV1(c *coder, a *core.Attribute) {
	name, ok := nameToV1(a.Ref(), c.version)
	if !ok {
		return
	}
	var at int
	c.out, at = openStructure(c.out, core.TagAttribute)
	c.out = appendPadded(c.out, core.TagAttributeName, core.KindTextString, name)
	if a.Index != 0 || (c.answer && a.Ref().Several()) {
		c.out = append4(c.out, core.TagAttributeIndex, core.KindInteger, uint32(a.Index))
	}
	if !a.Value.IsZero() {
		c.out = appendValue(c.out, core.TagAttributeValue, c.ofVersion(a.Tag, a.Value))
	}
	closeStructure(c.out, at)
}

// joined lists fields that are in a structure since a later version than field and
// structure themselves (KMIP 1.1 §3.17, 1.2 §3.6).
var joined = map[[2]core.Tag]core.Version{
	{core.TagDigest, core.TagKeyFormatType}:                              core.V1_1,
	{core.TagCryptographicParameters, core.TagDigitalSignatureAlgorithm}: core.V1_2,
	{core.TagCryptographicParameters, core.TagCryptographicAlgorithm}:    core.V1_2,
}

// ofVersion returns v without the fields that structure t, or a structure within it,
// does not have in the version. A client that meets an unknown field may not read the
// answer, even if a client of another version stored it.
func (c *coder) ofVersion(t core.Tag, v core.Value) core.Value {
	strange := func(f core.Field) bool {
		info := f.Tag.Info()
		return c.version < joined[[2]core.Tag{t, f.Tag}] || (info != nil && !c.version.Within(info.Since, info.Until))
	}
	nested := func(f core.Field) bool { return f.Value.Kind == core.KindStructure }
	if t == 0 || !slices.ContainsFunc(v.Fields, func(f core.Field) bool { return strange(f) || nested(f) }) {
		return v
	}
	v.Fields = slices.DeleteFunc(slices.Clone(v.Fields), strange)
	for i, f := range v.Fields {
		v.Fields[i].Value = c.ofVersion(f.Tag, f.Value)
	}
	return v
}

// readAttributeV2 reads a field that is an attribute, or an Attribute structure with
// a vendor's attribute (KMIP 2.1 §4.60).
func readAttributeV2(c *coder, f item, a *core.Attribute) {
	if f.tag != core.TagAttribute {
		if !hasAttribute(c.version, f.tag) {
			c.fail(core.Errorf(core.InvalidField, "KMIP %v has no attribute %v", c.version, f.tag))
			return
		}
		a.Tag = f.tag
		a.Value = attributeValue(c, a.Ref(), f)
		return
	}
	c.readStructure(f, func() {
		vendorName(c, &a.Vendor, &a.Name)
		if v, ok := c.takeField(core.TagAttributeValue, core.KindAny, true); ok {
			a.Value = attributeValue(c, core.AttributeName{Vendor: a.Vendor, Name: a.Name}, v)
		}
	})
}

func writeAttributeV2(c *coder, a *core.Attribute) {
	if a.Tag == 0 {
		c.out = appendValue(c.out, core.TagAttribute, a.Structure())
	} else if hasAttribute(c.version, a.Tag) {
		c.out = appendValue(c.out, a.Tag, c.ofVersion(a.Tag, a.Value))
	}
}

// attributeReferences is a list of attributes by name: Attribute Name in 1.x, Attribute
// Reference in 2.x (KMIP 2.1 §5.5).
func attributeReferences(c *coder, p *[]core.AttributeName) {
	if !c.reading {
		for _, n := range *p {
			writeReference(c, n)
		}
		return
	}
	c.eachField(referenceTag(c), core.KindAny, MaxAttributes, func(it item) {
		if n, ok := readReference(c, it); ok {
			*p = append(*p, n)
		}
	})
}

func referenceTag(c *coder) core.Tag {
	if c.isV1() {
		return core.TagAttributeName
	}
	return core.TagAttributeReference
}

func writeReference(c *coder, n core.AttributeName) {
	switch {
	case c.isV1():
		if name, ok := nameToV1(n, c.version); ok {
			c.textField(core.TagAttributeName, &name, true)
		}
	case n.Tag == 0:
		c.structure(core.TagAttributeReference, true, func() { vendorName(c, &n.Vendor, &n.Name) })
	case hasAttribute(c.version, n.Tag):
		enumField(c, core.TagAttributeReference, &n.Tag, true)
	}
}

// vendorName is the two fields that name a vendor's attribute in 2.x.
func vendorName(c *coder, vendor, name *string) {
	c.textField(core.TagVendorIdentification, vendor, true)
	c.textField(core.TagAttributeName, name, true)
}

// readReference reads one name. A name that the version does not have stands for an
// attribute that no object has: Get Attributes answers without it.
func readReference(c *coder, it item) (n core.AttributeName, ok bool) {
	switch {
	case it.kind == core.KindTextString && !c.checkLength(it, MaxTextBytes):
		return n, false
	case c.isV1() && it.kind == core.KindTextString:
		found, err := nameFromV1(string(it.value), c.version)
		if err != nil {
			return core.AttributeName{Name: string(it.value)}, true
		}
		return found, true
	case !c.isV1() && it.kind == core.KindEnumeration:
		return core.AttributeName{Tag: core.Tag(it.number())}, true
	case !c.isV1() && it.kind == core.KindStructure:
		c.readStructure(it, func() { vendorName(c, &n.Vendor, &n.Name) })
		return n, c.err == nil
	}
	c.fail(core.Errorf(core.InvalidMessage, "%v has type %v, which KMIP %v does not allow there", it.tag, it.kind, c.version))
	return n, false
}

// attributeReference is the one attribute that Delete Attribute names.
func attributeReference(c *coder, n *core.AttributeName, must bool) bool {
	if !c.reading {
		writeReference(c, *n)
		return true
	}
	it, ok := c.takeField(referenceTag(c), core.KindAny, must)
	if !ok {
		return false
	}
	*n, ok = readReference(c, it)
	return ok
}
