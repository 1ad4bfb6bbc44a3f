package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/store/dberror"
	"github.com/keyreeve/keyreeve/store/document"
	"github.com/keyreeve/keyreeve/store/migrations"
)

// postgresStore is the store that several nodes share. Each change is a transaction.
// Changes that are only audit entries go through the group committer of the node.
type postgresStore struct {
	tables
	pool        *pgxpool.Pool
	connections connections
	group       groupCommitter

	writers writers

	emptied atomic.Int64 // when the pool was last emptied, in Unix nanoseconds
}

// postgresTimeout bounds one transaction or one query: a database that hangs, or a
// network that drops everything, must not block callers.
const postgresTimeout = 5 * time.Second

func openPostgres(ctx context.Context, url string, sealer core.Sealer, create bool) (core.Store, error) {
	cfg, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	if err := migratePostgres(ctx, cfg.ConnConfig, create); err != nil {
		return nil, dberror.CannotOpen(err)
	}
	return poolOf(ctx, cfg, sealer)
}

func parsePostgres(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, core.Errorf(core.StoreUnavailable, "store.url is not a PostgreSQL address") // err repeats the password
	}
	prepareConfig(cfg)
	return cfg, nil
}

// poolOf opens the connections to a database that has its schema.
func poolOf(ctx context.Context, cfg *pgxpool.Config, sealer core.Sealer) (core.Store, error) {
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, dberror.CannotOpen(err)
	}
	if err := notPooled(ctx, pool); err != nil {
		pool.Close()
		return nil, dberror.CannotOpen(err)
	}
	conns := int(pool.Config().MaxConns)
	s := &postgresStore{pool: pool, connections: newConnections(conns, conns, max(2, conns/2))}
	s.tables = tables{seals{sealer}, s.queryRows}
	s.group.init(s.commitGroup)
	return s, nil
}

// Nodes that start together race for the first migration. The migration of a loser is
// rolled back whole, so it tries again. Advisory locks would do, but some poolers and
// compatible databases lack them.
const (
	migrateTries = 10
	migratePause = 200 * time.Millisecond
)

func migratePostgres(ctx context.Context, cfg *pgx.ConnConfig, create bool) error {
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	return retryLostRace(ctx, migrateTries, migratePause, dberror.IsMigrationRace, func() error {
		return migrations.Migrate(ctx, db, goose.DialectPostgres, "postgres", create)
	})
}

