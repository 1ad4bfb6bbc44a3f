package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
)

// readOnlyStore is a store that was opened only for reading.
type readOnlyStore struct{ core.Store }

// Commit fails: see [OpenReadOnly].
func (readOnlyStore) Commit(context.Context, *core.Change) error {
	return core.Errorf(core.IllegalOperation, "the database was opened only for reading, so nothing can be committed")
}

// OpenReadOnly opens a database only for reading. It creates, migrates and writes
// nothing, neither in the database nor beside it. It fails if the schema is older or
// newer than this program's, or if another process has the SQLite database open.
func OpenReadOnly(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	var s core.Store
	var err error
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		s, err = openSQLiteReadOnly(ctx, path, sealer)
	} else if isPostgres(url) {
		s, err = openPostgresReadOnly(ctx, url, sealer)
	} else {
		err = noSuchStore()
	}
	if err != nil {
		return nil, err
	}
	return readOnlyStore{s}, nil
}

// openSQLiteReadOnly locks the database, if there is a lock file, so that no server
// starts to write meanwhile.
func openSQLiteReadOnly(ctx context.Context, path string, sealer core.Sealer) (core.Store, error) {
	if err := databaseFile(path); err != nil {
		return nil, err
	}
	lock, err := shareLock(path)
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{file: &sqliteFile{path: path, lock: lock}, connections: newConnections(readers(), readers()/2, readers())}
	s.tables = tables{seals{sealer}, s.queryRows}
	s.group.init(func(all []*pendingChange) { failAll(all, errReadOnly) })
	if err := s.openToLook(ctx); err != nil {
		s.Close()
		return nil, unavailable(err, "be read")
	}
	return s, nil
}

var errReadOnly = errors.New("store: opened for reading only")

func (s *sqliteStore) openToLook(ctx context.Context) (err error) {
	dsn, err := readOnlyDSN(s.file.path)
	if err != nil {
		return err
	}
	if s.readDB, err = sql.Open("sqlite3", dsn); err != nil {
		return err
	}
	s.readDB.SetMaxOpenConns(readers())
	s.searchDB = s.readDB
	if err := currentSchema(ctx, s.readDB, goose.DialectSQLite3, "sqlite"); err != nil {
		return err
	}
	s.selectObject, err = s.readDB.PrepareContext(ctx, selectObject)
	return err
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

// readOnlyDSN returns the name, for the driver, of a database that nobody writes.
// SQLite creates a WAL and its index even beside a database that it only reads, unless
// the database is immutable; but then it ignores an existing WAL. So a database with a
// WAL, whose server was killed, is opened without locks and with the index in memory.
func readOnlyDSN(path string) (string, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_query_only=on"
	wal, err := os.Stat(path + "-wal")
	if errors.Is(err, os.ErrNotExist) || err == nil && wal.Size() == 0 {
		return dsn + "&immutable=1", nil
	}
	return dsn + "&vfs=unix-none&_locking_mode=EXCLUSIVE", err
}

// openPostgresReadOnly opens connections whose transactions are read-only. The server
// may be a standby.
func openPostgresReadOnly(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	cfg, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.ValidateConnect = nil
	cfg.AfterConnect = readOnlySession
	db := stdlib.OpenDB(*cfg.ConnConfig, stdlib.OptionAfterConnect(readOnlySession))
	defer db.Close()
	if err := currentSchema(ctx, db, goose.DialectPostgres, "postgres"); err != nil {
		return nil, cannotOpen(err)
	}
	return poolOf(ctx, cfg, sealer)
}

func readOnlySession(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "SET default_transaction_read_only = on", pgx.QueryExecModeSimpleProtocol)
	return err
}
