package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// call is one operation under way. It is used by one goroutine and pooled.
type call struct {
	engine   *Engine
	ports    *Ports
	settings *Settings
	ctx      context.Context
	caller   *core.Caller
	action   core.Action
	now      int64 // Unix seconds
	start    int64 // by Clock.Mono
	record   core.Record
	recorded bool         // the record went out with a change
	secret   *core.Secret // what must not leave if the operation fails after all

	part *stream // the stream that the operation is a part of

	held   core.Usage // set aside of the tenant's quota
	claims []string   // Names that must be nobody else's; see names.go

	grants    []grant  // what was decided and is relied on
	grantRoom [2]grant // for as many grants as usual

	storage []int32 // the Protection Storage Masks that a new object may have; nil: any

	// Room for what is handed on by reference, so that a use allocates nothing.
	access core.AccessRequest
	got    core.GetOutput
	stored core.Change
	writes [1]core.Write
	entry  core.Entry
}

var calls = sync.Pool{New: func() any { return new(call) }}

// run is the one road that every operation takes.
func run[I, O any](e *Engine, ctx context.Context, c *core.Caller, action core.Action, in *I, verb func(*call, *I) (O, error)) (O, error) {
	k := e.begin(ctx, c, action)
	var out O
	err := e.quotas.admit(c.Principal)
	if err == nil {
		out, err = attempt(k, in, verb)
	}
	if err == nil && !k.recorded {
		err = k.stillGranted() // a change has asked before it was stored
	}
	if err = k.end(err); err != nil {
		var none O
		return none, err
	}
	return out, nil
}