// retryLostRace calls try, up to so many times, until it does not lose a race against
// another node. It pauses before it calls try again.
func retryLostRace(ctx context.Context, tries int, pause time.Duration, isLostRace func(error) bool, try func() error) error {
	for ; ; tries-- {
		err := try()
		if err == nil || tries <= 1 || !isLostRace(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (s *postgresStore) Commit(ctx context.Context, c *core.Change) error {
	if err := checkChange(c); err != nil {
		return err
	}
	defer fair.Waits(ctx).Over()
	if entriesOnly(c) {
		return s.group.commitWithOthers(ctx, c)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postgresTimeout)
	defer cancel()
	place, err := s.connections.reads.Acquire(forTenant(ctx, c.ForTenant()))
	if err != nil {
		return err
	}
	defer place.Release()
	var seqs []int64
	entries := appendEntries(nil, c)
	err = s.writers.commitNumbered(ctx, entries, func(w *entryCounts) (err error) {
		seqs, err = s.transact(ctx, c, entries, w)
		return err
	})
	if err != nil {
		return dberror.FromPostgres(err, "commit")
	}
	giveSeqs(c, seqs)
	return nil
}

// transact takes two round trips: everything up to COMMIT, then COMMIT, which must not
// be sent before all results are there. Objects that are inserted take another one,
// before these, for their Seq.
func (s *postgresStore) transact(ctx context.Context, ch *core.Change, entries []core.Entry, w *entryCounts) (seqs []int64, err error) {
	err = s.withConnection(ctx, func(c *pgxpool.Conn) (err error) {
		if err := numberEntries(ctx, c, entries, w); err != nil {
			return err
		}
		if seqs, err = nextSeqs(ctx, c, len(core.WritesOf[core.InsertObject](ch))); err != nil {
			return err
		}
		all, err := s.statementsOf(ch, seqs)
		if err != nil {
			return err
		}
		if err := sendTransaction(ctx, c, all, entries, w); err != nil {
			if c.Conn().PgConn().TxStatus() != 'I' {
				c.Exec(ctx, "ROLLBACK") // if it fails, the connection is discarded
			}
			return err
		}
		tag, err := c.Exec(ctx, "COMMIT")
		if err == nil && tag.String() != "COMMIT" { // the tag is ROLLBACK if the transaction failed
			err = pgx.ErrTxCommitRollback
		}
		return dberror.CommitOutcome(err)
	})
	return seqs, err
}

// nextSeqs reserves the Seq of n objects that will be inserted.
func nextSeqs(ctx context.Context, c *pgxpool.Conn, n int) ([]int64, error) {
	if n == 0 {
		return nil, nil
	}
	r, err := c.Query(ctx, `SELECT nextval(pg_get_serial_sequence('object', 'seq')) FROM generate_series(1, $1::int)`, n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowTo[int64])
}

// sendTransaction sends a transaction without its COMMIT, and checks the results.
func sendTransaction(ctx context.Context, c *pgxpool.Conn, all []statement, entries []core.Entry, w *entryCounts) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	for i := range all {
		b.Queue(all[i].text, all[i].args...)
	}
	if len(entries) > 0 {
		b.Queue(insertEntries, entryColumns(entries, w)...)
	}
	r := c.SendBatch(ctx, b)
	err := readAnswers(r, all, len(entries))
	return errors.Join(err, r.Close())
}

func readAnswers(r pgx.BatchResults, all []statement, entries int) error {
	if _, err := r.Exec(); err != nil {
		return err
	}
	for i := range all {
		tag, err := r.Exec()
		if err := all[i].outcome(tag.RowsAffected(), err, dberror.IsPostgresDuplicate); err != nil {
			return err
		}
	}
	if entries == 0 {
		return nil
	}
	tag, err := r.Exec()
	if err != nil {
		return err
	}
	return storedEntries(tag.RowsAffected(), entries)
}

func (s *postgresStore) commitGroup(batch []*pendingChange) {
	ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
	defer cancel()
	var entries []core.Entry
	for _, p := range batch {
		entries = appendEntries(entries, p.change)
	}
	err := s.writers.commitNumbered(ctx, entries, func(w *entryCounts) error {
		return s.withConnection(ctx, func(c *pgxpool.Conn) error {
			if err := numberEntries(ctx, c, entries, w); err != nil {
				return err
			}
			tag, err := c.Exec(ctx, insertEntries, entryColumns(entries, w)...)
			if err != nil {
				return dberror.CommitOutcome(err)
			}
			return storedEntries(tag.RowsAffected(), len(entries))
		})
	})
	if err != nil {
		failAll(batch, dberror.Unavailable(err, "write the audit records"))
	}
}

func (s *postgresStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	if !document.IsStorable(tenant) || !document.IsStorable(id) {
		return nil, itemNotFound(id)
	}
	ctx, cancel := context.WithTimeout(ctx, postgresTimeout)
	defer cancel()
	place, err := s.connections.reads.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	var row *readObject
	err = s.withConnection(ctx, func(c *pgxpool.Conn) (err error) {
		row, err = scanObject(c.QueryRow(ctx, selectObject, tenant, id), true)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, itemNotFound(id)
	}
	if err != nil {
		return nil, dberror.FromPostgres(err, "read an object")
	}
	return s.openObject(row)
}

func (s *postgresStore) queryRows(ctx context.Context, f func(scanner) error, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, postgresTimeout)
	defer cancel()
	return dberror.FromPostgres(s.withConnection(ctx, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}), "read")
}

func (s *postgresStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	if !canMatch(tenant, &f) {
		return nil, nil
	}
	for _, slots := range []*fair.Slots{s.connections.searches, s.connections.reads} { // a search uses a connection too, but not all connections may search
		place, err := slots.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer place.Release()
	}
	text, args := postgresCandidates(tenant, &f, beyond, limit)
	var rows []*readObject
	if err := s.queryRows(ctx, scanCandidate(&rows), text, append([]any{s.searchMode()}, args...)...); err != nil {
		return nil, err
	}
	return s.openObjects(rows)
}

func (s *postgresStore) Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error) {
	out := map[string]bool{}
	err := s.queryRows(ctx, func(r scanner) error {
		var b []byte
		err := r.Scan(&b)
		out[string(b)] = true
		return err
	}, `SELECT token FROM object WHERE token = ANY($1::bytea[])`, tokens)
	return out, err
}

// Shared returns true: other nodes write too.
func (s *postgresStore) Shared() bool { return true }

func (s *postgresStore) Close() error {
	s.group.closeAndWait()
	s.pool.Close()
	return nil
}
