// Package directory keeps the newest version of every directory entry in memory:
// policies, users, roles, groups, tokens, tenants, approvals and attachments.
//
// It follows the table on every node, so a change of one node is seen by all within a
// second. With a shared store, a directory that could not read the table for
// core.SnapshotLeaseMS refuses every question. It never goes back to a version lower
// than one it has seen, and refuses an entry whose row is missing, lowered or tampered
// with. It relies on the store alone and decides nothing. Start at [Directory.Get].
package directory

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// Store is what a directory needs of a store.
type Store interface {
	core.Committer
	core.DirectoryTable
	Shared() bool
}

// Ports are the interfaces through which a directory has all its effects.
type Ports struct {
	Store    Store
	Clock    core.Clock
	Log      *slog.Logger
	Tampered func(error) // called with each row that was found to be tampered with; nil: not called
}

// Directory answers from memory. Get and List may be called at any time; they take no
// lock. Safe for concurrent use.
type Directory struct {
	ports    Ports
	shared   bool
	entries  shelf
	opened   atomic.Bool
	readAt   atomic.Int64  // Mono of the last read of changes that was complete
	refused  atomic.Int64  // entries that are refused because a row was tampered with
	refusals atomic.Uint64 // how often an entry was refused since the start
	trouble  atomic.Pointer[string]
	suspects sync.Map // ownerOf, of refused entries that were unknown; none is removed
	watchers map[core.EntryKind][]func(*core.DirectoryEntry)

	reading sync.Mutex // held while changes are read; guards after
	after   int64      // change number up to which changes were read

	writing sync.Mutex // held while an entry is replaced and its watchers are called
	sweeps  uint32     // number of the current comparison with the table; guarded by writing
}

// ownerOf is a tenant with a kind of entries.
type ownerOf struct {
	kind   core.EntryKind
	tenant string
}

// New returns a directory that answers nothing until Open.
func New(p Ports) *Directory {
	if p.Tampered == nil {
		p.Tampered = func(error) {}
	}
	return &Directory{ports: p, shared: p.Store.Shared(), entries: newShelf(), watchers: map[core.EntryKind][]func(*core.DirectoryEntry){}}
}

// Watch calls f with each entry of a kind that Open loads, and then with each newer
// version, also a deleted one. It must be called before Open. f must not call Save. A
// watcher is not told that an entry is refused, so what depends on an entry asks Get.
func (d *Directory) Watch(kind core.EntryKind, f func(*core.DirectoryEntry)) {
	d.watchers[kind] = append(d.watchers[kind], f)
}

// pageRows is how many rows are read at once.
const pageRows = 100

// Open loads all entries. It fails with Tampered if a row was tampered with.
func (d *Directory) Open(ctx context.Context) error {
	began := d.ports.Clock.Mono()
	last, err := d.ports.Store.DirectoryChange(ctx) // before the entries: what changes meanwhile is read again
	if err != nil {
		return err
	}
	err = d.eachPage(ctx, func(page core.DirectoryPage) error {
		if len(page.Tampered) > 0 {
			return tamperedRow(page.Tampered[0])
		}
		d.acceptAll(page.Entries)
		return nil
	})
	if err != nil {
		return err
	}
	d.after = last
	d.readAt.Store(began)
	if err := d.readChanges(ctx); err != nil {
		return err
	}
	d.opened.Store(true)
	return nil
}

// eachPage calls use with the newest versions of all entries, page by page.
func (d *Directory) eachPage(ctx context.Context, use func(core.DirectoryPage) error) error {
	for after, more := (core.DirectoryName{}), true; more; {
		page, err := d.ports.Store.DirectoryEntries(ctx, after, pageRows)
		if err != nil {
			return err
		}
		if err := use(page); err != nil {
			return err
		}
		after, more = page.Last, page.More
	}
	return nil
}

func tamperedRow(name core.DirectoryName) error {
	return core.Errorf(core.Tampered, "a database row of the %s %q was changed outside keyreeve, so it is not used. Restore the row from a backup, and find out who can write the database",
		core.ClientText(string(name.Kind)), core.ClientText(name.ID))
}

// Fresh returns an error of code StoreUnavailable if the directory is not open, or if
// other nodes may have changed it more than core.SnapshotLeaseMS ago.
func (d *Directory) Fresh() error {
	if !d.opened.Load() {
		return errNotOpen
	}
	if d.shared && d.ports.Clock.Mono()-d.readAt.Load() > core.SnapshotLeaseMS*1000 {
		return errStale
	}
	return nil
}

// These errors are made once, so that a refusal costs nothing.
var (
	errNotOpen = core.Errorf(core.StoreUnavailable, "the directory of policies and users is not loaded yet; try again")
	errStale   = core.Errorf(core.StoreUnavailable, "the directory of policies and users could not be read from the database for %d ms, so nothing is decided by it; check the database", core.SnapshotLeaseMS)
	errAbsent  = core.Errorf(core.ItemNotFound, "the directory has no such entry")
)

