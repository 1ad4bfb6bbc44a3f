package engine_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
)

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
				out, err := w.ReKey(ctx, caller, &core.RekeyInput{ID: core.ID(old), Attributes: attrs(asked...)})
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
				if _, err := w.Get(ctx, w.eve, &core.GetInput{ID: core.ID(out.ID)}); core.CodeOf(err) != core.PermissionDenied {
					t.Errorf("the administrator's Get of the new key: %v", err)
				}
			}
		}
	}
	w := newWorld(t)
	w.Ports.Policy = keeper{}
	for _, as := range []core.Attributes{attrs(core.TagSensitive, core.Bool(false)), attrs(core.TagExtractable, core.Bool(true)), {{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")}}} {
		if out, err := w.ReKey(ctx, w.eve, &core.RekeyInput{ID: core.ID(w.aesKey(classes[core.ClassN]...)), Attributes: as}); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("an administrator asks for %v: %v, %v", as[0].Ref(), out, err)
		}
	}
	if _, err := w.ReKey(ctx, w.eve, &core.RekeyInput{ID: core.ID(w.aesKey(classes[core.ClassN]...))}); err != nil {
		t.Errorf("an administrator asks for nothing: %v", err)
	}
}

// The Digest of a class N key is in no row and in no answer, and Locate does not find
// the key by it, however the key became class N.
func TestDigestOfClassNIsShownToNobody(t *testing.T) {
	w := newWorld(t)
	never := []any{core.TagExtractable, core.Bool(false)}
	made := w.aesKey(never...)
	again, err := w.ReKey(ctx, w.alice, &core.RekeyInput{ID: core.ID(made)})
	if err != nil {
		t.Fatal(err)
	}
	value := []byte("0123456789abcdef0123456789abcdef")
	registered, err := w.Register(ctx, w.alice, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(allUses), core.TagExtractable, core.Bool(false)),
		Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Material: value}}})
	if err != nil {
		t.Fatal(err)
	}
	tightened := w.aesKey()
	if o := w.store.objects[storedKey{"default", tightened}]; !o.Attributes.Has(core.TagDigest) {
		t.Fatal("a key of class C has no Digest")
	}
	if _, err := w.SetAttribute(ctx, w.alice, &core.SetAttributeInput{ID: core.ID(tightened), Attribute: core.Attribute{Tag: core.TagExtractable, Value: core.Bool(false)}}); err != nil {
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
			out, err := w.GetAttributes(ctx, w.alice, &core.GetAttributesInput{ID: core.ID(id), Names: names})
			if err != nil || out.Attributes.Has(core.TagDigest) {
				t.Errorf("%s: Get Attributes shows a Digest, %v", what, err)
			}
		}
		list, err := w.GetAttributeList(ctx, w.alice, &core.GetAttributeListInput{ID: core.ID(id)})
		if err != nil || slices.Contains(list.Names, core.AttributeName{Tag: core.TagDigest}) {
			t.Errorf("%s: Get Attribute List names a Digest, %v", what, err)
		}
	}
	for _, v := range []core.Value{digest, core.Structure(core.Field{Tag: core.TagHashingAlgorithm, Value: core.Enum(core.HashSHA256)})} {
		out, err := w.Locate(ctx, w.alice, &core.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagDigest, v)})
		if err != nil || len(out.IDs) != 0 {
			t.Errorf("Locate by Digest finds %v, %v", out.IDs, err)
		}
	}
}
