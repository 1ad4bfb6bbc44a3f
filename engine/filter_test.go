package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
)

// failsFor is a policy that cannot decide about one object.
type failsFor struct {
	tenantPolicy
	id string
}

func (f failsFor) Decide(ctx context.Context, a *core.AccessRequest) (core.Decision, error) {
	if a.Object != nil && a.Object.ID == f.id {
		return core.Decision{}, core.Errorf(core.PolicyUnavailable, "broken")
	}
	return f.tenantPolicy.Decide(ctx, a)
}

// failsToGet is a policy that cannot decide whether somebody may Get.
type failsToGet struct{ tenantPolicy }

func (f failsToGet) Decide(ctx context.Context, a *core.AccessRequest) (core.Decision, error) {
	if a.Action == core.ActionGet {
		return core.Decision{}, core.Errorf(core.PolicyUnavailable, "broken")
	}
	return f.tenantPolicy.Decide(ctx, a)
}

// An answer is complete or an error: where the policy cannot decide, nothing that
// may be there is left out of a success. A client that is told that it has no key
// makes a second one.
func TestPolicyThatFailsLeavesNothingOut(t *testing.T) {
	w := newWorld(t)
	sought := core.Attributes{{Tag: core.TagName, Value: name("k")}}
	var ids []string
	for range 3 {
		ids = append(ids, w.aesKey(core.TagName, name("k")))
	}
	for _, id := range ids {
		w.Ports.Policy = failsFor{id: id}
		for what, in := range map[string]operation.LocateInput{"all": {MaximumItems: -1}, "by name": {MaximumItems: -1, Attributes: sought}, "a few": {MaximumItems: 3, Attributes: sought}} {
			if out, err := w.Locate(ctx, w.alice, &in); core.CodeOf(err) != core.PolicyUnavailable {
				t.Errorf("Locate %s: %v, %v; want PolicyUnavailable", what, out, err)
			}
		}
	}
	w.Ports.Policy = tenantPolicy{}
	secret, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Object: core.ObjectBody{Type: core.ObjectTypeSecretData,
		SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte("a password")}}})
	if err != nil {
		t.Fatal(err)
	}
	as, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(secret.ID)})
	digest, ok := as.Attributes.Get(core.TagDigest)
	if err != nil || !ok {
		t.Fatalf("the Digest of Secret Data is not shown to its owner: %v", err)
	}
	w.Ports.Policy = failsToGet{}
	for what, do := range map[string]func() error{
		"Get Attributes": func() error {
			_, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(secret.ID)})
			return err
		},
		"Get Attribute List": func() error {
			_, err := w.GetAttributeList(ctx, w.alice, &operation.GetAttributeListInput{ID: core.ID(secret.ID)})
			return err
		},
		"Locate by Digest": func() error {
			_, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagDigest, Value: digest}}})
			return err
		},
	} {
		if err := do(); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("%s: %v; want PolicyUnavailable", what, err)
		}
	}
	w.Ports.Policy = tenantPolicy{}
	old := *w.alice
	old.Version = core.V1_1
	template, err := w.Register(ctx, &old, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: core.Attributes{{Tag: core.TagName, Value: name("t")}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Ports.Policy = failsFor{id: template.ID}
	if _, err := w.Create(ctx, &old, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"t"}}); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("Create by a Template: %v; want PolicyUnavailable", err)
	}
}

// odd lists values of attribute t that no object can have, or that say nothing.
func odd(t core.Tag) map[string]core.Value {
	out := map[string]core.Value{"no value": {}, "an empty structure": core.Structure(), "a structure of a vendor's field": core.Structure(core.Field{Tag: 0x540001, Value: core.Text("v")}),
		"a structure of an unknown field": core.Structure(core.Field{Tag: 0x42FFFF, Value: core.Text("v")}), "bytes": core.Bytes([]byte("odd")), "no bytes": core.Bytes(nil), "a text": core.Text("odd"), "no text": core.Text(""),
		"a big integer": core.BigInt([]byte{0x7a}), "a date": core.Date(-77), "an interval": core.Interval(77), "an extended date": {Kind: core.KindDateTimeExtended, Num: -77},
		"a long integer": core.Long(-77), "an enumeration": core.Enum(uint32(0x7FFF_FFFF)), "a vendor's enumeration": core.Enum(uint32(0x8000_7777)), "an integer": core.Int(-77), "no integer": core.Int(0)}
	if info := t.Info(); info == nil || info.Kind != core.KindBoolean {
		out["a boolean"] = core.Bool(true)
	}
	return out
}

