package engine

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Decide asks the policy whether the caller may do an action on o; nil means no object.
// The record gets the reasons. A denial is an error of code PermissionDenied, and a
// policy that fails is one of code PolicyUnavailable.
func (k *Call) Decide(action core.Action, o *core.ManagedObject) (core.Decision, error) {
	if err := requireEnabled(k); err != nil {
		return core.Decision{}, err
	}
	k.access = core.AccessRequest{Action: action, Principal: k.Caller.Principal, Object: o, Door: k.Caller.Door, Address: k.Record.Address, Now: k.Now, Asked: k.Asked}
	if o != nil {
		k.access.State = o.StateAt(k.Now)
	}
	k.access.Policies = k.policyRoom[:0]
	if err := k.Engine.addFacts(&k.access); err != nil {
		return core.Decision{}, undecided(err)
	}
	d, err := k.Ports.Policy.Decide(k.Ctx, &k.access)
	noteReasons(k, &d)
	if err != nil {
		return core.Decision{}, undecided(err)
	}
	if !d.Allow && len(d.Gates) > 0 {
		return passGates(k, d.Gates)
	}
	if !d.Allow {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "the policy does not allow %s to %s", action, k.Caller.Principal.ID)
	}
	return d, nil
}

// requireEnabled refuses a caller whose tenant is not active.
func requireEnabled(k *Call) error {
	row, err := RowOfCaller(k)
	if err != nil {
		return undecided(err)
	}
	return checkEnabled(row, k.Caller.Principal.Tenant)
}

// noteReasons adds the reasons of a decision to the record: each once, also if there are
// several decisions.
func noteReasons(k *Call, d *core.Decision) {
	k.Record.PolicyHash = d.PolicyHash
	for _, r := range d.Reasons {
		if !slices.Contains(k.Record.Reasons, r) {
			k.Record.Reasons = append(k.Record.Reasons, r)
		}
	}
}

// addFacts adds what the directory has about a request, if there is one.
func (e *Engine) addFacts(r *core.AccessRequest) error {
	if e.Ports.Facts == nil {
		return nil
	}
	return e.Ports.Facts.AddFacts(r)
}

// undecided returns the error to answer if the policy has failed.
func undecided(err error) error {
	return core.Wrap(core.PolicyUnavailable, err, "the policy could not decide, so the request is denied; see the policy's health")
}

// Permits asks the policy an additional question, whose reasons are not recorded. An
// error means that the policy did not decide.
func (k *Call) Permits(action core.Action, o *core.ManagedObject, asked core.Asked) (bool, error) {
	r := core.AccessRequest{Action: action, Principal: k.Caller.Principal, Object: o, State: o.StateAt(k.Now), Door: k.Caller.Door, Address: k.Record.Address, Now: k.Now, Asked: asked}
	err := k.Engine.addFacts(&r)
	if err != nil {
		return false, undecided(err)
	}
	d, err := k.Ports.Policy.Decide(k.Ctx, &r)
	if err != nil {
		return false, undecided(err)
	}
	return d.Allow, nil
}

// MayInspect asks the policy whether a caller may read facts about the server, by an
// action such as [core.ActionReadHealth]. A denial is recorded and returned. A permit
// is not recorded: monitors ask every few seconds, and health must be readable while
// the store, which keeps the records, is unavailable.
func (e *Engine) MayInspect(ctx context.Context, c *core.Caller, action core.Action) error {
	k := e.Begin(ctx, c, action)
	if _, err := k.Decide(action, nil); err != nil {
		return k.End(err)
	}
	return nil
}

// slowMicro is how long, in microseconds, an operation may rely on its first decisions.
// Together with the lease of a snapshot this is one second, after which a revoked key
// is no longer used (promise 5).
const slowMicro = 1_000_000 - core.SnapshotLeaseMS*1000

// grant is a decision of the policy that an operation relies on until it is answered.
type grant struct {
	action core.Action
	id     string
	role   core.ObjectRole
	asked  core.Asked
	check  func(o *core.ManagedObject, now int64) error // of state and dates; nil: none
}

