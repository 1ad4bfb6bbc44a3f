package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// statesOf lists the states of all versions of the policy p, newest first.
func statesOf(t *testing.T, w *world, v *admin.Verbs) string {
	t.Helper()
	all, err := v.PolicyHistory(ctx, w.alice, "", "p", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, one := range all {
		out = append(out, fmt.Sprintf("%d %s", one.Version, one.State))
	}
	return strings.Join(out, ", ")
}

// savePolicy stores a version of the policy p, which has no targets.
func savePolicy(w *world, v *admin.Verbs, document string, at int64) error {
	_, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: []byte(document), ActivateAt: at})
	return err
}

// A version that waits comes into force at its time without a write. Each newer version
// replaces it, and withdrawing it stores the version that is in force again.
func TestStatesOfVersions(t *testing.T) {
	w := newWorld(t)
	v, _ := administered(t, w, 0)
	step := func(what, want string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := statesOf(t, w, v); got != want {
			t.Errorf("%s: the versions are %s; want %s", what, got, want)
		}
	}
	step("a first version", "1 active", savePolicy(w, v, `{"n":1}`, 0))
	step("one that waits", "2 waiting, 1 active", savePolicy(w, v, `{"n":2}`, w.clock.now+10))
	step("another in its place", "3 waiting, 2 replaced, 1 active", savePolicy(w, v, `{"n":3}`, w.clock.now+20))
	w.clock.now += 20
	step("its time", "3 active, 2 replaced, 1 replaced", nil)
	step("one more that waits", "4 waiting, 3 active, 2 replaced, 1 replaced", savePolicy(w, v, `{"n":4}`, w.clock.now+10))
	_, err := v.WithdrawPolicy(ctx, w.alice, admin.Removal{Name: "p"})
	step("withdrawn", "5 active, 4 replaced, 3 replaced, 2 replaced, 1 replaced", err)
	if one, err := v.ReadPolicy(ctx, w.alice, "", "p"); err != nil || string(one.Document) != `{"n":3}` {
		t.Errorf("after the withdrawal the document is %s, %v; want that of version 3", one.Document, err)
	}
	if one, err := v.ReadPolicyVersion(ctx, w.alice, "", "p", 4); err != nil || string(one.Document) != `{"n":4}` || one.ActivateAt != w.clock.now+10 {
		t.Errorf("version 4 is %s from %d, %v; want its own document and time", one.Document, one.ActivateAt, err)
	}
	if err := savePolicy(w, v, `{"n":6}`, w.clock.now+10); err != nil {
		t.Fatal(err)
	}
	if _, err := v.RollBackPolicy(ctx, w.alice, admin.RollBackInput{Name: "p", To: 4}); err != nil {
		t.Fatal(err)
	}
	w.clock.now += 100
	if one, err := v.ReadPolicy(ctx, w.alice, "", "p"); err != nil || one.Version != 7 || string(one.Document) != `{"n":4}` || one.State != admin.PolicyActive {
		t.Errorf("after a rollback and the time of version 6, %s@%d is %s, %v; want version 7 in force", one.Document, one.Version, one.State, err)
	}
}

// A time that is not in the future or too far, a withdrawal where nothing waits, a first
// version that waits, and a body that is too long are refused, and nothing is stored.
func TestWaitingVersionsAreRefused(t *testing.T) {
	w := newWorld(t)
	v, d := administered(t, w, 0)
	withdraw := func() error {
		_, err := v.WithdrawPolicy(ctx, w.alice, admin.Removal{Name: "p"})
		return err
	}
	refused := func(what string, want core.Code, do func() error) {
		t.Helper()
		before := d.NextVersion(core.EntryPolicy, "default", "p")
		if err := do(); core.CodeOf(err) != want {
			t.Errorf("%s: %v; want %v", what, err, want)
		}
		if after := d.NextVersion(core.EntryPolicy, "default", "p"); after != before {
			t.Errorf("%s: version %d was stored", what, after-1)
		}
	}
	refused("a withdrawal without a policy", core.ItemNotFound, withdraw)
	for _, at := range []int64{w.clock.now, w.clock.now - 1, -1, 1, w.clock.now + 366*24*3600 + 1, 1<<63 - 1} {
		refused(fmt.Sprint("the time ", at), core.InvalidField, func() error { return savePolicy(w, v, "{}", at) })
	}
	if err := savePolicy(w, v, "{}", w.clock.now+10); err != nil {
		t.Fatal(err)
	}
	refused("a withdrawal of the first version", core.Conflict, withdraw)
	w.clock.now += 10
	refused("a withdrawal of a version in force", core.Conflict, withdraw)
	large := `{"n":"` + strings.Repeat("x", core.MaxDirectoryBody*2/3) + `"}`
	if err := savePolicy(w, v, large, 0); err != nil {
		t.Fatal(err)
	}
	refused("two documents that are too long together", core.InvalidField, func() error { return savePolicy(w, v, large, w.clock.now+10) })
	refused("a withdrawal by someone who may not save", core.PermissionDenied, func() error {
		w.Ports.Policy = refusing{action: core.ActionSavePolicy}
		return withdraw()
	})
}

// Administrators who store versions at once, some of them waiting, lose none that came into
// force: the version that waits names as its predecessor the newest one that was in force.
func TestNoVersionInForceIsLost(t *testing.T) {
	w := newWorld(t)
	v, d := administered(t, w, 0)
	for round := range 100 {
		errs := make([]error, 6)
		coretest.AtOnce(len(errs), func(i int) {
			errs[i] = savePolicy(w, v, fmt.Sprintf(`{"round":%d,"i":%d}`, round, i), int64(i%2)*(w.clock.now+50))
		})
		if !slices.Contains(errs, nil) {
			t.Fatalf("nobody could store a version: %v", errs)
		}
		inForce, err := d.PolicyInForce("default", "p", w.clock.now)
		if err != nil {
			t.Fatal(err)
		}
		all, err := v.PolicyHistory(ctx, w.alice, "", "p", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one.ActivateAt == 0 {
				if one.Version != inForce {
					t.Fatalf("version %d is in force, and version %d was stored to be in force", inForce, one.Version)
				}
				break
			}
		}
	}
}
