package engine

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of starting a change over after somebody else changed the object
// first: many may want to change one object at once, here or on other nodes.
const (
	maxChangeTries = 200
	changePause    = 4 * time.Millisecond // at most, before all but the first tries
)

// startOver reports whether a change that failed should start over, and gives those
// who are at it a moment.
func startOver(err error, try int) bool {
	if core.CodeOf(err) != core.Conflict || try >= maxChangeTries {
		return false
	}
	if try > 2 {
		time.Sleep(rand.N(changePause))
	}
	return true
}

// decide asks the policy for an action on o; nil means no object.
func (k *call) decide(action core.Action, o *core.ManagedObject) (core.Decision, error) {
	k.access = core.AccessRequest{Action: action, Principal: k.caller.Principal, Object: o, Door: k.caller.Door, Address: k.record.Address, Now: k.now}
	if o != nil {
		k.access.State = o.StateAt(k.now)
	}
	d, err := k.ports.Policy.Decide(k.ctx, &k.access)
	k.record.PolicyHash = d.PolicyHash
	for _, r := range d.Reasons { // of several decisions, each reason once
		if !slices.Contains(k.record.Reasons, r) {
			k.record.Reasons = append(k.record.Reasons, r)
		}
	}
	if err != nil {
		return core.Decision{}, undecided(err)
	}
	if !d.Allow {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "the policy does not allow %s to %s", action, k.caller.Principal.ID)
	}
	return d, nil
}

// undecided is the answer where the policy has failed.
func undecided(err error) error {
	return core.Wrap(core.PolicyUnavailable, err, "the policy could not decide, so the answer is no; see the policy's health")
}

// load reads an object of the caller's tenant, from the cache where it may.
func (k *call) load(id string) (*core.ManagedObject, error) {
	tenant := k.caller.Principal.Tenant
	o, gen := k.engine.objects.get(tenant, id, k.leaseTime())
	if o != nil {
		return o, nil
	}
	read := k.leaseTime()
	o, err := k.ports.Store.Object(k.ctx, tenant, id)
	if err != nil {
		return nil, notFound(err, id)
	}
	k.engine.objects.fill(o, gen, read)
	return o, nil
}

// leaseTime is the time that leases of snapshots are reckoned in: not the wall
// clock's, which may be set back and would make them longer.
func (k *call) leaseTime() int64 {
	if k.engine.objects.lease == 0 {
		return 0
	}
	return k.ports.Clock.Mono()
}

func notFound(err error, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "no object has the Unique Identifier %s", printable(id))
	}
	return err
}

// maxShown bounds what a message shows of a text that a client sent, in bytes.
const maxShown = 67

// printable makes a text that a client sent fit for a message.
func printable(s string) string { return core.Printable(s, maxShown) }

// object finds the object that a request names and asks the policy whether the
// operation may touch it.
func (k *call) object(id core.Identifier) (*core.ManagedObject, error) {
	if id.Text == "" {
		return nil, core.Errorf(core.ItemNotFound, "%s names no Unique Identifier and the ID Placeholder is empty", k.action)
	}
	k.record.Object = printable(id.Text)
	o, err := k.load(id.Text)
	if err != nil {
		return nil, err
	}
	if _, err := k.decide(k.action, o); err != nil {
		return nil, err
	}
	k.grant(core.RoleTarget, k.action, o.ID, nil)
	return o, nil
}

// slowMicro is how long, in microseconds, an operation may rely on what it
// decided at its beginning: with the lease of a snapshot it makes the second
// after which a revoked key is used no more (promise 5).
const slowMicro = 1_000_000 - core.SnapshotLeaseMS*1000

// grant is a decision that an operation relies on until it is answered.
type grant struct {
	action core.Action
	id     string
	role   core.ObjectRole
	check  func(o *core.ManagedObject, now int64) error // what state and dates must allow; nil: any
}

func (k *call) grant(role core.ObjectRole, action core.Action, id string, check func(*core.ManagedObject, int64) error) {
	k.grants = append(k.grants, grant{action, id, role, check})
}

// needs adds to the grant of the target what the object's state and dates must
// allow, and checks it now.
func (k *call) needs(o *core.ManagedObject, check func(*core.ManagedObject, int64) error) error {
	for i := range k.grants {
		if g := &k.grants[i]; g.role == core.RoleTarget && g.id == o.ID {
			g.check = check
		}
	}
	return check(o, k.now)
}

