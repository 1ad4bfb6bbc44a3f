package engine

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Commit stores a change with the operation's record in one transaction, then updates
// the cache and the batch's Undo. It fails without storing if a grant has ended, a
// Name is taken or a quota would be exceeded.
func (k *Call) Commit(ch *core.Change) error {
	if err := k.stillGranted(); err != nil {
		return err
	}
	release, err := k.holdClaims(ch)
	defer release()
	if err != nil {
		return err
	}
	if tenant := ch.ForTenant(); tenant != core.OwnWork { // its keys seal the rows
		if err := k.Engine.Tenants.Load(lastingContext(), tenant); err != nil {
			return err
		}
	}
	if err := k.hashRows(ch); err != nil {
		return err
	}
	inserted := core.WritesOf[core.InsertObject](ch)
	for _, w := range inserted {
		ch.Add(core.AddUsage{Tenant: w.Object.Tenant, Usage: UsageOf(w.Object)})
	}
	if len(inserted) > 0 || growingActions[k.Action] { // no quota prevents Revoke or Destroy
		if err := k.holdUsage(ch.Usage()); err != nil {
			return err
		}
	}
	k.closeRecord(nil)
	k.involveWritten(ch)
	for _, w := range inserted {
		k.involveLinks(nil, w.Object)
	}
	once, err := addOnce(k, ch) // what is added below is not what the request makes
	if err != nil {
		return err
	}
	useUpApprovals(k, ch)
	addDueDates(ch, k.Now)
	ch.Add(k.Caller.Beside...)
	sortUpdates(ch)
	ch.Add(k.Ports.RecordWrite(&k.Record))
	k.Engine.Intents.Begin(ch, k.Ports.Clock.Mono(), len(core.WritesOf[core.DeleteObject](ch)) > 0)
	if err := k.Ports.Store.Commit(lastingContext(), ch); err != nil {
		k.Record.Changes = k.Record.Changes[:0]
		k.Engine.objects.forgetChanged(ch)
		k.releaseUsage(core.Usage{}, core.CodeOf(err) == core.Conflict)
		return err
	}
	k.releaseUsage(ch.Usage(), true)
	k.Engine.Intents.Finish(ch)
	k.recorded = true
	if once != nil {
		k.Caller.Once.Stored = once
	}
	showApprovals(k, ch)
	k.rememberStored(ch)
	return nil
}

// addOnce adds the entry of the request's Idempotency-Key to the change that makes something, and
// returns it. It is nil if there is none to add.
func addOnce(k *Call, ch *core.Change) (*core.DirectoryEntry, error) {
	once := k.Caller.Once
	if once == nil || once.Stored != nil {
		return nil, nil
	}
	made := ""
	if objects := core.WritesOf[core.InsertObject](ch); len(objects) > 0 {
		made = objects[0].Object.ID
	} else if entries := core.WritesOf[core.SaveDirectoryEntry](ch); len(entries) > 0 {
		made = entries[0].Entry.ID
	}
	if made == "" {
		return nil, nil
	}
	e, err := once.NewEntry(made)
	if err != nil {
		return nil, err
	}
	ch.Add(core.SaveDirectoryEntry{Entry: e})
	return e, nil
}

// sortUpdates sorts the updates of objects, so that of two changes of the same rows one waits for
// the other. If their orders differed, the database could find a deadlock.
func sortUpdates(ch *core.Change) {
	updates := core.WritesOf[core.UpdateObject](ch)
	slices.SortStableFunc(updates, func(a, b core.UpdateObject) int { return strings.Compare(a.Object.ID, b.Object.ID) })
	for i := range ch.Writes {
		if _, is := ch.Writes[i].(core.UpdateObject); is {
			ch.Writes[i], updates = updates[0], updates[1:]
		}
	}
}

// rememberStored replaces the snapshots of the objects that a change has stored.
func (k *Call) rememberStored(ch *core.Change) {
	for _, w := range ch.Writes {
		switch w := w.(type) {
		case core.InsertObject:
			k.Engine.objects.putStored(w.Object)
			k.NoteUndo(nil, w.Object)
		case core.UpdateObject:
			k.Engine.objects.putStored(w.Object)
		case core.DeleteObject:
			k.Engine.objects.forget(w.Object.Tenant, w.Object.ID)
		}
	}
}

// NoteUndo notes a stored change for the batch's Undo. before is nil for a new object.
func (k *Call) NoteUndo(before, after *core.ManagedObject) {
	if k.Caller.Undo != nil {
		k.Caller.Undo.Steps = append(k.Caller.Undo.Steps, core.UndoStep{Before: before, After: after})
	}
}
