package engine_test

import (
	"context"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// family is a reference to a family, as the REST door makes it.
func family(text string, version int64) core.Identifier {
	return core.Identifier{Text: text, Family: true, Version: version}
}

func alias(name string, version int64) core.Identifier {
	return core.Identifier{Alias: name, Family: true, Version: version}
}

// used returns the version that each kind of action takes for a reference, "" if it fails.
func (w *world) used(c *core.Caller, id core.Identifier) (protects, reads string) {
	data := []byte("sixteen byte text")
	encrypted, err := w.Encrypt(ctx, c, &operation.EncryptInput{ID: id, Data: data})
	signed, err2 := w.Sign(ctx, c, &operation.SignInput{ID: id, Data: data})
	mac, err3 := w.MAC(ctx, c, &operation.MACInput{ID: id, Data: data})
	if core.CodeOf(err) != core.CodeOf(err2) || core.CodeOf(err2) != core.CodeOf(err3) || encrypted.ID != signed.ID || signed.ID != mac.ID {
		w.t.Errorf("%+v: Encrypt takes %s (%v), Sign %s (%v), MAC %s (%v)", id, encrypted.ID, err, signed.ID, err2, mac.ID, err3)
	}
	read, err := w.GetAttributes(ctx, c, &operation.GetAttributesInput{ID: id})
	got, err2 := w.Get(ctx, c, &operation.GetInput{ID: id})
	got.Secret.Release()
	if core.CodeOf(err) != core.CodeOf(err2) || read.ID != got.ID {
		w.t.Errorf("%+v: Get Attributes takes %s (%v), Get %s (%v)", id, read.ID, err, got.ID, err2)
	}
	return encrypted.ID, read.ID
}

// Without a number, protecting takes the newest version that may protect now, and everything
// else the newest. A number takes that version. KMIP's identifiers go on with their object.
func TestReferencesTakeTheRightVersion(t *testing.T) {
	w := newWorld(t)
	now := w.clock.now
	one := w.aesKey(core.TagActivationDate, core.Date(1))
	w.setAlias("app", one)
	rekey := func(as ...any) string {
		t.Helper()
		out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(one), Attributes: attrs(as...)})
		if err != nil {
			t.Fatal(err)
		}
		return out.ID
	}
	two := rekey(core.TagProtectStopDate, core.Date(now+20))
	three := rekey(core.TagActivationDate, core.Date(now+10))
	four := rekey(core.TagActivationDate, core.Date(now+1000))
	for _, at := range []struct {
		after    int64
		protects string
	}{{0, two}, {10, three}, {20, three}} {
		w.clock.now = now + at.after
		for _, id := range []core.Identifier{family(one, 0), alias("app", 0)} {
			if protects, reads := w.used(w.alice, id); protects != at.protects || reads != four {
				t.Errorf("%d s on, %+v: protecting takes %s, others %s; want %s and %s", at.after, id, protects, reads, at.protects, four)
			}
		}
	}
	if err := w.step(w.alice, "compromise", three); err != nil {
		t.Fatal(err)
	}
	if protects, _ := w.used(w.alice, family(one, 0)); protects != one {
		t.Errorf("the newest versions are revoked, stopped and not active yet: protecting takes %s; want version 1", protects)
	}
	for _, c := range []struct {
		id   core.Identifier
		want string
	}{{family(one, 1), one}, {family(one, 2), two}, {family(one, 3), three}, {family(one, 4), four}, {alias("app", 1), one}, {alias("app", 3), three},
		{family(two, 0), two}, {family(two, 2), two}, {core.ID(one), one}, {core.ID(three), three}} {
		if _, reads := w.used(w.alice, c.id); reads != c.want {
			t.Errorf("%+v names %s; want %s", c.id, reads, c.want)
		}
	}
	five, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: alias("app", 0), Offset: new(int64(2000))})
	if err != nil {
		t.Fatal(err)
	}
	w.isVersion(five.ID, one, 5)
	if linkOf(w.object(five.ID), core.LinkTypeReplacedObjectLink) != four || w.object(five.ID).Attributes.Num(core.TagActivationDate) != w.clock.now+2000 {
		t.Errorf("Re-key by an alias replaced %v; want the newest version", w.object(five.ID).Attributes)
	}
	four = five.ID
	sealed, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(one), Data: []byte("text")})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := w.Decrypt(ctx, w.alice, &operation.DecryptInput{ID: alias("app", 1), Data: sealed.Data}); err != nil || string(out.Data) != "text" || out.ID != one {
		t.Errorf("Decrypt by version 1: %q by %s, %v", out.Data, out.ID, err)
	}
	if _, err := w.Destroy(ctx, w.alice, &operation.DestroyInput{ID: family(one, 3)}); err != nil || w.object(three).StateAt(w.clock.now) != core.DestroyedCompromised {
		t.Errorf("Destroy of version 3: %v", err)
	}
	for _, id := range []string{one, two} {
		if err := w.step(w.alice, "compromise", id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: family(one, 0), Data: []byte("d")}); core.CodeOf(err) != core.WrongState || !strings.Contains(err.Error(), four) {
		t.Errorf("no version may protect: %v; want the state of the newest", err)
	}
}

