package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// KMIP 2.0 §6.1.47, 2.1 §6.1.51: Set Attribute adds to none, modifies one and
// refuses several, for attributes that may have several values and that may not.
func TestSetAttributeByInstances(t *testing.T) {
	w := newWorld(t)
	site := func(s string) core.Attribute { return core.Attribute{Vendor: "x", Name: "Site", Value: core.Text(s)} }
	group := func(s string) core.Attribute {
		return core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(s)}
	}
	contact := func(s string) core.Attribute {
		return core.Attribute{Tag: core.TagContactInformation, Value: core.Text(s)}
	}
	named := func(s string) core.Attribute { return core.Attribute{Tag: core.TagName, Value: name(s)} }
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		caller := in1(w.alice, v)
		for what, make := range map[string]func(string) core.Attribute{"Name": named, "Object Group": group, "Contact Information": contact, "a vendor's": site} {
			id := w.aesKey()
			set := func(value string) error {
				_, err := w.SetAttribute(ctx, caller, &core.SetAttributeInput{ID: core.ID(id), Attribute: make(value)})
				return err
			}
			all := func() []core.Attribute {
				a := make("any")
				o, _ := w.store.Object(ctx, "default", id)
				return o.Attributes.All(a.Ref())
			}
			for _, value := range []string{"first", "second"} {
				want := make(value).Value
				if err := set(value); err != nil || len(all()) != 1 || !all()[0].Value.Equal(want) {
					t.Errorf("%s set to %s: %v, and the object has %v", what, value, err, all())
				}
			}
			second := make("another")
			if !second.Ref().Several() {
				continue
			}
			if _, err := w.AddAttribute(ctx, caller, &core.AddAttributeInput{ID: core.ID(id), Attribute: second}); err != nil {
				t.Fatal(err)
			}
			if err := set("third"); core.CodeOf(err) != core.MultiValuedAttribute || len(all()) != 2 {
				t.Errorf("%s set where there are two: %v, and the object has %v", what, err, all())
			}
		}
	}
}

// KMIP 1.4 §11.20: an Opaque Object is not able to be activated; 2.1 §6.1.1
// activates every Managed Object. Both revoke and destroy it.
func TestOpaqueObjectsAreActivatedSinceKMIP2(t *testing.T) {
	for _, v := range core.Versions {
		w := newWorld(t)
		c := in1(w.alice, v)
		out, err := w.Register(ctx, c, &core.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueDataType: 1, OpaqueData: []byte("bytes")}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Activate(ctx, c, &core.ActivateInput{ID: core.ID(out.ID)})
		if want := map[bool]core.Code{true: core.IllegalOperation}[v < core.V2_0]; core.CodeOf(err) != want || (err == nil) != (v >= core.V2_0) {
			t.Errorf("KMIP %v: Activate of an Opaque Object: %v", v, err)
		}
		if _, err := w.Revoke(ctx, c, &core.RevokeInput{ID: core.ID(out.ID), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
			t.Errorf("KMIP %v: Revoke: %v", v, err)
		}
		if _, err := w.Destroy(ctx, c, &core.DestroyInput{ID: core.ID(out.ID)}); err != nil {
			t.Errorf("KMIP %v: Destroy: %v", v, err)
		}
	}
}

// KMIP 1.4 Table 165 and Table 168 demand a Cryptographic Usage Mask; 2.x does not,
// and there the server sets one, as every key has one (2.1 §4.17).
func TestUsageMaskOfCreate(t *testing.T) {
	for _, v := range core.Versions {
		w := newWorld(t)
		c := in1(w.alice, v)
		demanded := v < core.V2_0
		for alg, want := range map[core.CryptographicAlgorithm]core.UsageMask{core.AlgorithmAES: core.MaskEncrypt | core.MaskDecrypt,
			core.AlgorithmDES3: core.MaskEncrypt | core.MaskDecrypt, core.AlgorithmChaCha20: core.MaskEncrypt | core.MaskDecrypt,
			core.AlgorithmHMACSHA256: core.MaskMACGenerate | core.MaskMACVerify} {
			out, err := w.Create(ctx, c, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(alg))})
			if demanded {
				if core.CodeOf(err) != core.InvalidField {
					t.Errorf("KMIP %v: Create of %v without a mask: %v", v, alg, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("KMIP %v: Create of %v without a mask: %v", v, alg, err)
				continue
			}
			if o, _ := w.store.Object(ctx, "default", out.ID); o.Mask() != want {
				t.Errorf("KMIP %v: %v without a mask has %v, want %v", v, alg, o.Mask(), want)
			}
		}
		pair, err := w.CreateKeyPair(ctx, c, &core.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA))})
		if demanded {
			if core.CodeOf(err) != core.InvalidMessage {
				t.Errorf("KMIP %v: Create Key Pair without masks: %v", v, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		private, _ := w.store.Object(ctx, "default", pair.PrivateID)
		public, _ := w.store.Object(ctx, "default", pair.PublicID)
		if private.Mask() != core.MaskSign|core.MaskDecrypt || public.Mask() != core.MaskVerify|core.MaskEncrypt {
			t.Errorf("KMIP %v: an RSA pair without masks has %v and %v", v, private.Mask(), public.Mask())
		}
	}
}