// attempt makes a panic in a verb an error, so that it is recorded whichever
// door the request came through.
func attempt[I, O any](k *call, in *I, verb func(*call, *I) (O, error)) (out O, err error) {
	defer func() {
		if p := recover(); p != nil {
			k.ports.Log.Error("operation", "operation", k.action, "request", k.record.RequestID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return verb(k, in)
}

func (e *Engine) begin(ctx context.Context, c *core.Caller, action core.Action) *call {
	k := calls.Get().(*call)
	reasons, involved := k.record.Reasons[:0], k.record.Involved[:0]
	began := e.ports.Clock.NowMicro()
	*k = call{engine: e, ports: &e.ports, settings: &e.settings, ctx: core.OnBehalfOf(ctx, c.Principal), caller: c, action: action, start: e.ports.Clock.Mono(), now: began / 1e6}
	k.record = core.Record{Time: began, Address: c.Address, Door: c.Door, RequestID: c.RequestID, ClientRef: c.ClientRef, Action: action, Reasons: reasons, Involved: involved}
	k.grants = k.grantRoom[:0]
	if p := c.Principal; p != nil {
		k.record.Tenant, k.record.Principal, k.record.Fingerprint = p.Tenant, p.ID, p.Fingerprint
	}
	return k
}

// end closes the record. An operation whose record cannot be stored fails, and
// what it would have given away is zeroed.
func (k *call) end(err error) error {
	k.unhold(core.Usage{}, true)
	k.close(err)
	decided := true // whether the store is done with what it was given
	if !k.recorded || err != nil {
		k.entry = k.ports.Journal.Seal(&k.record)
		k.writes[0] = core.AppendEntry{Entry: &k.entry}
		k.stored.Writes = k.writes[:]
		if rerr := k.ports.Store.Commit(k.lasting(), &k.stored); rerr != nil {
			decided = false
			k.ports.Log.Error("audit", "operation", k.record.Action, "request", k.record.RequestID, "error", rerr)
			err = unrecorded(rerr, err)
		}
	}
	if err != nil {
		k.secret.Release()
	}
	k.part.settle(err)
	k.ports.Observe(Observation{Action: k.action, Door: k.caller.Door, Outcome: k.record.Outcome, Code: k.record.Code,
		Duration: time.Duration(k.record.DurationUS) * time.Microsecond})
	if decided && !core.Poison {
		*k = call{record: core.Record{Reasons: k.record.Reasons[:0], Involved: k.record.Involved[:0]}}
		calls.Put(k)
	}
	return err
}

// room asks for memory before so many bytes of the answer are made.
func (k *call) room(bytes int) error {
	if k.caller.Room == nil {
		return nil
	}
	return k.caller.Room(bytes)
}

// lasting is a context that does not end with the request: what has been done
// is recorded, even if the client has gone. It is not derived from the
// request's, because that would be an allocation for each use of a key, and no
// port reads a context's values.
func (k *call) lasting() context.Context { return context.Background() }

// unrecorded is the answer to an operation whose record could not be stored. It
// says why as the store does.
func unrecorded(why, err error) error {
	cause := "see the store's health"
	if e, ok := errors.AsType[*core.Error](why); ok {
		cause = e.Detail
	}
	return core.Wrap(core.AuditUnavailable, errors.Join(why, err), "the audit record could not be stored, so the operation is not answered: %s", cause)
}

// close fills in how the operation ended.
func (k *call) close(err error) {
	k.record.DurationUS = k.ports.Clock.Mono() - k.start
	k.record.Outcome, k.record.Code = core.Allowed, core.Internal
	if err == nil {
		return
	}
	k.record.Outcome, k.record.Code = core.Failed, core.CodeOf(err)
	switch k.record.Code {
	case core.PermissionDenied, core.PolicyUnavailable, core.AuthenticationNotSuccessful:
		k.record.Outcome = core.Denied
	}
	k.engine.noteTampered(err)
	if k.record.Code == core.Internal {
		k.ports.Log.Error("operation", "operation", k.record.Action, "request", k.record.RequestID, "object", k.record.Object, "error", err)
	}
}

// commit stores a change with the operation's record in one transaction, then
// tells the cache and the batch's Undo.
func (k *call) commit(ch *core.Change) error {
	if err := k.stillGranted(); err != nil {
		return err
	}
	release, err := k.claimed(ch)
	defer release()
	if err != nil {
		return err
	}
	if err := k.engine.LoadTenant(k.lasting(), k.record.Tenant); err != nil { // whose keys seal the rows
		return err
	}
	if err := k.hashRows(ch); err != nil {
		return err
	}
	inserted := core.WritesOf[core.InsertObject](ch)
	for _, w := range inserted {
		ch.Add(core.AddUsage{Tenant: w.Object.Tenant, Usage: usageOf(w.Object)})
	}
	if len(inserted) > 0 || growing[k.action] { // whatever else: nobody is kept from revoking or destroying a key
		if err := k.hold(ch.Usage()); err != nil {
			return err
		}
	}
	k.close(nil)
	k.involveWritten(ch)
	for _, w := range inserted {
		k.involveLinks(nil, w.Object)
	}
	addDueDates(ch, k.now)
	ch.Add(k.engine.recordOf(&k.record))
	k.engine.own.begin(ch, k.ports.Clock.Mono(), len(core.WritesOf[core.DeleteObject](ch)) > 0)
	if err := k.ports.Store.Commit(k.lasting(), ch); err != nil {
		k.record.Changes = k.record.Changes[:0]
		k.forgetAll(ch)
		k.unhold(core.Usage{}, core.CodeOf(err) == core.Conflict)
		return err
	}
	k.unhold(ch.Usage(), true)
	k.engine.own.finish(ch)
	k.recorded = true
	k.remember(ch)
	return nil
}

// remember puts the snapshots of a stored change in the place of the old ones.
func (k *call) remember(ch *core.Change) {
	for _, w := range ch.Writes {
		switch w := w.(type) {
		case core.InsertObject:
			k.engine.objects.put(w.Object)
			k.undoable(nil, w.Object)
		case core.UpdateObject:
			k.engine.objects.put(w.Object)
		case core.DeleteObject:
			k.engine.objects.drop(w.Object.Tenant, w.Object.ID)
		}
	}
}

// maxInvolved bounds the objects that one record names besides its own.
const maxInvolved = 32

// involve names another object in the record, so that the record is found by that
// object too. The first role of an object stays.
func (k *call) involve(id string, role core.ObjectRole) {
	r := &k.record
	if id == r.Object || len(r.Involved) >= maxInvolved || slices.ContainsFunc(r.Involved, func(o core.InvolvedObject) bool { return o.ID == id }) {
		return
	}
	r.Involved = append(r.Involved, core.InvolvedObject{ID: id, Role: role})
}

// involveWritten names in the record the objects that a change writes.
func (k *call) involveWritten(ch *core.Change) {
	for _, w := range ch.Writes {
		switch w := w.(type) {
		case core.InsertObject:
			k.involve(w.Object.ID, core.RoleMade)
		case core.UpdateObject:
			k.involve(w.Object.ID, core.RoleChanged)
		case core.DeleteObject:
			k.involve(w.Object.ID, core.RoleRemoved)
		}
	}
}

// involveLinks names in the record the objects that a Link of only one of two
// versions of an object names. Without a version before, these are all.
func (k *call) involveLinks(before, after *core.ManagedObject) {
	was, is := linked(before), linked(after)
	for id := range is {
		if !was[id] {
			k.involve(id, core.RoleLinked)
		}
	}
	for id := range was {
		if !is[id] {
			k.involve(id, core.RoleLinked)
		}
	}
}

// involveRequested names in the record the object that a Link in a request names, also
// if the request is then refused.
func (k *call) involveRequested(t core.Tag, v *core.Value) {
	if t == core.TagLink && v != nil {
		k.involve(linkTarget(*v), core.RoleLinked)
	}
}

// linkTarget returns the Unique Identifier that a Link names.
func linkTarget(link core.Value) string {
	return printable(core.LinkOf(link).ID)
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

// undoable notes a stored change for the batch's Undo; before is nil for a birth.
func (k *call) undoable(before, after *core.ManagedObject) {
	if k.caller.Undo != nil {
		k.caller.Undo.Steps = append(k.caller.Undo.Steps, core.UndoStep{Before: before, After: after})
	}
}

// forgetAll drops what a failed commit touched: whether it took effect is not
// known, so nobody may go on with an old snapshot.
func (k *call) forgetAll(ch *core.Change) {
	for _, o := range ch.Objects() {
		k.engine.objects.drop(o.Tenant, o.ID)
	}
}

// style1 reports whether the caller speaks KMIP 1.x.
func (k *call) style1() bool { return k.caller.Version != 0 && k.caller.Version < core.V2_0 }

// RecordEvent records what was done to the server itself, such as another policy
// being put in force; r says what, and how it ended.
func (e *Engine) RecordEvent(ctx context.Context, r core.Record) error {
	r.Time, r.Principal, r.Door = e.ports.Clock.NowMicro(), "keyreeve", core.DoorAdmin
	return e.ports.Store.Commit(context.WithoutCancel(ctx), core.ChangeOf(e.recordOf(&r)))
}

// recordOf is the write of a record.
func (e *Engine) recordOf(r *core.Record) core.AppendEntry {
	return core.AppendEntry{Entry: new(e.ports.Journal.Seal(r))}
}

// Leave records an operation whose caller is answered before it has come back,
// and returns the error to answer. When it comes back it leaves another record.
func (e *Engine) Leave(ctx context.Context, c *core.Caller, action core.Action, after time.Duration) error {
	k := e.begin(ctx, c, action)
	k.record.Detail = "left behind: whether it takes effect is not known"
	return k.end(core.Errorf(core.TokenUnavailable, "the operation did not end within %v, so whether it takes effect is not known; look at the health of HSM and store, and at the object", after))
}

// Refuse records an operation that never reached its verb, because its payload
// could not be read or a batch rule forbade it, and returns the error to answer.
// [core.ActionMessage] is a whole request message.
func (e *Engine) Refuse(ctx context.Context, c *core.Caller, action core.Action, err error) error {
	return e.begin(ctx, c, action).end(err)
}
