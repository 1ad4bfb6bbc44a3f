package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Call is one operation under way. It is used by one goroutine and pooled.
type Call struct {
	Engine   *Engine
	Ports    *Ports
	Settings *Settings
	Ctx      context.Context
	Caller   *core.Caller
	Action   core.Action
	Now      int64 // Unix seconds
	start    int64 // by Clock.Mono
	Record   core.Record
	recorded bool         // the record went out with a change
	Secret   *core.Secret // what must not leave if the operation fails after all

	part *Stream // the stream that the operation is a part of

	held   core.Usage // set aside of the tenant's quota
	claims []string   // Names that must be nobody else's; see names.go

	grants    []grant  // what was decided and is relied on
	grantRoom [2]grant // for as many grants as usual

	StorageMasks []int32 // the Protection Storage Masks that a new object may have; nil: any

	// Room for what is handed on by reference, so that a use allocates nothing.
	access    core.AccessRequest
	GetOutput core.GetOutput
	stored    core.Change
	writes    [1]core.Write
	entry     core.Entry
}

var calls = sync.Pool{New: func() any { return new(Call) }}

// Run is the one road that every operation takes.
func Run[I, O any](e *Engine, ctx context.Context, c *core.Caller, action core.Action, in *I, verb func(*Call, *I) (O, error)) (O, error) {
	k := e.Begin(ctx, c, action)
	var out O
	err := e.quotas.admitRequest(c.Principal)
	if err == nil {
		out, err = runVerb(k, in, verb)
	}
	if err == nil && !k.recorded {
		err = k.stillGranted() // a change has asked before it was stored
	}
	if err = k.End(err); err != nil {
		var none O
		return none, err
	}
	return out, nil
}

// runVerb makes a panic in a verb an error, so that it is recorded whichever
// door the request came through.
func runVerb[I, O any](k *Call, in *I, verb func(*Call, *I) (O, error)) (out O, err error) {
	defer func() {
		if p := recover(); p != nil {
			k.Ports.Log.Error("operation", "operation", k.Action, "request", k.Record.RequestID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return verb(k, in)
}

func (e *Engine) Begin(ctx context.Context, c *core.Caller, action core.Action) *Call {
	k := calls.Get().(*Call)
	reasons, involved := k.Record.Reasons[:0], k.Record.Involved[:0]
	began := e.Ports.Clock.NowMicro()
	*k = Call{Engine: e, Ports: &e.Ports, Settings: &e.Settings, Ctx: core.OnBehalfOf(ctx, c.Principal), Caller: c, Action: action, start: e.Ports.Clock.Mono(), Now: began / 1e6}
	k.Record = core.Record{Time: began, Address: c.Address, Door: c.Door, RequestID: c.RequestID, ClientRef: c.ClientRef, Action: action, Reasons: reasons, Involved: involved}
	k.grants = k.grantRoom[:0]
	if p := c.Principal; p != nil {
		k.Record.Tenant, k.Record.Principal, k.Record.Fingerprint = p.Tenant, p.ID, p.Fingerprint
	}
	return k
}

// End closes the record. An operation whose record cannot be stored fails, and
// what it would have given away is zeroed.
func (k *Call) End(err error) error {
	k.releaseUsage(core.Usage{}, true)
	k.closeRecord(err)
	decided := true // whether the store is done with what it was given
	if !k.recorded || err != nil {
		k.entry = k.Ports.Journal.Seal(&k.Record)
		k.writes[0] = core.AppendEntry{Entry: &k.entry}
		k.stored.Writes = k.writes[:]
		if rerr := k.Ports.Store.Commit(lastingContext(), &k.stored); rerr != nil {
			decided = false
			k.Ports.Log.Error("audit", "operation", k.Record.Action, "request", k.Record.RequestID, "error", rerr)
			err = Unrecorded(rerr, err)
		}
	}
	if err != nil {
		k.Secret.Release()
	}
	k.part.endPart(err)
	k.Ports.Observe(Observation{Action: k.Action, Door: k.Caller.Door, Outcome: k.Record.Outcome, Code: k.Record.Code,
		Duration: time.Duration(k.Record.DurationUS) * time.Microsecond})
	if decided && !core.Poison {
		*k = Call{Record: core.Record{Reasons: k.Record.Reasons[:0], Involved: k.Record.Involved[:0]}}
		calls.Put(k)
	}
	return err
}

// ReserveMemory asks for memory before so many bytes of the answer are made.
func (k *Call) ReserveMemory(bytes int) error {
	if k.Caller.Room == nil {
		return nil
	}
	return k.Caller.Room(bytes)
}

// lastingContext is a context that does not end with the request: what has been done
// is recorded, even if the client has gone. It is not derived from the
// request's, because that would be an allocation for each use of a key, and no
// port reads a context's values.
func lastingContext() context.Context { return context.Background() }

// Unrecorded is the answer to an operation whose record could not be stored. It
// says why as the store does.
func Unrecorded(why, err error) error {
	cause := "see the store's health"
	if e, ok := errors.AsType[*core.Error](why); ok {
		cause = e.Detail
	}
	return core.Wrap(core.AuditUnavailable, errors.Join(why, err), "the audit record could not be stored, so the operation is not answered: %s", cause)
}

// closeRecord fills in how the operation ended.
func (k *Call) closeRecord(err error) {
	k.Record.DurationUS = k.Ports.Clock.Mono() - k.start
	k.Record.Outcome, k.Record.Code = core.Allowed, core.Internal
	if err == nil {
		return
	}
	k.Record.Outcome, k.Record.Code = core.Failed, core.CodeOf(err)
	switch k.Record.Code {
	case core.PermissionDenied, core.PolicyUnavailable, core.AuthenticationNotSuccessful:
		k.Record.Outcome = core.Denied
	}
	k.Engine.NoteTampered(err)
	if k.Record.Code == core.Internal {
		k.Ports.Log.Error("operation", "operation", k.Record.Action, "request", k.Record.RequestID, "object", k.Record.Object, "error", err)
	}
}

// SpeaksKMIP1 reports whether the caller speaks KMIP 1.x.
func (k *Call) SpeaksKMIP1() bool { return k.Caller.Version != 0 && k.Caller.Version < core.V2_0 }
