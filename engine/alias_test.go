package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/keyversions"
)

// setAlias gives a key of alice's an alias.
func (w *world) setAlias(alias, id string) {
	w.t.Helper()
	if _, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: alias, Key: core.ID(id)}); err != nil {
		w.t.Fatalf("alias %s: %v", alias, err)
	}
}

// aliasHolder returns the object that alice finds by an alias, "" if there is none.
func (w *world) aliasHolder(alias string) string {
	w.t.Helper()
	out, err := w.FindAlias(ctx, w.alice, &operation.AliasInput{Alias: alias})
	if err != nil && core.CodeOf(err) != core.ItemNotFound {
		w.t.Fatal(err)
	}
	return out.ID
}

// An alias belongs to a key family: the newest version has it, whichever is named, and whichever
// is replaced. It is free when it is removed.
func TestAliases(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey()
	w.setAlias("app/db-1", one)
	w.setAlias("second", one)
	w.setAlias("second", one) // again
	two := w.rekey(one)
	w.setAlias("third.3", one)
	three := w.rekey(one) // not of the newest
	for _, alias := range []string{"app/db-1", "second", "third.3"} {
		if got := w.aliasHolder(alias); got != three {
			t.Errorf("alias %s is that of %s; want the newest version %s", alias, got, three)
		}
	}
	for _, id := range []string{one, two} {
		if got := w.object(id).Attributes.All(core.AliasAttribute); len(got) != 0 {
			t.Errorf("an older version has the aliases %v", got)
		}
	}
	found, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Vendor: "x", Name: "keyreeve-alias", Value: core.Text("second")}}})
	if err != nil || !slices.Equal(found.IDs, []string{three}) {
		t.Errorf("Locate by an alias: %v, %v", found.IDs, err)
	}
	other := w.aesKey()
	w.setAlias("second", other) // it moves
	if got := w.aliasHolder("second"); got != other || len(w.object(three).Attributes.All(core.AliasAttribute)) != 2 {
		t.Errorf("the moved alias is that of %s; the other key has %v", got, w.object(three).Attributes.All(core.AliasAttribute))
	}
	if _, err := w.RemoveAlias(ctx, w.alice, &operation.AliasInput{Alias: "second"}); err != nil || w.aliasHolder("second") != "" {
		t.Errorf("removed: %v; it is that of %s", err, w.aliasHolder("second"))
	}
	if _, err := w.RemoveAlias(ctx, w.alice, &operation.AliasInput{Alias: "second"}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("removed again: %v", err)
	}
	if err := w.step(w.alice, "destroy", three); err != nil || w.aliasHolder("app/db-1") != three {
		t.Errorf("the alias of a key with two other versions is that of %s, %v", w.aliasHolder("app/db-1"), err)
	}
	w.setAlias("app/db-1", other)
	if _, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "late", Key: core.ID(three)}); core.CodeOf(err) != core.ObjectDestroyed {
		t.Errorf("an alias of a destroyed key: %v", err)
	}
}

// While a version lives or can be restored, its family has its aliases, and they find that version. The
// end of the last one frees them, whichever version that is and however it ends.
func TestAliasesEndWithTheLastVersion(t *testing.T) {
	for what, end := range map[string]func(*world, string) error{
		"destroyed": func(w *world, id string) error {
			if err := w.step(w.alice, "cease", id); err != nil {
				return err
			}
			return w.step(w.alice, "destroy", id)
		},
		"purged": func(w *world, id string) error {
			if err := w.step(w.alice, "soft delete", id); err != nil {
				return err
			}
			return w.step(w.alice, "purge", id)
		},
		"purged by the clock": func(w *world, id string) error {
			if err := w.step(w.alice, "soft delete", id); err != nil {
				return err
			}
			w.clock.now += 31 * day
			return w.PurgeReached(ctx, "default", id)
		},
	} {
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}} {
			w := newWorld(t)
			ids := []string{w.aesKey(core.TagActivationDate, core.Date(1))}
			ids = append(ids, w.rekey(ids[0]))
			ids = append(ids, w.rekey(ids[1]))
			w.setAlias("app", ids[0])
			for i, n := range order {
				if i == 2 {
					o, err := new(keyversions.Finder).Find(w.Begin(ctx, w.alice, core.ActionEncrypt), "default", core.Identifier{Alias: "app", Family: true}, true)
					if err != nil || o.ID != ids[n] {
						t.Fatalf("%s: the alias finds %v, %v; want the version that is left, %s", what, o, err, ids[n])
					}
				}
				if w.aliasHolder("app") == "" {
					t.Fatalf("%s in the order %v: version %d still lives, and its alias is free", what, order, n+1)
				}
				if err := end(w, ids[n]); err != nil {
					t.Fatal(err)
				}
			}
			if holder := w.aliasHolder("app"); holder != "" {
				t.Errorf("%s in the order %v: the alias is that of %s; want none", what, order, holder)
			}
			w.setAlias("app", w.aesKey())
		}
	}
	w := newWorld(t)
	one := w.aesKey()
	two := w.rekey(one)
	w.setAlias("app", one)
	for _, s := range [][2]string{{"soft delete", one}, {"destroy", two}, {"restore", one}} {
		if err := w.step(w.alice, s[0], s[1]); err != nil || w.aliasHolder("app") != two {
			t.Errorf("%s: %v; the alias is that of %q", s[0], err, w.aliasHolder("app"))
		}
	}
}

