package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// objectTags gives the tag under which an object of a type travels (KMIP 1.4 §2.2).
var objectTags = map[core.ObjectType]core.Tag{
	core.ObjectTypeCertificate: core.TagCertificate, core.ObjectTypeSymmetricKey: core.TagSymmetricKey,
	core.ObjectTypePublicKey: core.TagPublicKey, core.ObjectTypePrivateKey: core.TagPrivateKey,
	core.ObjectTypeSplitKey: core.TagSplitKey, core.ObjectTypeTemplate: core.TagTemplate,
	core.ObjectTypeSecretData: core.TagSecretData, core.ObjectTypeOpaqueObject: core.TagOpaqueObject,
	core.ObjectTypePGPKey: core.TagPGPKey,
}

// objectOrder lists the object types in the order in which a payload is searched for them.
var objectOrder = []core.ObjectType{core.ObjectTypeSymmetricKey, core.ObjectTypeSecretData, core.ObjectTypePrivateKey,
	core.ObjectTypePublicKey, core.ObjectTypeCertificate, core.ObjectTypeOpaqueObject, core.ObjectTypeTemplate,
	core.ObjectTypeSplitKey, core.ObjectTypePGPKey}

// managedObject is the Managed Object in Register and Get. When reading, whichever
// managedObject is there is taken and body.Type says which.
func (c *coder) managedObject(body *core.ObjectBody) {
	if !c.reading {
		if t, ok := objectTags[body.Type]; ok {
			c.structure(t, true, func() { c.objectFields(body) })
		}
		return
	}
	for _, t := range objectOrder {
		if it, ok := c.takeField(objectTags[t], core.KindStructure, false); ok {
			body.Type = t
			c.readStructure(it, func() { c.objectFields(body) })
			return
		}
	}
	c.fail(core.Errorf(core.InvalidMessage, "%v holds no object of a known type", c.frame.tag))
}

func (c *coder) objectFields(o *core.ObjectBody) {
	switch o.Type {
	case core.ObjectTypeCertificate:
		enumField(c, core.TagCertificateType, &o.CertificateType, true)
		c.bytesField(core.TagCertificateValue, &o.CertificateValue, true)
		return
	case core.ObjectTypeOpaqueObject:
		enumField(c, core.TagOpaqueDataType, &o.OpaqueDataType, true)
		c.bytesField(core.TagOpaqueDataValue, &o.OpaqueData, true)
		return
	case core.ObjectTypeTemplate:
		c.attributesV1(&o.Template)
		return
	case core.ObjectTypeSecretData:
		enumField(c, core.TagSecretDataType, &o.SecretDataType, true)
	case core.ObjectTypeSplitKey:
		c.splitKey(o)
	case core.ObjectTypePGPKey:
		c.int32Field(core.TagPGPKeyVersion, &o.PGPKeyVersion, true)
	}
	c.keyBlock(&o.KeyBlock)
}

func (c *coder) splitKey(o *core.ObjectBody) {
	if o.Split == nil {
		o.Split = new(core.SplitKey)
	}
	s := o.Split
	c.int32Field(core.TagSplitKeyParts, &s.Parts, true)
	c.int32Field(core.TagKeyPartIdentifier, &s.Identifier, true)
	c.int32Field(core.TagSplitKeyThreshold, &s.Threshold, true)
	enumField(c, core.TagSplitKeyMethod, &s.Method, true)
	if c.reading {
		if it, ok := c.takeField(core.TagPrimeFieldSize, core.KindBigInteger, false); ok {
			s.PrimeField = it.value
		}
	} else if s.PrimeField != nil {
		c.out = appendBig(c.out, core.TagPrimeFieldSize, s.PrimeField)
	}
}

// keyBlock is KMIP 1.4 §2.1.3.
func (c *coder) keyBlock(k *core.KeyBlock) {
	c.structure(core.TagKeyBlock, true, func() {
		enumField(c, core.TagKeyFormatType, &k.Format, true)
		enumField(c, core.TagKeyCompressionType, &k.Compression, false)
		c.keyValue(k)
		enumField(c, core.TagCryptographicAlgorithm, &k.Algorithm, false)
		c.int32Field(core.TagCryptographicLength, &k.Length, false)
		c.wrappingData(&k.Wrapping)
	})
}

// keyValue is a structure, or a Byte String when it is wrapped (KMIP 1.4
// §2.1.4). It may be absent: the key is kept elsewhere.
func (c *coder) keyValue(k *core.KeyBlock) {
	if !c.reading {
		c.writeKeyValue(k)
		return
	}
	it, ok := c.takeField(core.TagKeyValue, core.KindAny, false)
	switch {
	case !ok:
	case it.kind == core.KindByteString:
		k.Wrapped = it.value
	case it.kind == core.KindStructure:
		c.readStructure(it, func() { c.readKeyValue(k) })
	default:
		c.fail(core.Errorf(core.InvalidMessage, "Key Value is a %v, not a Structure or Byte String", it.kind))
	}
}

func (c *coder) readKeyValue(k *core.KeyBlock) {
	m, ok := c.takeField(core.TagKeyMaterial, core.KindAny, true)
	switch {
	case !ok:
		return
	case m.kind == core.KindByteString:
		k.Material = m.value
	case m.kind == core.KindStructure:
		if err := checkTyped(item{core.TagKeyMaterial, m.kind, m.value}); err != nil {
			c.fail(err)
			return
		}
		k.Transparent = m.borrowedValue().Fields
	default:
		c.fail(core.Errorf(core.InvalidMessage, "Key Material is a %v, not a Structure or Byte String", m.kind))
		return
	}
	if c.isV1() {
		c.attributesV1(&k.Attributes)
	} else {
		c.attributesV2(core.TagAttributes, &k.Attributes, false)
	}
}

