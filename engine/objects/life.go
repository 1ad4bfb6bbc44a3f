package objects

import (
	"cmp"
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// lifeChange returns the successor of an object. It stores nothing, so that one commit can
// have the successors of several objects.
type lifeChange func(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error)

// Disable forbids every use of the value of an object until [Verbs.Enable]. Its State stays.
func (v *Verbs) Disable(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDisable, in, lifeVerb(disabled, isDisabled))
}

// Enable ends what [Verbs.Disable] began.
func (v *Verbs) Enable(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionEnable, in, lifeVerb(enabled, isEnabled))
}

// SoftDelete makes an object Destroyed, in any State. Its key material stays, so that
// [Verbs.Restore] can bring it back until the retention is over.
func (v *Verbs) SoftDelete(ctx context.Context, c *core.Caller, in *operation.SoftDeleteInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSoftDelete, in, softDelete)
}

// Restore brings back an object that was deleted softly, as it was.
func (v *Verbs) Restore(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRestore, in, lifeVerb(restored, isNotRestorable))
}

// PurgeDeleted removes the key material of an object that was deleted softly, before or after
// its retention is over. After success nothing brings it back.
func (v *Verbs) PurgeDeleted(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionPurge, in, purgeDeleted)
}

// Archive takes an object off-line (KMIP 1.4 §4.22, 2.1 §6.1.4). Until [Verbs.Recover] only
// its attributes can be read. The object stays where it is kept.
func (v *Verbs) Archive(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionArchive, in, lifeVerb(archived, isArchived))
}

// Recover brings an archived object back on-line (KMIP 1.4 §4.23, 2.1 §6.1.42). The standard
// has no error for an object that is on-line, so this succeeds and changes nothing else.
func (v *Verbs) Recover(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRecover, in, lifeVerb(recovered, isOnLine))
}

// lifeVerb returns the verb that makes one change.
func lifeVerb(change lifeChange, passes func(*engine.Call, *core.ManagedObject) bool) func(*engine.Call, *operation.LifeInput) (operation.IDOutput, error) {
	return func(k *engine.Call, in *operation.LifeInput) (operation.IDOutput, error) {
		return changeLife(k, in.ID, change, passes)
	}
}

// changeLife makes one change of an object, or of all versions of a key except those for which passes holds.
// What the HSM port holds of them unwrapped is dropped.
func changeLife(k *engine.Call, id core.Identifier, change lifeChange, passes func(*engine.Call, *core.ManagedObject) bool) (operation.IDOutput, error) {
	next, changed, err := changeVersions(k, id, versionChange{
		make:   func(o *core.ManagedObject, _ *core.Change) (*core.ManagedObject, error) { return change(k, o) },
		passes: func(o *core.ManagedObject) bool { return passes(k, o) },
	})
	if err != nil {
		return operation.IDOutput{}, err
	}
	for _, o := range changed {
		k.Ports.HSM.Forget(o.Tenant, o.ID)
	}
	return operation.IDOutput{ID: next.ID, Changed: next}, nil
}

// Versions that are as a change would make them, or that it cannot concern.
func isGone(k *engine.Call, o *core.ManagedObject) bool     { return o.StateAt(k.Now).Gone() }
func isDisabled(k *engine.Call, o *core.ManagedObject) bool { return o.Disabled() || isGone(k, o) }
func isEnabled(k *engine.Call, o *core.ManagedObject) bool  { return !o.Disabled() || isGone(k, o) }
func isArchived(k *engine.Call, o *core.ManagedObject) bool { return o.Archived() || isGone(k, o) }
func isOnLine(k *engine.Call, o *core.ManagedObject) bool   { return !o.Archived() || isGone(k, o) }
func isNotRestorable(k *engine.Call, o *core.ManagedObject) bool {
	until, _ := rules.DateOf(o, core.PurgeAtAttribute)
	return !rules.IsRestorable(o) || until <= k.Now
}