// AddGrant notes a decision of the policy about object id. An operation that takes long
// asks for it again before it is answered, and runs check again unless it is nil.
func (k *Call) AddGrant(role core.ObjectRole, action core.Action, id string, check func(*core.ManagedObject, int64) error) {
	k.grants = append(k.grants, grant{action, id, role, k.Asked, check})
}

// Require checks the state and dates of the target now, and adds the check to the
// target's grant.
func (k *Call) Require(o *core.ManagedObject, check func(*core.ManagedObject, int64) error) error {
	for i := range k.grants {
		if g := &k.grants[i]; g.role == core.RoleTarget && g.id == o.ID {
			g.check = check
		}
	}
	return check(o, k.Now)
}

// UseCheck returns the check of state and dates for a use of a key. protect is true for
// uses that protect data, such as Encrypt, and false for uses that process protected
// data, such as Decrypt.
func (k *Call) UseCheck(protect bool) func(o *core.ManagedObject, now int64) error {
	if protect {
		return mayProtect
	}
	return k.Engine.processCheck
}

// mayProtect is the check of uses that protect data.
func mayProtect(o *core.ManagedObject, now int64) error { return o.CheckUse(true, now) }

// mayProcess is the check of decrypting, verifying and unwrapping. The standard lets
// Deactivated and Compromised keys process data (KMIP 1.4 §3.22). Settings can forbid
// this, for the whole server or for one tenant.
func (e *Engine) mayProcess(o *core.ManagedObject, now int64) error {
	revoked, err := e.revokedKeysOf(o.Tenant)
	if err != nil {
		return err
	}
	switch s := o.StateAt(now); {
	case s == core.Deactivated && revoked.DeactivatedRefused:
		return core.Errorf(core.WrongState, "object %s is Deactivated, and this server does not let such keys decrypt, verify or unwrap (deactivated_may_process, or the settings of the tenant)", o.ID)
	case s == core.Compromised && revoked.CompromisedRefused:
		return core.Errorf(core.WrongState, "object %s is Compromised, and this server does not let such keys decrypt, verify or unwrap (compromised_may_process, or the settings of the tenant)", o.ID)
	}
	return o.CheckUse(false, now)
}

// revokedKeysOf returns which revoked keys of a tenant have no use left. The tenant's row
// counts before the settings.
func (e *Engine) revokedKeysOf(tenant string) (RevokedKeys, error) {
	revoked, own := e.Settings.Defaults.RevokedKeysOf[tenant]
	if !own {
		revoked = e.Settings.Defaults.RevokedKeys
	}
	row, err := e.RowOf(tenant)
	if err != nil {
		return revoked, undecided(err)
	}
	if may := row.DeactivatedMayProcess; may != nil {
		revoked.DeactivatedRefused = !*may
	}
	if may := row.CompromisedMayProcess; may != nil {
		revoked.CompromisedRefused = !*may
	}
	return revoked, nil
}

// NotDestroyed is the check of operations that read the value of an object. A destroyed
// object is an error of code ObjectDestroyed.
func NotDestroyed(o *core.ManagedObject, now int64) error {
	if o.StateAt(now).Gone() {
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed; its attributes are still there", o.ID)
	}
	return nil
}

// stillGranted repeats all checks of an operation that has taken longer than
// slowMicro: while it waited for the HSM, a key may have been revoked or the policy
// changed. If a check fails, the operation fails and its answer is not sent.
func (k *Call) stillGranted() error {
	if k.Ports.Clock.Mono()-k.start < slowMicro {
		return nil
	}
	k.Now = k.Ports.Clock.Now()
	if err := requireEnabled(k); err != nil {
		return err
	}
	for _, g := range k.grants {
		k.Engine.objects.forget(k.Caller.Principal.Tenant, g.id)
		o, err := k.LoadObject(g.id)
		if err == nil {
			k.Asked = g.asked
			_, err = k.Decide(g.action, o)
		}
		if err == nil {
			err = RequireAvailable(g.action, o)
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