// A filter that is not understood, or that no object meets, finds nothing or is an
// error. It never finds what a Locate without it finds: every attribute with
// values of every type, unknown attributes, names that are none, and members of a
// request that are out of range.
func TestUnknownFilterNeverWidens(t *testing.T) {
	w := newWorld(t)
	all := []any{core.TagName, name("k"), core.TagObjectGroup, core.Text("g"), core.TagUsageLimits, core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(1000)},
		core.Field{Tag: core.TagUsageLimitsUnit, Value: core.Enum(core.UsageLimitsUnitByte)}), core.TagActivationDate, core.Date(5), core.TagDeactivationDate, core.Date(1 << 40),
		core.TagCryptographicParameters, core.Structure(core.Field{Tag: core.TagBlockCipherMode, Value: core.Enum(core.BlockCipherModeGCM)}),
		core.TagContactInformation, core.Text("c"), core.TagComment, core.Text("c"), core.Tag(0x540123), core.Text("v")}
	for range 3 {
		w.aesKey(all...)
	}
	find := func(in operation.LocateInput) ([]string, error) {
		in.MaximumItems = -1
		out, err := w.Locate(ctx, w.alice, &in)
		return out.IDs, err
	}
	if ids, err := find(operation.LocateInput{}); err != nil || len(ids) != 3 {
		t.Fatalf("without a filter: %v, %v", ids, err)
	}
	tags := []core.Tag{0, 0x42FFFF, core.TagModulus, 0x540001, 0x540123, 0x54FFFF}
	for _, r := range core.AttributeRules() {
		tags = append(tags, r.Tag)
	}
	tried := 0
	for _, tag := range tags {
		for what, v := range odd(tag) {
			for _, a := range []core.Attribute{{Tag: tag, Value: v}, {Tag: tag, Index: 7, Value: v}} {
				if tag == 0 {
					a.Vendor, a.Name = "x", "Site"
				}
				tried++
				if ids, err := find(operation.LocateInput{Attributes: core.Attributes{a}}); len(ids) != 0 && err == nil && !matchesAny(w, a) {
					t.Errorf("%v with %s found %d objects", tag, what, len(ids))
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d filters were tried", tried)
	}
	custom := func(vendor, name string) core.Attributes {
		return core.Attributes{{Vendor: vendor, Name: name, Value: core.Text("v")}}
	}
	for what, in := range map[string]operation.LocateInput{
		"no vendor":                  {Attributes: custom("", "Site")},
		"no name":                    {Attributes: custom("x", "")},
		"neither":                    {Attributes: custom("", "")},
		"another vendor":             {Attributes: custom("ACME", "Site")},
		"three dates":                {Attributes: core.Attributes{{Tag: core.TagActivationDate, Value: core.Date(0)}, {Tag: core.TagActivationDate, Value: core.Date(4)}, {Tag: core.TagActivationDate, Value: core.Date(9)}}},
		"two states":                 {Attributes: core.Attributes{{Tag: core.TagState, Value: core.Enum(core.Active)}, {Tag: core.TagState, Value: core.Enum(core.PreActive)}}},
		"an unknown storage":         {StorageStatus: 8},
		"an unknown storage beside":  {StorageStatus: 9},
		"archived":                   {StorageStatus: uint32(core.StorageStatusMaskArchivalStorage)},
		"a vendor's group member":    {GroupMember: 0x8000_0001},
		"an unknown group member":    {GroupMember: 77},
		"beyond the last":            {OffsetItems: 3},
		"a negative offset":          {OffsetItems: -1},
		"a filter beside a good one": {Attributes: core.Attributes{{Tag: core.TagName, Value: name("k")}, {Vendor: "x", Name: "none", Value: core.Text("v")}}},
	} {
		if ids, err := find(in); len(ids) != 0 {
			t.Errorf("%s found %d objects, %v", what, len(ids), err)
		}
	}
}

// matchesAny reports whether an object has just this attribute: its type and value.
func matchesAny(w *world, a core.Attribute) bool {
	for _, o := range w.store.objects {
		for _, have := range o.Attributes {
			if have.Ref() == a.Ref() && have.Value.Equal(a.Value) {
				return true
			}
		}
	}
	return false
}

// A vendor's own tag names an attribute: it is kept, found, shown, changed and
// deleted like another, and no client of KMIP 1.x, which has no name for it, sees it.
func TestVendorTagsAreAttributes(t *testing.T) {
	w := newWorld(t)
	const tag, other = core.Tag(0x540123), core.Tag(0x540124)
	ref := core.AttributeName{Tag: tag}
	has, hasNot := w.aesKey(tag, core.Text("mine")), w.aesKey()
	nested := w.aesKey(tag, core.Structure(core.Field{Tag: other, Value: core.Bytes([]byte("b"))}))
	locate := func(v core.Value) []string {
		out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(tag, v)})
		if err != nil {
			t.Error(err)
		}
		return out.IDs
	}
	if got := locate(core.Text("mine")); !slices.Equal(got, []string{has}) {
		t.Errorf("found are %v, not %s alone", got, has)
	}
	if got := locate(core.Structure(core.Field{Tag: other, Value: core.Bytes([]byte("b"))})); !slices.Equal(got, []string{nested}) {
		t.Errorf("found are %v, not %s alone", got, nested)
	}
	if got := locate(core.Text("another's")); len(got) != 0 {
		t.Errorf("found are %v", got)
	}
	shown := func(id string) string {
		out, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{ref}})
		return fmt.Sprintf("%d %s %v", len(out.Attributes), out.Attributes.Text(tag), err)
	}
	if got := shown(has) + ", " + shown(hasNot); got != "1 mine <nil>, 0  <nil>" {
		t.Errorf("Get Attributes: %s", got)
	}
	mine, yours := core.Text("mine"), core.Attribute{Tag: tag, Value: core.Text("yours")}
	if _, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(has), Name: ref, CurrentValue: &mine, New: yours}); err != nil || shown(has) != "1 yours <nil>" {
		t.Errorf("Modify Attribute: %v, %s", err, shown(has))
	}
	if _, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(hasNot), Attribute: yours}); err != nil || shown(hasNot) != "1 yours <nil>" {
		t.Errorf("Add Attribute: %v, %s", err, shown(hasNot))
	}
	list, err := w.GetAttributeList(ctx, w.alice, &operation.GetAttributeListInput{ID: core.ID(has)})
	if err != nil || !slices.Contains(list.Names, ref) {
		t.Errorf("Get Attribute List: %v, %v", list.Names, err)
	}
	made, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(has)})
	if err != nil || shown(made.ID) != "1 yours <nil>" {
		t.Errorf("Re-key: %v, %s", err, shown(made.ID))
	}
	if _, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(has), Name: ref}); err != nil || shown(has) != "0  <nil>" {
		t.Errorf("Delete Attribute: %v, %s", err, shown(has))
	}
	if _, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicUsageMask, core.Mask(allUses), tag, core.Text(string(make([]byte, rules.MaxTextBytes+1))))}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("a value that is too long: %v", err)
	}
}