// protects, exists and Engine.mayProcess are the checks of grants.
func protects(o *core.ManagedObject, now int64) error { return o.CheckUse(true, now) }

// mayProcess is the check of decrypting, verifying and unwrapping. The standard
// lets Deactivated and Compromised keys process (KMIP 1.4 §3.22); settings
// forbid it, for the server or for one tenant.
func (e *Engine) mayProcess(o *core.ManagedObject, now int64) error {
	revoked, own := e.settings.Defaults.RevokedKeysOf[o.Tenant]
	if !own {
		revoked = e.settings.Defaults.RevokedKeys
	}
	switch s := o.StateAt(now); {
	case s == core.Deactivated && revoked.DeactivatedRefused:
		return core.Errorf(core.WrongState, "object %s is Deactivated, and this server does not let such keys decrypt, verify or unwrap (deactivated_may_process)", o.ID)
	case s == core.Compromised && revoked.CompromisedRefused:
		return core.Errorf(core.WrongState, "object %s is Compromised, and this server does not let such keys decrypt, verify or unwrap (compromised_may_process)", o.ID)
	}
	return o.CheckUse(false, now)
}

func exists(o *core.ManagedObject, now int64) error {
	if o.StateAt(now).Gone() {
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed; its attributes are still there", o.ID)
	}
	return nil
}

// stillGranted asks again, of the store and of the policy, when an operation took
// so long that the key may have been revoked, or forbidden, while it waited for
// the HSM. What has not left yet then does not.
func (k *call) stillGranted() error {
	if k.ports.Clock.Mono()-k.start < slowMicro {
		return nil
	}
	k.now = k.ports.Clock.Now()
	for _, g := range k.grants {
		k.engine.objects.drop(k.caller.Principal.Tenant, g.id)
		o, err := k.load(g.id)
		if err == nil {
			_, err = k.decide(g.action, o)
		}
		if err == nil && g.check != nil {
			err = g.check(o, k.now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change finds an object, lets edit make its successor and commits it,
// starting over when somebody else was faster. edit may be called again and
// must not keep what it did. It returns the stored successor.
func (k *call) change(id core.Identifier, edit func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	for try := 1; ; try++ {
		o, err := k.object(id)
		if err != nil {
			return nil, err
		}
		next, err := k.changeOnce(o, edit)
		if !startOver(err, try) {
			return next, err
		}
		k.engine.objects.drop(o.Tenant, o.ID)
		k.record.Reasons, k.grants = k.record.Reasons[:0], k.grants[:0]
	}
}

func (k *call) changeOnce(o *core.ManagedObject, edit func(*core.ManagedObject, *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	var ch core.Change
	k.claims = nil
	next, err := edit(o, &ch)
	if err != nil {
		return nil, err
	}
	k.involveLinks(o, next)
	k.stamp(next, o)
	addUpdate(&ch, o, next)
	if err := k.commit(&ch); err != nil {
		return nil, err
	}
	k.undoable(o, next)
	return next, nil
}

// addUpdate adds the write of a successor to a change, and what it counts.
func addUpdate(ch *core.Change, old, next *core.ManagedObject) {
	ch.Add(core.UpdateObject{Object: next, RemovesKey: removesKey(old, next)},
		core.AddUsage{Tenant: next.Tenant, Usage: usageOf(next).Sub(usageOf(old))})
}

// removesKey reports whether key material of old is not in next any more.
func removesKey(old, next *core.ManagedObject) bool {
	return !bytes.Equal(old.Material.Blob, next.Material.Blob) || !bytes.Equal(old.Material.TTLV, next.Material.TTLV)
}

// stamp gives the successor of old its version, its Last Change Date and the
// state that its dates have brought about.
func (k *call) stamp(next, old *core.ManagedObject) {
	next.Version = old.Version + 1
	next.Attributes = next.Attributes.Set(core.TagLastChangeDate, core.Date(k.now))
	if next.Attributes.Has(core.TagState) {
		next.Attributes = next.Attributes.Set(core.TagState, core.Enum(next.StateAt(k.now)))
	}
}

// successor is a copy of o to be changed.
func successor(o *core.ManagedObject) *core.ManagedObject {
	next := *o
	return &next
}
