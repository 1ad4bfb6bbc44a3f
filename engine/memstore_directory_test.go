package engine_test

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// memDirectory keeps the versions of directory entries for memStore, in the order of
// their change numbers.
type memDirectory struct {
	versions []memVersion
	change   int64
}

type memVersion struct {
	entry  *core.DirectoryEntry
	change int64
}

func nameOrder(a, b core.DirectoryName) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.ID, b.ID))
}

// check refuses a write before anything of its change is stored. saved counts the
// versions that the same change stores before it.
func (d *memDirectory) check(w core.Write, saved map[core.DirectoryName]int64) error {
	switch w := w.(type) {
	case core.SaveDirectoryEntry:
		e := w.Entry
		if !e.Kind.Known() || e.ID == "" || e.Version < 1 || !storable(e.ID) || !storable(e.Tenant) || !storable(e.Author) || strings.Contains(e.Reason, "\x00") || strings.ToValidUTF8(e.Reason, "") != e.Reason ||
			len(e.ID) > core.MaxDirectoryID || len(e.Author) > core.MaxDirectoryAuthor || len(e.Reason) > core.MaxDirectoryReason || len(e.Body) > core.MaxDirectoryBody {
			return core.Errorf(core.InvalidField, "bounds")
		}
		if e.Version != d.newest(e.Name())+saved[e.Name()]+1 {
			return core.Errorf(core.Conflict, "version")
		}
		saved[e.Name()]++
	case core.RequireEntry:
		if w.Version != d.newest(w.Name)+saved[w.Name] {
			return core.Wrap(core.Conflict, core.ErrFenced, "version")
		}
	case core.PruneDirectoryEntry:
		if !w.Name.Kind.Prunable() && (!w.TenantDeleted || w.Name.Tenant == "") {
			return core.Errorf(core.IllegalOperation, "kept")
		}
	}
	return nil
}

func (d *memDirectory) newest(name core.DirectoryName) (version int64) {
	for _, v := range d.versions {
		if v.entry.Name() == name {
			version = max(version, v.entry.Version)
		}
	}
	return version
}

func (d *memDirectory) write(w core.Write) {
	switch w := w.(type) {
	case core.SaveDirectoryEntry:
		d.change++
		kept := *w.Entry
		d.versions = append(d.versions, memVersion{&kept, d.change})
		removed := 0
		d.versions = slices.DeleteFunc(d.versions, func(v memVersion) bool {
			old := v.entry.Name() == kept.Name() && v.entry.Version <= kept.Version-core.KeptVersions && removed < 10
			if old {
				removed++
			}
			return old
		})
	case core.PruneDirectoryEntry:
		d.change++
		d.versions = slices.DeleteFunc(d.versions, func(v memVersion) bool { return v.entry.Name() == w.Name })
	}
}

func (m *memStore) DirectoryChange(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.directory.change, nil
}

func (m *memStore) DirectoryChanges(_ context.Context, after int64, limit int) (page core.DirectoryPage, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.directory.versions {
		if v.change > after && len(page.Entries) < limit {
			page.Entries, page.Last, page.Change = append(page.Entries, v.entry), v.entry.Name(), v.change
		}
	}
	page.More = len(page.Entries) == limit
	return page, nil
}

func (m *memStore) DirectoryEntries(_ context.Context, after core.DirectoryName, limit int) (page core.DirectoryPage, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.directory.versions {
		if name := v.entry.Name(); nameOrder(name, after) > 0 && v.entry.Version == m.directory.newest(name) {
			page.Entries = append(page.Entries, v.entry)
		}
	}
	slices.SortFunc(page.Entries, func(a, b *core.DirectoryEntry) int { return nameOrder(a.Name(), b.Name()) })
	if page.More = len(page.Entries) >= limit; page.More {
		page.Entries = page.Entries[:limit]
	}
	if n := len(page.Entries); n > 0 {
		page.Last = page.Entries[n-1].Name()
	}
	return page, nil
}

func (m *memStore) DirectoryVersions(ctx context.Context, after core.DirectoryName, limit int) (all []core.DirectoryVersion, err error) {
	page, err := m.DirectoryEntries(ctx, after, limit)
	for _, e := range page.Entries {
		all = append(all, core.DirectoryVersion{Name: e.Name(), Version: e.Version})
	}
	return all, err
}

func (m *memStore) DirectoryHistory(_ context.Context, name core.DirectoryName, below int64, limit int) (all []*core.DirectoryEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range slices.Backward(m.directory.versions) {
		if v.entry.Name() == name && (below <= 0 || v.entry.Version < below) && len(all) < limit {
			all = append(all, v.entry)
		}
	}
	return all, nil
}