// requireAlive refuses an object without a State, and one that is destroyed or deleted.
func requireAlive(k *engine.Call, o *core.ManagedObject) error {
	switch s := o.StateAt(k.Now); {
	case s == 0:
		return core.Errorf(core.IllegalOperation, "object %s is a %v, which has no State", o.ID, o.Type)
	case s.Gone():
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed already", o.ID)
	}
	return nil
}

func disabled(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
	if err := requireAlive(k, o); err != nil {
		return nil, err
	}
	if o.Disabled() {
		return nil, core.Errorf(core.WrongState, "object %s is disabled already", o.ID)
	}
	next := o.Successor()
	next.Attributes = o.Attributes.Add(core.Attribute{Vendor: core.DisabledAttribute.Vendor, Name: core.DisabledAttribute.Name, Value: core.Bool(true)})
	return next, nil
}

func enabled(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
	if err := requireAlive(k, o); err != nil {
		return nil, err
	}
	if !o.Disabled() {
		return nil, core.Errorf(core.WrongState, "object %s is not disabled", o.ID)
	}
	next := o.Successor()
	next.Attributes = o.Attributes.Without(core.DisabledAttribute)
	return next, nil
}

func softDelete(k *engine.Call, in *operation.SoftDeleteInput) (operation.IDOutput, error) {
	retention, err := retentionOf(k, in.Retention)
	if err != nil {
		return operation.IDOutput{}, err
	}
	return changeLife(k, in.ID, func(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
		return deletedSoftly(k, o, retention)
	}, isGone)
}

// retentionOf returns how long a deleted object can be restored, in seconds. asked is 0 for the
// setting of the tenant or the server.
func retentionOf(k *engine.Call, asked int64) (int64, error) {
	if asked == 0 {
		row, err := engine.RowOfCaller(k)
		if err != nil {
			return 0, err
		}
		own := time.Duration(row.RetentionDays) * 24 * time.Hour
		return int64(cmp.Or(own, k.Settings.Defaults.Retention, engine.DefaultRetention) / time.Second), nil
	}
	if asked < int64(engine.MinRetention/time.Second) || asked > int64(engine.MaxRetention/time.Second) {
		return 0, core.Errorf(core.InvalidField, "the retention must be from 1d to 3650d")
	}
	return asked, nil
}

func deletedSoftly(k *engine.Call, o *core.ManagedObject, retention int64) (*core.ManagedObject, error) {
	if err := requireAlive(k, o); err != nil {
		return nil, err
	}
	next := o.Successor()
	next.Attributes = rules.WithDeletion(o.Attributes, o.StateAt(k.Now), k.Now, k.Now+retention)
	k.Record.Detail = o.StateAt(k.Now).String() + " -> " + next.StateAt(k.Now).String() + ", restorable until " + time.Unix(k.Now+retention, 0).UTC().Format(time.RFC3339)
	return next, nil
}

// requireDeleted refuses an object that was not deleted softly, or was purged since.
func requireDeleted(k *engine.Call, o *core.ManagedObject) error {
	switch {
	case rules.IsRestorable(o):
		return nil
	case o.StateAt(k.Now).Gone():
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed; nothing brings it back", o.ID)
	}
	return core.Errorf(core.WrongState, "object %s is not deleted", o.ID)
}

func restored(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
	if err := requireDeleted(k, o); err != nil {
		return nil, err
	}
	if until, _ := rules.DateOf(o, core.PurgeAtAttribute); until <= k.Now {
		return nil, core.Errorf(core.WrongState, "object %s could be restored until %s", o.ID, time.Unix(until, 0).UTC().Format(time.RFC3339))
	}
	next := o.Successor()
	next.Attributes = rules.WithoutDeletion(o.Attributes)
	if err := passRotation(k, o, next); err != nil {
		return nil, err
	}
	k.ClaimNames(next.Attributes)
	k.Record.Detail = o.StateAt(k.Now).String() + " -> " + next.StateAt(k.Now).String()
	return next, nil
}

