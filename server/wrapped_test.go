package server_test

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// What Get wraps Register unwraps again, under either Encoding Option and in
// either version family; what is no such thing is refused for the right reason.
func TestWrappedOutAndIn(t *testing.T) {
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_0, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		kek, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey|core.MaskUnwrapKey, activeNow))
		if err != nil {
			t.Fatal(err)
		}
		key := aesKey(t, c, kmiptest.Name("inner"))
		get := func(id string, spec *core.KeyWrappingSpecification) core.KeyBlock {
			t.Helper()
			out, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id), Specification: spec})
			if err != nil {
				t.Fatalf("KMIP %v: %v", v, err)
			}
			kb := out.Object.KeyBlock
			kb.Material, kb.Wrapped = bytes.Clone(kb.Material), bytes.Clone(kb.Wrapped)
			return kb
		}
		wrapped := func(e core.EncodingOption, names ...core.AttributeName) core.KeyBlock {
			t.Helper()
			return get(key, &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: e, Encryption: &core.WrappingKeyInfo{ID: kek.ID}, AttributeNames: names})
		}
		register := func(kb core.KeyBlock, e core.EncodingOption, more ...core.Attribute) (string, error) {
			kb.Wrapping = &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: e, Encryption: &core.WrappingKeyInfo{ID: kek.ID}}
			as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt)}}, more...)
			out, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as,
				Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: kb}})
			return out.ID, err
		}
		want := get(key, nil).Material
		encodings := []core.EncodingOption{0}
		if v > core.V1_0 { // which has no Encoding Option: all is TTLV
			encodings = append(encodings, core.EncodingOptionTTLVEncoding, core.EncodingOptionNoEncoding)
		}
		for _, e := range encodings {
			id, err := register(wrapped(e), e)
			if err != nil {
				t.Errorf("KMIP %v, %v: %v", v, e, err)
			} else if got := get(id, nil).Material; !bytes.Equal(got, want) {
				t.Errorf("KMIP %v, %v: another key came back", v, e)
			}
		}
		// Under No Encoding some clients put the wrapped bytes into a structure.
		if v > core.V1_0 {
			kb := wrapped(core.EncodingOptionNoEncoding)
			kb.Material, kb.Wrapped = kb.Wrapped, nil
			if id, err := register(kb, core.EncodingOptionNoEncoding); err != nil {
				t.Errorf("KMIP %v, wrapped bytes as Key Material: %v", v, err)
			} else if got := get(id, nil).Material; !bytes.Equal(got, want) {
				t.Errorf("KMIP %v, wrapped bytes as Key Material: another key came back", v)
			}
			if _, err := register(kb, core.EncodingOptionTTLVEncoding); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("KMIP %v, a structure that is said to be wrapped TTLV: %v", v, err)
			}
		}
		// Attributes that are wrapped with the key come along.
		id, err := register(wrapped(0, core.AttributeName{Tag: core.TagName}), 0)
		if err != nil {
			t.Fatalf("KMIP %v, with a name inside: %v", v, err)
		}
		if out, err := kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{{Tag: core.TagName}}}); err != nil || len(out.Attributes) != 1 {
			t.Errorf("KMIP %v: the name inside is lost: %v, %v", v, out.Attributes, err)
		}
		// What they ask for holds: a key that says inside that it is Sensitive
		// is not kept as one that is not.
		if v >= core.V1_4 {
			plain := get(key, nil)
			plain.Attributes = core.Attributes{{Tag: core.TagSensitive, Value: core.Bool(true)}}
			value, err := kmip.AppendKeyValue(nil, &plain, v)
			if err != nil {
				t.Fatal(err)
			}
			data, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSecretData, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt)}},
				Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: value}}})
			if err != nil {
				t.Fatal(err)
			}
			inner := get(data.ID, &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: kek.ID}})
			kb := wrapped(0)
			kb.Wrapped = inner.Wrapped
			if _, err := register(kb, 0); kmiptest.Reason(err) != core.ReasonEncodingOptionError {
				t.Errorf("KMIP %v, Sensitive inside: %v", v, err)
			}
		}
		broken := wrapped(0)
		broken.Wrapped[3] ^= 1
		failure := core.ReasonCryptographicFailure
		if v >= core.V2_0 { // which does not list it for Register (2.1 §6.1.43)
			failure = core.ReasonInvalidField
		}
		if _, err := register(broken, 0); kmiptest.Reason(err) != failure {
			t.Errorf("KMIP %v, a changed byte: %v; want %v", v, err, failure)
		}
		short := wrapped(0)
		short.Wrapped = short.Wrapped[:8]
		if _, err := register(short, 0); kmiptest.Reason(err) != core.ReasonInvalidField {
			t.Errorf("KMIP %v, eight bytes: %v", v, err)
		}
		if v > core.V1_0 {
			if _, err := register(wrapped(core.EncodingOptionNoEncoding), core.EncodingOptionTTLVEncoding); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("KMIP %v, key bytes said to be TTLV: %v", v, err)
			}
		}
		if v >= core.V1_4 {
			if _, err := register(wrapped(0), 0, core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}); kmiptest.Reason(err) != core.ReasonEncodingOptionError {
				t.Errorf("KMIP %v, Sensitive: %v", v, err)
			}
		}
	}
}
