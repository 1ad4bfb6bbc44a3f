package engine

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of starting a change over after somebody else changed the object
// first: many may want to change one object at once, here or on other nodes.
const (
	maxChangeTries = 200
	changePause    = 4 * time.Millisecond // at most, before all but the first tries
)

// shouldStartOver reports whether a change that failed should start over, and gives those
// who are at it a moment.
func shouldStartOver(err error, try int) bool {
	if core.CodeOf(err) != core.Conflict || try >= maxChangeTries {
		return false
	}
	if try > 2 {
		time.Sleep(rand.N(changePause))
	}
	return true
}

// Change finds an object, lets edit make its successor and commits it,
// starting over when somebody else was faster. edit may be called again and
// must not keep what it did. It returns the stored successor.
func (k *Call) Change(id core.Identifier, edit func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	for try := 1; ; try++ {
		o, err := k.Object(id)
		if err != nil {
			return nil, err
		}
		next, err := k.changeOnce(o, edit)
		if !shouldStartOver(err, try) {
			return next, err
		}
		k.Engine.objects.forget(o.Tenant, o.ID)
		k.Record.Reasons, k.grants = k.Record.Reasons[:0], k.grants[:0]
	}
}

func (k *Call) changeOnce(o *core.ManagedObject, edit func(*core.ManagedObject, *core.Change) (*core.ManagedObject, error)) (*core.ManagedObject, error) {
	var ch core.Change
	k.claims = nil
	next, err := edit(o, &ch)
	if err != nil {
		return nil, err
	}
	k.involveLinks(o, next)
	stampChange(next, o, k.Now)
	addUpdate(&ch, o, next)
	if err := k.Commit(&ch); err != nil {
		return nil, err
	}
	k.NoteUndo(o, next)
	return next, nil
}

// addUpdate adds the write of a successor to a change, and what it counts.
func addUpdate(ch *core.Change, old, next *core.ManagedObject) {
	ch.Add(core.UpdateObject{Object: next, RemovesKey: removesKey(old, next)},
		core.AddUsage{Tenant: next.Tenant, Usage: usageOf(next).Sub(usageOf(old))})
}

// removesKey reports whether key material of old is not in next any more.
func removesKey(old, next *core.ManagedObject) bool {
	return !bytes.Equal(old.Material.Blob, next.Material.Blob) || !bytes.Equal(old.Material.TTLV, next.Material.TTLV)
}

// stampChange gives the successor of old its version, its Last Change Date and the
// state that its dates have brought about.
func stampChange(next, old *core.ManagedObject, now int64) {
	next.Version = old.Version + 1
	next.Attributes = next.Attributes.Set(core.TagLastChangeDate, core.Date(now))
	if next.Attributes.Has(core.TagState) {
		next.Attributes = next.Attributes.Set(core.TagState, core.Enum(next.StateAt(now)))
	}
}
