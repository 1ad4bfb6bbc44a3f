package store

import (
	"context"
	"database/sql"
	"errors"
	"runtime"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
)

// sqliteStore is the embedded store: one writing connection, some for reading.
type sqliteStore struct {
	file  *sqliteFile
	read  *sql.DB
	write *sql.DB
	conn  *sql.Conn // the one that writes
	group group

	inTransaction bool // the leader's

	object                                                          *sql.Stmt
	entries                                                         map[int]*sql.Stmt // INSERT of 1, 2, 4 ... rows
	args                                                            []any             // room for theirs, the leader's
	begin, commitTx, rollback, savepoint, releaseSave, rollbackSave *sql.Stmt
}

// largestInsert is the most audit entries in one statement.
const largestInsert = 128

// OpenSQLite opens or makes a database file. synchronous=FULL: what is
// committed survives a power cut. The WAL is never truncated while serving:
// overwriting it costs half of growing it.
func OpenSQLite(ctx context.Context, path string) (core.Store, error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{file: file, entries: map[int]*sql.Stmt{}}
	s.group.init(s.commitGroup)
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sqliteStore) open(ctx context.Context) (err error) {
	if s.write, err = sql.Open("sqlite3", sqliteDSN(s.file.path, "&_txlock=immediate")); err != nil {
		return unavailable(err, "be opened")
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write, goose.DialectSQLite3, "sqlite"); err != nil {
		return unavailable(err, "be brought up to date")
	}
	if s.read, err = sql.Open("sqlite3", sqliteDSN(s.file.path, "&_query_only=on")); err != nil {
		return unavailable(err, "be opened")
	}
	s.read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	s.read.SetMaxIdleConns(max(4, runtime.GOMAXPROCS(0)))
	if err := s.prepare(ctx); err != nil {
		return unavailable(err, "prepare its statements")
	}
	if err := s.file.remember(); err != nil {
		return unavailable(err, "be found where it was opened")
	}
	return nil
}