// What is not there, what belongs to another tenant, and an alias whose key the caller may not see
// are answered alike. A caller who names a key of the tenant by its identifier, or who may see it,
// is told that the use is not allowed.
func TestReferencesTellNothing(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey(core.TagActivationDate, core.Date(1))
	two := w.rekey(one)
	w.setAlias("app", one)
	text := func(c *core.Caller, id core.Identifier) string {
		t.Helper()
		_, err := w.Encrypt(ctx, c, &operation.EncryptInput{ID: id, Data: []byte("d")})
		if core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("%s, %+v: %v; want Item Not Found", c.Principal.ID, id, err)
			return ""
		}
		s := err.Error()
		for _, name := range []string{one, two, "nobody", "alias/app", "alias/none"} {
			s = strings.ReplaceAll(s, name, "KEY")
		}
		return s
	}
	for _, version := range []int64{0, 1} {
		want := text(w.alice, family("nobody", version))
		for _, got := range []string{text(w.alice, alias("none", version)), text(w.out, family(one, version)), text(w.eve, alias("app", version)), text(w.out, alias("app", version))} {
			if got != want {
				t.Errorf("an answer is %q; that of no key is %q", got, want)
			}
		}
	}
	if _, err := w.Encrypt(ctx, w.eve, &operation.EncryptInput{ID: family(one, 0), Data: []byte("d")}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a key of the tenant by its identifier: %v", err)
	}
	for _, id := range []core.Identifier{family(one, 3), family(one, 99999), family(two, 1), family(two, 3), family("", 0), alias("app", 3)} {
		text(w.alice, id)
	}
	w.Ports.Policy = chosen{denies: map[string]bool{"Encrypt " + two: true}}
	if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: family(one, 0), Data: []byte("d")}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a key that the caller may see and not use: %v", err)
	}
	if out, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: family(one, 1), Data: []byte("d")}); err != nil || out.ID != one {
		t.Errorf("the policy is asked about the version that is used: %v", err)
	}
	j := &keptRecords{}
	w.Ports.Journal, w.Ports.Policy = j, tenantPolicy{}
	if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: alias("app", 0), Data: []byte("d")}); err != nil || j.last().Object != two {
		t.Errorf("the record is about %s, %v; want the version that was used", j.last().Object, err)
	}
	w.Ports.Policy = tenantPolicy{fail: core.Errorf(core.PolicyUnavailable, "broken")}
	if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: family(one, 0), Data: []byte("d")}); core.CodeOf(err) != core.PolicyUnavailable {
		t.Errorf("with a broken policy: %v", err)
	}
}

