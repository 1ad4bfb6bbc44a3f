package engine_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
)

// From every pair of Sensitive and Extractable to every other, one attribute
// after the other: what makes it stricter is done and wrapped again, what would
// loosen it is refused and changes nothing, and the history tells the truth.
func TestCustodyChanges(t *testing.T) {
	type pair struct{ sensitive, extractable bool }
	pairs := []pair{{false, false}, {false, true}, {true, false}, {true, true}}
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		for _, from := range pairs {
			for _, to := range pairs {
				w := newWorld(t)
				who := *w.alice
				who.Version = v
				id := w.aesKey(core.TagSensitive, core.Bool(from.sensitive), core.TagExtractable, core.Bool(from.extractable))
				now, always, never := from, from.sensitive, !from.extractable
				for _, step := range []struct {
					tag core.Tag
					to  pair
				}{{core.TagSensitive, pair{to.sensitive, from.extractable}}, {core.TagExtractable, to}} {
					value := step.to.sensitive
					if step.tag == core.TagExtractable {
						value = step.to.extractable
						step.to.sensitive = now.sensitive
					}
					_, err := w.ModifyAttribute(ctx, &who, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: step.tag}, New: core.Attribute{Tag: step.tag, Value: core.Bool(value)}})
					was, is := core.ClassOf(now.sensitive, now.extractable), core.ClassOf(step.to.sensitive, step.to.extractable)
					loosens := rules.Stricter(was, is)
					if (core.CodeOf(err) == core.PermissionDenied) != loosens || (err != nil && !loosens) {
						t.Errorf("%+v to %+v: %v", now, step.to, err)
					}
					if err == nil {
						now, always, never = step.to, always && step.to.sensitive, never && !step.to.extractable
					}
				}
				o, _ := w.store.Object(ctx, "default", id)
				got := pair{o.Attributes.Bool(core.TagSensitive), o.Attributes.Bool(core.TagExtractable)}
				if got != now || o.Material.Class != core.ClassOf(now.sensitive, now.extractable) {
					t.Errorf("%+v to %+v: now %+v in class %s", from, to, got, o.Material.Class)
				}
				if a, n := o.Attributes.Bool(core.TagAlwaysSensitive), o.Attributes.Bool(core.TagNeverExtractable); a != always || n != never {
					t.Errorf("%+v to %+v: Always Sensitive %v, Never Extractable %v; want %v, %v", from, to, a, n, always, never)
				}
			}
		}
	}
}

func TestCustodyChangeIsRefused(t *testing.T) {
	w := newWorld(t)
	sensitive := func(c *core.Caller, id string) error {
		_, err := w.ModifyAttribute(ctx, c, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: core.TagSensitive}, New: core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}})
		return err
	}
	if err := sensitive(w.eve, w.aesKey()); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("by a stranger: %v", err)
	}
	if err := sensitive(w.alice, w.inState(core.Destroyed)); core.CodeOf(err) != core.ObjectDestroyed {
		t.Errorf("of a destroyed key: %v", err)
	}
	id := w.aesKey()
	w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
	if err := sensitive(w.alice, id); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("without the token: %v", err)
	}
	w.hsm.fail = nil
	if o, _ := w.store.Object(ctx, "default", id); o.Material.Class != core.ClassC || o.Attributes.Bool(core.TagSensitive) {
		t.Error("a change that failed has changed the object")
	}
	w.Settings.Defaults.ForbidClasses = []core.Class{core.ClassX}
	if err := sensitive(w.alice, id); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("to a class that is forbidden: %v", err)
	}
}

