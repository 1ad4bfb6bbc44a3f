package kmip_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// tlv makes an item by hand.
func tlv(t core.Tag, kind core.Kind, value []byte) []byte {
	out := []byte{byte(t >> 16), byte(t >> 8), byte(t), byte(kind), 0, 0, byte(len(value) >> 8), byte(len(value))}
	return append(append(out, value...), make([]byte, -len(value)&7)...)
}

// insertInto puts an item at the end of every structure with a tag, the outermost
// included, by writing the message again.
func insertInto(b []byte, into core.Tag, extra []byte) (out []byte) {
	for len(b) > 0 {
		t := core.Tag(uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]))
		n := int(b[6])<<8 | int(b[7])
		value := b[8 : 8+n]
		if core.Kind(b[3]) == core.KindStructure {
			value = insertInto(value, into, extra)
			if t == into {
				value = append(value, extra...)
			}
		}
		out = append(out, tlv(t, core.Kind(b[3]), value)...)
		b = b[8+(n+7)&^7:]
	}
	return out
}

// A client's engineer must be told which field or attribute the server does not
// know, at every depth (KMIP 1.4 §11.1: Invalid Field).
func TestErrorsNameWhatIsUnknown(t *testing.T) {
	create := func(v core.Version) []byte {
		b, err := kmip.Create.AppendRequest(nil, v, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	register := func(v core.Version) []byte {
		b, err := kmip.Register.AppendRequest(nil, v, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: keyBlock}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	unknown := tlv(0x42FFEE, core.KindInteger, []byte{0, 0, 0, 1})
	later := tlv(core.TagCorrelationValue, core.KindByteString, []byte("later")) // of 1.3, in no Create
	attribute := func(name string) []byte {
		return tlv(core.TagAttribute, core.KindStructure, append(tlv(core.TagAttributeName, core.KindTextString, []byte(name)),
			tlv(core.TagAttributeValue, core.KindInteger, []byte{0, 0, 0, 1})...))
	}
	for _, c := range []struct {
		v     core.Version
		op    string
		into  core.Tag
		extra []byte
		named string
	}{
		{core.V1_0, "create", core.TagRequestPayload, unknown, "0x42FFEE"},
		{core.V1_2, "create", core.TagRequestPayload, later, "Correlation Value"},
		{core.V1_4, "create", core.TagAttribute, unknown, "0x42FFEE"},
		{core.V2_1, "create", core.TagRequestPayload, unknown, "0x42FFEE"},
		{core.V2_1, "create", core.TagAttributes, unknown, "0x42FFEE"},
		{core.V1_4, "create", core.TagTemplateAttribute, attribute("Cryptographic Flavour"), "Cryptographic Flavour"},
		{core.V1_0, "create", core.TagTemplateAttribute, attribute("Sensitive"), "Sensitive"},
		{core.V1_4, "register", core.TagKeyBlock, unknown, "0x42FFEE"},
		{core.V1_4, "register", core.TagKeyValue, later, "Correlation Value"},
		{core.V2_1, "register", core.TagSymmetricKey, unknown, "0x42FFEE"},
		{core.V2_1, "register", core.TagKeyBlock, tlv(core.TagKeyFormatType, core.KindEnumeration, []byte{0, 0, 0, 1}), "Key Format Type"},
	} {
		var err error
		if c.op == "create" {
			var in operation.CreateInput
			err = kmip.Create.DecodeRequest(insertInto(create(c.v), c.into, c.extra), c.v, false, &in)
		} else {
			var in operation.RegisterInput
			err = kmip.Register.DecodeRequest(insertInto(register(c.v), c.into, c.extra), c.v, false, &in)
		}
		if err == nil || !strings.Contains(err.Error(), c.named) {
			t.Errorf("KMIP %v, %s with something unknown in %v: %v; want the name %s", c.v, c.op, c.into, err, c.named)
		}
	}
}

// KMIP 1.0 §3.12: the Digest has two fields; Key Format Type came with 1.1 (§3.17).
func TestDigestOfEachVersion(t *testing.T) {
	digest := core.Structure(core.Field{Tag: core.TagHashingAlgorithm, Value: core.Enum(core.HashSHA256)},
		core.Field{Tag: core.TagDigestValue, Value: core.Bytes(make([]byte, 32))}, core.Field{Tag: core.TagKeyFormatType, Value: core.Enum(core.KeyFormatTypeRaw)})
	for _, v := range core.Versions {
		b, err := kmip.GetAttributes.AppendResponse(nil, v, &operation.GetAttributesOutput{ID: "a", Attributes: core.Attributes{{Tag: core.TagDigest, Value: digest}}})
		if err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(b, []byte{0x42, 0x00, 0x42}); has != (v >= core.V1_1) {
			t.Errorf("KMIP %v: the Digest has a Key Format Type: %v", v, has)
		}
	}
}
