// Package sqlitefile keeps the file of a SQLite database for one process: it locks the
// file, notices if someone removes it, and overwrites deleted key material on disk.
//
// It runs no statement of the store. It relies on the SQLite driver that package store
// registers. Start at [Open].
package sqlitefile

import (
	"errors"
	"net/url"
	"os"
	"syscall"

	"github.com/keyreeve/keyreeve/core"
)

// DSN returns the name of a database for the driver. The settings in more have
// priority. synchronous=FULL syncs the WAL at each commit; with NORMAL, a power cut
// would lose the last commits. secure_delete overwrites what is deleted.
func DSN(path, more string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_foreign_keys=on" + more + "&_journal_mode=WAL&_synchronous=FULL&_secure_delete=on&_busy_timeout=5000&_stmt_cache_size=64"
}

// File is the database file that this process has open.
type File struct {
	Path  string
	lock  *os.File  // nil if there is no lock file
	files [2]fileID // database and WAL
}

// Open locks the file for this process. With create, it creates a missing file,
// which only its owner can read. A second process would change rows that this one has
// in its cache (Shared is false), and revoked keys would stay in use. The lock is a
// file beside the database, so that it does not disturb the locks of SQLite. It ends
// with the process, even if that is killed.
func Open(path string, create bool) (*File, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !create {
		return nil, noFile(path)
	}
	lock, err := os.OpenFile(path+"-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, core.Wrap(core.StoreUnavailable, err, "the database file %s cannot be opened or created; check store.url, and that its folder exists and both belong to keyreeve's user", path)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, otherProcess(path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		lock.Close()
		return nil, core.Wrap(core.StoreUnavailable, err, "the database file %s cannot be opened; check store.url, and that the file belongs to keyreeve's user", path)
	}
	return &File{Path: path, lock: lock}, f.Close()
}

func noFile(path string) error {
	return core.Errorf(core.ItemNotFound, "the database file %s does not exist: check store.url, or run keyreeve init to create a new installation", path)
}

func otherProcess(path string, err error) error {
	return core.Wrap(core.StoreUnavailable, err, "another process has the database %s open; stop it first, or use PostgreSQL for several nodes", path)
}

// Remember notes which files are open. A connection creates the WAL.
func (f *File) Remember() (err error) {
	for i, path := range [...]string{f.Path, f.Path + "-wal"} {
		if f.files[i], err = identify(path); err != nil {
			return err
		}
	}
	return nil
}

// CheckPresent fails if the database or its WAL is no longer in its place. A write to
// a file that was removed succeeds, and everything that was acknowledged is lost.
func (f *File) CheckPresent() error {
	for i := range f.files {
		was := &f.files[i]
		if is, err := identify(was.path); err != nil || is != *was {
			return core.Wrap(core.StoreUnavailable, err, "the file %s was removed or replaced while it was open; stop keyreeve, put the database back and start again", was.path)
		}
	}
	return nil
}

// Unlock lets another process open the database.
func (f *File) Unlock() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// fileID identifies a file, to see whether a path still names it.
type fileID struct {
	path     string
	dev, ino uint64
}

func identify(path string) (fileID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{path, uint64(st.Dev), st.Ino}, nil
}
