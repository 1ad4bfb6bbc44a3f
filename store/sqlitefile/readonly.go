package sqlitefile

import (
	"errors"
	"net/url"
	"os"
	"syscall"

	"github.com/keyreeve/keyreeve/core"
)

// OpenReadOnly locks a database for reading, if there is a lock file, so that no server
// starts to write meanwhile.
func OpenReadOnly(path string) (*File, error) {
	if err := databaseFile(path); err != nil {
		return nil, err
	}
	lock, err := shareLock(path)
	if err != nil {
		return nil, err
	}
	return &File{Path: path, lock: lock}, nil
}

// databaseFile fails unless the path names a file.
func databaseFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return noFile(path)
	}
	if err != nil {
		return core.Wrap(core.StoreUnavailable, err, "the database file %s cannot be examined; check store.url", path)
	}
	if !info.Mode().IsRegular() {
		return core.Errorf(core.StoreUnavailable, "the database %s is not a file; check store.url", path)
	}
	return nil
}

// shareLock locks a database for reading. It returns nil if there is no lock file:
// then no server has ever had the database open.
func shareLock(path string) (*os.File, error) {
	lock, err := os.Open(path + "-lock")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, core.Wrap(core.StoreUnavailable, err, "the lock file of the database %s cannot be opened; check store.url, and run this as keyreeve's user", path)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, otherProcess(path, err)
	}
	return lock, nil
}

// ReadOnlyDSN returns the name, for the driver, of a database that nobody writes.
// SQLite creates a WAL and its index even beside a database that it only reads, unless
// the database is immutable; but then it ignores an existing WAL. So a database with a
// WAL, whose server was killed, is opened without locks and with the index in memory.
func ReadOnlyDSN(path string) (string, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_query_only=on"
	wal, err := os.Stat(path + "-wal")
	if errors.Is(err, os.ErrNotExist) || err == nil && wal.Size() == 0 {
		return dsn + "&immutable=1", nil
	}
	return dsn + "&vfs=unix-none&_locking_mode=EXCLUSIVE", err
}
