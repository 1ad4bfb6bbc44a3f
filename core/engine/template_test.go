package engine

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// templateNamed registers a Template with a name and attributes.
func (w *world) templateNamed(t *testing.T, n string, as core.Attributes) {
	t.Helper()
	in := core.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, name(n)), Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: as}}
	if _, err := w.Register(ctx, w.alice, &in); err != nil {
		t.Fatal(err)
	}
}

// A Template named for one half of a key pair says nothing of the other
// (KMIP 1.4 §4.2): a mask for signing must not reach the public key.
func TestTemplatesOfHalves(t *testing.T) {
	w := newWorld(t)
	w.alice.Version = core.V1_4
	w.templateNamed(t, "signs", attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskSign)))
	w.templateNamed(t, "verifies", attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify)))
	w.templateNamed(t, "both", attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA), core.TagCryptographicLength, core.Int(2048),
		core.TagCryptographicUsageMask, core.Mask(core.MaskDecrypt)))
	out, err := w.CreateKeyPair(ctx, w.alice, &core.CreateKeyPairInput{CommonTemplates: []string{"both"}, PrivateTemplates: []string{"signs"}, PublicTemplates: []string{"verifies"}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]core.UsageMask{out.PrivateID: core.MaskSign, out.PublicID: core.MaskVerify} {
		if o, err := w.store.Object(ctx, w.alice.Principal.Tenant, id); err != nil || o.Mask() != want {
			t.Errorf("the mask is %v, want %v (%v)", o.Mask(), want, err)
		}
	}
}

// Of Templates that contradict each other the last takes precedence, what the
// request says goes before all, and several values of one attribute are united
// (KMIP 1.4 §4.1).
func TestTemplatesInOrder(t *testing.T) {
	w := newWorld(t)
	w.alice.Version = core.V1_4
	group := func(s string) core.Attribute { return core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(s)} }
	w.templateNamed(t, "first", append(attrs(core.TagCryptographicLength, core.Int(128), core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES)), group("a"), group("b")))
	w.templateNamed(t, "last", append(attrs(core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskSign)), group("b"), group("c")))
	out, err := w.Create(ctx, w.alice, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"first", "last"},
		Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.store.Object(ctx, w.alice.Principal.Tenant, out.ID)
	if err != nil {
		t.Fatal(err)
	}
	if n := o.Attributes.Num(core.TagCryptographicLength); n != 256 {
		t.Errorf("the length is %d; the last Template says 256", n)
	}
	if o.Mask() != core.MaskEncrypt {
		t.Errorf("the mask is %v; the request said Encrypt", o.Mask())
	}
	if n := len(o.Attributes.All(core.AttributeName{Tag: core.TagObjectGroup})); n != 3 {
		t.Errorf("%d groups, want a, b and c", n)
	}
}

// Each name costs a look-up, and a message has room for thousands.
func TestTemplatesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.alice.Version = core.V1_4
	_, err := w.Create(ctx, w.alice, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: make([]string, maxTemplates+1)})
	if core.CodeOf(err) != core.InvalidField {
		t.Errorf("%v; want InvalidField", err)
	}
}
