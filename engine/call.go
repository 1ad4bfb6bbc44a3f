package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// Call is one operation under way. It is used by one goroutine, and is pooled: nothing
// may keep it after [Call.End].
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
	recorded bool         // the record was stored with a change
	secret   *core.Secret // the answer's; zeroed if the operation fails

	stream *Stream // that the operation is a part of; nil: none

	heldUsage    core.Usage // reserved in the tenant's quota
	claimedNames []string   // Names that no other object may have; see unique_names.go

	changedBeside []core.UndoStep // objects that the change has besides its target; see [ChangeBeside]

	grants    []grant  // decisions that the operation relies on
	grantRoom [2]grant // memory for the usual number of grants

	StorageMasks []int32 // the Protection Storage Masks that the client accepts for a new object; nil: any

	Asked core.Asked // set by a verb before the policy is asked

	Request any // the input of the verb, to which an approval is bound; nil: the operation cannot wait for approvals

	// StateCheck is the check of type, state and dates that the verb makes when the policy has
	// permitted the action on the target; nil: none. A request that fails it asks for no approval.
	StateCheck func(o *core.ManagedObject, now int64) error

	counted   []countedUse          // uses of statements with a rate
	totalled  []ratewindow.Key      // uses of statements with a total
	approvals []*core.GivenApproval // that the operation uses up when it succeeds

	// Memory for values that are passed by reference, so that a use allocates nothing.
	access     core.AccessRequest
	policyRoom [4]core.DirectoryVersion
	Returned   ReturnedObject // the answer of Get
	closing    core.Change    // stores entry, as its only write
	writes     [1]core.Write
	entry      core.Entry
}

// ReturnedObject is an object with its value, as Get returns it.
type ReturnedObject struct {
	Object core.ObjectBody
	Secret *core.Secret // owns the key bytes in Object
}

var calls = sync.Pool{New: func() any { return new(Call) }}

// Run runs a verb as an operation of a caller: it checks the quota of requests, runs
// the verb, and closes the record. It returns the verb's output only if the record is
// durable. The verb asks the policy itself, by [Call.FindObject] or [Call.Decide].
func Run[I, O any](e *Engine, ctx context.Context, c *core.Caller, action core.Action, in *I, verb func(*Call, *I) (O, error)) (O, error) {
	return runCall(e.Begin(ctx, c, action), in, verb, false)
}

// RunPermitted is [Run] for a verb that works on no existing object: it asks the policy
// before the verb.
func RunPermitted[I, O any](e *Engine, ctx context.Context, c *core.Caller, action core.Action, in *I, verb func(*Call, *I) (O, error)) (O, error) {
	return runCall(e.Begin(ctx, c, action), in, verb, true)
}

func runCall[I, O any](k *Call, in *I, verb func(*Call, *I) (O, error), askFirst bool) (out O, err error) {
	k.Request = in
	err = AdmitRequest(k)
	if err == nil {
		out, err = runVerb(k, in, verb, askFirst)
	}
	if err == nil {
		err = Finish(k)
	}
	if err = k.End(err); err != nil {
		var none O
		return none, err
	}
	return out, nil
}

// runVerb turns a panic in a verb into an error, so that it is recorded for every door.
func runVerb[I, O any](k *Call, in *I, verb func(*Call, *I) (O, error), askFirst bool) (out O, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = LogPanic(k, p)
		}
	}()
	if askFirst {
		if _, err := k.Decide(k.Action, nil); err != nil {
			return out, err
		}
	}
	return verb(k, in)
}

