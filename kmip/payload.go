package kmip

import "github.com/keyreeve/keyreeve/core"

// What several payloads have in common. A field of a payload is described once,
// for reading and writing and for all versions.

func (c *coder) id(p *string) { c.text(core.TagUniqueIdentifier, p, true) }

// protection is the Protection Storage Masks structure of 2.x.
func (c *coder) protection(t core.Tag, masks *[]int32) {
	if !c.has(core.V2_0) || (!c.reading && *masks == nil) {
		return
	}
	c.within(t, false, func() { c.ints(core.TagProtectionStorageMask, masks) })
}

// ints is a repeated Integer.
func (c *coder) ints(t core.Tag, p *[]int32) {
	if c.reading {
		c.each(t, MaxListed, func(it item) {
			if it.kind != core.KindInteger {
				c.fail(core.Errorf(core.InvalidMessage, "%v is a %v, not an Integer", t, it.kind))
				return
			}
			*p = append(*p, int32(it.num()))
		})
		return
	}
	for _, v := range *p {
		c.out = append4(c.out, t, core.KindInteger, uint32(v))
	}
}

// implied is the optional list of attributes that the server set by itself.
func (c *coder) implied(as *core.Attributes) {
	if c.style1() {
		c.template(plainTemplate, as, nil, false)
	}
}

// attributeResponse is that of Add, Modify, Set and Delete Attribute: 1.x
// repeats the attribute, 2.x does not.
func attributeResponse(c *coder, out *core.AttributeOutput) {
	c.id(&out.ID)
	if c.style1() {
		c.attribute(0, &out.Attribute, true)
	}
}

func idResponse(c *coder, out *core.IDOutput) { c.id(&out.ID) }

// stream is how data in parts is marked, since 1.3.
func (c *coder) stream(correlation *[]byte, first, last **bool) {
	if !c.has(core.V1_3) {
		return
	}
	c.bytes(core.TagCorrelationValue, correlation, false)
	c.bool(core.TagInitIndicator, first)
	c.bool(core.TagFinalIndicator, last)
}

func (c *coder) correlation(p *[]byte) {
	if c.has(core.V1_3) {
		c.bytes(core.TagCorrelationValue, p, false)
	}
}

// data must be there until 1.2; later a part of a stream may lack it.
func (c *coder) data(p *[]byte) { c.bytes(core.TagData, p, !c.has(core.V1_3)) }

// digested is Digested Data, since 1.4, which replaces Data.
func (c *coder) digested(data, digested *[]byte) {
	c.bytes(core.TagData, data, !c.has(core.V1_3))
	if c.has(core.V1_4) {
		c.bytes(core.TagDigestedData, digested, false)
	}
}

// currentAttribute returns the Current Attribute of a request of KMIP 2.x, which
// may be absent. It shares the fields of value.
func currentAttribute(name core.AttributeName, value *core.Value) core.Attributes {
	if value == nil {
		return nil
	}
	return core.Attributes{{Tag: name.Tag, Vendor: name.Vendor, Name: name.Name, Value: *value}}
}
