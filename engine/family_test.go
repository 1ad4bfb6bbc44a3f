package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// rekey makes a replacement for a key of alice's.
func (w *world) rekey(id string) string {
	w.t.Helper()
	out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ID
}

// isVersion checks which version of which family an object is.
func (w *world) isVersion(id, family string, n int64) {
	w.t.Helper()
	if o := w.object(id); o.Family() != family || o.FamilyVersion() != n {
		w.t.Errorf("object %s is version %d of %s; want version %d of %s", id, o.FamilyVersion(), o.Family(), n, family)
	}
}

// Versions are counted in the order in which they are made, whichever version is replaced.
// Version 1 names the newest. KMIP clients read this, and find the versions by it.
func TestVersionsOfAFamily(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey()
	w.isVersion(one, one, 1)
	two := w.rekey(one)
	three := w.rekey(two)
	four := w.rekey(one) // again
	five := w.rekey(two)
	for i, id := range []string{one, two, three, four, five} {
		w.isVersion(id, one, int64(i+1))
	}
	if newest := w.object(one).NewestVersion(); newest != five {
		t.Errorf("the newest version is %s; want %s", newest, five)
	}
	for _, id := range []string{two, three, four, five} {
		if w.object(id).Attributes.Find(core.NewestAttribute) >= 0 {
			t.Errorf("version %d names a newest version; only version 1 does", w.object(id).FamilyVersion())
		}
	}
	member := core.Attribute{Vendor: core.FamilyAttribute.Vendor, Name: core.FamilyAttribute.Name, Value: core.Text(one)}
	number := core.Attribute{Vendor: core.VersionAttribute.Vendor, Name: core.VersionAttribute.Name, Value: core.Int(3)}
	for _, c := range []struct {
		by   core.Attributes
		want []string
	}{{core.Attributes{member}, []string{five, four, three, two}}, {core.Attributes{member, number}, []string{three}}} {
		found, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: c.by})
		if err != nil || !slices.Equal(found.IDs, c.want) {
			t.Errorf("Locate by %v: %v, %v; want %v", c.by, found.IDs, err, c.want)
		}
	}
	all, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(three), Names: []core.AttributeName{core.FamilyAttribute, core.VersionAttribute}})
	if err != nil || len(all.Attributes) != 2 || all.Attributes[1].Value.Num != 3 {
		t.Errorf("Get Attributes shows %v, %v", all.Attributes, err)
	}
}

// The halves of a pair are the same version of their families, also if one of them has been
// another pair's before.
func TestVersionsOfPairs(t *testing.T) {
	w := newWorld(t)
	rekey := func(id string) operation.CreateKeyPairOutput {
		t.Helper()
		out, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(id)})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, other := w.keyPair(), w.keyPair()
	two := rekey(one.PrivateID)
	three := rekey(two.PrivateID)
	w.isVersion(three.PrivateID, one.PrivateID, 3)
	w.isVersion(three.PublicID, one.PublicID, 3)
	// alice joins the newest private key with the public key of another pair
	for id, link := range map[string]core.Link{three.PrivateID: {Type: core.LinkTypePublicKeyLink, ID: other.PublicID}, other.PublicID: {Type: core.LinkTypePrivateKeyLink, ID: three.PrivateID}} {
		if _, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: core.TagLink}, New: core.Attribute{Tag: core.TagLink, Value: link.Value()}}); err != nil {
			t.Fatal(err)
		}
	}
	four := rekey(three.PrivateID)
	w.isVersion(four.PrivateID, one.PrivateID, 4)
	w.isVersion(four.PublicID, other.PublicID, 4)
	w.isVersion(rekey(four.PrivateID).PublicID, other.PublicID, 5)
}