// KMIP 2.1 §7.33: of the Protection Storage Masks that a client accepts one is
// satisfied in its entirety, or nothing is made. Where the client says nothing of
// Sensitive, the masks decide it.
func TestProtectionStorage(t *testing.T) {
	const software, hardware = int32(core.ProtectionStorageMaskSoftware), int32(core.ProtectionStorageMaskHardware)
	yes, no := core.Bool(true), core.Bool(false)
	for _, c := range []struct {
		masks []int32
		more  []any
		want  core.Class // "": refused
	}{
		{nil, nil, core.ClassC},
		{[]int32{software}, nil, core.ClassC},
		{[]int32{hardware}, nil, core.ClassX},
		{[]int32{hardware, software}, nil, core.ClassC},
		{[]int32{software | hardware}, nil, ""},
		{[]int32{software | hardware, hardware}, nil, core.ClassX},
		{[]int32{int32(core.ProtectionStorageMaskOffSystem)}, nil, ""},
		{[]int32{hardware}, []any{core.TagSensitive, no}, ""},
		{[]int32{hardware}, []any{core.TagExtractable, no}, core.ClassN},
		{[]int32{software}, []any{core.TagSensitive, yes}, ""},
		{[]int32{software}, []any{core.TagExtractable, no}, ""},
	} {
		w := newWorld(t)
		as := attrs(append([]any{core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)}, c.more...)...)
		out, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as, ProtectionMasks: c.masks})
		if c.want == "" {
			if core.CodeOf(err) != core.ProtectionStorageUnavailable || len(w.store.objects) != 0 {
				t.Errorf("masks %v, %v: %v", c.masks, c.more, err)
			}
			continue
		}
		o, _ := w.store.Object(ctx, "default", out.ID)
		if err != nil || o.Material.Class != c.want || core.ProtectionStorageMask(o.Attributes.Num(core.TagProtectionStorageMask)) != rules.StorageOf(c.want) {
			t.Errorf("masks %v, %v: %v; want class %s", c.masks, c.more, err, c.want)
		}
	}
	w := newWorld(t)
	pair := func(common, private, public []int32) error {
		_, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{CommonProtection: common, PrivateProtection: private, PublicProtection: public,
			Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))})
		return err
	}
	if err := pair([]int32{software}, []int32{hardware}, nil); err != nil {
		t.Errorf("a private key in hardware and a public one in software: %v", err)
	}
	if err := pair([]int32{hardware}, nil, nil); core.CodeOf(err) != core.PublicProtectionStorageUnavailable {
		t.Errorf("both in hardware: %v", err)
	}
	if err := pair(nil, []int32{software | hardware}, nil); core.CodeOf(err) != core.ProtectionStorageUnavailable {
		t.Errorf("a private key in both: %v", err)
	}
	if w.store.order[0].Material.Class != core.ClassX || len(w.store.order) != 2 {
		t.Errorf("%d objects, the private key in class %s", len(w.store.order), w.store.order[0].Material.Class)
	}
}

// keeper is a policy that lets its administrator re-key objects of other principals, but
// not read them.
type keeper struct{ tenantPolicy }

func (p keeper) Decide(ctx context.Context, a *core.AccessRequest) (core.Decision, error) {
	if a.Principal.ID == "eve" && a.Action == core.ActionReKey {
		return core.Decision{Allow: true, Scope: "tenant", Reasons: []string{"administrator"}}, nil
	}
	return p.tenantPolicy.Decide(ctx, a)
}

