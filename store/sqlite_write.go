package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/keyreeve/keyreeve/core"
)

// maxEntryRows is the widest INSERT of audit entries. There is one for each
// power of two up to it, so that any number of rows takes few statements.
const maxEntryRows = 128

// checkpointPages is how far the WAL grows, in pages of 4 KiB, before its
// content moves into the database. It is never truncated: overwriting a file
// syncs in two thirds of the time that growing it takes.
const checkpointPages = 1000

// sqliteWriter is the one connection that writes. It is used by the leader of
// the group under way, so by one goroutine at a time.
type sqliteWriter struct {
	conn    *sqlite3.SQLiteConn
	stmts   map[string]*sqlite3.SQLiteStmt
	entries [8]*sqlite3.SQLiteStmt // 1, 2, 4 .. maxEntryRows rows
	queue   []*core.Entry          // of the group
	args    []driver.NamedValue    // of the statement under way
}

// The writer's statements.
const (
	sqlBegin      = "begin immediate"
	sqlCommit     = "commit"
	sqlRollback   = "rollback"
	sqlSavepoint  = "savepoint one"
	sqlRollbackTo = "rollback to one"
	sqlRelease    = "release one"

	sqlFind       = "select seq, version, terms from object where tenant = ? and id = ?"
	sqlDropTerms  = "delete from object_attr where tenant = ? and seq = ?"
	sqlTerm       = "insert into object_attr (tenant, name, val, seq) values (?, ?, ?, ?)"
	sqlDropObject = "delete from object where tenant = ? and seq = ?"
	sqlBeginOne   = "insert into intent (id, tenant, kind, token, object, time) values (?, ?, ?, ?, ?, ?)"
	sqlFinishOne  = "delete from intent where id = ?"
	sqlFindKey    = "select token, state from tenant_key where tenant = ? and purpose = ? and epoch = ?"
	sqlAddKey     = "insert into tenant_key (tenant, purpose, epoch, token, state) values (?, ?, ?, ?, ?)"
	sqlMoveKey    = "update tenant_key set state = ? where tenant = ? and purpose = ? and epoch = ?"
)

var (
	sqlInsert = "insert into object (" + identityColumns + ", " + objectColumns + ") values (?" + strings.Repeat(", ?", numObjectColumns-1) + ")"
	sqlUpdate = "update object set (" + objectColumns + ") = (?" + strings.Repeat(", ?", numObjectColumns-3) + ") where tenant = ? and seq = ?"
)

