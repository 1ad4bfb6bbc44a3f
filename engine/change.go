package engine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// ErrOtherVersion is in the chain of the error, of code Conflict, that a verb fails with if
// the newest version of an entry is not the one that the caller expects.
var ErrOtherVersion = errors.New("nothing was changed")

// Bounds of repeating a change because the object was changed in the meantime. Many
// callers may want to change one object at once, here or on other nodes.
const (
	maxChangeTries = 200
	changePause    = 4 * time.Millisecond // the longest pause before a try; none before the first ones
)

// shouldStartOver reports whether a failed change should be tried again. It first sleeps
// for a moment, so that other callers can finish.
func shouldStartOver(err error, try int) bool {
	if core.CodeOf(err) != core.Conflict || try >= maxChangeTries {
		return false
	}
	if errors.Is(err, ErrOtherVersion) {
		return try == 1 // the snapshot in memory may be older than the version that the caller knows
	}
	if try > 2 {
		time.Sleep(rand.N(changePause))
	}
	return true
}

// Change finds an object, calls edit to make its successor, commits the successor and
// returns it. If the object was changed in the meantime, all of this is repeated, so
// edit may be called several times and must not keep state between calls.
func (k *Call) Change(id core.Identifier, edit func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	for try := 1; ; try++ {
		o, err := k.FindObject(id)
		if err != nil {
			return nil, err
		}
		next, err := k.changeOnce(o, edit)
		if !shouldStartOver(err, try) {
			return next, err
		}
		k.Engine.objects.forget(o.Tenant, o.ID)
		k.Record.Reasons, k.grants, k.approvals = k.Record.Reasons[:0], k.grants[:0], nil
	}
}

// changeOnce is one try of Change.
func (k *Call) changeOnce(o *core.ManagedObject, edit func(*core.ManagedObject, *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	var ch core.Change
	k.claimedNames, k.changedBeside = nil, nil
	if want := k.Caller.ExpectedVersion; want != 0 && o.ChangeNumber() != want {
		return nil, core.Wrap(core.Conflict, ErrOtherVersion, "object %s is at change %d, not %d; read it again", o.ID, o.ChangeNumber(), want)
	}
	next, err := edit(o, &ch)
	if err != nil {
		return nil, err
	}
	k.involveLinks(o, next)
	stampChange(next, o, k.Now)
	AddUpdate(&ch, o, next)
	if err := k.Commit(&ch); err != nil {
		return nil, err
	}
	k.NoteUndo(o, next)
	for _, s := range k.changedBeside {
		k.NoteUndo(s.Before, s.After)
	}
	return next, nil
}

// ChangeBeside adds the successor of another object to the change of an operation, as
// [Call.Change] does for its target. Only an edit of Change may call it.
func ChangeBeside(k *Call, ch *core.Change, old, next *core.ManagedObject) {
	k.involveLinks(old, next)
	stampChange(next, old, k.Now)
	AddUpdate(ch, old, next)
	k.changedBeside = append(k.changedBeside, core.UndoStep{Before: old, After: next})
}

// SuccessorWrites returns the writes that store next, a changed copy of old that it stamps.
func SuccessorWrites(old, next *core.ManagedObject, now int64) []core.Write {
	stampChange(next, old, now)
	var ch core.Change
	AddUpdate(&ch, old, next)
	return ch.Writes
}

// AddUpdate adds the write of a successor to a change, and the difference in usage.
func AddUpdate(ch *core.Change, old, next *core.ManagedObject) {
	ch.Add(core.UpdateObject{Object: next, RemovesKey: removesKey(old, next)},
		core.AddUsage{Tenant: next.Tenant, Usage: UsageOf(next).Sub(UsageOf(old))})
}

// removesKey reports whether next lacks key material that old has.
func removesKey(old, next *core.ManagedObject) bool {
	return !bytes.Equal(old.Material.Blob, next.Material.Blob) || !bytes.Equal(old.Material.TTLV, next.Material.TTLV)
}

// stampChange sets the version of old's successor, its Last Change Date, and its State
// as of now.
func stampChange(next, old *core.ManagedObject, now int64) {
	next.Version = old.Version + 1
	next.Attributes = next.Attributes.Set(core.TagLastChangeDate, core.Date(now))
	if next.Attributes.Has(core.TagState) {
		next.Attributes = next.Attributes.Set(core.TagState, core.Enum(next.StateAt(now)))
	}
}