// What is remembered of families and aliases is never older than a snapshot may be, also on
// another node, and Undo is seen.
func TestReferencesFollowChanges(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	other := newNode(engine.New(w.Ports, w.Settings))
	one, second := w.aesKey(core.TagActivationDate, core.Date(1)), w.aesKey(core.TagActivationDate, core.Date(1))
	w.setAlias("app", one)
	check := func(what, want string) {
		t.Helper()
		w.clock.now++ // a snapshot is used for less than a second
		for i, n := range []node{w.node, other} {
			for _, id := range []core.Identifier{alias("app", 0), alias("app", w.object(want).FamilyVersion()), family(w.object(want).Family(), 0)} {
				if out, err := n.MAC(ctx, w.alice, &operation.MACInput{ID: id, Data: []byte("d")}); err != nil || out.ID != want { // which changes no object
					t.Errorf("%s: node %d takes %s for %+v, %v; want %s", what, i, out.ID, id, err, want)
				}
			}
		}
	}
	check("at first", one)
	two := w.rekey(one)
	check("after Re-key", two)
	c := *w.alice
	c.Undo = &core.Undo{}
	three, err := w.ReKey(ctx, &c, &operation.RekeyInput{ID: core.ID(two)})
	if err != nil {
		t.Fatal(err)
	}
	check("after another one", three.ID)
	if err := w.UndoBatch(ctx, &c, c.Undo); err != nil {
		t.Fatal(err)
	}
	check("after Undo", two)
	check("after Re-key again", w.rekey(two))
	w.setAlias("app", second)
	check("after the alias moved", second)
}

// The identifiers of KMIP never name a family, so that they cost what they did.
func TestKMIPNamesNoFamilies(t *testing.T) {
	w := newWorld(t)
	w.Ports.FindVersion = func(*engine.Call, string, core.Identifier, bool) (*core.ManagedObject, error) {
		t.Error("an identifier of KMIP was looked up as a family")
		return nil, context.Canceled
	}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	one := w.aesKey(core.TagActivationDate, core.Date(1))
	two := w.rekey(one)
	for _, id := range []string{one, two} {
		if out, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("d")}); err != nil || out.ID != id {
			t.Errorf("%s, %v; want %s", out.ID, err, id)
		}
	}
	w.Ports.FindVersion = nil
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: family(one, 0), Data: []byte("d")}); core.CodeOf(err) != core.FeatureNotSupported {
		t.Errorf("a family without a door that names families: %v", err)
	}
}

// The key that wraps is named in the same ways: it protects, so it is the newest version that
// may. Of a key that the caller may not see nothing is told.
func TestReferencesToWrappingKeys(t *testing.T) {
	w := newWorld(t)
	one := w.aesKey(core.TagActivationDate, core.Date(1))
	two := w.rekey(one)
	w.setAlias("kek", one)
	later, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(two), Attributes: attrs(core.TagActivationDate, core.Date(w.clock.now+100))})
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(c *core.Caller, id string, with core.Identifier) (string, error) {
		t.Helper()
		out, err := w.Get(ctx, c, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{Key: &with}}})
		defer out.Secret.Release()
		if err != nil {
			return "", err
		}
		return out.Object.KeyBlock.Wrapping.Encryption.ID, nil
	}
	target := w.inState(core.Active)
	for _, c := range []struct {
		with core.Identifier
		want string
	}{{family(one, 0), two}, {alias("kek", 0), two}, {family(one, 1), one}, {alias("kek", 1), one}} {
		if got, err := wrap(w.alice, target, c.with); err != nil || got != c.want {
			t.Errorf("%+v wraps under %s, %v; want %s", c.with, got, err, c.want)
		}
	}
	if _, err := wrap(w.alice, target, family(one, 3)); core.CodeOf(err) != core.WrongState {
		t.Errorf("a version that is not active yet, %s, wraps: %v", later.ID, err)
	}
	mine, err := w.Create(ctx, w.eve, aesInput(core.TagActivationDate, core.Date(1)))
	if err != nil {
		t.Fatal(err)
	}
	_, none := wrap(w.eve, mine.ID, family("nobody", 0))
	_, hidden := wrap(w.eve, mine.ID, family(one, 0))
	if core.CodeOf(hidden) != core.WrappingObjectNotFound || none == nil || hidden.Error() != strings.Replace(none.Error(), "nobody", one, 1) {
		t.Errorf("a wrapping key that the caller may not see: %v; none: %v", hidden, none)
	}
}
