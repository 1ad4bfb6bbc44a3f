package store

import (
	"context"
	"database/sql"
	"errors"
	"runtime"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/store/dberror"
	"github.com/keyreeve/keyreeve/store/document"
	"github.com/keyreeve/keyreeve/store/migrations"
	"github.com/keyreeve/keyreeve/store/sqlitefile"
)

// sqliteStore is the embedded store: one connection writes, several read.
type sqliteStore struct {
	tables
	file      *sqlitefile.File
	readDB    *sql.DB // for single objects and short queries
	searchDB  *sql.DB // for searches and lists
	writeDB   *sql.DB
	writeConn *sql.Conn // the only one that writes
	wiper     *sqlitefile.Wiper
	group     groupCommitter

	connections  connections
	selectObject *sql.Stmt

	// The fields below belong to the leader of the group.

	inTransaction bool
	lastSeq       int64 // of an object

	preparedByText map[string]*sql.Stmt // of writeConn; there are few
	counts         entryCounts
	batchEntries   []core.Entry   // of the batch that is under way
	entryArguments []any          // arguments of the INSERT of batchEntries
	nameArguments  map[string]any // tenants and nodes as arguments, so that each is allocated once
}

// maxNames bounds nameArguments.
const maxNames = 1024

// The statements around a change.
const (
	begin        = "BEGIN IMMEDIATE"
	commitTx     = "COMMIT"
	rollback     = "ROLLBACK"
	savepoint    = "SAVEPOINT one"
	releaseSave  = "RELEASE one"
	rollbackSave = "ROLLBACK TO one"
)

// openSQLite opens a database file. synchronous=FULL: what is committed survives a power
// cut. The WAL is truncated only after a change that removed key material: to overwrite a
// WAL costs half as much as to grow it.
func openSQLite(ctx context.Context, path string, sealer core.Sealer, create bool) (core.Store, error) {
	file, err := sqlitefile.Open(path, create)
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{file: file, preparedByText: map[string]*sql.Stmt{}, nameArguments: map[string]any{}}
	s.tables = tables{seals{sealer}, s.queryRows}
	s.group.init(s.commitGroup)
	if err := s.openConnections(ctx, create); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sqliteStore) openConnections(ctx context.Context, create bool) (err error) {
	if s.writeDB, err = sql.Open("sqlite3", sqlitefile.DSN(s.file.Path, "&_txlock=immediate")); err != nil {
		return dberror.Unavailable(err, "be opened")
	}
	s.writeDB.SetMaxOpenConns(1)
	if err := migrations.Migrate(ctx, s.writeDB, goose.DialectSQLite3, "sqlite", create); err != nil {
		return dberror.Unavailable(err, "be brought up to date")
	}
	if s.readDB, err = s.openReader(); err != nil {
		return err
	}
	if s.searchDB, err = s.openReader(); err != nil {
		return err
	}
	s.connections = newConnections(readers(), readers()/2, readers()) // a read needs a processor: half of the readers keep all processors busy
	if err := s.prepareStatements(ctx); err != nil {
		return dberror.Unavailable(err, "prepare its statements")
	}
	if err := s.file.Remember(); err != nil {
		return dberror.Unavailable(err, "be found in its place")
	}
	if s.wiper, err = sqlitefile.OpenWiper(ctx, s.file.Path); err != nil {
		return dberror.Unavailable(err, "be opened")
	}
	return nil
}

// readers is the number of connections that read single objects, and of those that
// search.
func readers() int { return max(4, runtime.NumCPU()) }

func (s *sqliteStore) openReader() (*sql.DB, error) {
	db, err := sql.Open("sqlite3", sqlitefile.DSN(s.file.Path, "&_query_only=on"))
	if err != nil {
		return nil, dberror.Unavailable(err, "be opened")
	}
	db.SetMaxOpenConns(readers())
	db.SetMaxIdleConns(readers())
	return db, nil
}

func (s *sqliteStore) prepareStatements(ctx context.Context) (err error) {
	if s.writeConn, err = s.writeDB.Conn(ctx); err != nil {
		return err
	}
	for _, text := range []string{begin, commitTx, rollback} { // so that a failure shows now
		if _, err := s.prepared(ctx, text); err != nil {
			return err
		}
	}
	if s.selectObject, err = s.readDB.PrepareContext(ctx, selectObject); err != nil {
		return err
	}
	return s.writeConn.QueryRowContext(ctx, selectLastSeq).Scan(&s.lastSeq)
}