// alike lists names that are, or read like, those of a family.
func alike() (names []core.AttributeName) {
	for _, own := range []core.AttributeName{core.FamilyAttribute, core.VersionAttribute, core.NewestAttribute, core.AliasAttribute} {
		names = append(names, own, core.AttributeName{Vendor: "X", Name: strings.ToUpper(own.Name)}, core.AttributeName{Vendor: "x", Name: strings.ReplaceAll(own.Name, "k", "\u212a")},
			core.AttributeName{Vendor: "x-keyreeve", Name: strings.TrimPrefix(own.Name, "keyreeve-")})
	}
	return names
}

// Clients give no attribute of a family to any object, in no way and by no name that reads
// alike.
func TestClientsSetNoFamily(t *testing.T) {
	w := newWorld(t)
	old := *w.alice
	old.Version = core.V1_4
	usual := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
	asymmetric := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))
	one := w.aesKey()
	key, pair := w.rekey(one), w.keyPair()
	for _, name := range alike() {
		for _, value := range []core.Value{core.Text(one), core.Int(7)} {
			a := core.Attribute{Vendor: name.Vendor, Name: name.Name, Value: value}
			plus := func(as core.Attributes) core.Attributes { return as.Add(a) }
			for what, do := range map[string]func() error{
				"Create": func() error {
					_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: plus(usual)})
					return err
				},
				"Register": func() error {
					_, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Attributes: core.Attributes{a}, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}})
					return err
				},
				"Register, in the Key Value": func() error {
					_, err := w.Register(ctx, &old, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: usual,
						Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Material: make([]byte, 32), Attributes: core.Attributes{a}}}})
					return err
				},
				"Register of a Template": func() error {
					_, err := w.Register(ctx, &old, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, newName()), Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: core.Attributes{a}}})
					return err
				},
				"Create Key Pair": func() error {
					_, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: asymmetric, Public: core.Attributes{a}})
					return err
				},
				"Re-key": func() error {
					_, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(key), Attributes: core.Attributes{a}})
					return err
				},
				"Re-key Key Pair": func() error {
					_, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(pair.PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{Common: core.Attributes{a}}})
					return err
				},
				"Add Attribute": func() error {
					_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(key), Attribute: a})
					return err
				},
				"Set Attribute": func() error {
					_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(key), Attribute: a})
					return err
				},
			} {
				if err := do(); core.CodeOf(err) != core.AttributeReadOnly {
					t.Errorf("%s with %s = %v: %v; want Attribute Read Only", what, name, value, err)
				}
			}
		}
	}
	for id, name := range map[string]core.AttributeName{key: core.FamilyAttribute, one: core.NewestAttribute} {
		_, modified := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: name, New: core.Attribute{Vendor: name.Vendor, Name: name.Name, Value: core.Text("a")}})
		_, deleted := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: name})
		if core.CodeOf(modified) != core.AttributeReadOnly || core.CodeOf(deleted) != core.AttributeReadOnly {
			t.Errorf("%s was modified: %v, and deleted: %v", name, modified, deleted)
		}
	}
	w.isVersion(key, one, 2)
}

var names int

// newName returns a Name that no object has.
func newName() core.Value {
	names++
	return name(fmt.Sprint("name ", names))
}

// Undo of a batch gives the numbers back that the batch took, unless somebody else has gone on
// from them.
func TestUndoOfVersions(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey()
	c := *w.alice
	c.Undo = &core.Undo{}
	two, err := w.ReKey(ctx, &c, &operation.RekeyInput{ID: core.ID(one)})
	if err == nil {
		_, err = w.ReKey(ctx, &c, &operation.RekeyInput{ID: core.ID(two.ID)})
	}
	if err == nil {
		err = w.UndoBatch(ctx, &c, c.Undo)
	}
	if err != nil || len(w.store.objects) != 1 || w.object(one).NewestVersion() != one {
		t.Fatalf("after Undo there are %d objects: %v", len(w.store.objects), err)
	}
	w.isVersion(w.rekey(one), one, 2)
	c.Undo = &core.Undo{}
	three, err := w.ReKey(ctx, &c, &operation.RekeyInput{ID: core.ID(one)})
	if err != nil {
		t.Fatal(err)
	}
	four := w.rekey(three.ID)
	if err := w.UndoBatch(ctx, &c, c.Undo); core.CodeOf(err) != core.Conflict {
		t.Errorf("Undo of a version that has a successor: %v; want Conflict", err)
	}
	w.isVersion(four, one, 4)
}

