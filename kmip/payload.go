package kmip

import "github.com/keyreeve/keyreeve/core"

// What several payloads have in common. A field of a payload is described once,
// for reading and writing and for all versions.

func (c *coder) uniqueIdentifier(p *string) { c.textField(core.TagUniqueIdentifier, p, true) }

// protectionMasks is the Protection Storage Masks structure of 2.x.
func (c *coder) protectionMasks(t core.Tag, masks *[]int32) {
	if !c.atLeast(core.V2_0) || (!c.reading && *masks == nil) {
		return
	}
	c.structure(t, false, func() { c.integerList(core.TagProtectionStorageMask, masks) })
}

// integerList is a repeated Integer.
func (c *coder) integerList(t core.Tag, p *[]int32) {
	if c.reading {
		c.eachField(t, MaxListed, func(it item) {
			if it.kind != core.KindInteger {
				c.fail(core.Errorf(core.InvalidMessage, "%v is a %v, not an Integer", t, it.kind))
				return
			}
			*p = append(*p, int32(it.number()))
		})
		return
	}
	for _, v := range *p {
		c.out = append4(c.out, t, core.KindInteger, uint32(v))
	}
}

// impliedAttributes is the optional list of attributes that the server set by itself.
func (c *coder) impliedAttributes(as *core.Attributes) {
	if c.isV1() {
		c.template(plainTemplate, as, nil, false)
	}
}

// attributeResponse is that of Add, Modify, Set and Delete Attribute: 1.x
// repeats the attribute, 2.x does not.
func attributeResponse(c *coder, out *core.AttributeOutput) {
	c.uniqueIdentifier(&out.ID)
	if c.isV1() {
		c.attribute(0, &out.Attribute, true)
	}
}

func idResponse(c *coder, out *core.IDOutput) { c.uniqueIdentifier(&out.ID) }

// streamFields is how data in parts is marked, since 1.3.
func (c *coder) streamFields(correlation *[]byte, first, last **bool) {
	if !c.atLeast(core.V1_3) {
		return
	}
	c.bytesField(core.TagCorrelationValue, correlation, false)
	c.boolField(core.TagInitIndicator, first)
	c.boolField(core.TagFinalIndicator, last)
}

func (c *coder) correlationValue(p *[]byte) {
	if c.atLeast(core.V1_3) {
		c.bytesField(core.TagCorrelationValue, p, false)
	}
}

// dataField must be there until 1.2; later a part of a stream may lack it.
func (c *coder) dataField(p *[]byte) { c.bytesField(core.TagData, p, !c.atLeast(core.V1_3)) }

// digestedData is Digested Data, since 1.4, which replaces Data.
func (c *coder) digestedData(data, digested *[]byte) {
	c.bytesField(core.TagData, data, !c.atLeast(core.V1_3))
	if c.atLeast(core.V1_4) {
		c.bytesField(core.TagDigestedData, digested, false)
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