// selectLastSeq returns the highest Seq that an object has or had. No Seq is given twice.
const selectLastSeq = `SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'object'), 0), coalesce((SELECT max(seq) FROM object), 0))`

// prepared returns a statement of the writing connection, prepared once: SQLite takes
// longer to parse a statement with 28 columns than to run it.
func (s *sqliteStore) prepared(ctx context.Context, text string) (st *sql.Stmt, err error) {
	if st = s.preparedByText[text]; st == nil {
		if st, err = s.writeConn.PrepareContext(ctx, text); err == nil {
			s.preparedByText[text] = st
		}
	}
	return st, err
}

func (s *sqliteStore) execPrepared(ctx context.Context, text string, args ...any) (sql.Result, error) {
	st, err := s.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (s *sqliteStore) Commit(ctx context.Context, c *core.Change) error {
	if err := checkChange(c); err != nil {
		return err
	}
	defer fair.Waits(ctx).Over()
	return s.group.commitWithOthers(ctx, c)
}

// commitGroup commits one transaction for many callers. Afterwards the file must still
// be in its place. If the last call panicked, it rolls back that transaction first.
func (s *sqliteStore) commitGroup(batch []*pendingChange) {
	if s.inTransaction {
		s.execPrepared(context.Background(), rollback)
		s.counts.forget()
	}
	s.inTransaction = true
	s.commitAll(context.Background(), batch)
	s.inTransaction = false
	clear(s.batchEntries)
	if err := s.file.CheckPresent(); err != nil {
		failAll(batch, err)
		s.counts.forget()
	}
	if storedKeyRemoval(batch) {
		s.wiper.Request()
	}
}

// commitAll commits the changes of a batch that succeed. Changes seldom fail, so the
// first try has no savepoints. If a change fails, everything is rolled back and tried
// again with a savepoint around each change, so that only the failed ones are lost.
// If the transaction itself fails, all changes fail.
func (s *sqliteStore) commitAll(ctx context.Context, batch []*pendingChange) {
	if len(batch) == 1 && len(batch[0].change.Writes) == 1 && entriesOnly(batch[0].change) {
		s.batchEntries = appendEntries(s.batchEntries[:0], batch[0].change)
		if batch[0].err = s.insertEntries(ctx); batch[0].err == nil {
			s.counts.noteStored(s.batchEntries)
		}
		return
	}
	err := s.commitTransaction(ctx, batch, false)
	if errors.Is(err, errOneFailed) {
		for _, p := range batch {
			p.err, p.seqs = nil, p.seqs[:0]
		}
		err = s.commitTransaction(ctx, batch, true)
	}
	if err != nil {
		failAll(batch, err)
	}
}

// commitTransaction runs one transaction for a batch, and rolls it back on any error.
func (s *sqliteStore) commitTransaction(ctx context.Context, batch []*pendingChange, each bool) error {
	if _, err := s.execPrepared(ctx, begin); err != nil {
		return dberror.Unavailable(err, "begin")
	}
	if err := s.applyAll(ctx, batch, each); err != nil {
		s.execPrepared(ctx, rollback)
		return err
	}
	if _, err := s.execPrepared(ctx, commitTx); err != nil {
		s.execPrepared(ctx, rollback)
		if dberror.IsUncertain(err) {
			err = dberror.UnknownOutcome(err)
		}
		s.counts.forget()
		return dberror.Unavailable(err, "commit")
	}
	s.counts.noteStored(s.batchEntries)
	return nil
}

func failAll(batch []*pendingChange, err error) {
	for _, p := range batch {
		if p.err == nil {
			p.err = err
		}
	}
}

// errOneFailed ends a transaction in which a change failed that had no savepoint.
var errOneFailed = errors.New("store: one change of a batch failed")

// applyAll runs the changes of a batch, with a savepoint around each if asked to.
func (s *sqliteStore) applyAll(ctx context.Context, batch []*pendingChange, each bool) error {
	s.batchEntries = s.batchEntries[:0]
	for _, p := range batch {
		if err := s.applyOne(ctx, p, each); err != nil {
			return err
		}
		if p.err == nil {
			s.batchEntries = appendEntries(s.batchEntries, p.change)
		}
	}
	return s.insertEntries(ctx)
}

func (s *sqliteStore) applyOne(ctx context.Context, p *pendingChange, saved bool) error {
	if entriesOnly(p.change) {
		return nil
	}
	if !saved {
		if p.err = s.applyChange(ctx, p); p.err != nil {
			return errOneFailed
		}
		return nil
	}
	if _, err := s.execPrepared(ctx, savepoint); err != nil {
		return dberror.Unavailable(err, "set a savepoint")
	}
	if p.err = s.applyChange(ctx, p); p.err != nil {
		if _, err := s.execPrepared(ctx, rollbackSave); err != nil {
			return dberror.Unavailable(err, "take a change back")
		}
	}
	if _, err := s.execPrepared(ctx, releaseSave); err != nil {
		return dberror.Unavailable(err, "release a savepoint")
	}
	return nil
}

// nameArgument returns a tenant or a node as an argument that was allocated before, if
// it can.
func (s *sqliteStore) nameArgument(text string) any {
	kept, ok := s.nameArguments[text]
	if !ok {
		if len(s.nameArguments) >= maxNames {
			clear(s.nameArguments)
		}
		kept = text
		s.nameArguments[text] = kept
	}
	return kept
}

// applyChange runs a change, except its audit entries.
func (s *sqliteStore) applyChange(ctx context.Context, p *pendingChange) error {
	for range core.WritesOf[core.InsertObject](p.change) {
		s.lastSeq++
		p.seqs = append(p.seqs, s.lastSeq)
	}
	all, err := s.statementsOf(p.change, p.seqs)
	if err != nil {
		return err
	}
	for i := range all {
		n, err := s.runStatement(ctx, &all[i])
		if err := all[i].outcome(n, err, isSQLiteDuplicate); err != nil {
			return err
		}
	}
	return nil
}

// runStatement runs a statement and returns how many rows it changed.
func (s *sqliteStore) runStatement(ctx context.Context, st *statement) (n int64, err error) {
	r, err := s.execPrepared(ctx, st.text, st.args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func isSQLiteDuplicate(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && e.Code == sqlite3.ErrConstraint
}

func (s *sqliteStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	if !document.IsStorable(tenant) || !document.IsStorable(id) {
		return nil, itemNotFound(id)
	}
	place, err := s.connections.reads.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	row, err := scanObject(s.selectObject.QueryRowContext(ctx, tenant, id), true)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, itemNotFound(id)
	}
	if err != nil {
		return nil, dberror.Unavailable(err, "read an object")
	}
	return s.openObject(row)
}

func (s *sqliteStore) queryRows(ctx context.Context, f func(scanner) error, text string, args ...any) error {
	rows, err := s.searchDB.QueryContext(ctx, text, args...)
	if err != nil {
		return dberror.Unavailable(err, "read")
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return dberror.Unavailable(err, "read")
		}
	}
	if err := rows.Err(); err != nil {
		return dberror.Unavailable(err, "read")
	}
	return nil
}

func (s *sqliteStore) Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error) {
	out := map[string]bool{}
	for _, t := range tokens {
		if err := s.queryRows(ctx, func(scanner) error { out[string(t)] = true; return nil }, selectToken, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Shared returns false: only one process writes to SQLite.
func (s *sqliteStore) Shared() bool { return false }

func (s *sqliteStore) Health(ctx context.Context) error {
	if err := s.group.health(); err != nil {
		return err
	}
	if err := s.file.CheckPresent(); err != nil {
		return err
	}
	var n int
	if err := s.readDB.QueryRowContext(ctx, "SELECT count(*) FROM tenant_key").Scan(&n); err != nil {
		return dberror.Unavailable(err, "answer")
	}
	return nil
}

func (s *sqliteStore) Close() error {
	s.group.closeAndWait()
	var errs []error
	if s.wiper != nil {
		errs = append(errs, s.wiper.Close())
	}
	for _, st := range s.preparedByText { // a connection with a statement stays open after its Close
		errs = append(errs, st.Close())
	}
	if s.selectObject != nil {
		errs = append(errs, s.selectObject.Close())
	}
	if s.writeConn != nil {
		errs = append(errs, s.writeConn.Close())
	}
	if s.writeDB != nil {
		errs = append(errs, s.writeDB.Close())
	}
	for _, db := range []*sql.DB{s.readDB, s.searchDB} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	errs = append(errs, s.file.Unlock()) // last: the next process may come
	return errors.Join(errs...)
}

// storedKeyRemoval reports whether a stored change of a batch removed key material.
func storedKeyRemoval(batch []*pendingChange) bool {
	for _, p := range batch {
		if p.err == nil && removesKey(p.change) {
			return true
		}
	}
	return false
}
