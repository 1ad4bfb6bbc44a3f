package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// end does one operation that ends versions of a key, or brings them back.
func (n node) end(op string, c *core.Caller, id core.Identifier) error {
	in := &operation.LifeInput{ID: id}
	var err error
	switch op {
	case "disable":
		_, err = n.Disable(ctx, c, in)
	case "enable":
		_, err = n.Enable(ctx, c, in)
	case "archive":
		_, err = n.Archive(ctx, c, in)
	case "recover":
		_, err = n.Recover(ctx, c, in)
	case "restore":
		_, err = n.Restore(ctx, c, in)
	case "purge":
		_, err = n.PurgeDeleted(ctx, c, in)
	case "soft delete":
		_, err = n.SoftDelete(ctx, c, &operation.SoftDeleteInput{ID: id})
	case "destroy":
		_, err = n.Destroy(ctx, c, &operation.DestroyInput{ID: id})
	case "cease":
		_, err = n.Revoke(ctx, c, &operation.RevokeInput{ID: id, Code: core.RevocationReasonCodeCessationOfOperation})
	case "compromise":
		_, err = n.Revoke(ctx, c, &operation.RevokeInput{ID: id, Code: core.RevocationReasonCodeKeyCompromise})
	}
	return err
}

// standing tells what each version is, by its State and what is no State.
func (w *world) standing(ids []string) string {
	var all []string
	for _, id := range ids {
		o := w.object(id)
		s := o.StateAt(w.clock.Now()).String()
		for word, is := range map[string]bool{"disabled": o.Disabled(), "archived": o.Archived(), "deleted": rules.IsRestorable(o)} {
			if is {
				s = word // the tables below have one of them at a time
			}
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// What ends a key, or brings it back, is done with all its versions at once. Those that are so already, or
// that it cannot concern, are passed over. If that are all, the answer is that about the newest one.
func TestAllVersionsEnd(t *testing.T) {
	for _, c := range []struct {
		op     string
		before [3][]string // what was done with each version
		want   string
		code   core.Code // 0: it succeeds
	}{
		{"disable", [3][]string{{}, {"disable"}, {}}, "disabled, disabled, disabled", 0},
		{"disable", [3][]string{{}, {"cease", "destroy"}, {"disable"}}, "disabled, Destroyed, disabled", 0},
		{"disable", [3][]string{{"disable"}, {"disable"}, {"disable"}}, "disabled, disabled, disabled", core.WrongState},
		{"disable", [3][]string{{}, {"archive"}, {}}, "Active, archived, Active", core.ObjectArchived},
		{"enable", [3][]string{{"disable"}, {}, {"disable"}}, "Active, Active, Active", 0},
		{"enable", [3][]string{{}, {}, {}}, "Active, Active, Active", core.WrongState},
		{"archive", [3][]string{{}, {"archive"}, {}}, "archived, archived, archived", 0},
		{"archive", [3][]string{{}, {}, {"archive"}}, "archived, archived, archived", 0},
		{"archive", [3][]string{{"archive"}, {"archive"}, {"archive"}}, "archived, archived, archived", core.ObjectArchived},
		{"recover", [3][]string{{"archive"}, {}, {"archive"}}, "Active, Active, Active", 0},
		{"recover", [3][]string{{}, {}, {}}, "Active, Active, Active", 0},
		{"soft delete", [3][]string{{"soft delete"}, {"cease"}, {}}, "deleted, deleted, deleted", 0},
		{"soft delete", [3][]string{{"soft delete"}, {"cease", "destroy"}, {"soft delete"}}, "deleted, Destroyed, deleted", core.ObjectDestroyed},
		{"restore", [3][]string{{"soft delete"}, {"soft delete", "purge"}, {"cease", "soft delete"}}, "Active, Destroyed, Deactivated", 0},
		{"restore", [3][]string{{"soft delete"}, {}, {}}, "Active, Active, Active", 0},
		{"restore", [3][]string{{}, {}, {}}, "Active, Active, Active", core.WrongState},
		{"purge", [3][]string{{"soft delete"}, {}, {"soft delete"}}, "Destroyed, Active, Destroyed", 0},
		{"purge", [3][]string{{}, {}, {}}, "Active, Active, Active", core.WrongState},
		{"destroy", [3][]string{{"cease"}, {"cease", "destroy"}, {"cease"}}, "Destroyed, Destroyed, Destroyed", 0},
		{"destroy", [3][]string{{}, {"cease"}, {"cease"}}, "Active, Deactivated, Deactivated", core.WrongState},
		{"cease", [3][]string{{}, {"cease"}, {"compromise"}}, "Deactivated, Deactivated, Compromised", 0},
		{"cease", [3][]string{{"cease"}, {"cease"}, {"cease"}}, "Deactivated, Deactivated, Deactivated", core.WrongState},
		{"compromise", [3][]string{{"cease"}, {"cease", "destroy"}, {}}, "Compromised, Destroyed Compromised, Compromised", 0},
	} {
		w := newWorld(t)
		ids := w.versions(3)
		for i, steps := range c.before {
			for _, step := range steps {
				if err := w.step(w.alice, step, ids[i]); err != nil {
					t.Fatalf("%s of version %d: %v", step, i+1, err)
				}
			}
		}
		j := &keptRecords{}
		w.Ports.Journal = j
		w.serve(newNode(engine.New(w.Ports, w.Settings)))
		before := w.standing(ids)
		err := w.end(c.op, w.alice, core.Identifier{Text: ids[0], Family: true})
		if got := w.standing(ids); (err == nil) != (c.code == 0) || err != nil && core.CodeOf(err) != c.code || got != c.want {
			t.Errorf("%s of versions that are %s: %v, and they are %s; want code %v and %s", c.op, before, err, got, c.code, c.want)
		}
		if len(j.all) != 1 || j.last().Object != ids[2] {
			t.Errorf("%s of versions that are %s left %d records; want one, about the newest", c.op, before, len(j.all))
		}
		for i, id := range ids {
			changed := slices.ContainsFunc(j.last().Involved, func(o core.InvolvedObject) bool { return o.ID == id && o.Role == core.RoleChanged })
			if i < 2 && err == nil && changed != (strings.Split(before, ", ")[i] != strings.Split(c.want, ", ")[i]) {
				t.Errorf("%s of versions that are %s: the record says changed %v of version %d: %+v", c.op, before, changed, i+1, j.last())
			}
		}
	}
}

// versions makes a key of alice's with n versions, all of them Active.
func (w *world) versions(n int) []string {
	w.t.Helper()
	ids := []string{w.aesKey(core.TagActivationDate, core.Date(1))}
	for len(ids) < n {
		ids = append(ids, w.rekey(ids[0]))
	}
	return ids
}

// A number, or the identifier of a later version, names one version. KMIP's identifiers do always.
func TestOneVersionEnds(t *testing.T) {
	for _, c := range []struct {
		name    func(ids []string) core.Identifier
		changed int
	}{
		{func(ids []string) core.Identifier { return core.Identifier{Text: ids[0], Family: true, Version: 1} }, 0},
		{func(ids []string) core.Identifier { return core.Identifier{Text: ids[0], Family: true, Version: 3} }, 2},
		{func(ids []string) core.Identifier { return core.Identifier{Alias: "app", Family: true, Version: 2} }, 1},
		{func(ids []string) core.Identifier { return core.Identifier{Text: ids[1], Family: true} }, 1},
		{func(ids []string) core.Identifier { return core.ID(ids[0]) }, 0},
		{func(ids []string) core.Identifier { return core.ID(ids[2]) }, 2},
	} {
		for _, op := range []string{"disable", "soft delete", "cease", "compromise", "archive"} {
			w := newWorld(t)
			ids := w.versions(3)
			w.setAlias("app", ids[0])
			id := c.name(ids)
			if err := w.end(op, w.alice, id); err != nil {
				t.Fatalf("%s of %+v: %v", op, id, err)
			}
			for i, standing := range strings.Split(w.standing(ids), ", ") {
				if (standing != "Active") != (i == c.changed) {
					t.Errorf("%s of %+v: version %d is %s; want a change of version %d alone", op, id, i+1, standing, c.changed+1)
				}
			}
		}
	}
}

// One version that the policy keeps, or that waits for its activation, refuses the request for all. A
// key that the caller may not see is answered as absent.
func TestOneVersionRefusesForAll(t *testing.T) {
	w := newWorld(t)
	ids := w.versions(3)
	w.setAlias("app", ids[0])
	for i, id := range ids {
		w.Ports.Policy = chosen{denies: map[string]bool{"Disable " + id: true}}
		w.serve(newNode(engine.New(w.Ports, w.Settings)))
		if err := w.end("disable", w.alice, core.Identifier{Alias: "app", Family: true}); core.CodeOf(err) != core.PermissionDenied || w.standing(ids) != "Active, Active, Active" {
			t.Errorf("with a denial for version %d: %v, and the versions are %s", i+1, err, w.standing(ids))
		}
	}
	w.Ports.Policy = chosen{denies: map[string]bool{"Disable " + ids[2]: true, "Get Attributes " + ids[2]: true}}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	if err := w.end("disable", w.alice, core.Identifier{Alias: "app", Family: true}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a key that alice may not see: %v; want Item Not Found", err)
	}
	w = newWorld(t)
	ids = w.versions(2)
	later := int64(3600)
	out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(ids[1]), Offset: &later})
	if err != nil {
		t.Fatal(err)
	}
	ids = append(ids, out.ID)
	if err := w.end("cease", w.alice, core.Identifier{Text: ids[0], Family: true}); core.CodeOf(err) != core.WrongState || w.standing(ids) != "Active, Active, Pre-Active" && w.standing(ids) != "Active, Active, PreActive" {
		t.Errorf("with a version that becomes Active later: %v, and the versions are %s", err, w.standing(ids))
	}
}

// The aliases of a key end with all its versions, and the token objects of resident versions are removed after the commit.
func TestAllVersionsAreErased(t *testing.T) {
	for _, steps := range [][]string{{"soft delete", "purge"}, {"compromise", "destroy"}} {
		w := newWorld(t)
		ids := []string{w.resident().ID}
		for range 2 {
			ids = append(ids, w.rekey(ids[0]))
		}
		w.setAlias("app", ids[0])
		if len(w.hsm.tokens) != 3 {
			t.Fatalf("the token has %d objects, want 3", len(w.hsm.tokens))
		}
		for _, step := range steps {
			if err := w.end(step, w.alice, core.Identifier{Alias: "app", Family: true}); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		if holder := w.aliasHolder("app"); holder != "" || len(w.hsm.tokens) != 0 {
			t.Errorf("after %v the alias is that of %q, and the token has %d objects", steps, holder, len(w.hsm.tokens))
		}
	}
	w := newWorld(t)
	ids := w.versions(3)
	w.setAlias("app", ids[0])
	for _, step := range []string{"soft delete", "purge"} {
		if err := w.end(step, w.alice, core.Identifier{Text: ids[0], Family: true, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end("soft delete", w.alice, core.Identifier{Text: ids[0], Family: true, Version: 2}); err != nil {
		t.Fatal(err)
	}
	if err := w.end("purge", w.alice, core.Identifier{Text: ids[0], Family: true}); err != nil || w.aliasHolder("app") != ids[2] {
		t.Errorf("a purge that leaves the newest version: %v, and the alias is that of %q", err, w.aliasHolder("app"))
	}
}

// On both databases and two nodes: a version that is made while all versions are disabled is disabled too, or
// is not made.
func TestNoVersionEscapes(t *testing.T) {
	onStores(t, func(t *testing.T, w *world, nodes []node) {
		for range 5 {
			ids := w.versions(2)
			var disabled error
			made := ""
			coretest.AtOnce(2, func(i int) {
				if i == 0 {
					disabled = nodes[0].end("disable", w.alice, core.Identifier{Text: ids[0], Family: true})
				} else if out, err := nodes[len(nodes)-1].ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(ids[1])}); err == nil {
					made = out.ID
				}
			})
			if disabled != nil {
				t.Errorf("disable: %v", disabled)
			}
			if made != "" {
				ids = append(ids, made)
			}
			for _, id := range ids {
				if o, err := w.Ports.Store.Object(ctx, "default", id); err != nil || !o.Disabled() {
					t.Errorf("of %v version %s is not disabled: %v", ids, id, err)
				}
			}
		}
	})
}
