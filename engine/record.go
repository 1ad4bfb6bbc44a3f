package engine

import (
	"context"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// maxInvolved bounds the objects that one record names besides its own.
const maxInvolved = 32

// Involve names another object in the record, so that the record is found by that
// object too. The first role of an object stays.
func (k *Call) Involve(id string, role core.ObjectRole) {
	r := &k.Record
	if id == r.Object || len(r.Involved) >= maxInvolved || slices.ContainsFunc(r.Involved, func(o core.InvolvedObject) bool { return o.ID == id }) {
		return
	}
	r.Involved = append(r.Involved, core.InvolvedObject{ID: id, Role: role})
}

// involveWritten names in the record the objects that a change writes.
func (k *Call) involveWritten(ch *core.Change) {
	for _, w := range ch.Writes {
		switch w := w.(type) {
		case core.InsertObject:
			k.Involve(w.Object.ID, core.RoleMade)
		case core.UpdateObject:
			k.Involve(w.Object.ID, core.RoleChanged)
		case core.DeleteObject:
			k.Involve(w.Object.ID, core.RoleRemoved)
		}
	}
}

// involveLinks names in the record the objects that a Link of only one of two
// versions of an object names. Without a version before, these are all.
func (k *Call) involveLinks(before, after *core.ManagedObject) {
	was, is := linked(before), linked(after)
	for id := range is {
		if !was[id] {
			k.Involve(id, core.RoleLinked)
		}
	}
	for id := range was {
		if !is[id] {
			k.Involve(id, core.RoleLinked)
		}
	}
}

// InvolveRequested names in the record the object that a Link in a request names, also
// if the request is then refused.
func (k *Call) InvolveRequested(t core.Tag, v *core.Value) {
	if t == core.TagLink && v != nil {
		k.Involve(linkTarget(*v), core.RoleLinked)
	}
}

// linkTarget returns the Unique Identifier that a Link names.
func linkTarget(link core.Value) string {
	return core.ClientText(core.LinkOf(link).ID)
}

// linked returns the objects that an object has a Link to; nil if there is none.
func linked(o *core.ManagedObject) map[string]bool {
	if o == nil {
		return nil
	}
	var ids map[string]bool
	for _, a := range o.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if ids == nil {
			ids = map[string]bool{}
		}
		ids[linkTarget(a.Value)] = true
	}
	return ids
}

// hashRows adds the hashes of the rows of a change to the record.
func (k *Call) hashRows(ch *core.Change) error {
	k.Record.Changes = k.Record.Changes[:0]
	for _, o := range ch.Stored() {
		hash, err := k.Ports.Store.RowHash(o)
		if err != nil {
			return err
		}
		k.Record.Changes = append(k.Record.Changes, core.RowChange{Object: o.ID, Version: o.Version, Hash: hash})
	}
	for _, w := range core.WritesOf[core.DeleteObject](ch) {
		k.Record.Changes = append(k.Record.Changes, core.RowChange{Object: w.Object.ID, Version: w.Object.Version})
	}
	return nil
}

// RecordTogether runs operations of one request, for the caller that it passes to them. It stores
// their records by one commit, also after a panic. If that fails with AuditUnavailable, none of the
// operations may be answered.
func (e *Engine) RecordTogether(c *core.Caller, operations func(*core.Caller)) (err error) {
	var pending core.PendingRecords
	var last int64
	together := *c
	together.Pending, together.RecordedAt = &pending, &last
	defer func() {
		if err = storePending(e, c, &pending); err == nil && c.RecordedAt != nil && last != 0 {
			*c.RecordedAt = last
		}
	}()
	operations(&together)
	return nil
}

func storePending(e *Engine, c *core.Caller, pending *core.PendingRecords) error {
	if len(pending.Entries) == 0 {
		return nil
	}
	ch := new(core.Change)
	for _, entry := range pending.Entries {
		ch.Add(core.AppendEntry{Entry: entry})
	}
	if err := e.Ports.Store.Commit(lastingContext(), ch); err != nil {
		e.Ports.Log.Error("audit", "records", len(pending.Entries), "request", c.RequestID, "error", err)
		return Unrecorded(err, nil)
	}
	return nil
}

// RecordEvent records an event of the server itself, such as a change of the policy. r
// has the action and its outcome.
func (e *Engine) RecordEvent(ctx context.Context, r core.Record) error {
	return e.Ports.Store.Commit(context.WithoutCancel(ctx), core.ChangeOf(e.EventWrite(r)))
}

// EventWrite returns the write that stores the record of an event of the server itself.
func (e *Engine) EventWrite(r core.Record) core.AppendEntry {
	r.Time, r.Principal, r.Door = e.Ports.Clock.NowMicro(), "keyreeve", core.DoorAdmin
	return e.Ports.RecordWrite(&r)
}

// RecordWrite returns the write that stores a record.
func (p *Ports) RecordWrite(r *core.Record) core.AppendEntry {
	return core.AppendEntry{Entry: new(p.Journal.Seal(r))}
}

// RecordUnfinished records an operation whose caller is answered before the operation has
// ended, and returns the error to answer. The operation leaves another record when it
// ends.
func (e *Engine) RecordUnfinished(ctx context.Context, c *core.Caller, action core.Action, after time.Duration) error {
	k := e.Begin(ctx, c, action)
	k.Record.Detail = "left behind: whether it takes effect is not known"
	return k.End(core.Wrap(core.TokenUnavailable, core.ErrOutcomeUnknown, "the operation did not end within %v, so whether it takes effect is not known; look at the health of HSM and store, and at the object", after))
}

// RecordRefused records an operation that never reached its verb, because its payload
// could not be read or a batch rule forbade it, and returns the error to answer.
// [core.ActionMessage] is a whole request message.
func (e *Engine) RecordRefused(ctx context.Context, c *core.Caller, action core.Action, err error) error {
	return e.Begin(ctx, c, action).End(err)
}
