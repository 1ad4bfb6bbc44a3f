// Package objects has the operations that make objects, return them and change their
// state: Create, Create Key Pair, Register, Re-key, Get, Activate, Revoke and Destroy.
//
// They run on the road of package engine. Only the HSM port makes and opens key bytes.
// No other package of the engine imports this one. Start at [Verbs.Create].
package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct{ engine *engine.Engine }

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{e} }

// Activate makes a Pre-Active object Active (KMIP 1.4 §4.19, 2.1 §6.1.1).
func (v *Verbs) Activate(ctx context.Context, c *core.Caller, in *core.ActivateInput) (core.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionActivate, in, activate)
}

func activate(k *engine.Call, in *core.ActivateInput) (core.IDOutput, error) {
	return moveState(k, in.ID, core.Activate, func(next *core.ManagedObject, _ *core.Change) error {
		next.Attributes = next.Attributes.Set(core.TagActivationDate, core.Date(k.Now))
		return nil
	})
}

// Revoke makes an object Deactivated or Compromised, depending on the reason (KMIP 1.4
// §4.20, 2.1 §6.1.44).
func (v *Verbs) Revoke(ctx context.Context, c *core.Caller, in *core.RevokeInput) (core.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRevoke, in, revoke)
}

func revoke(k *engine.Call, in *core.RevokeInput) (core.IDOutput, error) {
	event := core.Deactivate
	if in.Code == core.RevocationReasonCodeKeyCompromise || in.Code == core.RevocationReasonCodeCACompromise {
		event = core.Compromise
	}
	if event == core.Deactivate && in.CompromiseOccurrence != nil {
		return core.IDOutput{}, core.Errorf(core.InvalidField, "a Compromise Occurrence Date goes with Key Compromise and CA Compromise alone; leave it out, or give such a reason")
	}
	return moveState(k, in.ID, event, func(next *core.ManagedObject, _ *core.Change) error {
		a := core.Attribute{Tag: core.TagRevocationReason, Value: core.RevocationReason{Code: in.Code, Message: in.Message}.Value()}
		if err := rules.CheckText(a.Ref(), a.Value); err != nil {
			return err
		}
		next.Attributes = next.Attributes.Set(a.Tag, a.Value)
		if event == core.Deactivate {
			next.Attributes = next.Attributes.Set(core.TagDeactivationDate, core.Date(k.Now))
			return nil
		}
		occurred := next.Attributes.Num(core.TagInitialDate)
		if in.CompromiseOccurrence != nil {
			occurred = *in.CompromiseOccurrence
		}
		next.Attributes = next.Attributes.Set(core.TagCompromiseDate, core.Date(k.Now)).Set(core.TagCompromiseOccurrenceDate, core.Date(occurred))
		return nil
	})
}

// Destroy removes the key material of an object and keeps its attributes (KMIP 1.4
// §4.21, 2.1 §6.1.15). After success the key can never be used again, unless the batch
// fails and is undone. If the token cannot remove a resident key now, its token object
// is a pending destroy, which health and metrics show.
func (v *Verbs) Destroy(ctx context.Context, c *core.Caller, in *core.DestroyInput) (core.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDestroy, in, destroy)
}

func destroy(k *engine.Call, in *core.DestroyInput) (core.IDOutput, error) {
	var token []byte
	out, err := moveState(k, in.ID, core.Destroy, func(next *core.ManagedObject, ch *core.Change) error {
		token = nil
		if next.Material.Mode == core.ModeResident {
			token = next.Material.CKAID
			ch.Add(core.BeginIntent{Intent: k.Engine.NewIntent(core.IntentDestroyObject, next.Tenant, next.ID, token, k.Now)})
		}
		next.Material = core.Material{Mode: next.Material.Mode, Class: next.Material.Class, Kind: next.Material.Kind, Format: next.Material.Format}
		next.Attributes = next.Attributes.Set(core.TagDestroyDate, core.Date(k.Now))
		return nil
	})
	if err != nil {
		return out, err
	}
	k.Ports.HSM.Forget(k.Caller.Principal.Tenant, out.ID)
	// In a batch that may be undone, the token object stays until the end of the batch:
	// see FinishBatch. After a crash it is an orphan, which an operator can purge.
	if token != nil && k.Caller.Undo == nil {
		k.Engine.FinishDestroy(k.Ctx, core.TokenObject{Tenant: k.Caller.Principal.Tenant, ID: out.ID, CKAID: token})
	}
	return out, nil
}

// moveState changes the state of an object by an event; fill sets the attributes that
// belong to the event. Templates have no State and can only be destroyed (KMIP 1.4
// §11.20, §11.21). KMIP 1.x activates Cryptographic Objects only, and so no Opaque
// Object (1.4 §2.2, §4.19). KMIP 2.x activates every Managed Object (2.1 §6.1.1).
func moveState(k *engine.Call, id core.Identifier, event core.Event, fill func(next *core.ManagedObject, ch *core.Change) error) (core.IDOutput, error) {
	next, err := k.Change(id, func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		from := o.StateAt(k.Now)
		if from == 0 {
			if event != core.Destroy {
				return nil, core.Errorf(core.IllegalOperation, "object %s is a %v, which has no State", o.ID, o.Type)
			}
			from = core.PreActive
		}
		if event == core.Activate && o.Type == core.ObjectTypeOpaqueObject && k.SpeaksKMIP1() {
			return nil, core.Errorf(core.IllegalOperation, "object %s is an Opaque Object, which KMIP 1.x does not activate", o.ID)
		}
		if event == core.Destroy && from.Gone() {
			return nil, core.Errorf(core.ObjectDestroyed, "object %s is destroyed already", o.ID)
		}
		to, err := from.Next(event)
		if err != nil {
			return nil, err
		}
		next := o.Successor()
		if err := fill(next, ch); err != nil {
			return nil, err
		}
		next.Attributes = next.Attributes.Set(core.TagState, core.Enum(to))
		k.Record.Detail = from.String() + " -> " + to.String()
		return next, nil
	})
	if err != nil {
		return core.IDOutput{}, err
	}
	return core.IDOutput{ID: next.ID}, nil
}
