package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
)

func vendor(name, value string) core.Attribute {
	return core.Attribute{Vendor: "x", Name: name, Value: core.Text(value)}
}

// in1 is a caller as a client of another version.
func in1(c *core.Caller, v core.Version) *core.Caller {
	old := *c
	old.Version = v
	return &old
}

// keep registers a Template.
func (w *world) keep(v core.Version, own, content core.Attributes) (string, error) {
	out, err := w.Register(ctx, in1(w.alice, v), &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: own,
		Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: content}})
	return out.ID, err
}

func texts(as []core.Attribute) (out []string) {
	for _, a := range as {
		out = append(out, a.Value.Text)
	}
	return out
}

// KMIP 1.4 §4: of two Templates the last one counts, the request counts more than
// both, and of what may have several values an object gets the union.
func TestTemplatesAreJoined(t *testing.T) {
	w := newWorld(t)
	for name1, content := range map[string]core.Attributes{
		"first":  append(attrs(core.TagContactInformation, core.Text("Joe"), core.TagDescription, core.Text("one"), core.TagObjectGroup, core.Text("a")), vendor("Site", "Bern")),
		"second": attrs(core.TagDescription, core.Text("two"), core.TagObjectGroup, core.Text("b"), core.TagComment, core.Text("kept")),
	} {
		if _, err := w.keep(core.V1_4, attrs(core.TagName, name(name1), core.TagObjectGroup, core.Text("of the template")), content); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Create(ctx, in1(w.alice, core.V1_4), &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"first", "second"},
		Attributes: append(attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt),
			core.TagContactInformation, core.Text("Ann"), core.TagObjectGroup, core.Text("a"), core.TagObjectGroup, core.Text("c")), vendor("Site", "Basel"))})
	if err != nil {
		t.Fatal(err)
	}
	o, _ := w.store.Object(ctx, "default", out.ID)
	for n, want := range map[core.AttributeName][]string{
		{Tag: core.TagContactInformation}: {"Ann"}, {Tag: core.TagDescription}: {"two"}, {Tag: core.TagComment}: {"kept"},
		{Tag: core.TagObjectGroup}: {"a", "b", "c"}, {Vendor: "x", Name: "Site"}: {"Bern", "Basel"}, {Tag: core.TagName}: nil,
	} {
		all := o.Attributes.All(n)
		if !slices.Equal(texts(all), want) {
			t.Errorf("%v is %q, want %q", n, texts(all), want)
		}
		for i, a := range all {
			if a.Index != i {
				t.Errorf("instance %d of %v has index %d", i, n, a.Index)
			}
		}
	}
}

// A Template's content is not its own attributes, but for KMIP 1.0 and 1.1.
func TestTemplateKeepsItsContentApart(t *testing.T) {
	w := newWorld(t)
	content := append(attrs(core.TagObjectGroup, core.Text("group"), core.TagCryptographicLength, core.Int(128)), vendor("Site", "Bern"))
	id, err := w.keep(core.V1_2, append(attrs(core.TagName, name("apart")), vendor("Site", "its own")), content)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Get(ctx, in1(w.alice, core.V1_2), &operation.GetInput{ID: core.ID(id)})
	if err != nil || !slices.EqualFunc(got.Object.Template, content, func(a, b core.Attribute) bool { return a.Ref() == b.Ref() && a.Value.Equal(b.Value) }) {
		t.Errorf("Get answers %v, %v; want what was registered", got.Object.Template, err)
	}
	all, err := w.GetAttributes(ctx, in1(w.alice, core.V1_2), &operation.GetAttributesInput{ID: core.ID(id)})
	if err != nil || all.Attributes.Has(core.TagObjectGroup) || all.Attributes.Has(core.TagTemplate) ||
		!slices.Equal(texts(all.Attributes.All(core.AttributeName{Vendor: "x", Name: "Site"})), []string{"its own"}) {
		t.Errorf("Get Attributes answers %v, %v; want the Template's own alone", all.Attributes, err)
	}
	if _, err := w.keep(core.V1_2, nil, attrs(core.TagName, name("within"))); core.CodeOf(err) != core.InvalidField || err == nil {
		t.Errorf("a Name within the Template: %v; KMIP 1.2 §11.4 has Invalid Field", err)
	}
	old, err := w.keep(core.V1_0, nil, append(content, core.Attribute{Tag: core.TagName, Value: name("old")}))
	if err != nil {
		t.Fatal(err)
	}
	all, err = w.GetAttributes(ctx, in1(w.alice, core.V1_0), &operation.GetAttributesInput{ID: core.ID(old)})
	if err != nil || all.Attributes.Text(core.TagObjectGroup) != "group" {
		t.Errorf("a Template of KMIP 1.0 has %v, %v; want its content among its attributes", all.Attributes, err)
	}
	out, err := w.Create(ctx, in1(w.alice, core.V1_0), &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"old"},
		Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
	if err != nil {
		t.Fatal(err)
	}
	o, _ := w.store.Object(ctx, "default", out.ID)
	if o.Attributes.Num(core.TagCryptographicLength) != 128 || o.Attributes.Has(core.TagName) {
		t.Errorf("a key made of it has %v", o.Attributes)
	}
}

