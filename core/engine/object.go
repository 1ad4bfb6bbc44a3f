package engine

import (
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// maxChangeTries bounds how often a change starts over after somebody else
// changed the object first.
const maxChangeTries = 8

// decide asks the policy for operation op on o (nil: no object).
func (k *call) decide(op core.Operation, o *core.ManagedObject) (core.Decision, error) {
	k.access = core.AccessRequest{Operation: op, Principal: k.caller.Principal, Object: o, Door: k.caller.Door, Address: k.record.Address, Now: k.now}
	if o != nil {
		k.access.State = o.StateAt(k.now)
	}
	d, err := k.Policy.Decide(k.ctx, &k.access)
	k.record.PolicyHash = d.PolicyHash
	k.record.Reasons = append(k.record.Reasons, d.Reasons...)
	if err != nil {
		return core.Decision{}, core.Wrap(core.PolicyUnavailable, err, "the policy could not decide, so the answer is no; see the policy's health")
	}
	if !d.Allow {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "the policy does not allow %s to %s", op, k.caller.Principal.ID)
	}
	return d, nil
}

// load reads an object of the caller's tenant, from the cache where it may.
func (k *call) load(id string) (*core.ManagedObject, error) {
	tenant := k.caller.Principal.Tenant
	o, gen := k.objects.get(tenant, id, k.began)
	if o != nil {
		return o, nil
	}
	read := k.Clock.NowMicro()
	o, err := k.Store.Object(k.ctx, tenant, id)
	if err != nil {
		return nil, notFound(err, id)
	}
	k.objects.fill(o, gen, read)
	return o, nil
}

func notFound(err error, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "no object has the Unique Identifier %s", printable(id))
	}
	return err
}

// printable keeps what a client sent fit for a one-line message in ASCII.
func printable(s string) string {
	const maxShown = 64
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxShown {
		s = s[:maxShown] + "..."
	}
	return s
}

// object finds the object that a request names and asks the policy whether the
// operation may touch it.
func (k *call) object(id core.Identifier) (*core.ManagedObject, error) {
	if id.Text == "" {
		return nil, core.Errorf(core.ItemNotFound, "%s names no Unique Identifier and the ID Placeholder is empty", k.op)
	}
	k.record.Object = printable(id.Text)
	o, err := k.load(id.Text)
	if err != nil {
		return nil, err
	}
	if _, err := k.decide(k.op, o); err != nil {
		return nil, err
	}
	return o, nil
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
		if core.CodeOf(err) != core.Conflict || try == maxChangeTries {
			return next, err
		}
		k.objects.drop(o.Tenant, o.ID)
		k.record.Reasons = k.record.Reasons[:0]
	}
}

func (k *call) changeOnce(o *core.ManagedObject, edit func(*core.ManagedObject, *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	var ch core.Change
	next, err := edit(o, &ch)
	if err != nil {
		return nil, err
	}
	k.stamp(next, o)
	ch.Update = append(ch.Update, next)
	if err := k.commit(&ch); err != nil {
		return nil, err
	}
	k.undoable(o, next)
	return next, nil
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
