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
	versions, err := load(ctx, store, o)
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

// load reads all versions of the family of o. Version 1 is the first, and is read before the
// others are listed.
func load(ctx context.Context, store core.ObjectTable, o *core.ManagedObject) ([]*core.ManagedObject, error) {
	head, err := store.Object(ctx, o.Tenant, o.Family())
	if err != nil {
		return nil, err
	}
	versions := []*core.ManagedObject{head}
	f := core.Filter{WholeTenant: true, OldestFirst: true, Attributes: core.Attributes{core.FamilyAttribute.With(core.Text(head.ID))}}
	for beyond := int64(0); ; {
		page, err := store.Candidates(ctx, o.Tenant, f, beyond, core.CandidatePage)
		if err != nil {
			return nil, err
		}
		for _, found := range page {
			if beyond = found.Seq; !f.Matches(found) {
				continue
			}
			version, err := store.Object(ctx, o.Tenant, found.ID) // with its material
			if err != nil {
				return nil, err
			}
			versions = append(versions, version)
		}
		if len(page) < core.CandidatePage {
			return versions, nil
		}
	}
}
