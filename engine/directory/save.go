package directory

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Save stores a version of an entry together with other writes, such as its record, in one
// transaction. When it returns nil, this node answers with the new version, and other
// nodes do within a second. Conflict if the version is not the next one; then this node has
// already read what other nodes stored. Nobody changes the entry afterwards.
func (d *Directory) Save(ctx context.Context, e *core.DirectoryEntry, with ...core.Write) error {
	change := core.ChangeOf(core.SaveDirectoryEntry{Entry: e})
	change.Add(with...)
	return d.Commit(ctx, change)
}

// Commit stores a change of several entries as Save does.
func (d *Directory) Commit(ctx context.Context, change *core.Change) error {
	err := d.ports.Store.Commit(ctx, change)
	if err == nil {
		d.ShowStored(change)
		return nil
	}
	if core.CodeOf(err) == core.Conflict {
		d.readChanges(ctx) // if it fails, the next one is soon
	}
	return err
}

// ShowStored lets this node answer with the entries of a change that somebody else has
// committed.
func (d *Directory) ShowStored(change *core.Change) {
	for _, w := range change.Writes {
		switch w := w.(type) {
		case core.SaveDirectoryEntry:
			d.acceptAll([]*core.DirectoryEntry{w.Entry})
		case core.PruneDirectoryEntry:
			d.forgetEntry(w.Name)
		}
	}
}

// acceptAll replaces entries by newer versions and calls their watchers. An older version
// changes nothing: the list of changes has all versions.
func (d *Directory) acceptAll(entries []*core.DirectoryEntry) {
	d.writing.Lock()
	defer d.writing.Unlock()
	for _, e := range entries {
		old := d.entries.findHeld(e.Name())
		if old != nil && (e.Version < old.entry.Version || e.Version == old.entry.Version && old.refusal == nil) {
			continue
		}
		next := holdEntry(e)
		next.swept = d.sweeps
		if old != nil && old.refusal != nil {
			d.refused.Add(-1)
		}
		d.entries.putHeld(next)
		for _, f := range d.watchers[e.Kind] {
			f(e)
		}
	}
}

// forgetEntry drops an entry whose versions were pruned. Watchers of a kind that is pruned only
// with its tenant see that it is deleted; those of the other kinds know when an entry ends.
func (d *Directory) forgetEntry(name core.DirectoryName) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if h := d.entries.findHeld(name); h != nil {
		if h.refusal != nil {
			d.refused.Add(-1)
		}
		d.entries.removeHeld(name)
		if name.Kind.Prunable() {
			return
		}
		for _, f := range d.watchers[name.Kind] {
			f(&core.DirectoryEntry{Kind: name.Kind, Tenant: name.Tenant, ID: name.ID, Version: h.entry.Version + 1, Deleted: true})
		}
	}
}

// refuseEntry notes that a row was tampered with. If the entry is known, it is refused until a
// sound row of at least the same version is found. So is an unknown one, as version 0: an
// attachment that counted as absent would lose the denials of its policies.
func (d *Directory) refuseEntry(name core.DirectoryName, why error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.trouble.Store(new(why.Error()))
	h := d.entries.findHeld(name)
	if h != nil && h.refusal != nil {
		return // noted before
	}
	d.ports.Tampered(why)
	d.ports.Log.Error("directory", "kind", core.ClientText(string(name.Kind)), "tenant", core.ClientText(name.Tenant), "id", core.ClientText(name.ID), "error", why)
	if h == nil {
		h = holdEntry(&core.DirectoryEntry{Tenant: name.Tenant, Kind: name.Kind, ID: name.ID})
		h.swept = d.sweeps
		d.suspects.Store(ownerOf{name.Kind, name.Tenant}, true)
	}
	d.entries.putHeld(h.withRefusal(why))
	d.refused.Add(1)
	d.refusals.Add(1)
}