// Clients of KMIP 1.x see an Operation Policy Name, as given or the standard's; 2.x
// has none. The implied one is not stored.
func TestOperationPolicyName(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		v           core.Version
		given, want string
	}{{core.V1_0, "", "default"}, {core.V1_4, "", "default"}, {core.V1_4, "mine", "mine"}, {core.V2_1, "", ""}} {
		as := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
		if c.given != "" {
			as = as.Set(core.TagOperationPolicyName, core.Text(c.given))
		}
		out, err := w.Create(ctx, in1(w.alice, c.v), &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as})
		if err != nil {
			t.Fatal(err)
		}
		shown, err := w.GetAttributes(ctx, in1(w.alice, c.v), &operation.GetAttributesInput{ID: core.ID(out.ID)})
		if got := shown.Attributes.Text(core.TagOperationPolicyName); err != nil || got != c.want {
			t.Errorf("KMIP %v, given %q: %q, %v, want %q", c.v, c.given, got, err, c.want)
		}
		if o, _ := w.store.Object(ctx, "default", out.ID); o.Attributes.Text(core.TagOperationPolicyName) != c.given {
			t.Errorf("KMIP %v, given %q: %q is stored", c.v, c.given, o.Attributes.Text(core.TagOperationPolicyName))
		}
	}
}

// KMIP 1.4 §4.2: what each half says of itself is added to what is common, or
// counts more; a Template named for one half is not the other's.
func TestKeyPairJoinsCommonAndOwn(t *testing.T) {
	w := newWorld(t)
	if _, err := w.keep(core.V1_4, attrs(core.TagName, name("signing")), attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskSign), core.TagDescription, core.Text("from the template"))); err != nil {
		t.Fatal(err)
	}
	out, err := w.CreateKeyPair(ctx, in1(w.alice, core.V1_4), &operation.CreateKeyPairInput{
		Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA), core.TagCryptographicLength, core.Int(2048), core.TagObjectGroup, core.Text("both"),
			core.TagDescription, core.Text("common")),
		PrivateTemplates: []string{"signing"}, Private: attrs(core.TagObjectGroup, core.Text("mine")),
		Public: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify))})
	if err != nil {
		t.Fatal(err)
	}
	private, _ := w.store.Object(ctx, "default", out.PrivateID)
	public, _ := w.store.Object(ctx, "default", out.PublicID)
	groups := core.AttributeName{Tag: core.TagObjectGroup}
	if got := texts(private.Attributes.All(groups)); !slices.Equal(got, []string{"both", "mine"}) {
		t.Errorf("the private key's groups are %q", got)
	}
	if got := texts(public.Attributes.All(groups)); !slices.Equal(got, []string{"both"}) {
		t.Errorf("the public key's groups are %q", got)
	}
	if private.Mask() != core.MaskSign || private.Attributes.Text(core.TagDescription) != "from the template" ||
		public.Mask() != core.MaskVerify || public.Attributes.Text(core.TagDescription) != "common" {
		t.Errorf("private %v %q, public %v %q", private.Mask(), private.Attributes.Text(core.TagDescription), public.Mask(), public.Attributes.Text(core.TagDescription))
	}
}

// Where an object is kept is one thing: the request says it, or else the Template.
func TestTemplateSaysWhereAKeyIsKept(t *testing.T) {
	w := newWorld(t)
	custody := func(m core.Mode) core.Attribute {
		return core.Attribute{Vendor: rules.CustodyAttribute.Vendor, Name: rules.CustodyAttribute.Name, Value: core.Text(string(m))}
	}
	if _, err := w.keep(core.V1_4, attrs(core.TagName, name("on the token")), core.Attributes{custody(core.ModeResident)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		asked core.Attributes
		want  core.Mode
	}{{nil, core.ModeResident}, {core.Attributes{custody(core.ModeWrapped)}, core.ModeWrapped}} {
		out, err := w.Create(ctx, in1(w.alice, core.V1_4), &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"on the token"},
			Attributes: append(attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)), c.asked...)})
		if err != nil {
			t.Fatal(err)
		}
		o, _ := w.store.Object(ctx, "default", out.ID)
		if said := texts(o.Attributes.All(rules.CustodyAttribute)); o.Material.Mode != c.want || !slices.Equal(said, []string{string(c.want)}) {
			t.Errorf("asked for %q: the key is %s and says %q, want %s", texts(c.asked), o.Material.Mode, said, c.want)
		}
	}
}

// What a Template keeps is as much as what other objects carry: Locate reads many
// at once.
func TestTemplateContentIsBounded(t *testing.T) {
	w := newWorld(t)
	half := core.Text(strings.Repeat("x", rules.MaxAttributeBytes/2))
	for _, v := range []core.Version{core.V1_1, core.V1_2} {
		if _, err := w.keep(v, attrs(core.TagContactInformation, half), attrs(core.TagObjectGroup, half)); core.CodeOf(err) != core.InvalidField {
			t.Errorf("a Template of KMIP %v with %d bytes of attributes: %v; want InvalidField", v, rules.MaxAttributeBytes, err)
		}
	}
}
