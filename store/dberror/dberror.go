// Package dberror turns the errors of both databases into those of package core, with a
// sentence that says what an operator should do. Start at [Unavailable].
package dberror

import (
	"context"
	"errors"

	"github.com/mattn/go-sqlite3"

	"github.com/keyreeve/keyreeve/core"
)

// Unavailable turns an error of a database into StoreUnavailable, with a sentence that
// says what to do. The log gets the cause. An error that already has a code is
// returned as it is.
func Unavailable(err error, what string) error {
	if coded, ok := errors.AsType[*core.Error](err); ok {
		return coded
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return core.Wrap(core.StoreUnavailable, err, "the database could not %s in time", what)
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok && sqliteSentences[e.Code] != "" {
		return core.Wrap(core.StoreUnavailable, err, "%s", sqliteSentences[e.Code])
	}
	if s := postgresSentence(err); s != "" {
		return core.Wrap(core.StoreUnavailable, err, "%s", s)
	}
	return core.Wrap(core.StoreUnavailable, err, "the database could not %s; see its log, and check its disk", what)
}

// sqliteSentences say what to do, for each primary result code.
var sqliteSentences = map[sqlite3.ErrNo]string{
	sqlite3.ErrFull:     "the disk of the database is full; free space, and keyreeve continues by itself",
	sqlite3.ErrIoErr:    "the database cannot be read or written; check its disk",
	sqlite3.ErrReadonly: "the database cannot be written; check the permissions of the file and its folder",
	sqlite3.ErrPerm:     "the database cannot be written; check the permissions of the file and its folder",
	sqlite3.ErrCantOpen: "the database cannot be opened; check that its folder exists and belongs to keyreeve's user (store.url)",
	sqlite3.ErrNotADB:   "the file is not a SQLite database; check store.url, or restore the file from a backup",
	sqlite3.ErrCorrupt:  "the database is damaged; stop keyreeve and restore it from a backup",
	sqlite3.ErrBusy:     "another program holds a lock on the database; let it finish or stop it",
	sqlite3.ErrLocked:   "another program holds a lock on the database; let it finish or stop it",
}

// IsUncertain reports whether a change may be stored although its COMMIT failed. The
// last frame can be in the WAL although the sync failed.
func IsUncertain(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && e.Code == sqlite3.ErrIoErr
}

// UnknownOutcome is the only error after which a change may be stored.
func UnknownOutcome(cause error) error {
	return core.Wrap(core.StoreUnavailable, errors.Join(core.ErrOutcomeUnknown, cause), "the connection to the database was lost during a commit, so it is not known whether the change is stored; read the object again")
}
