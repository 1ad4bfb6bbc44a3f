package store

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// pgStore is the store that several nodes share. Changes are transactions of
// their own; audit entries without a change go through one committer a node.
type pgStore struct {
	seals
	pool   *pgxpool.Pool
	places places
	group  group

	writers writers

	emptied atomic.Int64 // when the pool was emptied last, Unix nanoseconds
}

// pgTimeout bounds one transaction or one question: a database that stands still,
// or a network that swallows everything, must not hold up callers.
const pgTimeout = 5 * time.Second

const insertEntries = `INSERT INTO audit_entry (tenant, at, body, node, count, writer) SELECT *, $6::bigint FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[], $5::bigint[])`

// OpenPostgres connects and brings the schema up to date, or makes it.
func OpenPostgres(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return openPostgres(ctx, url, sealer, true)
}

func openPostgres(ctx context.Context, url string, sealer core.Sealer, create bool) (core.Store, error) {
	cfg, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	if err := migratePostgres(ctx, cfg.ConnConfig, create); err != nil {
		return nil, unreached(err)
	}
	return poolOf(ctx, cfg, sealer)
}

func parsePostgres(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, core.Errorf(core.StoreUnavailable, "store.url is no PostgreSQL address") // err repeats the password
	}
	prepareConfig(cfg)
	return cfg, nil
}

// poolOf opens the pool of a database whose schema is there.
func poolOf(ctx context.Context, cfg *pgxpool.Config, sealer core.Sealer) (core.Store, error) {
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, unreached(err)
	}
	if err := notPooled(ctx, pool); err != nil {
		pool.Close()
		return nil, unreached(err)
	}
	conns := int(pool.Config().MaxConns)
	s := &pgStore{seals: seals{sealer}, pool: pool, places: newPlaces(conns, conns, max(2, conns/2))}
	s.group.init(s.commitGroup)
	return s, nil
}

// unreached is why there is no database to begin with. The driver names address,
// role and database, and never the password.
func unreached(err error) error {
	if core.CodeOf(err) != core.Internal {
		return err
	}
	return core.Wrap(core.StoreUnavailable, err, "PostgreSQL cannot be reached or brought up to date; see store.url, and whether it runs there and lets this role in")
}

// Nodes that start together race for the first migration. The losers' is rolled
// back whole, so they look again; no advisory locks, which are not everywhere.
const (
	migrateTries = 10
	migratePause = 200 * time.Millisecond
)

func migratePostgres(ctx context.Context, cfg *pgx.ConnConfig, create bool) error {
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	for try := 1; ; try++ {
		err := migrate(ctx, db, goose.DialectPostgres, "postgres", create)
		if err == nil || try == migrateTries || !raced(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migratePause):
		}
	}
}

// raced reports an error that another node's migration explains: unique
// violation, duplicate table, column or object, a catalog row that was just
// changed, serialization, deadlock.
func raced(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"23505", "42P07", "42701", "42710", "XX000", "40001", "40P01"}, e.Code)
}

func (s *pgStore) Commit(ctx context.Context, c *core.Change) error {
	if err := checkChange(c); err != nil {
		return err
	}
	defer fair.Waits(ctx).Over()
	if entriesOnly(c) {
		return s.group.do(ctx, c)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgTimeout)
	defer cancel()
	place, err := s.places.reads.Acquire(forTenant(ctx, c.ForTenant()))
	if err != nil {
		return err
	}
	defer place.Release()
	var seqs []int64
	entries := appendEntries(nil, c)
	err = s.writers.commit(entries, func(w *counts) (err error) {
		seqs, err = s.transact(ctx, c, entries, w)
		return err
	})
	if err != nil {
		return pgError(err, "commit")
	}
	giveSeqs(c, seqs)
	return nil
}

// transact takes two round trips: everything up to COMMIT, and COMMIT, which
// must not be on its way before all answers are there. Objects that are born
// take one more, before these, for their Seq.
func (s *pgStore) transact(ctx context.Context, ch *core.Change, entries []core.Entry, w *counts) (seqs []int64, err error) {
	err = s.onConn(ctx, func(c *pgxpool.Conn) (err error) {
		if err := number(ctx, c, entries, w); err != nil {
			return err
		}
		if seqs, err = nextSeqs(ctx, c, len(core.WritesOf[core.InsertObject](ch))); err != nil {
			return err
		}
		all, err := s.steps(ch, seqs)
		if err != nil {
			return err
		}
		if err := pipeline(ctx, c, all, entries, w); err != nil {
			if c.Conn().PgConn().TxStatus() != 'I' {
				c.Exec(ctx, "ROLLBACK") // a connection that cannot, or has no time left, is not used again
			}
			return err
		}
		tag, err := c.Exec(ctx, "COMMIT")
		if err == nil && tag.String() != "COMMIT" { // a transaction that failed answers ROLLBACK
			err = pgx.ErrTxCommitRollback
		}
		return lost(err)
	})
	return seqs, err
}

// nextSeqs takes n numbers for objects that are about to be inserted.
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

// pipeline sends a transaction but its COMMIT, and judges the answers.
func pipeline(ctx context.Context, c *pgxpool.Conn, all []step, entries []core.Entry, w *counts) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	for i := range all {
		b.Queue(all[i].text, all[i].args...)
	}
	if len(entries) > 0 {
		b.Queue(insertEntries, entryColumns(entries, w)...)
	}
	r := c.SendBatch(ctx, b)
	err := answers(r, all, len(entries))
	return errors.Join(err, r.Close())
}