// On both databases and two nodes: all versions are destroyed at once, and the alias is free.
func TestVersionsEndAtOnce(t *testing.T) {
	onStores(t, func(t *testing.T, w *world, nodes []node) {
		for range 5 {
			ids := []string{w.aesKey()}
			for range 3 {
				ids = append(ids, w.rekey(ids[0]))
			}
			w.setAlias("app", ids[0])
			coretest.AtOnce(len(ids), func(i int) {
				if _, err := nodes[i%len(nodes)].Destroy(ctx, w.alice, &operation.DestroyInput{ID: core.ID(ids[i])}); err != nil {
					t.Errorf("version %d: %v", i+1, err)
				}
			})
			if holder := w.aliasHolder("app"); holder != "" {
				t.Fatalf("all versions are destroyed, and %s has the alias", holder)
			}
		}
	})
}

// onGenerate calls a function once, when a key is generated.
type onGenerate struct {
	*memHSM
	once func()
}

func (h *onGenerate) Generate(ctx context.Context, k core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	if do := h.once; do != nil {
		h.once = nil
		do()
	}
	return h.memHSM.Generate(ctx, k, s)
}

// An alias that comes to the newest version while an older one is replaced goes over to the new one.
func TestAliasSetDuringReKeyOfAnOlderVersion(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey()
	two := w.rekey(one)
	w.Ports.HSM = &onGenerate{w.hsm, func() { w.setAlias("app", one) }}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	three := w.rekey(one)
	if got := w.aliasHolder("app"); got != three {
		t.Errorf("the alias is that of %s; want the newest version %s, and not %s", got, three, two)
	}
}

// An archived key keeps its aliases, also if another one shall get them.
func TestAliasesOfAnArchivedKey(t *testing.T) {
	w := newWorld(t)
	key, other := w.aesKey(), w.aesKey()
	w.setAlias("app", key)
	if err := w.step(w.alice, "archive", key); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "app", Key: core.ID(other)}); core.CodeOf(err) != core.ObjectArchived {
		t.Errorf("the alias of an archived key moves: %v; want Object Archived", err)
	}
}

// Both halves of a pair keep their aliases over Re-key Key Pair, and Undo gives them back.
func TestAliasesOfPairs(t *testing.T) {
	w := newWorld(t)
	old := w.keyPair()
	w.setAlias("signer", old.PrivateID)
	w.setAlias("verifier", old.PublicID)
	c := *w.alice
	c.Undo = &core.Undo{}
	out, err := w.ReKeyKeyPair(ctx, &c, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID)})
	if err != nil || w.aliasHolder("signer") != out.PrivateID || w.aliasHolder("verifier") != out.PublicID {
		t.Errorf("the aliases are those of %s and %s; want %v (%v)", w.aliasHolder("signer"), w.aliasHolder("verifier"), out, err)
	}
	if err := w.UndoBatch(ctx, &c, c.Undo); err != nil || w.aliasHolder("signer") != old.PrivateID || w.aliasHolder("verifier") != old.PublicID {
		t.Errorf("after Undo the aliases are those of %s and %s; want %v (%v)", w.aliasHolder("signer"), w.aliasHolder("verifier"), old, err)
	}
}

