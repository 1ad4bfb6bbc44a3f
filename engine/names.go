package engine

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Where the operator wants Names to be unique in a tenant, a change claims
// those that it gives. Whether they are free is looked at right before the
// change is stored, and who wants the same Name waits for that long.

// naming has the locks that Names are claimed under, by a hash of the Name.
type naming struct {
	seed  maphash.Seed
	locks *[64]sync.Mutex
}

func newNaming() naming { return naming{maphash.MakeSeed(), new([64]sync.Mutex)} }

// ClaimNames notes the Names among attributes, where they have to be unique.
func (k *Call) ClaimNames(as core.Attributes) {
	if !k.Settings.Defaults.UniqueNames {
		return
	}
	for _, a := range as.All(core.AttributeName{Tag: core.TagName}) {
		k.claims = append(k.claims, core.NameOf(a.Value).Text)
	}
}

// holdClaims refuses a change whose Names another object has. release must be
// called when the change is stored or given up.
func (k *Call) holdClaims(ch *core.Change) (release func(), err error) {
	if len(k.claims) == 0 {
		return func() {}, nil
	}
	release = k.Engine.naming.lockNames(k.Caller.Principal.Tenant, k.claims)
	for _, name := range k.claims {
		if err := k.requireFreeName(name, ch); err != nil {
			return release, err
		}
	}
	return release, nil
}

// lockNames takes the locks in one order, so that nobody waits for ever.
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

// requireFreeName looks whether an object that is no part of the change has a Name; one
// that is destroyed has given its Names up.
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
