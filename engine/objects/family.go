package objects

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/families"
)

// family is the key family of an object that is to be replaced.
type family struct{ head, newest *core.ManagedObject }

// findFamily loads version 1 and the newest version of the family of o.
func findFamily(k *engine.Call, o *core.ManagedObject) (f family, err error) {
	known := func(id string) (*core.ManagedObject, error) {
		for _, have := range []*core.ManagedObject{o, f.head} {
			if have != nil && have.ID == id {
				return have, nil
			}
		}
		return k.LoadObject(id)
	}
	if f.head, err = known(o.Family()); err == nil {
		f.newest, err = known(f.head.NewestVersion())
	}
	return f, err
}

// nextVersion returns the number of the next version.
func (f *family) nextVersion() (int64, error) {
	n := f.newest.FamilyVersion() + 1
	if n > rules.MaxFamilyVersions {
		return 0, core.Errorf(core.QuotaExceeded, "the family of key %s has %d versions, which is the limit; make a new key", f.head.ID, rules.MaxFamilyVersions)
	}
	return n, nil
}

// requireMayMove refuses a new version of o with the given attributes if o is not the newest
// version and the newest one forbids it: because it is archived or disabled, is kept more
// strictly, would escape a key policy when it loses its aliases, or the new one would gain
// something by them. Of o, which is replaced, this is looked at with its other attributes.
func (f *family) requireMayMove(k *engine.Call, o *core.ManagedObject, given core.Attributes) error {
	if f.newest.ID == o.ID {
		return nil
	}
	if err := engine.RequireAvailable(k.Action, f.newest); err != nil {
		return err
	}
	if err := checkNewCustody(k, f.newest, given); err != nil {
		return core.Errorf(core.CodeOf(err), "%s; or replace the newest version", core.DetailOf(err))
	}
	if f.newest.Attributes.Find(core.AliasAttribute) < 0 {
		return nil
	}
	bare, named := f.newest.Successor(), o.Successor()
	bare.Attributes = f.newest.Attributes.Without(core.AliasAttribute)
	named.Attributes = slices.Concat(o.Attributes, f.newest.Attributes.All(core.AliasAttribute))
	if err := engine.RequireMayRelabel(k, f.newest, bare); err != nil {
		return err
	}
	return engine.RequireMayRelabel(k, o, named)
}

// addVersion makes fresh version n of the family, and its newest one, which has the aliases.
// next is the successor of o, which fresh replaces. The newest version until now is stored too,
// also if nothing in it changes: what is done with it at this moment gets Conflict.
func (f *family) addVersion(k *engine.Call, ch *core.Change, o, next, fresh *core.ManagedObject, n int64) error {
	fresh.Attributes = setVendor(fresh.Attributes, core.FamilyAttribute, core.Text(f.head.ID))
	fresh.Attributes = setVendor(fresh.Attributes, core.VersionAttribute, core.Int(int32(n)))
	fresh.Attributes = append(fresh.Attributes, f.newest.Attributes.All(core.AliasAttribute)...)
	if err := passRotation(k, f.newest, fresh); err != nil {
		return err
	}
	changed := map[string]*core.ManagedObject{o.ID: next}
	successor := func(old *core.ManagedObject) *core.ManagedObject {
		if changed[old.ID] == nil {
			changed[old.ID] = old.Successor()
		}
		return changed[old.ID]
	}
	head := successor(f.head)
	head.Attributes = setVendor(head.Attributes, core.NewestAttribute, core.Text(fresh.ID))
	newest := successor(f.newest)
	newest.Attributes = withoutRotation(newest.Attributes).Without(core.AliasAttribute)
	if head != next {
		engine.ChangeBeside(k, ch, f.head, head)
	}
	if newest != next && newest != head {
		engine.ChangeBeside(k, ch, f.newest, newest)
	}
	return nil
}

// setVendor replaces all values of a vendor attribute by one.
func setVendor(as core.Attributes, n core.AttributeName, v core.Value) core.Attributes {
	return as.Without(n).Add(n.With(v))
}

// freeAliases takes the aliases from a family whose last version is destroyed. changed are the
// successors of the versions that a change destroys, and of others that it writes. While a version
// lives or can be restored, the newest one keeps the aliases, also if it is destroyed. It is read before the
// others, and stored: of two versions that are destroyed at once, one must see the other.
func freeAliases(k *engine.Call, ch *core.Change, changed ...*core.ManagedObject) error {
	store, o := k.Ports.Store, changed[0]
	if o.Family() == o.ID && o.NewestVersion() == o.ID { // of one version
		o.Attributes = o.Attributes.Without(core.AliasAttribute)
		return nil
	}
	head, err := store.Object(k.Ctx, o.Tenant, o.Family())
	if err != nil {
		return err
	}
	newest, err := store.Object(k.Ctx, o.Tenant, head.NewestVersion())
	if err != nil || newest.Attributes.Find(core.AliasAttribute) < 0 {
		return err
	}
	successors := make(map[string]*core.ManagedObject, len(changed))
	for _, next := range changed {
		successors[next.ID] = next
	}
	left, err := families.AnyVersion(k.Ctx, store, newest, func(v *core.ManagedObject) bool {
		if next := successors[v.ID]; next != nil {
			v = next
		}
		return !v.StateAt(k.Now).Gone() || rules.IsRestorable(v)
	})
	if err != nil {
		return err
	}
	next, written := successors[newest.ID], true
	if next == nil {
		next, written = newest.Successor(), false
	}
	if !left {
		next.Attributes = next.Attributes.Without(core.AliasAttribute)
	}
	if !written {
		engine.ChangeBeside(k, ch, newest, next)
	}
	return nil
}