func (s *sqliteStore) prepare(ctx context.Context) (err error) {
	if s.conn, err = s.write.Conn(ctx); err != nil {
		return err
	}
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{{&s.begin, "BEGIN IMMEDIATE"}, {&s.commitTx, "COMMIT"}, {&s.rollback, "ROLLBACK"}, {&s.savepoint, "SAVEPOINT one"},
		{&s.releaseSave, "RELEASE one"}, {&s.rollbackSave, "ROLLBACK TO one"}} {
		if *p.stmt, err = s.conn.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	for n := 1; n <= largestInsert; n *= 2 {
		text := "INSERT INTO audit_entry (tenant, at, body) VALUES (?, ?, ?)"
		for range n - 1 {
			text += ", (?, ?, ?)"
		}
		if s.entries[n], err = s.conn.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	s.object, err = s.read.PrepareContext(ctx, selectObject)
	return err
}

func (s *sqliteStore) Commit(ctx context.Context, c *core.Change) error {
	if err := check(c); err != nil {
		return err
	}
	return s.group.do(ctx, c)
}

// commitGroup is one transaction for many callers, after which the file must
// still be there. It cleans up first if the last one panicked.
func (s *sqliteStore) commitGroup(batch []*pending) {
	if s.inTransaction {
		s.rollback.ExecContext(context.Background())
	}
	s.inTransaction = true
	s.commitAll(context.Background(), batch)
	s.inTransaction = false
	if err := s.file.present(); err != nil {
		failAll(batch, err)
	}
}

// commitAll takes a change that fails back alone; trouble with the transaction
// itself fails all.
func (s *sqliteStore) commitAll(ctx context.Context, batch []*pending) {
	if len(batch) == 1 && entriesOnly(batch[0].change) && len(batch[0].change.Entries) == 1 {
		batch[0].err = s.insertEntries(ctx, batch[0].change.Entries)
		return
	}
	if _, err := s.begin.ExecContext(ctx); err != nil {
		failAll(batch, unavailable(err, "begin"))
		return
	}
	if err := s.applyAll(ctx, batch); err != nil {
		s.rollback.ExecContext(ctx)
		failAll(batch, err)
		return
	}
	if _, err := s.commitTx.ExecContext(ctx); err != nil {
		s.rollback.ExecContext(ctx)
		if uncertain(err) {
			err = unknown(err)
		}
		failAll(batch, unavailable(err, "commit"))
	}
}

func failAll(batch []*pending, err error) {
	for _, p := range batch {
		if p.err == nil {
			p.err = err
		}
	}
}

func entriesOnly(c *core.Change) bool {
	return len(c.Insert)+len(c.Update)+len(c.Delete)+len(c.TenantKeys)+len(c.Begin)+len(c.Finish) == 0
}

func (s *sqliteStore) applyAll(ctx context.Context, batch []*pending) error {
	var entries []core.Entry
	for _, p := range batch {
		if !entriesOnly(p.change) {
			if _, err := s.savepoint.ExecContext(ctx); err != nil {
				return unavailable(err, "set a savepoint")
			}
			if p.err = applyChange(ctx, sqliteTx{s.conn}, p); p.err != nil {
				if _, err := s.rollbackSave.ExecContext(ctx); err != nil {
					return unavailable(err, "take a change back")
				}
			}
			if _, err := s.releaseSave.ExecContext(ctx); err != nil {
				return unavailable(err, "release a savepoint")
			}
		}
		if p.err == nil {
			entries = append(entries, p.change.Entries...)
		}
	}
	return s.insertEntries(ctx, entries)
}

// insertEntries inserts as few and as large statements as powers of two allow.
func (s *sqliteStore) insertEntries(ctx context.Context, entries []core.Entry) error {
	for len(entries) > 0 {
		n := 1
		for n*2 <= len(entries) && n*2 <= largestInsert {
			n *= 2
		}
		s.args = s.args[:0]
		for i := range entries[:n] {
			e := &entries[i]
			s.args = append(s.args, e.Tenant, e.Time, e.Body)
		}
		_, err := s.entries[n].ExecContext(ctx, s.args...)
		clear(s.args)
		if err != nil {
			if uncertain(err) {
				err = unknown(err)
			}
			return unavailable(err, "write the audit records")
		}
		entries = entries[n:]
	}
	return nil
}

// tx is what a change needs of a transaction; exec returns the rows affected.
type tx interface {
	exec(ctx context.Context, text string, args ...any) (int64, error)
	returning(ctx context.Context, text string, args ...any) (int64, error) // of RETURNING, one number; sql.ErrNoRows
	duplicate(err error) bool
}

type sqliteTx struct{ conn *sql.Conn }

func (t sqliteTx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := t.conn.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t sqliteTx) returning(ctx context.Context, text string, args ...any) (n int64, err error) {
	return n, t.conn.QueryRowContext(ctx, text, args...).Scan(&n)
}

func (sqliteTx) duplicate(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrConstraint
}

func (s *sqliteStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	if !clean(tenant) || !clean(id) {
		return nil, itemNotFound(id)
	}
	o, err := scanObject(s.object.QueryRowContext(ctx, tenant, id), true)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, itemNotFound(id)
	}
	if err != nil && core.CodeOf(err) == core.Internal {
		return nil, unavailable(err, "read an object")
	}
	return o, err
}

// all runs a query and scans each row by f.
func (s *sqliteStore) all(ctx context.Context, f func(scanner) error, text string, args ...any) error {
	rows, err := s.read.QueryContext(ctx, text, args...)
	if err != nil {
		return unavailable(err, "read")
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return unavailable(err, "read")
		}
	}
	if err := rows.Err(); err != nil {
		return unavailable(err, "read")
	}
	return nil
}

func (s *sqliteStore) TenantKeys(ctx context.Context, tenant string) (out []core.TenantKey, err error) {
	err = s.all(ctx, scanKey(&out), selectKeys, tenant, tenant)
	return out, err
}

func (s *sqliteStore) Intents(ctx context.Context) (out []core.Intent, err error) {
	err = s.all(ctx, scanIntent(&out), selectIntent)
	return out, err
}

func (s *sqliteStore) Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error) {
	out := map[string]bool{}
	for _, t := range tokens {
		if err := s.all(ctx, func(scanner) error { out[string(t)] = true; return nil }, selectToken, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *sqliteStore) Records(ctx context.Context, q core.RecordQuery) (out []core.StoredEntry, err error) {
	text, args := recordsQuery(q)
	err = s.all(ctx, scanEntry(&out), text, args...)
	return out, err
}

// Shared is false: SQLite has one writing process.
func (s *sqliteStore) Shared() bool { return false }

func (s *sqliteStore) Health(ctx context.Context) error {
	if err := s.group.health(); err != nil {
		return err
	}
	if err := s.file.present(); err != nil {
		return err
	}
	var n int
	if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM tenant_key").Scan(&n); err != nil {
		return unavailable(err, "answer")
	}
	return nil
}

func (s *sqliteStore) Close() error {
	s.group.close()
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	errs = append(errs, s.file.close()) // last: the next process may come
	return errors.Join(errs...)
}
