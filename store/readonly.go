package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/dberror"
	"github.com/keyreeve/keyreeve/store/migrations"
	"github.com/keyreeve/keyreeve/store/sqlitefile"
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

func openSQLiteReadOnly(ctx context.Context, path string, sealer core.Sealer) (core.Store, error) {
	file, err := sqlitefile.OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{file: file, connections: newConnections(readers(), readers()/2, readers())}
	s.tables = tables{seals{sealer}, s.queryRows}
	s.group.init(func(all []*pendingChange) { failAll(all, errReadOnly) })
	if err := s.openToLook(ctx); err != nil {
		s.Close()
		return nil, dberror.Unavailable(err, "be read")
	}
	return s, nil
}

var errReadOnly = errors.New("store: opened for reading only")

func (s *sqliteStore) openToLook(ctx context.Context) (err error) {
	dsn, err := sqlitefile.ReadOnlyDSN(s.file.Path)
	if err != nil {
		return err
	}
	if s.readDB, err = sql.Open("sqlite3", dsn); err != nil {
		return err
	}
	s.readDB.SetMaxOpenConns(readers())
	s.searchDB = s.readDB
	if err := migrations.RequireCurrent(ctx, s.readDB, goose.DialectSQLite3, "sqlite"); err != nil {
		return err
	}
	s.selectObject, err = s.readDB.PrepareContext(ctx, selectObject)
	return err
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
	if err := migrations.RequireCurrent(ctx, db, goose.DialectPostgres, "postgres"); err != nil {
		return nil, dberror.CannotOpen(err)
	}
	return poolOf(ctx, cfg, sealer)
}

func readOnlySession(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "SET default_transaction_read_only = on", pgx.QueryExecModeSimpleProtocol)
	return err
}
