package objects

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/core/schedule"
	"github.com/keyreeve/keyreeve/engine"
)

// SetRotation says when the clock makes the next version of a key, or that it does not. The
// newest version has the rotation, and hands it on to the one that replaces it.
func (v *Verbs) SetRotation(ctx context.Context, c *core.Caller, in *operation.SetRotationInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSetRotation, in, setRotation)
}

func setRotation(k *engine.Call, in *operation.SetRotationInput) (operation.IDOutput, error) {
	rotation, err := rotationAsked(k, in)
	if err != nil {
		return operation.IDOutput{}, err
	}
	next, err := k.Change(in.ID, func(o *core.ManagedObject, _ *core.Change) (*core.ManagedObject, error) {
		if err := checkRotates(k, o); err != nil {
			return nil, err
		}
		next := o.Successor()
		next.Attributes = withoutRotation(o.Attributes)
		if rotation == nil {
			k.Record.Detail = "no rotation"
			return next, nil
		}
		at, ok := planRotation(k, rotation, next)
		if !ok {
			return nil, core.Errorf(core.InvalidField, "the key %s has no Deactivation Date that is at least %s away, so a rotation before it has no date; give every too", o.ID, rotation.Before)
		}
		k.Record.Detail = rotation.Text() + ", next " + time.Unix(at, 0).UTC().Format(time.RFC3339)
		return next, nil
	})
	if err != nil {
		return operation.IDOutput{}, err
	}
	return operation.IDOutput{ID: next.ID, Changed: next}, nil
}

// rotationAsked returns the rotation that a request has, nil for none.
func rotationAsked(k *engine.Call, in *operation.SetRotationInput) (r *schedule.Rotation, err error) {
	if in.Every == "" && in.Before == "" {
		return nil, nil
	}
	r = &schedule.Rotation{From: k.Now}
	if in.Every != "" {
		r.Every, err = schedule.ParseSpan(in.Every)
	}
	if err == nil && in.Before != "" {
		r.Before, err = schedule.ParseSpan(in.Before)
	}
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return nil, core.Wrap(core.InvalidField, err, "the rotation cannot be used: %v", err)
	}
	return r, nil
}

// checkRotates refuses a key that the clock cannot rotate.
func checkRotates(k *engine.Call, o *core.ManagedObject) error {
	if o.Type != core.ObjectTypeSymmetricKey && o.Type != core.ObjectTypePrivateKey {
		return core.Errorf(core.InvalidObjectType, "a rotation is for symmetric keys and for the private keys of pairs; object %s is a %v", o.ID, o.Type)
	}
	if s := o.StateAt(k.Now); s != core.Active && s != core.PreActive {
		return core.Errorf(core.WrongState, "object %s is %v, so it is not rotated", o.ID, s)
	}
	head, err := k.LoadObject(o.Family())
	if err != nil {
		return err
	}
	if head.NewestVersion() != o.ID {
		return core.Errorf(core.IllegalOperation, "object %s is not the newest version of its key; %s is, and has the rotation", o.ID, head.NewestVersion())
	}
	return nil
}

func withoutRotation(as core.Attributes) core.Attributes {
	return as.Without(core.RotationAttribute).Without(core.RotateAtAttribute)
}

// planRotation gives a key a rotation with its next date. ok is false if there is none; the key then
// keeps the rotation without a date.
func planRotation(k *engine.Call, r *schedule.Rotation, o *core.ManagedObject) (at int64, ok bool) {
	ends, _ := o.Attributes.Date(core.TagDeactivationDate)
	at, ok = r.Plan(k.Now, ends)
	o.Attributes = setVendor(withoutRotation(o.Attributes), core.RotationAttribute, core.Text(r.Text()))
	if ok {
		o.Attributes = setVendor(o.Attributes, core.RotateAtAttribute, core.Date(at))
	}
	return at, ok
}

// passRotation hands the rotation of the newest version on to the one that replaces it. Its dates stay
// where they are, whenever the key is replaced; those that have passed are left out together.
func passRotation(k *engine.Call, from, to *core.ManagedObject) error {
	r, err := rules.RotationOf(from.Attributes)
	if err != nil || r == nil {
		return err
	}
	planRotation(k, r, to)
	return nil
}
