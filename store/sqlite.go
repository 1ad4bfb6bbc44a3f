package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
)

// busyTimeoutMS is how long a connection waits for a lock of another program,
// such as a backup. Our own connections never wait for each other.
const busyTimeoutMS = 5_000

// SQLite is a core.Store in one file. One process at a time may have it open:
// snapshots are trusted without asking again, so a second writer would make
// revoked keys usable. A lock on PATH-lock sees to that. Safe for concurrent use.
type SQLite struct {
	path    string
	lock    *os.File
	file    fileID // of the database that was opened
	wal     fileID
	writer  *sqliteWriter
	commits *committer
	db      *sql.DB // readers
	object  *sql.Stmt
}

// OpenSQLite opens the database o.Path, and makes and migrates it if need be.
// The file is readable by its owner alone.
func OpenSQLite(ctx context.Context, o Options) (*SQLite, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openWaitMS*time.Millisecond)
	defer cancel()
	s := &SQLite{path: o.Path}
	if err := s.open(ctx, &o); err != nil {
		s.Close()
		return nil, sqliteError(err, o.Path)
	}
	return s, nil
}

func (s *SQLite) open(ctx context.Context, o *Options) (err error) {
	if s.lock, err = lockFile(o.Path); err != nil {
		return err
	}
	if _, err = upSQLite(ctx, o); err != nil {
		return err
	}
	if s.writer, err = newSQLiteWriter(sqliteDSN(o.Path, false), o.MaxPages); err != nil {
		return err
	}
	if s.db, err = sql.Open("sqlite3", sqliteDSN(o.Path, true)); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(o.Readers)
	s.db.SetMaxIdleConns(o.Readers)
	if s.object, err = s.db.PrepareContext(ctx, "select "+snapshotColumns+materialColumns+" from object o where o.tenant = ? and o.id = ?"); err != nil {
		return err
	}
	if s.file, err = identify(o.Path); err != nil {
		return err
	}
	if s.wal, err = identify(o.Path + "-wal"); err != nil {
		return err
	}
	s.commits = newCommitter(o.commitWait(), s.apply)
	return nil
}

// sqliteDSN names the database to the driver. synchronous=FULL syncs the WAL at
// every commit; NORMAL would lose the last ones at a power cut.
func sqliteDSN(path string, readOnly bool) string {
	q := url.Values{"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_busy_timeout": {strconv.Itoa(busyTimeoutMS)}, "_txlock": {"immediate"}}
	if readOnly {
		q.Set("_query_only", "1")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// lockFile takes the database for this process and makes it if it is not
// there. The lock ends with the process, however that ends.
func lockFile(path string) (*os.File, error) {
	if path == "" {
		return nil, core.Errorf(core.InvalidField, "the path of the SQLite database is empty")
	}
	lock, err := os.OpenFile(path+"-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, core.Wrap(core.StoreUnavailable, err, "another process has the database %s open; stop it first, or use PostgreSQL for several nodes", path)
	}
	// SQLite would make the file readable by all; WAL and index follow its mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, f.Close()
}

func migrateSQLite(ctx context.Context, o *Options) (int, error) {
	lock, err := lockFile(o.Path)
	if err != nil {
		return 0, sqliteError(err, o.Path)
	}
	defer lock.Close()
	o.NoMigrate = false
	n, err := upSQLite(ctx, o)
	return n, sqliteError(err, o.Path)
}

// upSQLite migrates; the caller holds the lock.
func upSQLite(ctx context.Context, o *Options) (int, error) {
	db, err := sql.Open("sqlite3", sqliteDSN(o.Path, false))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	p, err := provider(goose.DialectSQLite3, db, "sqlite")
	if err != nil {
		return 0, err
	}
	return up(ctx, p, o.NoMigrate)
}

// fileID tells whether a path still names the file that was opened.
type fileID struct{ dev, ino uint64 }

func identify(path string) (fileID, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// present reports that database and WAL are where they were. Writing to a file
// that somebody removed succeeds, and everything acknowledged then is lost.
func (s *SQLite) present() error {
	for _, f := range []struct {
		path string
		want fileID
	}{{s.path, s.file}, {s.path + "-wal", s.wal}} {
		if got, err := identify(f.path); err != nil || got != f.want {
			return core.Wrap(core.StoreUnavailable, err, "the file %s was removed or replaced while it was open; stop keyreeve, put the database back and start again", f.path)
		}
	}
	return nil
}

// Commit implements core.Store.
func (s *SQLite) Commit(ctx context.Context, c *core.Change) error {
	return commitChange(ctx, s.commits, c)
}

// commitChange is Commit of both dialects.
func commitChange(ctx context.Context, g *committer, c *core.Change) error {
	p, err := prepare(c)
	if err != nil {
		return err
	}
	if err := g.do(ctx, p); err != nil {
		return err
	}
	for i, o := range c.Insert {
		o.Seq = p.seqs[i]
	}
	return nil
}

// Shared implements core.Store: the lock keeps others out.
func (s *SQLite) Shared() bool { return false }

// Health implements core.Store.
func (s *SQLite) Health(ctx context.Context) error {
	if err := s.commits.health(); err != nil {
		return err
	}
	if err := s.present(); err != nil {
		return err
	}
	var n int
	return sqliteError(s.db.QueryRowContext(ctx, "select count(*) from tenant_key").Scan(&n), s.path)
}

// Close implements core.Store. What was acknowledged is in the file; the lock
// is given up last.
func (s *SQLite) Close() error {
	var errs []error
	if s.commits != nil {
		s.commits.close()
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return sqliteError(errors.Join(errs...), s.path)
}

// sqliteSentences say what to mend, by primary result code.
var sqliteSentences = map[sqlite3.ErrNo]string{
	sqlite3.ErrFull:     "the disk (or the page limit) of the database %s is full; free space, and it goes on by itself",
	sqlite3.ErrIoErr:    "the database %s cannot be read or written; look at its disk",
	sqlite3.ErrReadonly: "the database %s cannot be written; check the permissions of the file and its folder",
	sqlite3.ErrPerm:     "the database %s cannot be written; check the permissions of the file and its folder",
	sqlite3.ErrCantOpen: "the database %s cannot be opened; check that its folder exists and belongs to keyreeve's user",
	sqlite3.ErrNotADB:   "the file %s is no SQLite database; check the path, or restore it from a backup",
	sqlite3.ErrCorrupt:  "the database %s is damaged; stop keyreeve and restore it from a backup",
	sqlite3.ErrBusy:     "another program holds a lock on the database %s; let it finish or stop it",
	sqlite3.ErrLocked:   "another program holds a lock on the database %s; let it finish or stop it",
	sqlite3.ErrNomem:    "there is no memory left for the database %s",
}

// sqliteError gives an error of the driver or the system its code and sentence.
func sqliteError(err error, path string) error {
	var coded *core.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return core.Wrap(core.StoreUnavailable, err, "the request was given up before the database %s answered", path)
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		if sentence := sqliteSentences[e.Code]; sentence != "" {
			return core.Wrap(core.StoreUnavailable, err, sentence, path)
		}
		return core.Wrap(core.StoreUnavailable, err, "the database %s refused a statement; see the log", path)
	}
	return core.Wrap(core.StoreUnavailable, err, "the database %s cannot be used; check that its folder exists and belongs to keyreeve's user", path)
}
