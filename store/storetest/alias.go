package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// aliased returns an object with aliases.
func aliased(tenant, id string, aliases ...string) *core.ManagedObject {
	o := Object(tenant, id)
	for _, a := range aliases {
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: core.AliasAttribute.Vendor, Name: core.AliasAttribute.Name, Value: core.Text(a)})
	}
	return o
}

// realias returns the successor of an object, with other aliases.
func realias(o *core.ManagedObject, aliases ...string) core.UpdateObject {
	next := *o
	next.Version++
	next.Attributes = aliased(o.Tenant, o.ID, aliases...).Attributes
	return core.UpdateObject{Object: &next}
}

// holders lists the objects that have an alias, as a search finds them.
func holders(t *testing.T, s core.Store, tenant, alias string) (ids []string) {
	t.Helper()
	f := core.Filter{WholeTenant: true, Attributes: aliased(tenant, "", alias).Attributes.All(core.AliasAttribute)}
	found, err := s.Candidates(ctx, tenant, f, 0, core.CandidatePage)
	mustSucceed(t, err)
	for _, o := range found {
		if f.Matches(o) {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// An alias belongs to one object of its tenant. It is free again when no object has it, and
// moves within a change, in whatever order the change is written.
func aliases(t *testing.T, s core.Store) {
	a, b, foreign := aliased("t", "a", "one", "two"), aliased("t", "b", "three"), aliased("u", "a", "one")
	insert(t, s, a, b, foreign)
	wantCode(t, "a new object with an alias that is taken", s.Commit(ctx, insertions(aliased("t", "c", "new", "one"))), core.ObjectAlreadyExists)
	wantCode(t, "an alias that is taken", s.Commit(ctx, core.ChangeOf(realias(b, "three", "two"))), core.ObjectAlreadyExists)
	wantCode(t, "two in one change", s.Commit(ctx, insertions(aliased("t", "c", "new"), aliased("t", "d", "new"))), core.ObjectAlreadyExists)
	if got := holders(t, s, "t", "new"); len(got) != 0 {
		t.Errorf("refused changes left the alias to %v", got)
	}
	for i, order := range []bool{true, false} {
		from, to := a, b
		if i == 1 {
			from, to = b, a
		}
		left, gained := realias(from), realias(to, "one")
		writes := []core.Write{left, gained}
		if order {
			slices.Reverse(writes)
		}
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(writes...)))
		if got := holders(t, s, "t", "one"); !slices.Equal(got, []string{to.ID}) {
			t.Errorf("after the alias moved to %s it belongs to %v", to.ID, got)
		}
		if i == 0 {
			a, b = left.Object, gained.Object
		} else {
			b, a = left.Object, gained.Object
		}
	}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: a}, core.InsertObject{Object: aliased("t", "e", "one")})))
	if got := holders(t, s, "t", "one"); !slices.Equal(got, []string{"e"}) {
		t.Errorf("after its object was deleted, the alias belongs to %v", got)
	}
	if got := holders(t, s, "u", "one"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the alias of another tenant belongs to %v", got)
	}
}

// Of many that take an alias at once, one gets it, and the changes that share its transaction
// are not harmed.
func aliasRaces(t *testing.T, s core.Store) {
	const times = 16
	errs := make([]error, times)
	var all sync.WaitGroup
	for i := range times {
		all.Go(func() {
			errs[i] = s.Commit(ctx, insertions(aliased("races", fmt.Sprint("taker-", i), "one", fmt.Sprint("own-", i))))
		})
		all.Go(func() {
			if err := s.Commit(ctx, insertions(aliased("races", fmt.Sprint("bystander-", i), fmt.Sprint("other-", i)))); err != nil {
				t.Errorf("a change that takes another alias: %v", err)
			}
		})
	}
	all.Wait()
	won := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return core.CodeOf(err) == core.ObjectAlreadyExists })
	if got := holders(t, s, "races", "one"); len(got) != 1 || len(won) != 1 || won[0] != nil {
		t.Errorf("the alias belongs to %v; the errors are %v", got, errs)
	}
}
