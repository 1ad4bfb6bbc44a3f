package engine

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// If the operator wants unique Names in a tenant, a change claims the Names that it
// gives. They are checked right before the change is stored. Other changes that give
// the same Name wait until then.

// naming has the locks for claimed Names, by a hash of the Name.
type naming struct {
	seed  maphash.Seed
	locks *[64]sync.Mutex
}

func newNaming() naming { return naming{maphash.MakeSeed(), new([64]sync.Mutex)} }

// ClaimNames notes the Names among attributes, if Names must be unique.
func (k *Call) ClaimNames(as core.Attributes) {
	if !k.Settings.Defaults.UniqueNames {
		return
	}
	for _, a := range as.All(core.AttributeName{Tag: core.TagName}) {
		k.claimedNames = append(k.claimedNames, core.NameOf(a.Value).Text)
	}
}

// holdClaims fails with NonUniqueNameAttribute if another object has a Name of the
// change. The caller must call release when the change is stored or abandoned.
func (k *Call) holdClaims(ch *core.Change) (release func(), err error) {
	if len(k.claimedNames) == 0 {
		return func() {}, nil
	}
	release = k.Engine.naming.lockNames(k.Caller.Principal.Tenant, k.claimedNames)
	for _, name := range k.claimedNames {
		if err := k.requireFreeName(name, ch); err != nil {
			return release, err
		}
	}
	return release, nil
}

// lockNames takes the locks always in the same order, so that there is no deadlock.
func (n *naming) lockNames(tenant string, names []string) (release func()) {
	var places []int
	for _, name := range names {
		places = append(places, int(maphash.String(n.seed, tenant+"\x00"+name)%uint64(len(n.locks))))
	}
	slices.Sort(places)
	places = slices.Compact(places)
	for _, p := range places {
		n.locks[p].Lock()
	}
	return func() {
		for _, p := range places {
			n.locks[p].Unlock()
		}
	}
}

// requireFreeName fails if an object that is not part of the change has a Name. A
// destroyed object does not count.
func (k *Call) requireFreeName(name string, ch *core.Change) error {
	f := core.Filter{Now: k.Now, WholeTenant: true, OldestFirst: true, Attributes: core.Attributes{
		{Tag: core.TagName, Value: core.Name{Text: name}.Value()}}}
	changed := ch.Stored()
	ours := func(o *core.ManagedObject) bool {
		return slices.ContainsFunc(changed, func(c *core.ManagedObject) bool { return c.ID == o.ID })
	}
	for after := int64(0); ; {
		found, err := k.Ports.Store.Candidates(k.Ctx, k.Caller.Principal.Tenant, f, after, core.CandidatePage)
		if err != nil {
			return err
		}
		for _, o := range found {
			if !ours(o) && f.Matches(o) && !o.StateAt(k.Now).Gone() {
				return core.Errorf(core.NonUniqueNameAttribute, "another object has the Name %s", core.ClientText(name))
			}
		}
		if len(found) < core.CandidatePage {
			return nil
		}
		after = found[len(found)-1].Seq
	}
}