// What is no alias, and no key, is refused; and so is too much.
func TestAliasesAreBounded(t *testing.T) {
	w := newWorld(t)
	key := w.aesKey()
	for _, alias := range []string{"", "a b", "a@1", "a:b", "ä", "a\n", strings.Repeat("a", 201)} {
		in := &operation.AliasInput{Alias: alias, Key: core.ID(key)}
		_, set := w.SetAlias(ctx, w.alice, in)
		_, found := w.FindAlias(ctx, w.alice, in)
		_, removed := w.RemoveAlias(ctx, w.alice, in)
		for what, err := range map[string]error{"set": set, "found": found, "removed": removed} {
			if core.CodeOf(err) != core.InvalidField {
				t.Errorf("alias %q is %s: %v", alias, what, err)
			}
		}
	}
	w.setAlias(strings.Repeat("a", 200), key)
	w.setAlias("AZaz09._/-", key)
	for i := range rules.MaxAliases - 2 {
		w.setAlias(fmt.Sprint("n", i), key)
	}
	opaque, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		key  core.Identifier
		want core.Code
	}{"one too many": {core.ID(key), core.InvalidField}, "of an opaque object": {core.ID(opaque.ID), core.InvalidObjectType}, "of nothing": {core.ID("nobody"), core.ItemNotFound},
		"of a version": {core.Identifier{Text: key, Family: true, Version: 1}, core.InvalidField}} {
		if _, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "more", Key: c.key}); core.CodeOf(err) != c.want {
			t.Errorf("an alias %s: %v; want code %v", what, err, c.want)
		}
	}
}

// chosen permits what its rows say: "ACTION object".
type chosen struct {
	tenantPolicy
	denies map[string]bool
}

func (p chosen) Decide(ctx context.Context, a *core.AccessRequest) (core.Decision, error) {
	if a.Object != nil && p.denies[a.Action.String()+" "+a.Object.ID] {
		return core.Decision{Reasons: []string{"denied"}}, nil
	}
	return p.tenantPolicy.Decide(ctx, a)
}

// Setting, removing and finding an alias are decided by the key. Of a key that the caller may
// not see, nothing is told but that the alias is taken.
func TestAliasesByRight(t *testing.T) {
	w := newWorld(t)
	key, other := w.aesKey(), w.aesKey()
	w.setAlias("theirs", key)
	absent := func(do func(context.Context, *core.Caller, *operation.AliasInput) (operation.AliasOutput, error), c *core.Caller) {
		t.Helper()
		_, none := do(ctx, c, &operation.AliasInput{Alias: "none"})
		_, err := do(ctx, c, &operation.AliasInput{Alias: "theirs"})
		if core.CodeOf(err) != core.ItemNotFound || err.Error() != strings.Replace(none.Error(), "none", "theirs", 1) {
			t.Errorf("a key that %s may not see: %v; of none: %v", c.Principal.ID, err, none)
		}
	}
	for _, c := range []*core.Caller{w.eve, w.out} {
		absent(w.FindAlias, c)
		absent(w.RemoveAlias, c)
	}
	mine, err := w.Create(ctx, w.eve, aesInput())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetAlias(ctx, w.eve, &operation.AliasInput{Alias: "theirs", Key: core.ID(mine.ID)}); core.CodeOf(err) != core.ObjectAlreadyExists || strings.Contains(err.Error(), key) {
		t.Errorf("an alias of a key that the caller may not see: %v", err)
	}
	if _, err := w.SetAlias(ctx, w.eve, &operation.AliasInput{Alias: "new", Key: core.ID(key)}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("an alias for a key that the caller may not change: %v", err)
	}
	foreign, err := w.Create(ctx, w.out, aesInput())
	if err == nil {
		_, err = w.SetAlias(ctx, w.out, &operation.AliasInput{Alias: "theirs", Key: core.ID(foreign.ID)})
	}
	if err != nil {
		t.Errorf("the same alias in another tenant: %v", err)
	}
	for denied, c := range map[string]struct {
		do   func() error
		want core.Code
	}{
		"Delete Attribute " + key: {func() error {
			_, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "theirs", Key: core.ID(other)})
			return err
		}, core.PermissionDenied},
		"Modify Attribute " + other: {func() error {
			_, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "theirs", Key: core.ID(other)})
			return err
		}, core.PermissionDenied},
		"Get Attributes " + key: {func() error {
			_, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "theirs", Key: core.ID(other)})
			return err
		}, core.ObjectAlreadyExists},
	} {
		w.Ports.Policy = chosen{denies: map[string]bool{denied: true}}
		if err := c.do(); core.CodeOf(err) != c.want {
			t.Errorf("%s is denied: %v; want code %v", denied, err, c.want)
		}
	}
	w.Ports.Policy = chosen{denies: map[string]bool{"Delete Attribute " + key: true}}
	if _, err := w.RemoveAlias(ctx, w.alice, &operation.AliasInput{Alias: "theirs"}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("removed by one who may read the key alone: %v", err)
	}
	w.Ports.Policy = tenantPolicy{}
	if got := w.aliasHolder("theirs"); got != key {
		t.Errorf("after all that was refused, the alias is that of %s", got)
	}
}

