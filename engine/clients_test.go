package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// KMIP 1.4 §2.1.3: uncompressed is the default, so a client may also ask for it.
// The compressed forms are refused and named.
func TestUncompressedKeysMayBeAskedFor(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey(core.TagSensitive, core.Bool(false), core.TagExtractable, core.Bool(true))
	for c, want := range map[core.KeyCompressionType]core.Code{0: core.Internal, core.KeyCompressionTypeECPublicKeyTypeUncompressed: core.Internal,
		core.KeyCompressionTypeECPublicKeyTypeX9_62CompressedPrime: core.KeyCompressionTypeNotSupported} {
		out, err := w.Get(ctx, w.alice, &core.GetInput{ID: core.ID(id), Compression: c})
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
		out, err := w.GetAttributes(ctx, v14, &core.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{ref}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes.Text(core.TagOperationPolicyName)
	}
	finds := func(name string) int {
		out, err := w.Locate(ctx, v14, &core.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagOperationPolicyName, core.Text(name))})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.IDs)
	}
	add := func(id, name string) error {
		_, err := w.AddAttribute(ctx, v14, &core.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagOperationPolicyName, Value: core.Text(name)}})
		return err
	}
	for _, name := range []string{"default", "mine"} {
		id := w.aesKey()
		if _, err := w.DeleteAttribute(ctx, v14, &core.DeleteAttributeInput{ID: core.ID(id), Name: ref}); core.CodeOf(err) != core.AttributeReadOnly {
			t.Errorf("deleting the implied name: %v; want Attribute Read Only", err)
		}
		if _, err := w.ModifyAttribute(ctx, v14, &core.ModifyAttributeInput{ID: core.ID(id), Name: ref, New: core.Attribute{Tag: ref.Tag, Value: core.Text("x")}}); core.CodeOf(err) != core.AttributeReadOnly {
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
		out, err := w.Query(ctx, in1(w.alice, v), &core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryServerInformation, core.QueryFunctionQueryExtensionMap}})
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
