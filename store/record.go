package store

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// appendEntry is an audit record. The records of all changes of a batch are stored by
// one statement, so it has no statement of its own.
type appendEntry core.AppendEntry

func (w appendEntry) validate() error { return checkEntry(w.Entry) }

func (appendEntry) weight() int { return 1 }

func (appendEntry) appendStatements(*statementCollector) error { return nil }

// appendEntries appends the audit records of a change.
func appendEntries(all []core.Entry, c *core.Change) []core.Entry {
	for _, w := range c.Writes {
		if w, ok := w.(core.AppendEntry); ok {
			all = append(all, *w.Entry)
		}
	}
	return all
}

// entriesOnly reports whether all writes of a change are audit records.
func entriesOnly(c *core.Change) bool {
	for _, w := range c.Writes {
		if _, ok := w.(core.AppendEntry); !ok {
			return false
		}
	}
	return true
}

func checkEntry(e *core.Entry) error {
	if len(e.Body) == 0 || len(e.Body) > maxEntryBytes {
		return core.Errorf(core.Internal, "an audit entry has %d bytes; it must have 1 to %d", len(e.Body), maxEntryBytes)
	}
	if err := checkName("tenant", e.Tenant, true); err != nil {
		return err
	}
	return checkName("node", e.Node, true)
}

// storedEntries fails if an INSERT did not store all of its audit records.
func storedEntries(stored int64, entries int) error {
	if stored != int64(entries) {
		return notStored("audit_entry")
	}
	return nil
}

// Records implements [core.RecordTable].
func (t *tables) Records(ctx context.Context, q core.RecordQuery) (records []core.StoredEntry, err error) {
	text, args := recordsQuery(q)
	err = t.query(ctx, func(r scanner) error {
		var e core.StoredEntry
		err := r.Scan(&e.Number, &e.Tenant, &e.Time, &e.Body, &e.Node, &e.Writer, &e.Count)
		records = append(records, e)
		return err
	}, text, args...)
	return records, err
}

// maxRecords bounds one page of Records.
const maxRecords = 1000

// recordsQuery returns the SELECT of a page of records, newest first.
func recordsQuery(q core.RecordQuery) (string, []any) {
	s := &sqlBuilder{}
	s.appendSQL("SELECT number, tenant, at, body, node, writer, count FROM audit_entry WHERE 1 = 1")
	if q.Tenant != "" {
		s.appendSQL(" AND tenant = ", q.Tenant)
	}
	if q.Since != 0 {
		s.appendSQL(" AND at >= ", q.Since)
	}
	if q.Until != 0 {
		s.appendSQL(" AND at < ", q.Until)
	}
	if q.Before != 0 {
		s.appendSQL(" AND number < ", q.Before)
	}
	limit := q.Limit
	if limit <= 0 || limit > maxRecords {
		limit = maxRecords
	}
	s.appendSQL(" ORDER BY number DESC LIMIT ", limit)
	return s.text.String(), s.args
}