func answers(r pgx.BatchResults, all []step, entries int) error {
	if _, err := r.Exec(); err != nil {
		return err
	}
	for i := range all {
		tag, err := r.Exec()
		if err := all[i].judge(tag.RowsAffected(), err, pgDuplicate); err != nil {
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

func pgDuplicate(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" // unique_violation
}

// lost tells of a COMMIT that was sent whether it is known to have failed: only
// an ERROR of the server says so. A FATAL one (it is shutting down) can follow a
// commit that took place, and pgx answers "conn closed", which it holds to be
// safe to retry, also when the connection broke while the answer was awaited.
func lost(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) || ok && e.SeverityUnlocalized == "ERROR" && e.Code != "40003" { // statement completion unknown
		return err
	}
	return unknown(err)
}

// pgError keeps our codes and makes everything else StoreUnavailable.
func pgError(err error, what string) error {
	if err == nil || core.CodeOf(err) != core.Internal {
		return err
	}
	return unavailable(err, what)
}

// entryColumns are the arguments of insertEntries.
func entryColumns(entries []core.Entry, w *counts) []any {
	tenants, nodes, times, bodies := make([]string, len(entries)), make([]string, len(entries)), make([]int64, len(entries)), make([][]byte, len(entries))
	for i, x := range entries {
		tenants[i], nodes[i], times[i], bodies[i] = x.Tenant, x.Node, x.Time, x.Body
	}
	return []any{tenants, times, bodies, nodes, w.given, w.writer}
}

func (s *pgStore) commitGroup(batch []*pending) {
	ctx, cancel := context.WithTimeout(context.Background(), pgTimeout)
	defer cancel()
	var entries []core.Entry
	for _, p := range batch {
		entries = appendEntries(entries, p.change)
	}
	err := s.writers.commit(entries, func(w *counts) error {
		return s.onConn(ctx, func(c *pgxpool.Conn) error {
			if err := number(ctx, c, entries, w); err != nil {
				return err
			}
			tag, err := c.Exec(ctx, insertEntries, entryColumns(entries, w)...)
			if err != nil {
				return lost(err)
			}
			return storedEntries(tag.RowsAffected(), len(entries))
		})
	})
	if err != nil {
		failAll(batch, unavailable(err, "write the audit records"))
	}
}

func (s *pgStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	if !clean(tenant) || !clean(id) {
		return nil, itemNotFound(id)
	}
	ctx, cancel := context.WithTimeout(ctx, pgTimeout)
	defer cancel()
	place, err := s.places.reads.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	var row *readObject
	err = s.onConn(ctx, func(c *pgxpool.Conn) (err error) {
		row, err = scanObject(c.QueryRow(ctx, selectObject, tenant, id), true)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, itemNotFound(id)
	}
	if err != nil {
		return nil, pgError(err, "read an object")
	}
	return s.openObject(row)
}

func (s *pgStore) all(ctx context.Context, f func(scanner) error, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, pgTimeout)
	defer cancel()
	return pgError(s.onConn(ctx, func(c *pgxpool.Conn) error {
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

func (s *pgStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	if !findable(tenant, &f) {
		return nil, nil
	}
	for _, slots := range []*fair.Slots{s.places.searches, s.places.reads} { // a search has one of the connections, and not all may search
		place, err := slots.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer place.Release()
	}
	text, args := postgresCandidates(tenant, &f, beyond, limit)
	var rows []*readObject
	if err := s.all(ctx, scanCandidate(&rows), text, append([]any{s.searchMode()}, args...)...); err != nil {
		return nil, err
	}
	return s.openObjects(rows)
}

func (s *pgStore) KeySets(ctx context.Context, tenant string) (out []core.KeySet, err error) {
	var tampered []error
	if err := s.all(ctx, s.scanSet(&out, &tampered), selectSets, tenant, tenant); err != nil {
		return nil, err
	}
	return out, errors.Join(tampered...)
}

func (s *pgStore) InstallationID(ctx context.Context) (string, error) {
	var all []sealedInstallation
	err := s.all(ctx, scanInstallation(&all), selectSite)
	return installationID(all, err)
}

func (s *pgStore) Installation(ctx context.Context) (core.Installation, error) {
	var all []sealedInstallation
	err := s.all(ctx, scanInstallation(&all), selectSite)
	return s.installation(all, err)
}

func (s *pgStore) Intents(ctx context.Context) (sound []core.Intent, tampered []string, err error) {
	if err := s.all(ctx, s.scanIntent(&sound, &tampered), selectIntent); err != nil {
		return nil, nil, err
	}
	return sound, tampered, nil
}

func (s *pgStore) Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error) {
	out := map[string]bool{}
	err := s.all(ctx, func(r scanner) error {
		var b []byte
		err := r.Scan(&b)
		out[string(b)] = true
		return err
	}, `SELECT token FROM object WHERE token = ANY($1::bytea[]) AND `+notDestroyed, tokens)
	return out, err
}

func (s *pgStore) Usage(ctx context.Context, tenant string) (u core.Usage, err error) {
	err = s.all(ctx, scanUsage(&u), selectUsage, tenant)
	return u, err
}

func (s *pgStore) DueDates(ctx context.Context, until int64, after core.DueDate, limit int) (out []core.DueDate, err error) {
	err = s.all(ctx, scanDue(&out), selectDue, until, after.At, after.Tenant, after.ID, int64(after.Tag), limit)
	return out, err
}

func (s *pgStore) Records(ctx context.Context, q core.RecordQuery) (out []core.StoredEntry, err error) {
	text, args := recordsQuery(q)
	err = s.all(ctx, scanEntry(&out), text, args...)
	return out, err
}

// Shared is true: other nodes write too.
func (s *pgStore) Shared() bool { return true }

func (s *pgStore) Close() error {
	s.group.close()
	s.pool.Close()
	return nil
}