// LogPanic logs a panic with the stack of its goroutine and returns it as an error.
func LogPanic(k *Call, p any) error {
	k.Ports.Log.Error("operation", "operation", k.Action, "request", k.Record.RequestID, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("panic: %v", p)
}

// AdmitRequest counts a request for the quotas of the caller and its tenant. It fails with
// TooManyRequests if one is exceeded. The administrator on the server's machine and the clock have
// no quota.
func AdmitRequest(k *Call) error {
	if k.Caller.Principal == nil || k.Caller.Principal.Tenant == core.SystemTenant || k.Caller.Door == core.DoorClock {
		return nil
	}
	row, err := RowOfCaller(k)
	if err != nil {
		return undecided(err)
	}
	return k.Engine.quotas.admitRequest(k.Caller.Principal, row)
}

// Begin starts an operation and its record. The caller must call [Call.End]. [Run] does
// both; only operations without a verb of a room call it directly.
func (e *Engine) Begin(ctx context.Context, c *core.Caller, action core.Action) *Call {
	k := calls.Get().(*Call)
	reasons, involved := k.Record.Reasons[:0], k.Record.Involved[:0]
	began := e.Ports.Clock.NowMicro()
	if c.RecordedAt != nil && began <= *c.RecordedAt { // the clock was set back: two records of one request need two times
		began = *c.RecordedAt + 1
	}
	*k = Call{Engine: e, Ports: &e.Ports, Settings: &e.Settings, Ctx: core.OnBehalfOf(ctx, c.Principal), Caller: c, Action: action, start: e.Ports.Clock.Mono(), Now: began / 1e6}
	k.Record = core.Record{Time: began, Address: c.Address, Door: c.Door, RequestID: c.RequestID, ClientRef: c.ClientRef, Action: action, Reasons: reasons, Involved: involved}
	k.grants = k.grantRoom[:0]
	if p := c.Principal; p != nil {
		k.Record.Tenant, k.Record.Principal, k.Record.Fingerprint, k.Record.NamedBy, k.Record.Token = p.Tenant, p.ID, p.Fingerprint, p.NamedBy, p.TokenID
		k.Record.Method, k.Record.Strength = p.Method, p.Strength
	}
	return k
}

// End stores the record, unless a change has stored it, and returns the error to answer.
// If the record cannot be stored, the operation fails with AuditUnavailable and the
// secret of its answer is zeroed. A record that is stored together with others is kept
// in the caller's Pending. The call must not be used afterwards.
func (k *Call) End(err error) error {
	k.releaseUsage(core.Usage{}, true)
	k.closeRecord(err)
	decided := true // whether the store no longer uses the entry
	if !k.recorded || err != nil {
		k.entry = k.Ports.Journal.Seal(&k.Record)
		if pending := k.Caller.Pending; pending != nil {
			pending.Entries = append(pending.Entries, new(k.entry))
		} else if rerr := storeEntry(k); rerr != nil {
			decided = false
			k.Ports.Log.Error("audit", "operation", k.Record.Action, "request", k.Record.RequestID, "error", rerr)
			err = Unrecorded(rerr, err)
		}
	}
	if decided && k.Caller.RecordedAt != nil {
		*k.Caller.RecordedAt = k.Record.Time
	}
	if err != nil {
		k.secret.Release()
	}
	giveBackRates(k, err)
	k.stream.endPart(err)
	k.Ports.Observe(Observation{Action: k.Action, Door: k.Caller.Door, Outcome: k.Record.Outcome, Code: k.Record.Code,
		Duration: time.Duration(k.Record.DurationUS) * time.Microsecond})
	if decided && !core.Poison {
		*k = Call{Record: core.Record{Reasons: k.Record.Reasons[:0], Involved: k.Record.Involved[:0]}}
		calls.Put(k)
	}
	return err
}

func storeEntry(k *Call) error {
	k.writes[0] = core.AppendEntry{Entry: &k.entry}
	k.closing.Writes = k.writes[:]
	return k.Ports.Store.Commit(lastingContext(), &k.closing)
}

// NewSecret returns a secret for the bytes of an answer. It is zeroed if the operation
// fails.
func (k *Call) NewSecret() *core.Secret {
	k.secret = core.NewSecret()
	return k.secret
}

// ReserveMemory reserves memory of the caller before an answer of so many bytes is
// made. It fails with the door's error if there is none.
func (k *Call) ReserveMemory(bytes int) error {
	if k.Caller.Room == nil {
		return nil
	}
	return k.Caller.Room(bytes)
}

// lastingContext returns a context that does not end with the request, so that the
// record is stored even if the client has gone. It is not derived from the request's
// context, because that would cost one allocation for each use of a key. No port
// reads values of a context.
func lastingContext() context.Context { return context.Background() }

// Unrecorded returns the error to answer if a record could not be stored: code
// AuditUnavailable, with the reason of the store. err is the operation's own error.
func Unrecorded(why, err error) error {
	cause := "see the store's health"
	if e, ok := errors.AsType[*core.Error](why); ok {
		cause = e.Detail
	}
	return core.Wrap(core.AuditUnavailable, errors.Join(why, err), "the audit record could not be stored, so the operation is not answered: %s", cause)
}

// closeRecord writes duration, outcome and code into the record.
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