func newSQLiteWriter(dsn string, maxPages int64) (*sqliteWriter, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	w := &sqliteWriter{conn: c.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	if err := w.prepare(maxPages); err != nil {
		w.conn.Close()
		return nil, err
	}
	return w, nil
}

func (w *sqliteWriter) prepare(maxPages int64) error {
	pragmas := fmt.Sprintf("pragma wal_autocheckpoint = %d;", checkpointPages)
	if maxPages > 0 {
		pragmas += fmt.Sprintf("pragma max_page_count = %d;", maxPages)
	}
	// Taking the write lock once makes the WAL, whose identity is looked at later.
	if _, err := w.conn.Exec(pragmas+"begin immediate; create table if not exists keyreeve_open (n integer); drop table keyreeve_open; commit", nil); err != nil {
		return err
	}
	for _, q := range []string{sqlBegin, sqlCommit, sqlRollback, sqlSavepoint, sqlRollbackTo, sqlRelease, sqlFind, sqlDropTerms, sqlTerm,
		sqlDropObject, sqlBeginOne, sqlFinishOne, sqlFindKey, sqlAddKey, sqlMoveKey, sqlInsert, sqlUpdate} {
		st, err := w.conn.Prepare(q)
		if err != nil {
			return err
		}
		w.stmts[q] = st.(*sqlite3.SQLiteStmt)
	}
	for i := range w.entries {
		st, err := w.conn.Prepare("insert into audit_entry (tenant, time, body) values (?, ?, ?)" + strings.Repeat(", (?, ?, ?)", 1<<i-1))
		if err != nil {
			return err
		}
		w.entries[i] = st.(*sqlite3.SQLiteStmt)
	}
	return nil
}

func (w *sqliteWriter) close() error {
	for _, st := range w.stmts {
		st.Close()
	}
	for _, st := range w.entries {
		st.Close()
	}
	return w.conn.Close()
}

// apply decides the commits of a group in one transaction.
func (s *SQLite) apply(todo []*commit) {
	err := s.writer.group(todo)
	if err == nil {
		err = s.present()
	}
	err = sqliteError(err, s.path)
	for _, c := range todo {
		if err != nil && (c.err == nil || c.err == errUndecided) {
			c.err = err
		}
	}
}

// group writes a group. Commits that fail on their own keep their error; an
// error of the whole is returned, and then nothing of the group is stored.
func (w *sqliteWriter) group(todo []*commit) (err error) {
	defer func() {
		if !w.conn.AutoCommit() {
			err = errors.Join(err, w.run(sqlRollback))
		}
		clear(w.queue)
		w.queue = w.queue[:0]
	}()
	plain := true
	for _, c := range todo {
		plain = plain && c.plain()
	}
	if plain {
		w.enqueue(todo)
		if n := len(w.queue); n <= maxEntryRows && bits.OnesCount(uint(n)) == 1 {
			return w.flush() // one statement is a transaction by itself
		}
	}
	if err := w.run(sqlBegin); err != nil {
		return err
	}
	if !plain {
		if err := w.changes(todo); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.run(sqlCommit)
}

// enqueue takes the entries of those that have not failed.
func (w *sqliteWriter) enqueue(todo []*commit) {
	for _, c := range todo {
		c.err = nil
		for i := range c.entries {
			w.queue = append(w.queue, &c.entries[i])
		}
	}
}

// changes applies the changes one after another. Each has a savepoint, so that
// the one that fails takes nothing with it; alone, the transaction is enough.
func (w *sqliteWriter) changes(todo []*commit) error {
	for i, c := range todo {
		alone := len(todo) == 1 || c.plain()
		if !alone {
			if err := w.run(sqlSavepoint); err != nil {
				return err
			}
		}
		err := w.change(c.prepared)
		if own, ok := errors.AsType[*core.Error](err); ok {
			if len(todo) == 1 {
				c.err = own
				return own
			}
			if err := w.run(sqlRollbackTo); err != nil {
				return err
			}
			c.err = own
		} else if err != nil {
			return err
		}
		if !alone {
			if err := w.run(sqlRelease); err != nil {
				return err
			}
		}
		if c.err == errUndecided {
			w.enqueue(todo[i : i+1])
		}
	}
	return nil
}

// change applies one change. An error of type *core.Error is the change's own;
// any other is the database's.
func (w *sqliteWriter) change(p *prepared) error {
	p.seqs = p.seqs[:0]
	for i := range p.insert {
		if err := w.insert(p, &p.insert[i]); err != nil {
			return err
		}
	}
	for i := range p.update {
		if err := w.update(&p.update[i]); err != nil {
			return err
		}
	}
	for i := range p.remove {
		if err := w.remove(&p.remove[i]); err != nil {
			return err
		}
	}
	for i := range p.keys {
		if err := w.setKey(&p.keys[i]); err != nil {
			return err
		}
	}
	return w.intents(p)
}

func (w *sqliteWriter) insert(p *prepared, r *row) error {
	res, err := w.exec(sqlInsert, r.values...)
	if isUnique(err) {
		return exists(r.id)
	}
	if err != nil {
		return err
	}
	seq, _ := res.LastInsertId()
	p.seqs = append(p.seqs, seq)
	return w.putTerms(r, seq)
}

func (w *sqliteWriter) putTerms(r *row, seq int64) error {
	for i := range r.terms {
		if _, err := w.exec(sqlTerm, r.tenant, r.terms[i].name, r.terms[i].val, seq); err != nil {
			return err
		}
	}
	return nil
}

// find returns seq and terms of the row that is at the version; Conflict if
// there is none.
func (w *sqliteWriter) find(tenant, id string, version int64) (seq, terms int64, err error) {
	var at int64
	found, err := w.read(sqlFind, func(v []driver.Value) { seq, at, terms = v[0].(int64), v[1].(int64), v[2].(int64) }, tenant, id)
	if err == nil && (!found || at != version) {
		err = conflict(id, version)
	}
	return seq, terms, err
}

func (w *sqliteWriter) update(r *row) error {
	seq, digest, err := w.find(r.tenant, r.id, r.version-1)
	if err != nil {
		return err
	}
	if _, err := w.exec(sqlUpdate, append(append(make([]any, 0, numObjectColumns), r.values[2:]...), r.tenant, seq)...); err != nil {
		return err
	}
	if digest == r.digest {
		return nil
	}
	if _, err := w.exec(sqlDropTerms, r.tenant, seq); err != nil {
		return err
	}
	return w.putTerms(r, seq)
}

func (w *sqliteWriter) remove(k *key) error {
	seq, _, err := w.find(k.tenant, k.id, k.version)
	if err != nil {
		return err
	}
	if _, err := w.exec(sqlDropTerms, k.tenant, seq); err != nil {
		return err
	}
	_, err = w.exec(sqlDropObject, k.tenant, seq)
	return err
}

func (w *sqliteWriter) setKey(k *core.TenantKey) error {
	var token []byte
	var state string
	found, err := w.read(sqlFindKey, func(v []driver.Value) { token, state = v[0].([]byte), v[1].(string) }, k.Tenant, k.Purpose, int64(k.Epoch))
	switch {
	case err != nil:
		return err
	case !found:
		_, err = w.exec(sqlAddKey, k.Tenant, k.Purpose, int64(k.Epoch), k.Token, k.State)
		if isUnique(err) {
			return keyConflict(k)
		}
		return err
	case string(token) != string(k.Token) || keyRank(k.State) < keyRank(state):
		return keyConflict(k)
	}
	_, err = w.exec(sqlMoveKey, k.State, k.Tenant, k.Purpose, int64(k.Epoch))
	return err
}

func (w *sqliteWriter) intents(p *prepared) error {
	for i := range p.begin {
		in := &p.begin[i]
		_, err := w.exec(sqlBeginOne, in.ID, in.Tenant, in.Kind, blobOf(in.Token), in.Object, in.Time)
		if isUnique(err) {
			return begun(in.ID)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range p.finish {
		res, err := w.exec(sqlFinishOne, id)
		if err != nil {
			return err
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return finished(id)
		}
	}
	return nil
}

// flush writes the queued entries in the fewest statements.
func (w *sqliteWriter) flush() error {
	for rest := w.queue; len(rest) > 0; {
		i := min(bits.Len(uint(len(rest))), len(w.entries)) - 1
		if err := w.flushRows(w.entries[i], rest[:1<<i]); err != nil {
			return err
		}
		rest = rest[1<<i:]
	}
	return nil
}

func (w *sqliteWriter) flushRows(st *sqlite3.SQLiteStmt, rows []*core.Entry) error {
	w.args = w.args[:0]
	for _, e := range rows {
		w.bind(e.Tenant)
		w.bind(e.Time)
		w.bind(e.Body)
	}
	_, err := st.ExecContext(context.Background(), w.args)
	clear(w.args)
	return err
}

func (w *sqliteWriter) bind(v any) {
	w.args = append(w.args, driver.NamedValue{Ordinal: len(w.args) + 1, Value: v})
}

func (w *sqliteWriter) exec(query string, values ...any) (driver.Result, error) {
	w.args = w.args[:0]
	for _, v := range values {
		w.bind(v)
	}
	res, err := w.stmts[query].ExecContext(context.Background(), w.args)
	clear(w.args)
	return res, err
}

func (w *sqliteWriter) run(query string) error {
	_, err := w.exec(query)
	return err
}

// read gives the first row of a query to scan; false when there is none.
func (w *sqliteWriter) read(query string, scan func([]driver.Value), values ...any) (bool, error) {
	w.args = w.args[:0]
	for _, v := range values {
		w.bind(v)
	}
	rows, err := w.stmts[query].QueryContext(context.Background(), w.args)
	clear(w.args)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	v := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(v); err == io.EOF {
		return false, nil
	} else if err != nil {
		return false, err
	}
	scan(v)
	return true, nil
}

func isUnique(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey)
}

// The answers to a change that does not fit what is stored, for both dialects.
func exists(id string) error {
	return core.Errorf(core.ObjectAlreadyExists, "there is an object %s already", id)
}

func conflict(id string, version int64) error {
	return core.Errorf(core.Conflict, "object %s is not at version %d any more; read it again and retry", id, version)
}

func keyConflict(k *core.TenantKey) error {
	return core.Errorf(core.Conflict, "key %s %d of tenant %s is another one or further on already; read the tenant's keys again", k.Purpose, k.Epoch, k.Tenant)
}

func begun(id string) error {
	return core.Errorf(core.Conflict, "intent %s is open already", id)
}

// finished refuses what the reconciler has settled meanwhile: the token object
// of a creation is gone then, and its row must not come after it.
func finished(id string) error {
	return core.Errorf(core.Conflict, "intent %s is not open any more: the reconciler has settled it; start over", id)
}