// Re-key never makes a key of a less strict class than the old one. A caller that
// re-keys another principal's key can neither change its class nor read the new key.
func TestReKeyKeepsTheClass(t *testing.T) {
	classes := map[core.Class][]any{core.ClassC: {core.TagSensitive, core.Bool(false), core.TagExtractable, core.Bool(true)},
		core.ClassX: {core.TagSensitive, core.Bool(true), core.TagExtractable, core.Bool(true)}, core.ClassN: {core.TagSensitive, core.Bool(true), core.TagExtractable, core.Bool(false)}}
	for was, kept := range classes {
		for to, asked := range classes {
			for _, admin := range []bool{false, true} {
				w := newWorld(t)
				w.Ports.Policy = keeper{}
				old, caller := w.aesKey(kept...), w.alice
				if admin {
					caller = w.eve
				}
				objects := len(w.store.objects)
				out, err := w.ReKey(ctx, caller, &operation.RekeyInput{ID: core.ID(old), Attributes: attrs(asked...)})
				allowed := was == to || (!admin && rules.Stricter(to, was))
				if allowed != (err == nil) || (err != nil && core.CodeOf(err) != core.PermissionDenied) {
					t.Errorf("administrator %v, from %s to %s: %v", admin, was, to, err)
				}
				if err != nil {
					if len(w.store.objects) != objects {
						t.Errorf("from %s to %s was refused and made a key", was, to)
					}
					continue
				}
				if o := w.store.objects[storedKey{"default", out.ID}]; o.Material.Class != to || o.Owner != "alice" {
					t.Errorf("from %s to %s: it is of class %s and %s's", was, to, o.Material.Class, o.Owner)
				}
				if _, err := w.Get(ctx, w.eve, &operation.GetInput{ID: core.ID(out.ID)}); core.CodeOf(err) != core.PermissionDenied {
					t.Errorf("the administrator's Get of the new key: %v", err)
				}
			}
		}
	}
	w := newWorld(t)
	w.Ports.Policy = keeper{}
	for _, as := range []core.Attributes{attrs(core.TagSensitive, core.Bool(false)), attrs(core.TagExtractable, core.Bool(true)), {{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")}}} {
		if out, err := w.ReKey(ctx, w.eve, &operation.RekeyInput{ID: core.ID(w.aesKey(classes[core.ClassN]...)), Attributes: as}); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("an administrator asks for %v: %v, %v", as[0].Ref(), out, err)
		}
	}
	if _, err := w.ReKey(ctx, w.eve, &operation.RekeyInput{ID: core.ID(w.aesKey(classes[core.ClassN]...))}); err != nil {
		t.Errorf("an administrator asks for nothing: %v", err)
	}
}

// The Digest of a class N key is in no row and in no answer, and Locate does not find
// the key by it, however the key became class N.
func TestDigestOfClassNIsShownToNobody(t *testing.T) {
	w := newWorld(t)
	never := []any{core.TagExtractable, core.Bool(false)}
	made := w.aesKey(never...)
	again, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(made)})
	if err != nil {
		t.Fatal(err)
	}
	value := []byte("0123456789abcdef0123456789abcdef")
	registered, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(allUses), core.TagExtractable, core.Bool(false)),
		Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Material: value}}})
	if err != nil {
		t.Fatal(err)
	}
	tightened := w.aesKey()
	if o := w.store.objects[storedKey{"default", tightened}]; !o.Attributes.Has(core.TagDigest) {
		t.Fatal("a key of class C has no Digest")
	}
	if _, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(tightened), Attribute: core.Attribute{Tag: core.TagExtractable, Value: core.Bool(false)}}); err != nil {
		t.Fatal(err)
	}
	old := w.aesKey(never...) // as an early build stored it
	o := *w.store.objects[storedKey{"default", old}]
	sum := sha256.Sum256(value)
	digest := core.Structure(core.Field{Tag: core.TagHashingAlgorithm, Value: core.Enum(core.HashSHA256)}, core.Field{Tag: core.TagDigestValue, Value: core.Bytes(sum[:])})
	o.Attributes = o.Attributes.Add(core.Attribute{Tag: core.TagDigest, Value: digest})
	w.store.objects[storedKey{"default", old}] = &o
	w.ForgetSnapshot("default", old)
	for what, id := range map[string]string{"made": made, "re-keyed": again.ID, "registered": registered.ID, "tightened": tightened, "stored with one": old} {
		if has := w.store.objects[storedKey{"default", id}].Attributes.Has(core.TagDigest); has && id != old {
			t.Errorf("%s: the row has a Digest", what)
		}
		for _, names := range [][]core.AttributeName{nil, {{Tag: core.TagDigest}}} {
			out, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id), Names: names})
			if err != nil || out.Attributes.Has(core.TagDigest) {
				t.Errorf("%s: Get Attributes shows a Digest, %v", what, err)
			}
		}
		list, err := w.GetAttributeList(ctx, w.alice, &operation.GetAttributeListInput{ID: core.ID(id)})
		if err != nil || slices.Contains(list.Names, core.AttributeName{Tag: core.TagDigest}) {
			t.Errorf("%s: Get Attribute List names a Digest, %v", what, err)
		}
	}
	for _, v := range []core.Value{digest, core.Structure(core.Field{Tag: core.TagHashingAlgorithm, Value: core.Enum(core.HashSHA256)})} {
		out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagDigest, v)})
		if err != nil || len(out.IDs) != 0 {
			t.Errorf("Locate by Digest finds %v, %v", out.IDs, err)
		}
	}
}
