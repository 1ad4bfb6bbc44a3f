package objects

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
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

// addVersion makes fresh version n of the family, and its newest one. next is the successor
// of o, which fresh replaces.
func (f *family) addVersion(k *engine.Call, ch *core.Change, o, next, fresh *core.ManagedObject, n int64) {
	fresh.Attributes = setVendor(fresh.Attributes, core.FamilyAttribute, core.Text(f.head.ID))
	fresh.Attributes = setVendor(fresh.Attributes, core.VersionAttribute, core.Int(int32(n)))
	if f.head.ID == o.ID {
		next.Attributes = setVendor(next.Attributes, core.NewestAttribute, core.Text(fresh.ID))
		return
	}
	head := f.head.Successor()
	head.Attributes = setVendor(head.Attributes, core.NewestAttribute, core.Text(fresh.ID))
	engine.ChangeBeside(k, ch, f.head, head)
}

// setVendor replaces all values of a vendor attribute by one.
func setVendor(as core.Attributes, n core.AttributeName, v core.Value) core.Attributes {
	return as.Without(n).Add(core.Attribute{Vendor: n.Vendor, Name: n.Name, Value: v})
}
