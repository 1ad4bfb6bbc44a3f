package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// objectTags are the tags of the types of objects (KMIP 1.4 §2.2).
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

// managedObject is the Managed Object in Register and Get. When reading, it takes the
// object that is present and sets body.Type.
func managedObject(c *coder, body *core.ObjectBody) {
	if !c.reading {
		if t, ok := objectTags[body.Type]; ok {
			c.structure(t, true, func() { objectFields(c, body) })
		}
		return
	}
	for _, t := range objectOrder {
		if it, ok := c.takeField(objectTags[t], core.KindStructure, false); ok {
			body.Type = t
			c.readStructure(it, func() { objectFields(c, body) })
			return
		}
	}
	c.fail(core.Errorf(core.InvalidMessage, "%v holds no object of a known type", c.frame.tag))
}

func objectFields(c *coder, o *core.ObjectBody) {
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
		attributesV1(c, &o.Template)
		return
	case core.ObjectTypeSecretData:
		enumField(c, core.TagSecretDataType, &o.SecretDataType, true)
	case core.ObjectTypeSplitKey:
		splitKey(c, o)
	case core.ObjectTypePGPKey:
		c.int32Field(core.TagPGPKeyVersion, &o.PGPKeyVersion, true)
	}
	keyBlock(c, &o.KeyBlock)
}

func splitKey(c *coder, o *core.ObjectBody) {
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
func keyBlock(c *coder, k *core.KeyBlock) {
	c.structure(core.TagKeyBlock, true, func() {
		enumField(c, core.TagKeyFormatType, &k.Format, true)
		enumField(c, core.TagKeyCompressionType, &k.Compression, false)
		keyValue(c, k)
		enumField(c, core.TagCryptographicAlgorithm, &k.Algorithm, false)
		c.int32Field(core.TagCryptographicLength, &k.Length, false)
		optionalStructure(c, core.TagKeyWrappingData, &k.Wrapping, wrappingData)
	})
}

// keyValue is a structure, or a Byte String if it is wrapped (KMIP 1.4 §2.1.4). It
// may be absent: the key is kept elsewhere.
func keyValue(c *coder, k *core.KeyBlock) {
	if !c.reading {
		writeKeyValue(c, k)
		return
	}
	it, ok := c.takeField(core.TagKeyValue, core.KindAny, false)
	switch {
	case !ok:
	case it.kind == core.KindByteString:
		k.Wrapped = it.value
	default:
		c.readStructure(it, func() { keyValueFields(c, k) })
	}
}

func writeKeyValue(c *coder, k *core.KeyBlock) {
	if k.Wrapped != nil {
		c.bytesField(core.TagKeyValue, &k.Wrapped, true)
	} else if k.Material != nil || k.Transparent != nil {
		c.structure(core.TagKeyValue, true, func() { keyValueFields(c, k) })
	}
}

func keyValueFields(c *coder, k *core.KeyBlock) {
	keyMaterial(c, k)
	attributeSet(c, &k.Attributes, false)
}

// keyMaterial is a Byte String, or a structure in the transparent formats.
func keyMaterial(c *coder, k *core.KeyBlock) {
	if !c.reading && k.Transparent == nil {
		c.bytesField(core.TagKeyMaterial, &k.Material, true)
		return
	}
	if !c.reading {
		c.out = appendValue(c.out, core.TagKeyMaterial, core.Structure(k.Transparent...))
		return
	}
	m, ok := c.takeField(core.TagKeyMaterial, core.KindAny, true)
	if ok && m.kind == core.KindByteString {
		k.Material = m.value
	} else if ok && c.checkKind(m, core.KindStructure) {
		if err := checkTyped(m); err != nil {
			c.fail(err)
			return
		}
		k.Transparent = m.borrowedValue().Fields
	}
}

// AppendKeyValue appends the Key Value of k as a TTLV structure in the style of
// a version. TTLV Encoding wraps these bytes (KMIP 1.4 §2.1.6).
func AppendKeyValue(dst []byte, k *core.KeyBlock, v core.Version) ([]byte, error) {
	if v == 0 {
		v = core.V2_1
	}
	c := coder{version: v, out: slices.Grow(dst, keyValueRoom(k))} // if append had to grow it, key bytes would stay in the old one
	writeKeyValue(&c, k)
	return c.out, c.err
}

// keyValueRoom returns an upper bound of the bytes that a Key Value takes up to the
// end of its material.
func keyValueRoom(k *core.KeyBlock) int {
	room := 4*headerBytes + len(k.Material)
	for _, f := range k.Transparent {
		room += 3*headerBytes + len(f.Value.Bytes)
	}
	return room
}

// ReadKeyValue is the reverse: it reads the bytes of a key that was unwrapped with
// TTLV Encoding. They come from a client by way of the token, so every bound applies.
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
	c.readStructure(it, func() { keyValueFields(&c, k) })
	return c.err
}

// wrappingData is the Key Wrapping Data (KMIP 1.4 §2.1.5).
func wrappingData(c *coder, w *core.KeyWrappingData) {
	enumField(c, core.TagWrappingMethod, &w.Method, true)
	wrappingKeys(c, &w.Encryption, &w.MACSignature)
	c.bytesField(core.TagMACSignature, &w.MAC, false)
	c.bytesField(core.TagIVCounterNonce, &w.IV, false)
	encodingOption(c, &w.Encoding)
}

// wrappingSpecification is the Key Wrapping Specification (KMIP 1.4 §2.1.6).
func wrappingSpecification(c *coder, w *core.KeyWrappingSpecification) {
	enumField(c, core.TagWrappingMethod, &w.Method, true)
	wrappingKeys(c, &w.Encryption, &w.MACSignature)
	attributeNames(c, &w.AttributeNames)
	encodingOption(c, &w.Encoding)
}

func wrappingKeys(c *coder, encryption, macSignature **core.WrappingKeyInfo) {
	optionalStructure(c, core.TagEncryptionKeyInformation, encryption, wrappingKey)
	optionalStructure(c, core.TagMACSignatureKeyInformation, macSignature, wrappingKey)
}

func wrappingKey(c *coder, k *core.WrappingKeyInfo) {
	c.uniqueIdentifier(&k.ID)
	parameters(c, &k.Parameters)
}

func encodingOption(c *coder, p *core.EncodingOption) {
	if c.atLeast(core.V1_1) {
		enumField(c, core.TagEncodingOption, p, false)
	}
}

// attributeNames is a list of Attribute Names, as text in every version: the Key
// Wrapping Specification of 2.x still has it.
func attributeNames(c *coder, p *[]core.AttributeName) {
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