// Get returns the newest version of an entry. The code is ItemNotFound if the entry does
// not exist or was deleted, Tampered if its row is missing, lowered or was changed behind
// the server, and StoreUnavailable as for Fresh. It allocates nothing, except when a large
// body was not used for a while. Nobody changes the entry.
func (d *Directory) Get(kind core.EntryKind, tenant, id string) (*core.DirectoryEntry, error) {
	h, err := d.findSound(kind, tenant, id)
	if err != nil {
		return nil, err
	}
	return h.wholeEntry()
}

// Version returns the number of the newest version of an entry. The codes are those of
// Get. It allocates nothing.
func (d *Directory) Version(kind core.EntryKind, tenant, id string) (int64, error) {
	h, err := d.findSound(kind, tenant, id)
	if err != nil {
		return 0, err
	}
	return h.entry.Version, nil
}

// findSound finds an entry that exists and is not refused.
func (d *Directory) findSound(kind core.EntryKind, tenant, id string) (*heldEntry, error) {
	if err := d.Fresh(); err != nil {
		return nil, err
	}
	h := d.entries.findHeld(core.DirectoryName{Tenant: tenant, Kind: kind, ID: id})
	switch {
	case h == nil:
		return nil, errAbsent
	case h.refusal != nil:
		return nil, h.refusal
	case h.entry.Deleted:
		return nil, errAbsent
	}
	return h, nil
}

// List returns entries of one kind and tenant that are not deleted, by ID, starting after
// an ID; "" starts at the beginning. If entries are refused, it returns the others, and an
// error of code Tampered that names one; such a list must not decide anything.
func (d *Directory) List(kind core.EntryKind, tenant, after string, limit int) ([]*core.DirectoryEntry, error) {
	return d.listPage(kind, tenant, after, limit, (*heldEntry).wholeEntry)
}

// ListHeads is List without the bodies, which can be large.
func (d *Directory) ListHeads(kind core.EntryKind, tenant, after string, limit int) ([]*core.DirectoryEntry, error) {
	return d.listPage(kind, tenant, after, limit, func(h *heldEntry) (*core.DirectoryEntry, error) {
		head := h.entry
		head.Body = nil
		return &head, nil
	})
}

func (d *Directory) listPage(kind core.EntryKind, tenant, after string, limit int, show func(*heldEntry) (*core.DirectoryEntry, error)) ([]*core.DirectoryEntry, error) {
	if err := d.Fresh(); err != nil {
		return nil, err
	}
	var found []*heldEntry
	var refusal error
	for h := range d.entries.eachHeld {
		if e := &h.entry; e.Kind != kind || e.Tenant != tenant || e.ID <= after || (e.Deleted && h.refusal == nil) {
			continue
		}
		if h.refusal != nil {
			refusal = h.refusal
			continue
		}
		found = append(found, h)
	}
	slices.SortFunc(found, func(a, b *heldEntry) int { return cmp.Compare(a.entry.ID, b.entry.ID) })
	out := make([]*core.DirectoryEntry, min(max(limit, 0), len(found)))
	for i := range out {
		var err error
		if out[i], err = show(found[i]); err != nil {
			return nil, err
		}
	}
	return out, refusal
}

// ListEverywhere returns the entries of one kind of all tenants that are not deleted, in no
// order. It fails if one is refused.
func (d *Directory) ListEverywhere(kind core.EntryKind) (all []*core.DirectoryEntry, err error) {
	if err := d.Fresh(); err != nil {
		return nil, err
	}
	for h := range d.entries.eachHeld {
		switch e := &h.entry; {
		case e.Kind != kind || e.Deleted && h.refusal == nil:
		case h.refusal != nil:
			return nil, h.refusal
		default:
			whole, err := h.wholeEntry()
			if err != nil {
				return nil, err
			}
			all = append(all, whole)
		}
	}
	return all, nil
}

// UsageBeside returns how many entries the tenant of a named entry has in memory beside it,
// deleted ones included, and the bytes of their bodies.
func (d *Directory) UsageBeside(name core.DirectoryName) (entries, bytes int) {
	for h := range d.entries.eachHeld {
		if h.entry.Tenant == name.Tenant && h.entry.Name() != name {
			entries++
			bytes += h.length
		}
	}
	return entries, bytes
}

// NamesOf lists entries of a tenant in no order, deleted and refused ones included.
func (d *Directory) NamesOf(tenant string, limit int) (names []core.DirectoryName) {
	for h := range d.entries.eachHeld {
		if len(names) == limit {
			break
		}
		if h.entry.Tenant == tenant {
			names = append(names, h.entry.Name())
		}
	}
	return names
}

// NextVersion returns the version that comes after the newest one of an entry, also of a
// deleted one.
func (d *Directory) NextVersion(kind core.EntryKind, tenant, id string) int64 {
	if h := d.entries.findHeld(core.DirectoryName{Tenant: tenant, Kind: kind, ID: id}); h != nil {
		return h.entry.Version + 1
	}
	return 1
}

// Refused returns how many entries are refused because a row was tampered with, and what
// is wrong with the last one found.
func (d *Directory) Refused() (entries int64, problem string) {
	if n := d.refused.Load(); n > 0 {
		return n, *d.trouble.Load()
	}
	return 0, ""
}
