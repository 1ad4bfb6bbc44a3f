package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyreeve/keyreeve/core"
)

const insertEntries = `INSERT INTO audit_entry (tenant, at, body, node, count, writer) SELECT *, $6::bigint FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[], $5::bigint[])`

// entryColumns returns the arguments of insertEntries.
func entryColumns(entries []core.Entry, w *entryCounts) []any {
	tenants, nodes, times, bodies := make([]string, len(entries)), make([]string, len(entries)), make([]int64, len(entries)), make([][]byte, len(entries))
	for i, x := range entries {
		tenants[i], nodes[i], times[i], bodies[i] = x.Tenant, x.Node, x.Time, x.Body
	}
	return []any{tenants, times, bodies, nodes, w.assigned, w.writer}
}

// writers numbers the records of a node. Each transaction that is under way has its
// own writer, so that no transaction waits for another, and a failed one leaves no
// gap. Safe for concurrent use.
type writers struct {
	mu   sync.Mutex
	idle []*entryCounts
	made int64
}

func (w *writers) takeWriter() *entryCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return c
	}
	w.made++
	return &entryCounts{writer: w.made - 1}
}

func (w *writers) returnWriter(c *entryCounts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, c)
}

// countTries is how often a commit is tried whose counts another process has used.
const countTries = 5

// commitNumbered lends a writer to a commit of entries. If another process with the
// name of this node has used the same counts, the commit is tried again.
func (w *writers) commitNumbered(ctx context.Context, entries []core.Entry, transact func(*entryCounts) error) error {
	return retryLostRace(ctx, countTries, 0, isCountTaken, func() error { return w.tryCommit(entries, transact) })
}

// tryCommit gives the writer another number if its counts are taken. A writer whose
// transaction may still be under way in the database is not used again: the next
// transaction would wait for that one.
func (w *writers) tryCommit(entries []core.Entry, transact func(*entryCounts) error) error {
	c := w.takeWriter()
	err := transact(c)
	switch code := core.CodeOf(err); {
	case err == nil:
		c.noteStored(entries)
	case isCountTaken(err):
		c.writer = rand.Int64N(1 << 31)
		c.forget()
	case code == core.StoreUnavailable, code == core.Internal:
		return err
	}
	w.returnWriter(c)
	return err
}

// isCountTaken reports whether nothing was stored because another process has used a
// count.
func isCountTaken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" && e.ConstraintName == "audit_entry_count"
}

// numberEntries assigns counts to entries. It asks the database only for the last
// counts that w does not know.
func numberEntries(ctx context.Context, c *pgxpool.Conn, entries []core.Entry, w *entryCounts) error {
	err := w.readMissing(entries, func(node string) (n int64, err error) {
		return n, c.QueryRow(ctx, selectCount, node, w.writer).Scan(&n)
	})
	if err == nil {
		w.assign(entries)
	}
	return err
}
