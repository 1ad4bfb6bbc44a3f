package directory

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Times of following the table. With readEvery and the lease, no node answers with an entry
// that was replaced a second ago.
const (
	readEvery    = 200 * time.Millisecond
	compareEvery = 30 * time.Second
	verifyEvery  = 10 * time.Minute
	verifyPause  = 10 * time.Millisecond // between two pages, so that requests do not wait
)

// Follow reads the changes of other nodes until ctx ends. From time to time it compares the
// versions of all entries with the table, and less often it reads all rows again.
func (d *Directory) Follow(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { d.repeatUntilEnd(ctx, readEvery, "read the directory", d.readChanges) })
	all.Go(func() { d.repeatUntilEnd(ctx, compareEvery, "compare the directory", d.compareAll) })
	all.Go(func() { d.repeatUntilEnd(ctx, verifyEvery, "verify the directory", d.verifyAll) })
	all.Wait()
}

// repeatUntilEnd calls f until ctx ends. It logs an error if the call before it succeeded.
func (d *Directory) repeatUntilEnd(ctx context.Context, every time.Duration, doing string, f func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			d.ports.Log.Error(doing, "error", err)
		}
		failed = err != nil
	}
}

// readChanges reads what was stored since the last call.
func (d *Directory) readChanges(ctx context.Context) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	began := d.ports.Clock.Mono()
	for more := true; more; {
		page, err := d.ports.Store.DirectoryChanges(ctx, d.after, pageRows)
		if err != nil {
			return err
		}
		if err := d.acceptPage(ctx, page); err != nil {
			return err
		}
		d.after, more = max(d.after, page.Change), page.More
	}
	d.readAt.Store(began)
	return nil
}

// readAgain reads the newest version of one entry. If it is not sound, or lower than the
// known one, the entry is refused.
func (d *Directory) readAgain(ctx context.Context, name core.DirectoryName) error {
	var known int64
	if h := d.entries.findHeld(name); h != nil {
		known = h.entry.Version // before the row is read: versions only grow
	}
	newest, err := d.ports.Store.DirectoryHistory(ctx, name, 0, 1)
	if err == nil && known > 0 && (len(newest) == 0 || newest[0].Version < known) && !name.Kind.Prunable() {
		deleted, err := d.isTenantDeleted(ctx, name.Tenant)
		if err != nil {
			return err
		}
		if deleted {
			d.forgetEntry(name)
			d.acceptAll(newest)
			return nil
		}
	}
	switch {
	case core.CodeOf(err) == core.Tampered:
		d.refuseEntry(name, err)
	case err != nil:
		return err
	case len(newest) == 0 && (name.Kind.Prunable() || known == 0):
		d.forgetEntry(name)
	case len(newest) == 0 && known > 0:
		d.refuseEntry(name, loweredEntry(name, known, "none"))
	case len(newest) > 0 && newest[0].Version < known:
		d.refuseEntry(name, loweredEntry(name, known, "only older ones"))
	default:
		d.acceptAll(newest)
	}
	return nil
}

// isTenantDeleted reports whether the row of a tenant says that its deletion was confirmed. The
// database is asked, because this node may not have read that row yet. Nothing of such a tenant
// gives a right, so its entries may be missing.
func (d *Directory) isTenantDeleted(ctx context.Context, tenant string) (bool, error) {
	if tenant == "" {
		return false, nil
	}
	newest, err := d.ports.Store.DirectoryHistory(ctx, core.DirectoryName{Kind: core.EntryTenant, ID: tenant}, 0, 1)
	if core.CodeOf(err) == core.Tampered {
		return false, nil
	}
	if err != nil || len(newest) == 0 || newest[0].Deleted {
		return false, err
	}
	row, err := decodeBody[core.Tenant](newest[0])
	return err == nil && row.State == core.TenantDeleted, nil
}

func loweredEntry(name core.DirectoryName, known int64, has string) error {
	return core.Errorf(core.Tampered, "version %d of the %s %q was removed from the database outside keyreeve, which has %s. Restore the row from a backup, and find out who can write the database. After a restore of the whole database, restart every node",
		known, name.Kind, core.ClientText(name.ID), has)
}

// maxUnknown bounds how many entries that this node does not know one comparison reads.
const maxUnknown = 100

// versionRows is how many names and versions are read at once.
const versionRows = 1000

// compareAll compares the names and versions of all entries with the table. So it finds
// rows whose change number was changed, lower versions, and rows that are missing.
func (d *Directory) compareAll(ctx context.Context) error {
	if err := d.lowerAfter(ctx); err != nil {
		return err
	}
	sweep := d.beginSweep()
	unknown := 0
	for after := (core.DirectoryName{}); ; {
		versions, err := d.ports.Store.DirectoryVersions(ctx, after, versionRows)
		if err != nil {
			return err
		}
		for _, v := range versions {
			known, differs := d.noteRow(v, sweep)
			if !known {
				unknown++
			}
			if !differs || !known && unknown > maxUnknown {
				continue
			}
			if err := d.readAgain(ctx, v.Name); err != nil {
				return err
			}
		}
		if len(versions) < versionRows {
			break
		}
		after = versions[len(versions)-1].Name
	}
	return d.readMissing(ctx, sweep)
}

// lowerAfter lowers the number up to which changes were read to the last one that exists: a
// row with a forged number must not hide all later ones.
func (d *Directory) lowerAfter(ctx context.Context) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	last, err := d.ports.Store.DirectoryChange(ctx)
	if err == nil {
		d.after = min(d.after, last)
	}
	return err
}

// beginSweep returns the number of a new comparison. Entries that are stored from now on
// have it.
func (d *Directory) beginSweep() uint32 {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.sweeps++
	return d.sweeps
}

// noteRow notes that the table has a row of an entry, and reports whether the entry is
// known and whether it must be read again.
func (d *Directory) noteRow(v core.DirectoryVersion, sweep uint32) (known, differs bool) {
	d.writing.Lock()
	defer d.writing.Unlock()
	h := d.entries.findHeld(v.Name)
	if h == nil {
		return false, true
	}
	h.swept = sweep
	return h.entry.Version > 0, h.entry.Version != v.Version || h.refusal != nil
}

// readMissing reads each entry again for which a comparison has found no row.
func (d *Directory) readMissing(ctx context.Context, sweep uint32) error {
	for _, name := range d.namesNotIn(sweep) {
		if err := d.readAgain(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) namesNotIn(sweep uint32) (names []core.DirectoryName) {
	d.writing.Lock()
	defer d.writing.Unlock()
	for h := range d.entries.eachHeld {
		if h.swept != sweep {
			names = append(names, h.entry.Name())
		}
	}
	return names
}

// verifyAll reads the newest row of each entry again. So a row that was changed after this
// node had read it is noticed before the next start, which it would prevent.
func (d *Directory) verifyAll(ctx context.Context) error {
	return d.eachPage(ctx, func(page core.DirectoryPage) error {
		if err := d.acceptPage(ctx, page); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(verifyPause):
			return nil
		}
	})
}

// acceptPage accepts the entries of a page. An entry with a row that was tampered with is
// read again.
func (d *Directory) acceptPage(ctx context.Context, page core.DirectoryPage) error {
	d.acceptAll(page.Entries)
	for _, name := range page.Tampered {
		if err := d.readAgain(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