// The versions of one family are bounded, so that its policies can always be changed.
func TestFamilyIsBounded(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey()
	last := w.rekey(one)
	o := *w.object(last)
	o.Attributes = o.Attributes.Replace(o.Attributes.Find(core.VersionAttribute), core.Int(rules.MaxFamilyVersions))
	w.store.objects[storedKey{"default", last}] = &o
	w.ForgetSnapshot("default", last)
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(last)}); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("one version too many: %v", err)
	}
}

// An attached policy belongs to the family: replacements have it, and attaching and detaching
// change all versions, whichever is named.
func TestPoliciesBelongToFamilies(t *testing.T) {
	w := newWorld(t)
	v, _ := administered(t, w, core.ActionReadHealth)
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	one := w.aesKey()
	ids := []string{one, w.rekey(one)}
	for range core.CandidatePage { // more than one page
		ids = append(ids, w.rekey(ids[len(ids)-1]))
	}
	want := func(what string, policies ...string) {
		t.Helper()
		for i, id := range ids {
			if got := w.object(id).Policies(); !slices.Equal(got, policies) {
				t.Fatalf("%s: version %d has the policies %v; want %v", what, i+1, got, policies)
			}
		}
	}
	attach := func(id, policy string) {
		t.Helper()
		if got, err := v.AttachPolicy(ctx, w.alice, admin.AttachInput{Policy: policy, Object: id}); err != nil || !slices.Contains(got, policy) {
			t.Fatalf("attached are %v, %v", got, err)
		}
	}
	attach(ids[7], "p")
	want("attached to version 8", "p")
	attach(one, "q")
	want("attached to version 1", "p", "q")
	ids = append(ids, w.rekey(ids[3]))
	want("after Re-key", "p", "q")
	if _, err := v.DetachPolicy(ctx, w.alice, admin.AttachInput{Policy: "p", Object: ids[len(ids)-1]}); err != nil {
		t.Fatal(err)
	}
	want("detached from the newest", "q")
	stored := w.object(one).Version
	attach(ids[1], "q")
	if w.object(one).Version != stored {
		t.Error("a policy that is attached already changes version 1")
	}
	pair := w.keyPair()
	attach(pair.PrivateID, "p")
	fresh, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(pair.PrivateID)})
	if err != nil || !slices.Equal(w.object(fresh.PrivateID).Policies(), []string{"p"}) || len(w.object(fresh.PublicID).Policies()) != 0 {
		t.Errorf("the new private key has the policies %v, %v", w.object(fresh.PrivateID).Policies(), err)
	}
}

// keysNamed takes a document as the identifiers of keys to attach to.
type keysNamed struct{ core.KeyPolicies }

func (keysNamed) CheckKeyPolicy(_ context.Context, _ string, document []byte, _ func(string) bool) (core.KeyPolicyFacts, error) {
	return core.KeyPolicyFacts{Keys: strings.Fields(string(document))}, nil
}

// A document can name several versions of one family, and other keys.
func TestDocumentsNameVersions(t *testing.T) {
	w := newWorld(t)
	_, d := administered(t, w, core.ActionReadHealth)
	v := admin.New(w.Engine, admin.Ports{Directory: d, KeyPolicies: keysNamed{}})
	one, other := w.aesKey(), w.aesKey()
	two := w.rekey(one)
	out, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: []byte(strings.Join([]string{two, one, other, "nobody"}, " "))})
	if err != nil || !slices.Equal(out.Attached, []string{two, one, other}) || len(out.Warnings) != 1 {
		t.Fatalf("attached to %v with the warnings %v, %v", out.Attached, out.Warnings, err)
	}
	for _, id := range []string{one, two, other} {
		if got := w.object(id).Policies(); !slices.Equal(got, []string{"p"}) {
			t.Errorf("key %s has the policies %v", id, got)
		}
	}
}

