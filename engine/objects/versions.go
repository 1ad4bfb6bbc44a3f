package objects

import (
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/families"
)

// versionChange is a change that ends versions of a key, or brings them back.
type versionChange struct {
	make   func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) // returns the successor of a version
	passes func(o *core.ManagedObject) bool                                          // whether a version is as it should be, and is passed over
	end    func(ch *core.Change, written []*core.ManagedObject) error                // is called with all successors; nil: not called
}

// changeVersions makes a change of the object that id names, and returns its successor and those of
// all versions that were changed. A reference to a key without a number names all its versions: the policy is
// asked about each, one refusal refuses them all, and they are stored in one commit. The newest is the
// target, and is stored in any case: a version that is made at this moment gets Conflict. If all are
// passed over, the newest is asked to change, which tells why it cannot.
func changeVersions(k *engine.Call, id core.Identifier, c versionChange) (target *core.ManagedObject, changed []*core.ManagedObject, err error) {
	target, err = k.Change(id, func(o *core.ManagedObject, ch *core.Change) (next *core.ManagedObject, err error) {
		others, err := otherVersions(k, id, o, c.passes)
		if err != nil {
			return nil, err
		}
		changed, k.Record.Detail = nil, ""
		for _, other := range others {
			version, err := engine.FindBeside(k, other)
			if err != nil {
				return nil, err
			}
			after, err := c.make(version, ch)
			if err != nil {
				return nil, err
			}
			engine.ChangeBeside(k, ch, version, after)
			changed = append(changed, after)
		}
		if len(others) > 0 && c.passes(o) {
			next = o.Successor()
		} else if next, err = c.make(o, ch); err != nil {
			return nil, err
		} else {
			changed = append(changed, next)
		}
		if len(others) > 0 {
			k.Record.Detail = strings.TrimSuffix(strconv.Itoa(len(changed))+" versions, "+k.Record.Detail, ", ")
		}
		if c.end != nil {
			err = c.end(ch, append(changed, next))
		}
		return next, err
	})
	return target, changed, err
}

// otherVersions lists the versions of the key of o, its newest version, that a change is made of
// beside it. There are none if id names one version.
func otherVersions(k *engine.Call, id core.Identifier, o *core.ManagedObject, passes func(*core.ManagedObject) bool) (others []string, err error) {
	if passes == nil || !namesAllVersions(id) || id.Alias == "" && id.Text != o.Family() {
		return nil, nil
	}
	err = families.Each(k.Ctx, k.Ports.Store, o, func(version *core.ManagedObject) error {
		if version.ID != o.ID && !passes(version) {
			others = append(others, version.ID)
		}
		return nil
	})
	return others, err
}

// namesAllVersions reports whether a reference can name all versions of a key. It names one if it is the
// identifier of a later version.
func namesAllVersions(id core.Identifier) bool { return id.Family && id.Version == 0 }