// On both databases and two nodes: of many that take one alias for keys of their own, or move
// it, one key has it in the end, and the others know that they lost it.
func TestAliasesAtOnce(t *testing.T) {
	onStores(t, func(t *testing.T, w *world, nodes []node) {
		const times = 16
		keys := make([]string, times)
		for i := range keys {
			keys[i] = w.aesKey()
		}
		coretest.AtOnce(times, func(i int) {
			_, err := nodes[i%len(nodes)].SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "one", Key: core.ID(keys[i])})
			if err == nil && i%4 == 0 {
				_, err = nodes[i%len(nodes)].ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(keys[i])})
			}
			if err != nil && core.CodeOf(err) != core.ObjectAlreadyExists && core.CodeOf(err) != core.Conflict {
				t.Errorf("key %d: %v", i, err)
			}
		})
		f := core.Filter{WholeTenant: true, Attributes: core.Attributes{{Vendor: "x", Name: "keyreeve-alias", Value: core.Text("one")}}}
		all, err := w.Ports.Store.Candidates(ctx, "default", core.Filter{WholeTenant: true}, 0, 200)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, o := range all {
			if f.Matches(o) {
				have = append(have, o.ID)
			}
		}
		fresh := newNode(engine.New(w.Ports, w.Settings))
		out, err := fresh.FindAlias(ctx, w.alice, &operation.AliasInput{Alias: "one"})
		if err != nil || len(have) != 1 || out.ID != have[0] {
			t.Errorf("%d keys have the alias, %v is found, %v", len(have), out.ID, err)
		}
	})
}

// A key policy can name an alias as a label. Then no change of aliases escapes a denial, or
// gains a permission: neither by setting, moving and removing one, nor by Re-key.
func TestAliasesAreNoWayAroundPolicies(t *testing.T) {
	w, p := attentiveWorld(t)
	secret, open, plain := w.aesKey(), w.aesKey(), w.aesKey()
	w.Ports.Policy = tenantPolicy{} // of administrators
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	w.setAlias("secret", secret)
	w.setAlias("open", open)
	w.setAlias("other", plain)
	older := w.object(secret).ID
	secret2 := w.rekey(secret)
	w.Ports.Policy = p
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	set := func(alias, id string) func() error {
		return func() error {
			_, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: alias, Key: core.ID(id)})
			return err
		}
	}
	rekey := func(id string) func() error {
		return func() error { _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)}); return err }
	}
	for what, c := range map[string]struct {
		do   func() error
		want core.Code
	}{
		"an alias of a denial moves": {set("secret", plain), core.PermissionDenied}, "an alias of a permission comes": {set("open", plain), core.PermissionDenied},
		"an alias of a denial is removed": {func() error {
			_, err := w.RemoveAlias(ctx, w.alice, &operation.AliasInput{Alias: "secret"})
			return err
		}, core.PermissionDenied},
		"Re-key of the key with it": {rekey(secret2), core.PermissionDenied}, "Re-key of an older version": {rekey(older), core.PermissionDenied},
		"another alias": {set("free", plain), core.Internal}, "Re-key with another alias": {rekey(plain), core.Internal},
	} {
		if err := c.do(); core.CodeOf(err) != c.want || (err == nil) != (c.want == core.Internal) {
			t.Errorf("%s: %v; want code %v", what, err, c.want)
		}
	}
}