func (c *coder) writeKeyValue(k *core.KeyBlock) {
	if k.Wrapped != nil {
		c.out = appendPadded(c.out, core.TagKeyValue, core.KindByteString, k.Wrapped)
		return
	}
	if k.Material == nil && k.Transparent == nil {
		return
	}
	var at int
	c.out, at = openStructure(c.out, core.TagKeyValue)
	if k.Transparent != nil {
		c.out = appendValue(c.out, core.TagKeyMaterial, core.Structure(k.Transparent...))
	} else {
		c.out = appendPadded(c.out, core.TagKeyMaterial, core.KindByteString, k.Material)
	}
	if c.isV1() {
		c.attributesV1(&k.Attributes)
	} else {
		c.attributesV2(core.TagAttributes, &k.Attributes, false)
	}
	closeStructure(c.out, at)
}

// AppendKeyValue appends the Key Value of k as a TTLV structure in the style of
// a version: what is wrapped under TTLV Encoding (KMIP 1.4 §2.1.6).
func AppendKeyValue(dst []byte, k *core.KeyBlock, v core.Version) ([]byte, error) {
	if v == 0 {
		v = core.V2_1
	}
	c := coder{version: v, out: slices.Grow(dst, keyValueRoom(k))} // append would leave what it outgrows
	c.writeKeyValue(k)
	return c.out, c.err
}

// keyValueRoom is at least what the material of k takes, with all that stands
// before it, in bytes.
func keyValueRoom(k *core.KeyBlock) int {
	room := 4*headerBytes + len(k.Material)
	for _, f := range k.Transparent {
		room += 3*headerBytes + len(f.Value.Bytes)
	}
	return room
}

// ReadKeyValue is the reverse: what an unwrapped key is under TTLV Encoding. The
// bytes come from a client by way of the token and are held to every bound.
func ReadKeyValue(ttlv []byte, k *core.KeyBlock, v core.Version) error {
	if _, err := validate(ttlv, MaxItems, MaxFields); err != nil {
		return core.Wrap(core.InvalidField, err, "the unwrapped bytes are not a TTLV-encoded Key Value")
	}
	it, _ := nextItem(ttlv)
	if it.tag != core.TagKeyValue || it.kind != core.KindStructure {
		return core.Errorf(core.InvalidField, "the unwrapped item is a %v, not a Key Value; use Encoding Option No Encoding for key bytes without a structure", it.tag)
	}
	if v == 0 {
		v = core.V2_1
	}
	c := coder{version: v, reading: true}
	c.readStructure(it, func() { c.readKeyValue(k) })
	return c.err
}

// wrappingData is KMIP 1.4 §2.1.5.
func (c *coder) wrappingData(p **core.KeyWrappingData) {
	if !c.reading && *p == nil {
		return
	}
	w := *p
	if w == nil {
		w = new(core.KeyWrappingData)
	}
	if c.structure(core.TagKeyWrappingData, false, func() {
		enumField(c, core.TagWrappingMethod, &w.Method, true)
		c.wrappingKey(core.TagEncryptionKeyInformation, &w.Encryption)
		c.wrappingKey(core.TagMACSignatureKeyInformation, &w.MACSignature)
		c.bytesField(core.TagMACSignature, &w.MAC, false)
		c.bytesField(core.TagIVCounterNonce, &w.IV, false)
		if c.atLeast(core.V1_1) {
			enumField(c, core.TagEncodingOption, &w.Encoding, false)
		}
	}) {
		*p = w
	}
}

func (c *coder) wrappingKey(t core.Tag, p **core.WrappingKeyInfo) {
	if !c.reading && *p == nil {
		return
	}
	k := *p
	if k == nil {
		k = new(core.WrappingKeyInfo)
	}
	if c.structure(t, false, func() {
		c.textField(core.TagUniqueIdentifier, &k.ID, true)
		c.parameters(&k.Parameters)
	}) {
		*p = k
	}
}

// wrappingSpecification is KMIP 1.4 §2.1.6.
func (c *coder) wrappingSpecification(p **core.KeyWrappingSpecification) {
	if !c.reading {
		if *p != nil {
			c.structure(core.TagKeyWrappingSpecification, false, func() { c.specificationFields(*p) })
		}
		return
	}
	if it, ok := c.takeField(core.TagKeyWrappingSpecification, core.KindStructure, false); ok {
		w := new(core.KeyWrappingSpecification)
		c.readStructure(it, func() { c.specificationFields(w) })
		*p = w
	}
}

func (c *coder) specificationFields(w *core.KeyWrappingSpecification) {
	enumField(c, core.TagWrappingMethod, &w.Method, true)
	c.wrappingKey(core.TagEncryptionKeyInformation, &w.Encryption)
	c.wrappingKey(core.TagMACSignatureKeyInformation, &w.MACSignature)
	c.attributeNames(&w.AttributeNames)
	if c.atLeast(core.V1_1) {
		enumField(c, core.TagEncodingOption, &w.Encoding, false)
	}
}

// attributeNames is Attribute Name as text in every version: the Key Wrapping
// Specification of 2.x still names attributes so.
func (c *coder) attributeNames(p *[]core.AttributeName) {
	var list []string
	if !c.reading {
		for _, n := range *p {
			list = append(list, n.String())
		}
	}
	c.textList(core.TagAttributeName, MaxAttributes, &list)
	if c.reading {
		for _, s := range list {
			n, err := nameFromV1(s, c.version)
			if err != nil {
				c.fail(err)
				return
			}
			*p = append(*p, n)
		}
	}
}