// What Locate asks for: memory for so many identifiers, of so many bytes each.
const (
	locatedStep  = 512
	locatedBytes = 64
)

// Locate asks for memory as its answer grows, once for each step, and no more when
// the answer is complete and only counted on.
func TestLocateAsksForRoom(t *testing.T) {
	w := newWorld(t)
	w.store.fill(w.alice, locatedStep+40)
	for _, most := range []int32{-1, locatedStep} {
		asked := 0
		asking := *w.alice
		asking.Room = func(bytes int) error { asked += bytes; return nil }
		out, err := w.Locate(ctx, &asking, &operation.LocateInput{MaximumItems: most, OffsetItems: 1})
		if err != nil || len(out.IDs) < locatedStep {
			t.Fatalf("%d identifiers, %v", len(out.IDs), err)
		}
		if asked != locatedStep*locatedBytes {
			t.Errorf("Maximum Items %d: %d bytes were asked for, want %d", most, asked, locatedStep*locatedBytes)
		}
		asking.Room = func(int) error { return core.Errorf(core.Busy, "there is none") }
		if _, err := w.Locate(ctx, &asking, &operation.LocateInput{MaximumItems: most, OffsetItems: 1}); core.CodeOf(err) != core.Busy {
			t.Errorf("without memory Locate answers %v", err)
		}
	}
}