// No version that is made while a policy is attached escapes it.
func TestNoVersionEscapesAPolicy(t *testing.T) {
	w := newWorld(t)
	v, _ := administered(t, w, core.ActionReadHealth)
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		one := w.aesKey()
		ids := make([]string, 6)
		coretest.AtOnce(len(ids)+1, func(i int) {
			if i == len(ids) {
				if _, err := v.AttachPolicy(ctx, w.alice, admin.AttachInput{Policy: "p", Object: one}); err != nil {
					t.Errorf("attaching while versions are made: %v", err)
				}
				return
			}
			ids[i] = w.rekey(one)
		})
		for _, id := range append(ids, one) {
			if got := w.object(id).Policies(); !slices.Equal(got, []string{"p"}) {
				t.Errorf("version %d has the policies %v", w.object(id).FamilyVersion(), got)
			}
		}
	}
}

// Re-key of an older version gets around nothing that was decided about the newest one.
func TestOlderVersionsAreNoWayAround(t *testing.T) {
	type key struct{ one, newest, beside string }
	single := func(w *world) key { one := w.aesKey(); return key{one: one, newest: w.rekey(one)} }
	pair := func(w *world) key {
		old := w.keyPair()
		out, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID)})
		if err != nil {
			t.Fatal(err)
		}
		return key{old.PrivateID, out.PrivateID, out.PublicID}
	}
	reKey := func(w *world, c *core.Caller, id string) error {
		_, err := w.Rotate(ctx, c, &operation.RotateInput{ID: core.ID(id)})
		return err
	}
	for what, make := range map[string]func(*world) key{"a key": single, "a pair": pair} {
		for step, want := range map[string]core.Code{"disable": core.WrongState, "archive": core.ObjectArchived} {
			for _, half := range []func(key) string{func(k key) string { return k.newest }, func(k key) string { return k.beside }} {
				w := newWorld(t)
				k := make(w)
				if half(k) == "" {
					continue
				}
				if err := w.step(w.alice, step, half(k)); err != nil {
					t.Fatal(err)
				}
				if err := reKey(w, w.alice, k.one); core.CodeOf(err) != want {
					t.Errorf("%s, %s of the newest version, Re-key of the first: %v; want %v", what, step, err, want)
				}
			}
		}
	}
	strict := core.Attributes{{Tag: core.TagSensitive, Value: core.Bool(true)}, {Tag: core.TagExtractable, Value: core.Bool(false)}}
	w := newWorld(t)
	one := w.aesKey()
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(one), Attributes: strict}); err != nil {
		t.Fatal(err)
	}
	if err := reKey(w, w.alice, one); core.CodeOf(err) != core.PermissionDenied || !strings.Contains(err.Error(), "replace the newest version") {
		t.Errorf("the replacement of a version that is kept less strictly than the newest: %v", err)
	}
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(one), Attributes: strict}); err != nil {
		t.Errorf("the same, kept as strictly: %v", err)
	}
	pairOne := w.keyPair()
	if _, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(pairOne.PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{Private: strict}}); err != nil {
		t.Fatal(err)
	}
	if err := reKey(w, w.alice, pairOne.PrivateID); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("the same of a pair: %v", err)
	}
	resident := core.Attributes{{Vendor: rules.CustodyAttribute.Vendor, Name: rules.CustodyAttribute.Name, Value: core.Text(string(core.ModeResident))}}
	one = w.aesKey()
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(one), Attributes: slices.Concat(strict, resident)}); err != nil {
		t.Fatal(err)
	}
	if err := reKey(w, w.bob, one); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a colleague replaces a version that is kept in another way than the newest: %v", err)
	}
}

// sealedHSM gives key material the MAC that real stores demand.
type sealedHSM struct{ *memHSM }

