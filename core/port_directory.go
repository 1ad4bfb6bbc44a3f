package core

import (
	"context"
	"errors"
)

// ErrFenced is in the chain of the error of a change whose [RequireEntry] does not hold.
var ErrFenced = errors.New("the work has another runner")

// DirectoryTable reads the versions of directory entries. A seal cannot show that a row
// is missing, so a caller remembers the versions that it has seen.
type DirectoryTable interface {
	// DirectoryChange returns the number of the last change of the directory. Change
	// numbers become visible in order, so a follower that has read up to one misses no
	// earlier change. They are not sealed: anyone who can write the database can hide a
	// change from a follower, but not from DirectoryVersions.
	DirectoryChange(ctx context.Context) (int64, error)

	// DirectoryChanges lists versions by change number, starting after the given one.
	DirectoryChanges(ctx context.Context, after int64, limit int) (DirectoryPage, error)

	// DirectoryEntries lists the newest version of each entry, in an order of names that
	// the database chooses, starting after the given name. The zero name starts at the
	// beginning.
	DirectoryEntries(ctx context.Context, after DirectoryName, limit int) (DirectoryPage, error)

	// DirectoryVersions lists the same entries as DirectoryEntries, but only their names
	// and newest versions. It checks no seal.
	DirectoryVersions(ctx context.Context, after DirectoryName, limit int) ([]DirectoryVersion, error)

	// DirectoryHistory lists the versions of one entry that are below a version, newest
	// first; 0 starts with the newest. If a row was tampered with, the code is Tampered.
	DirectoryHistory(ctx context.Context, name DirectoryName, below int64, limit int) ([]*DirectoryEntry, error)
}

// DirectoryPage is a part of a list of versions.
type DirectoryPage struct {
	Entries []*DirectoryEntry

	// Tampered names the rows that were tampered with, as they name themselves. Nothing
	// else of them is returned.
	Tampered []DirectoryName

	Last   DirectoryName // name in the last row, with which the next page starts
	Change int64         // change number of the last row
	More   bool          // the page is as long as the limit, so there may be another one
}

// SaveDirectoryEntry stores a version of an entry, and removes old versions until there are
// [KeptVersions], but at most 10 with each version. Conflict unless it is the version
// after the newest one: 1 for a new entry. If two nodes store the same version, one gets
// Conflict.
type SaveDirectoryEntry struct{ Entry *DirectoryEntry }

// ForTenant implements [Write].
func (w SaveDirectoryEntry) ForTenant() string { return w.Entry.Tenant }

// PruneDirectoryEntry removes all versions of an entry whose kind is Prunable, or whose tenant
// was deleted. The caller makes sure that its versions give no right even if someone puts them
// back: a token has expired, an approval has ended, a tenant is gone with its keys. Its ID is
// never used again.
type PruneDirectoryEntry struct {
	Name          DirectoryName
	TenantDeleted bool // the entry is one of a tenant whose deletion was confirmed, so any kind may be removed
}

// RequireEntry makes a change fail with Conflict and [ErrFenced] unless the newest version of an
// entry is the given one. The runner of a job adds it to everything that it stores.
type RequireEntry struct {
	Name    DirectoryName
	Version int64
}

// ForTenant implements [Write].
func (w RequireEntry) ForTenant() string { return w.Name.Tenant }

// ForTenant implements [Write].
func (w PruneDirectoryEntry) ForTenant() string { return w.Name.Tenant }
