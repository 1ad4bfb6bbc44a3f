package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// A key that is rotated encrypts with its newest version, and each version decrypts what it has
// encrypted, however the request names the key. Anyone who may not see the key learns nothing.
func TestEnvelopesOfARotatedKey(t *testing.T) {
	w := newWorld(t)
	one := w.inState(core.Active)
	family, alias := core.Identifier{Text: one, Family: true}, core.Identifier{Alias: "billing", Family: true}
	if _, err := w.SetAlias(ctx, w.alice, &operation.AliasInput{Alias: "billing", Key: core.ID(one)}); err != nil {
		t.Fatal(err)
	}
	seal := func(id core.Identifier, version int64) []byte {
		t.Helper()
		out, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: id, Data: []byte("x")})
		if err != nil || out.Version != version || out.Family != one {
			t.Fatalf("an envelope by %+v: version %d of %s, %v; want version %d of %s", id, out.Version, out.Family, err, version, one)
		}
		return out.Data
	}
	open := func(c *core.Caller, id core.Identifier, data []byte) (operation.EnvelopeOutput, error) {
		return w.DecryptEnvelope(ctx, c, &operation.EnvelopeInput{ID: id, Data: data})
	}
	old := seal(family, 1)
	made, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(one)})
	if err != nil {
		t.Fatal(err)
	}
	two := made.ID
	young := seal(family, 2)
	seal(alias, 2)
	seal(core.ID(two), 2)
	seal(core.ID(one), 1) // KMIP names objects
	names := []core.Identifier{family, alias, core.ID(one), core.ID(two), {Text: one, Family: true, Version: 1}, {Text: two, Family: true}, {}}
	for _, id := range names {
		for want, data := range map[string][]byte{one: old, two: young} {
			if out, err := open(w.alice, id, data); err != nil || out.ID != want || string(out.Data) != "x" {
				t.Errorf("an envelope of %s, named as %+v: %+v, %v", want, id, out, err)
			}
		}
		out, err := w.Reencrypt(ctx, w.alice, &operation.ReencryptInput{ID: family, Source: id, Data: old})
		if err != nil || out.ID != two {
			t.Errorf("again from %+v: %+v, %v; want version 2", id, out, err)
		}
	}
	if out, err := w.GenerateDataKey(ctx, w.alice, &operation.DataKeyInput{ID: alias, Length: 32}); err != nil || out.ID != two {
		t.Errorf("a data key by the alias: %+v, %v; want version 2", out, err)
	}
	words := map[core.Identifier]string{}
	for _, id := range []core.Identifier{family, alias, {}} {
		_, err := open(w.eve, id, old)
		want := core.ItemNotFound
		if id == family {
			want = core.PermissionDenied
		}
		if core.CodeOf(err) != want {
			t.Fatalf("a stranger names %+v: %v; want %v", id, err, want)
		}
		words[id] = err.Error()
	}
	if err := w.step(w.alice, "cease", two); err != nil {
		t.Fatal(err)
	}
	seal(family, 1) // the newest that may protect
	if _, err := w.RemoveAlias(ctx, w.alice, &operation.AliasInput{Alias: "billing"}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(w.eve, alias, old); err == nil || err.Error() != words[alias] {
		t.Errorf("an alias that does not exist: %v; want %q, as of a key that is not seen", err, words[alias])
	}
	if _, err := open(w.out, core.Identifier{}, old); err == nil || err.Error() != words[core.Identifier{}] {
		t.Errorf("a family that does not exist in the tenant: %v; want %q, as of a key that is not seen", err, words[core.Identifier{}])
	}
}
