package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
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
				_, err := w.SetAttribute(ctx, caller, &operation.SetAttributeInput{ID: core.ID(id), Attribute: make(value)})
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
			if _, err := w.AddAttribute(ctx, caller, &operation.AddAttributeInput{ID: core.ID(id), Attribute: second}); err != nil {
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
		out, err := w.Register(ctx, c, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueDataType: 1, OpaqueData: []byte("bytes")}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Activate(ctx, c, &operation.ActivateInput{ID: core.ID(out.ID)})
		if want := map[bool]core.Code{true: core.IllegalOperation}[v < core.V2_0]; core.CodeOf(err) != want || (err == nil) != (v >= core.V2_0) {
			t.Errorf("KMIP %v: Activate of an Opaque Object: %v", v, err)
		}
		if _, err := w.Revoke(ctx, c, &operation.RevokeInput{ID: core.ID(out.ID), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
			t.Errorf("KMIP %v: Revoke: %v", v, err)
		}
		if _, err := w.Destroy(ctx, c, &operation.DestroyInput{ID: core.ID(out.ID)}); err != nil {
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
			out, err := w.Create(ctx, c, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(alg))})
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
		pair, err := w.CreateKeyPair(ctx, c, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA))})
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

// KMIP 1.4 §2.1.3: uncompressed is the default, so a client may also ask for it.
// The compressed forms are refused and named.
func TestUncompressedKeysMayBeAskedFor(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey(core.TagSensitive, core.Bool(false), core.TagExtractable, core.Bool(true))
	for c, want := range map[core.KeyCompressionType]core.Code{0: core.Internal, core.KeyCompressionTypeECPublicKeyTypeUncompressed: core.Internal,
		core.KeyCompressionTypeECPublicKeyTypeX9_62CompressedPrime: core.KeyCompressionTypeNotSupported} {
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Compression: c})
		if (err == nil) != (want == core.Internal) || core.CodeOf(err) != want {
			t.Errorf("Key Compression Type %v: %v; want code %v", c, err, want)
		}
		out.Secret.Release()
	}
}

// KMIP 1.4 §3.18: the name that the server implies is shown and found. A client may add
// one once, and no client can change or delete it.
func TestOperationPolicyNameCanBeAdded(t *testing.T) {
	w := newWorld(t)
	v14 := in1(w.alice, core.V1_4)
	ref := core.AttributeName{Tag: core.TagOperationPolicyName}
	shown := func(id string) string {
		out, err := w.GetAttributes(ctx, v14, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{ref}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes.Text(core.TagOperationPolicyName)
	}
	finds := func(name string) int {
		out, err := w.Locate(ctx, v14, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagOperationPolicyName, core.Text(name))})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.IDs)
	}
	add := func(id, name string) error {
		_, err := w.AddAttribute(ctx, v14, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagOperationPolicyName, Value: core.Text(name)}})
		return err
	}
	for _, name := range []string{"default", "mine"} {
		id := w.aesKey()
		if _, err := w.DeleteAttribute(ctx, v14, &operation.DeleteAttributeInput{ID: core.ID(id), Name: ref}); core.CodeOf(err) != core.AttributeReadOnly {
			t.Errorf("deleting the implied name: %v; want Attribute Read Only", err)
		}
		if _, err := w.ModifyAttribute(ctx, v14, &operation.ModifyAttributeInput{ID: core.ID(id), Name: ref, New: core.Attribute{Tag: ref.Tag, Value: core.Text("x")}}); core.CodeOf(err) != core.AttributeReadOnly {
			t.Errorf("modifying the implied name: %v; want Attribute Read Only", err)
		}
		if got := shown(id); got != core.DefaultOperationPolicy || finds(core.DefaultOperationPolicy) == 0 {
			t.Errorf("before any name was added %q is shown, and %d objects are found by it", got, finds(core.DefaultOperationPolicy))
		}
		if err := add(id, name); err != nil {
			t.Errorf("adding %q where the server implied a name: %v", name, err)
		}
		if got := shown(id); got != name || finds(name) == 0 {
			t.Errorf("%q is shown after %q was added, and %d objects are found by it", got, name, finds(name))
		}
		if err := add(id, "other"); core.CodeOf(err) != core.AttributeSingleValued {
			t.Errorf("adding a second name: %v; want Attribute Single Valued", err)
		}
	}
}

// Server Information is never an empty structure, and the vendor tags that stand in
// it before KMIP 2.0 are listed by the Extension Map.
func TestServerInformationIsFilled(t *testing.T) {
	w := newWorld(t)
	for _, v := range core.Versions {
		out, err := w.Query(ctx, in1(w.alice, v), &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryServerInformation, core.QueryFunctionQueryExtensionMap}})
		if err != nil {
			t.Fatal(err)
		}
		listed := map[core.Tag]core.Value{}
		for _, e := range out.Extensions {
			listed[core.Tag(e.Value.Field(core.TagExtensionTag).Num)] = e.Value
		}
		written := 0
		for _, f := range out.ServerInformation {
			info := f.Tag.Info()
			e, ok := listed[f.Tag]
			if info != nil && v.Within(info.Since, info.Until) || ok && core.Kind(e.Field(core.TagExtensionType).Num) == f.Value.Kind {
				written++
			}
		}
		if written != 2 {
			t.Errorf("KMIP %v: of Server Information %v only %d fields are known to the client", v, out.ServerInformation, written)
		}
	}
}
