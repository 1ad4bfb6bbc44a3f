// Package families changes all versions of a key family together. It knows only the table of
// the objects; the rooms of the engine decide and store.
package families

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Change is an object and the successor that is to be stored in its place.
type Change struct{ Old, Next *core.ManagedObject }

// ChangeAll lists the changes of the versions whose attributes edit changes, and returns o as
// it is then. edit returns nil for a version that stays as it is. If there is a change, one of
// version 1 is among them, so that no version can be made meanwhile.
func ChangeAll(ctx context.Context, store core.ObjectTable, o *core.ManagedObject, edit func(*core.ManagedObject) (core.Attributes, error)) (changes []Change, after *core.ManagedObject, err error) {
	versions, err := Load(ctx, store, o)
	if err != nil {
		return nil, nil, err
	}
	var unchanged []Change // of version 1
	for i, version := range versions {
		as, err := edit(version)
		if err != nil {
			return nil, nil, err
		}
		next := version.Successor()
		if as != nil {
			next.Attributes = as
			changes = append(changes, Change{version, next})
		} else if i == 0 {
			unchanged = []Change{{version, next}}
		}
		if version.ID == o.ID {
			after = next
		}
	}
	if len(changes) > 0 {
		changes = append(changes, unchanged...)
	}
	return changes, after, nil
}

// AnyVersion reports whether is holds for a version of the family of o, as [Each] finds them.
func AnyVersion(ctx context.Context, store core.ObjectTable, o *core.ManagedObject, is func(*core.ManagedObject) bool) (found bool, err error) {
	err = Each(ctx, store, o, func(version *core.ManagedObject) error {
		found = found || is(version)
		return nil
	})
	return found, err
}

// Each calls do with each version of the family of o, version 1 first. The versions are read now.
// Those after version 1 are as a search finds them, without key material.
func Each(ctx context.Context, store core.ObjectTable, o *core.ManagedObject, do func(*core.ManagedObject) error) error {
	head, err := store.Object(ctx, o.Tenant, o.Family())
	if err == nil {
		err = do(head)
	}
	if err != nil {
		return err
	}
	return eachLater(ctx, store, head, do)
}

// Load reads all versions of the family of o. Version 1 is the first, and is read before the
// others are listed.
func Load(ctx context.Context, store core.ObjectTable, o *core.ManagedObject) ([]*core.ManagedObject, error) {
	head, err := store.Object(ctx, o.Tenant, o.Family())
	if err != nil {
		return nil, err
	}
	versions := []*core.ManagedObject{head}
	err = eachLater(ctx, store, head, func(found *core.ManagedObject) error {
		version, err := store.Object(ctx, o.Tenant, found.ID) // with its material
		versions = append(versions, version)
		return err
	})
	return versions, err
}

// eachLater calls do with the versions after the first one, as a search finds them.
func eachLater(ctx context.Context, store core.ObjectTable, head *core.ManagedObject, do func(*core.ManagedObject) error) error {
	f := core.Filter{WholeTenant: true, OldestFirst: true, Attributes: core.Attributes{core.FamilyAttribute.With(core.Text(head.ID))}}
	for beyond := int64(0); ; {
		page, err := store.Candidates(ctx, head.Tenant, f, beyond, core.CandidatePage)
		if err != nil {
			return err
		}
		for _, found := range page {
			if beyond = found.Seq; !f.Matches(found) {
				continue
			}
			if err := do(found); err != nil {
				return err
			}
		}
		if len(page) < core.CandidatePage {
			return nil
		}
	}
}
