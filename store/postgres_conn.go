package store

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/store/dberror"
)

const (
	connLifetime = 5 * time.Minute  // longest use of a connection, so that new ones follow the primary
	connIdle     = time.Minute      // longest time that a connection is unused
	closeTime    = 15 * time.Second // to close a discarded connection, in the background
	emptyEvery   = int64(time.Second)
)

// prepareConfig sets what a pool needs to survive a failover. The pool prefers the
// server that accepts writes, and each host gets its part of the time of a query.
func prepareConfig(cfg *pgxpool.Config) {
	c := cfg.ConnConfig
	hosts := map[string]bool{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))): true}
	for _, f := range c.Fallbacks {
		hosts[net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))] = true
	}
	if most := postgresTimeout / time.Duration(len(hosts)+1); c.ConnectTimeout <= 0 || c.ConnectTimeout > most { // the driver's default is minutes
		c.ConnectTimeout = most
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = min(cfg.MaxConnLifetime, connLifetime), connLifetime/10
	cfg.MaxConnIdleTime = min(cfg.MaxConnIdleTime, connIdle)
}

// withConnection calls use with a connection of the pool. If an error makes the
// connection unusable, it leaves the pool at once and is closed in the background: the
// driver takes up to 15 s to close a connection whose server does not answer, and the
// connection would occupy the pool until then.
func (s *postgresStore) withConnection(ctx context.Context, use func(*pgxpool.Conn) error) error {
	defer fair.Waits(ctx).Over()
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	lent := true // not yet released or discarded
	defer func() {
		if lent { // a panic
			s.discard(c)
		}
	}()
	err = use(c)
	lent = false
	if dberror.MustDiscard(c.Conn(), err) {
		s.discard(c)
		s.emptyPool(err)
	} else {
		c.Release()
	}
	return err
}

func (s *postgresStore) discard(c *pgxpool.Conn) {
	conn := c.Hijack()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		conn.Close(ctx)
	}()
}

// emptyPool closes the other connections too if an error says that the server no
// longer accepts writes: they lead to the same server.
func (s *postgresStore) emptyPool(err error) {
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || !dberror.IsFailover(e.Code) {
		return
	}
	now, last := time.Now().UnixNano(), s.emptied.Load()
	if now-last > emptyEvery && s.emptied.CompareAndSwap(last, now) {
		s.pool.Reset()
	}
}

// notPooled fails if there is a connection pooler in front of PostgreSQL and statements
// would be prepared: prepared statements fail if the pooler is in transaction mode, and
// nothing tells its mode. A pooler reports a process id that is not the server's.
func notPooled(ctx context.Context, pool *pgxpool.Pool) error {
	switch pool.Config().ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		return nil
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	var pid uint32
	if err := c.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return err
	}
	if pid != c.Conn().PgConn().PID() {
		return core.Errorf(core.StoreUnavailable, "%s", dberror.Pooled)
	}
	return nil
}

// searchMode returns how a search is sent: with a plan for its values, not one for all
// values. If store.url sets a mode for poolers, it returns that.
func (s *postgresStore) searchMode() pgx.QueryExecMode {
	if m := s.pool.Config().ConnConfig.DefaultQueryExecMode; m == pgx.QueryExecModeExec || m == pgx.QueryExecModeSimpleProtocol {
		return m
	}
	return pgx.QueryExecModeCacheDescribe
}

// Health asks the server, on a connection of the pool, whether it accepts writes.
func (s *postgresStore) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := s.withConnection(ctx, func(c *pgxpool.Conn) error {
		var readOnly bool
		if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'").Scan(&readOnly); err != nil {
			return err
		}
		if readOnly {
			return &pgconn.PgError{Severity: "ERROR", Code: "25006", Message: "the server does not accept writes"}
		}
		return nil
	})
	if err != nil {
		return dberror.Unavailable(err, "answer")
	}
	return s.group.health()
}