func purgeDeleted(k *engine.Call, in *operation.LifeInput) (operation.IDOutput, error) {
	tokens := map[string][]byte{}
	next, changed, err := changeVersions(k, in.ID, versionChange{
		make: func(o *core.ManagedObject, ch *core.Change) (next *core.ManagedObject, err error) {
			next, tokens[o.ID], err = purged(k, o, ch)
			return next, err
		},
		passes: func(o *core.ManagedObject) bool { return !rules.IsRestorable(o) },
		end:    func(ch *core.Change, written []*core.ManagedObject) error { return freeAliases(k, ch, written...) },
	})
	if err != nil {
		return operation.IDOutput{}, err
	}
	for _, o := range changed {
		removeErased(k, o.ID, tokens[o.ID])
	}
	return operation.IDOutput{ID: next.ID, Changed: next}, nil
}

// purged returns the successor of an object that was deleted softly, without key material. For
// the token object see [eraseMaterial], for the aliases [freeAliases].
func purged(k *engine.Call, o *core.ManagedObject, ch *core.Change) (next *core.ManagedObject, token []byte, err error) {
	if err := requireDeleted(k, o); err != nil {
		return nil, nil, err
	}
	next = o.Successor()
	next.Attributes = o.Attributes.Without(core.PurgeAtAttribute).Without(rules.StateBeforeAttribute)
	return next, eraseMaterial(k, next, ch), nil
}

// PurgeReached is [Verbs.PurgeDeleted] for the clock: it purges an object whose retention is over.
// It reads the row of the object from the store first, where its seal is checked. If the row
// does not say that the object is due, it fails with WrongState or ObjectDestroyed. The record
// is durable before the HSM removes anything.
func (v *Verbs) PurgeReached(ctx context.Context, c *core.Caller, in *operation.LifeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionPurge, in, purgeReached)
}

func purgeReached(k *engine.Call, in *operation.LifeInput) (operation.IDOutput, error) {
	k.Record.Object = in.ID.Text
	o, err := k.Ports.Store.Object(k.Ctx, k.Caller.Principal.Tenant, in.ID.Text)
	if err == nil {
		err = requireReached(k, o)
	}
	if err != nil {
		return operation.IDOutput{}, err
	}
	var token []byte
	next, err := k.Change(in.ID, func(o *core.ManagedObject, ch *core.Change) (next *core.ManagedObject, err error) {
		if err = requireReached(k, o); err == nil {
			next, token, err = purged(k, o, ch)
		}
		if err == nil {
			err = freeAliases(k, ch, next)
		}
		return next, err
	})
	if err != nil {
		return operation.IDOutput{}, err
	}
	removeErased(k, next.ID, token)
	return operation.IDOutput{ID: next.ID, Changed: next}, nil
}

// requireReached refuses an object that is not deleted, or can be restored.
func requireReached(k *engine.Call, o *core.ManagedObject) error {
	if until, _ := rules.DateOf(o, core.PurgeAtAttribute); until > k.Now {
		return core.Errorf(core.WrongState, "object %s can be restored until %s", o.ID, time.Unix(until, 0).UTC().Format(time.RFC3339))
	}
	return requireDeleted(k, o)
}

// archived returns the successor of an object on-line.
func archived(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
	if o.Archived() {
		return nil, core.Errorf(core.ObjectArchived, "object %s is archived already", o.ID)
	}
	if o.StateAt(k.Now).Gone() {
		return nil, core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	}
	next := o.Successor()
	next.Attributes = o.Attributes.Set(core.TagArchiveDate, core.Date(k.Now))
	return next, nil
}

func recovered(k *engine.Call, o *core.ManagedObject) (*core.ManagedObject, error) {
	if o.StateAt(k.Now).Gone() {
		return nil, core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	}
	next := o.Successor()
	next.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagArchiveDate})
	return next, nil
}