func (h sealedHSM) Generate(ctx context.Context, k core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	m, facts, err := h.memHSM.Generate(ctx, k, s)
	m.MAC = []byte("mac")
	return m, facts, err
}

func (h sealedHSM) GeneratePair(ctx context.Context, k, public core.Key, s core.KeySpec) (core.Material, core.Material, []byte, core.KeyFacts, error) {
	a, b, spki, facts, err := h.memHSM.GeneratePair(ctx, k, public, s)
	a.MAC, b.MAC = []byte("mac"), []byte("mac")
	return a, b, spki, facts, err
}

// onStores calls run for each kind of database, with the nodes that share one: two on
// PostgreSQL.
func onStores(t *testing.T, run func(t *testing.T, w *world, nodes []node)) {
	urls := map[string]func(*testing.T) string{"SQLite": func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "k.db") },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) }}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			w, at := newWorld(t), url(t)
			w.Ports.HSM = sealedHSM{w.hsm}
			var nodes []node
			for len(nodes) == 0 || name == "PostgreSQL" && len(nodes) < 2 {
				s, err := store.Create(ctx, at, new(storetest.Sealer))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { s.Close() })
				if len(nodes) == 0 {
					for _, set := range w.store.sets {
						set.Checks = []byte("checks")
						if err := s.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: set})); err != nil {
							t.Fatal(err)
						}
					}
				}
				w.Ports.Store = s
				nodes = append(nodes, newNode(engine.New(w.Ports, w.Settings)))
			}
			w.serve(nodes[0])
			run(t, w, nodes)
		})
	}
}

// Sixteen that replace versions 1 and 2 of a key at once, on both databases and on two nodes:
// each makes a version, all have different numbers, and version 1 names the last.
func TestRekeysAtOnce(t *testing.T) {
	onStores(t, func(t *testing.T, w *world, nodes []node) {
		one, pair := w.aesKey(), w.keyPair()
		two := w.rekey(one)
		pairTwo, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(pair.PrivateID)})
		if err != nil {
			t.Fatal(err)
		}
		const times = 16
		ids, pairs := make([]string, times), make([]operation.CreateKeyPairOutput, times)
		coretest.AtOnce(times, func(i int) {
			n, old, oldPair := nodes[i%len(nodes)], []string{one, two}[i/2%2], []string{pair.PrivateID, pairTwo.PrivateID}[i/2%2]
			out, err := n.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(old)})
			if err == nil {
				ids[i] = out.ID
				pairs[i], err = n.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(oldPair)})
			}
			if err != nil {
				t.Errorf("Re-key %d: %v", i, err)
			}
		})
		if t.Failed() {
			return
		}
		var privates, publics []string
		for _, p := range pairs {
			privates, publics = append(privates, p.PrivateID), append(publics, p.PublicID)
		}
		for head, made := range map[string][]string{one: ids, pair.PrivateID: privates, pair.PublicID: publics} {
			numbers := map[int64]string{}
			for _, id := range made {
				o, err := w.Ports.Store.Object(ctx, "default", id)
				if err != nil || o.Family() != head {
					t.Fatalf("%v is of the family %s, %v", o, head, err)
				}
				numbers[o.FamilyVersion()] = id
			}
			first, err := w.Ports.Store.Object(ctx, "default", head)
			if err != nil || len(numbers) != times || numbers[times+2] != first.NewestVersion() {
				t.Errorf("%d versions have the numbers %v, the newest is %s, %v", times, numbers, first.NewestVersion(), err)
			}
		}
		for i, p := range pairs {
			a, _ := w.Ports.Store.Object(ctx, "default", p.PrivateID)
			b, _ := w.Ports.Store.Object(ctx, "default", p.PublicID)
			if a.FamilyVersion() != b.FamilyVersion() || linkOf(a, core.LinkTypePublicKeyLink) != b.ID {
				t.Errorf("pair %d: the halves are the versions %d and %d", i, a.FamilyVersion(), b.FamilyVersion())
			}
		}
	})
}
