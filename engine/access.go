package engine

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Decide asks the policy for an action on o; nil means no object.
func (k *Call) Decide(action core.Action, o *core.ManagedObject) (core.Decision, error) {
	k.access = core.AccessRequest{Action: action, Principal: k.Caller.Principal, Object: o, Door: k.Caller.Door, Address: k.Record.Address, Now: k.Now}
	if o != nil {
		k.access.State = o.StateAt(k.Now)
	}
	d, err := k.Ports.Policy.Decide(k.Ctx, &k.access)
	k.Record.PolicyHash = d.PolicyHash
	for _, r := range d.Reasons { // of several decisions, each reason once
		if !slices.Contains(k.Record.Reasons, r) {
			k.Record.Reasons = append(k.Record.Reasons, r)
		}
	}
	if err != nil {
		return core.Decision{}, undecided(err)
	}
	if !d.Allow {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "the policy does not allow %s to %s", action, k.Caller.Principal.ID)
	}
	return d, nil
}

// undecided is the answer where the policy has failed.
func undecided(err error) error {
	return core.Wrap(core.PolicyUnavailable, err, "the policy could not decide, so the answer is no; see the policy's health")
}

// Permits asks the policy beside the operation's own decision, whose reasons alone
// are recorded. An error means that the policy did not decide.
func (k *Call) Permits(action core.Action, o *core.ManagedObject) (bool, error) {
	d, err := k.Ports.Policy.Decide(k.Ctx, &core.AccessRequest{Action: action, Principal: k.Caller.Principal, Object: o, State: o.StateAt(k.Now),
		Door: k.Caller.Door, Address: k.Record.Address, Now: k.Now})
	if err != nil {
		return false, undecided(err)
	}
	return d.Allow, nil
}

// MayInspect asks the policy whether a caller may do an action on the server
// itself, such as [core.ActionReadHealth]. A refusal is recorded. A permit is
// not: monitors ask every few seconds, and health must be there when the store,
// which would take the record, is not.
func (e *Engine) MayInspect(ctx context.Context, c *core.Caller, action core.Action) error {
	k := e.Begin(ctx, c, action)
	if _, err := k.Decide(action, nil); err != nil {
		return k.End(err)
	}
	return nil
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

func (k *Call) AddGrant(role core.ObjectRole, action core.Action, id string, check func(*core.ManagedObject, int64) error) {
	k.grants = append(k.grants, grant{action, id, role, check})
}

// Require adds to the grant of the target what the object's state and dates must
// allow, and checks it now.
func (k *Call) Require(o *core.ManagedObject, check func(*core.ManagedObject, int64) error) error {
	for i := range k.grants {
		if g := &k.grants[i]; g.role == core.RoleTarget && g.id == o.ID {
			g.check = check
		}
	}
	return check(o, k.Now)
}

// UseCheck returns what must allow a use of a key: one that protects data, or one that
// processes what is protected.
func (k *Call) UseCheck(protect bool) func(o *core.ManagedObject, now int64) error {
	if protect {
		return mayProtect
	}
	return k.Engine.processes
}

// mayProtect, exists and Engine.mayProcess are the checks of grants.
func mayProtect(o *core.ManagedObject, now int64) error { return o.CheckUse(true, now) }

// mayProcess is the check of decrypting, verifying and unwrapping. The standard
// lets Deactivated and Compromised keys process (KMIP 1.4 §3.22); settings
// forbid it, for the server or for one tenant.
func (e *Engine) mayProcess(o *core.ManagedObject, now int64) error {
	revoked, own := e.Settings.Defaults.RevokedKeysOf[o.Tenant]
	if !own {
		revoked = e.Settings.Defaults.RevokedKeys
	}
	switch s := o.StateAt(now); {
	case s == core.Deactivated && revoked.DeactivatedRefused:
		return core.Errorf(core.WrongState, "object %s is Deactivated, and this server does not let such keys decrypt, verify or unwrap (deactivated_may_process)", o.ID)
	case s == core.Compromised && revoked.CompromisedRefused:
		return core.Errorf(core.WrongState, "object %s is Compromised, and this server does not let such keys decrypt, verify or unwrap (compromised_may_process)", o.ID)
	}
	return o.CheckUse(false, now)
}

func NotDestroyed(o *core.ManagedObject, now int64) error {
	if o.StateAt(now).Gone() {
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed; its attributes are still there", o.ID)
	}
	return nil
}

// stillGranted asks again, of the store and of the policy, when an operation took
// so long that the key may have been revoked, or forbidden, while it waited for
// the HSM. What has not left yet then does not.
func (k *Call) stillGranted() error {
	if k.Ports.Clock.Mono()-k.start < slowMicro {
		return nil
	}
	k.Now = k.Ports.Clock.Now()
	for _, g := range k.grants {
		k.Engine.objects.forget(k.Caller.Principal.Tenant, g.id)
		o, err := k.Load(g.id)
		if err == nil {
			_, err = k.Decide(g.action, o)
		}
		if err == nil && g.check != nil {
			err = g.check(o, k.Now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
