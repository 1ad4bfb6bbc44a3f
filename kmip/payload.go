package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Parts of several payloads. Each field is described once, for reading and writing
// and for all versions.

func (c *coder) uniqueIdentifier(p *string) { c.textField(core.TagUniqueIdentifier, p, true) }

// protectionMasks is the Protection Storage Masks structure of 2.x.
func protectionMasks(c *coder, t core.Tag, masks *[]int32) {
	if !c.atLeast(core.V2_0) || (!c.reading && *masks == nil) {
		return
	}
	c.structure(t, false, func() { numberList(c, core.TagProtectionStorageMask, core.KindInteger, masks) })
}

// impliedAttributes is the optional list of attributes that the server set by itself.
func impliedAttributes(c *coder, as *core.Attributes) {
	if c.isV1() {
		template(c, plainTemplate, as, nil, false)
	}
}

// attributeResponse is the response of Add, Modify, Set and Delete Attribute. 1.x
// repeats the attribute, 2.x does not.
func attributeResponse(c *coder, out *operation.AttributeOutput) {
	c.uniqueIdentifier(&out.ID)
	if c.isV1() {
		attribute(c, 0, &out.Attribute, true)
	}
}

func idResponse(c *coder, out *operation.IDOutput) { c.uniqueIdentifier(&out.ID) }

// streamFields are the fields that mark a part of a stream, since 1.3.
func streamFields(c *coder, correlation *[]byte, first, last **bool) {
	if !c.atLeast(core.V1_3) {
		return
	}
	c.bytesField(core.TagCorrelationValue, correlation, false)
	c.boolField(core.TagInitIndicator, first)
	c.boolField(core.TagFinalIndicator, last)
}

func correlationValue(c *coder, p *[]byte) {
	if c.atLeast(core.V1_3) {
		c.bytesField(core.TagCorrelationValue, p, false)
	}
}

// dataField is Data. It is required until 1.2; later a part of a stream may lack it.
func dataField(c *coder, p *[]byte) { c.bytesField(core.TagData, p, !c.atLeast(core.V1_3)) }

// cipherData is what Encrypt and Decrypt work on.
func cipherData(c *coder, data, iv *[]byte) {
	dataField(c, data)
	c.bytesField(core.TagIVCounterNonce, iv, false)
}

// additionalData is Authenticated Encryption Additional Data, since 1.4.
func additionalData(c *coder, p *[]byte) {
	if c.atLeast(core.V1_4) {
		c.bytesField(core.TagAuthenticatedEncryptionAdditionalData, p, false)
	}
}

// authenticationTag is Authenticated Encryption Tag, since 1.4.
func authenticationTag(c *coder, p *[]byte) {
	if c.atLeast(core.V1_4) {
		c.bytesField(core.TagAuthenticatedEncryptionTag, p, false)
	}
}

// digestedData is Digested Data, since 1.4, which replaces Data.
func digestedData(c *coder, data, digested *[]byte) {
	c.bytesField(core.TagData, data, !c.atLeast(core.V1_3))
	if c.atLeast(core.V1_4) {
		c.bytesField(core.TagDigestedData, digested, false)
	}
}

// keyAndParameters is the key of a cryptographic operation and how to use it.
func keyAndParameters(c *coder, id *core.Identifier, p **core.CryptographicParameters) {
	c.identifier(id)
	parameters(c, p)
}

// parameters is Cryptographic Parameters, which may be absent.
func parameters(c *coder, p **core.CryptographicParameters) {
	if !c.reading {
		if *p != nil {
			c.out = appendValue(c.out, core.TagCryptographicParameters, c.ofVersion(core.TagCryptographicParameters, core.Structure((*p).Fields()...)))
		}
		return
	}
	it, ok := c.takeField(core.TagCryptographicParameters, core.KindStructure, false)
	if !ok {
		return
	}
	*p = new(core.CryptographicParameters)
	var taken [32]core.Tag // there are fewer fields
	n := 0
	for b := it.value; len(b) > 0; {
		var f item
		f, b = nextItem(b)
		if slices.Contains(taken[:n], f.tag) {
			c.fail(core.Errorf(core.InvalidMessage, "Cryptographic Parameters have %v twice", f.tag))
			return
		}
		if err := checkTyped(f); err != nil {
			c.fail(err)
			return
		}
		if (*p).SetField(f.tag, f.valueOf()) {
			taken[n] = f.tag
			n++
		} else if !f.tag.IsVendor() && !c.lenient {
			c.fail(core.Errorf(core.InvalidField, "Cryptographic Parameters have no %v", f.tag))
			return
		}
	}
}

// currentAttribute is the Current Attribute of a request of KMIP 2.x, which may be
// absent.
func currentAttribute(c *coder, name *core.AttributeName, value **core.Value) {
	if !c.reading && *value == nil {
		return
	}
	var current core.Attribute
	if *value != nil {
		current = namedValue(*name, *value)[0]
	}
	if attribute(c, core.TagCurrentAttribute, &current, false) && c.reading {
		*name, *value = current.Ref(), &current.Value
	}
}

// namedValue returns a value, which may be absent, as an attribute. It shares the
// fields of value.
func namedValue(name core.AttributeName, value *core.Value) core.Attributes {
	if value == nil {
		return nil
	}
	return core.Attributes{{Tag: name.Tag, Vendor: name.Vendor, Name: name.Name, Value: *value}}
}
