package store

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

const (
	connLifetime = 5 * time.Minute  // then a connection is opened again, so that it follows the primary
	connIdle     = time.Minute      // of a connection that nobody uses
	closeTime    = 15 * time.Second // of closing a condemned connection, aside
	emptyEvery   = int64(time.Second)
)

// prepareConfig sets what a pool needs to survive a failover. It prefers the
// server that takes writes, and gives each host its part of the time of a
// question.
func prepareConfig(cfg *pgxpool.Config) {
	c := cfg.ConnConfig
	hosts := map[string]bool{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))): true}
	for _, f := range c.Fallbacks {
		hosts[net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))] = true
	}
	if most := pgTimeout / time.Duration(len(hosts)+1); c.ConnectTimeout <= 0 || c.ConnectTimeout > most { // the driver's own is minutes
		c.ConnectTimeout = most
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = min(cfg.MaxConnLifetime, connLifetime), connLifetime/10
	cfg.MaxConnIdleTime = min(cfg.MaxConnIdleTime, connIdle)
}

// onConn lends a connection. One that an error condemns leaves the pool at once
// and is closed aside: the driver takes up to 15 s to close a connection whose
// server does not answer, and its place in the pool would be taken until then.
func (s *pgStore) onConn(ctx context.Context, use func(*pgxpool.Conn) error) error {
	defer fair.Waits(ctx).Over()
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	lent := true // until it is back or gone
	defer func() {
		if lent { // a panic
			s.condemn(c)
		}
	}()
	err = use(c)
	lent = false
	if condemns(c.Conn(), err) {
		s.condemn(c)
		s.emptyPool(err)
	} else {
		c.Release()
	}
	return err
}

func (s *pgStore) condemn(c *pgxpool.Conn) {
	conn := c.Hijack()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		conn.Close(ctx)
	}()
}

// emptyPool drops the other connections too if an error says that the server is
// no longer the one to write to: they lead to the same place.
func (s *pgStore) emptyPool(err error) {
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || !moved(e.Code) {
		return
	}
	now, last := time.Now().UnixNano(), s.emptied.Load()
	if now-last > emptyEvery && s.emptied.CompareAndSwap(last, now) {
		s.pool.Reset()
	}
}

// moved reports a SQLSTATE of a server that takes no writes, or is going down.
func moved(sqlState string) bool {
	switch sqlState {
	case "25006", "57P01", "57P02", "57P03", "57P05":
		return true
	}
	return false
}

// condemns reports that a connection is not to be used again.
func condemns(c *pgx.Conn, err error) bool {
	if c.IsClosed() || c.PgConn().IsBusy() || c.PgConn().TxStatus() != 'I' {
		return true
	}
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return condemnsState(e.Code)
	}
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &network)
}

// condemnsState reports a SQLSTATE after which a connection is of no use:
// connection exceptions, a server that takes no writes or is going down, memory
// that is short, prepared statements that are not where they were made, and
// errors inside the server.
func condemnsState(code string) bool {
	switch {
	case moved(code), code == "26000", code == "42P05", code == "0A000", code == "53200", code == "53300":
		return true
	}
	return len(code) == 5 && (code[:2] == "08" || code[:2] == "58" || code[:2] == "XX")
}

// pgSentences say what to do, by SQLSTATE.
var pgSentences = map[string]string{
	"25006": "the database takes no writes: this PostgreSQL is a standby or read-only; name every host in store.url, the primary among them",
	"26000": pooled,
	"42P05": pooled,
	"28000": "PostgreSQL does not let this role in; check user and password in store.url, and pg_hba.conf",
	"28P01": "PostgreSQL does not let this role in; check user and password in store.url, and pg_hba.conf",
	"3D000": "the database that store.url names does not exist",
	"42501": "the role in store.url may not do this; grant it the rights of the tables' owner",
	"42P01": "a table is missing; restart keyreeve, and if it was not you who replaced the database, restore it from a backup",
	"53100": "the disk of PostgreSQL is full; free space, and it goes on by itself",
	"53200": "PostgreSQL is out of memory",
	"53300": "PostgreSQL has no connection left; raise its max_connections, or lower pool_max_conns in store.url",
	"57014": "PostgreSQL cancelled the question; look for a statement_timeout",
	"57P01": "PostgreSQL is shutting down; it is asked again when it is back",
	"57P02": "PostgreSQL is restarting after a crash; it is asked again when it is back",
	"57P03": "PostgreSQL is starting up; it is asked again when it is ready",
	"57P05": "PostgreSQL ended a connection that was idle; it is opened again",
}

const pooled = "a connection pooler such as PgBouncer hands each transaction to another session; add default_query_exec_mode=exec to store.url"

// pgSentence is what an error of PostgreSQL says to people, with its SQLSTATE.
func pgSentence(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); !connecting {
			return ""
		}
		if !strings.Contains(err.Error(), "read only connection") { // the driver has no value for it
			return "the database cannot be reached: no PostgreSQL of store.url answers; see whether one runs there and lets this role in"
		}
		e = &pgconn.PgError{Code: "25006"}
	}
	s := pgSentences[e.Code]
	if s == "" {
		s = "PostgreSQL refused it; see its log"
	}
	return s + " (SQLSTATE " + e.Code + ")"
}

// notPooled refuses a connection pooler between us and PostgreSQL if statements
// would be prepared: in its transaction mode they fail by the hundred, and which
// mode it has cannot be asked. A pooler tells a process id of its own.
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
		return core.Errorf(core.StoreUnavailable, "%s", pooled)
	}
	return nil
}

// searchMode is how a search is sent: with a plan for its values, not for any;
// or as store.url says, where a pooler is in between.
func (s *pgStore) searchMode() pgx.QueryExecMode {
	if m := s.pool.Config().ConnConfig.DefaultQueryExecMode; m == pgx.QueryExecModeExec || m == pgx.QueryExecModeSimpleProtocol {
		return m
	}
	return pgx.QueryExecModeCacheDescribe
}

// Health asks on a connection of the pool whether writes would be taken.
func (s *pgStore) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := s.onConn(ctx, func(c *pgxpool.Conn) error {
		var readOnly bool
		if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'").Scan(&readOnly); err != nil {
			return err
		}
		if readOnly {
			return &pgconn.PgError{Severity: "ERROR", Code: "25006", Message: "the server takes no writes"}
		}
		return nil
	})
	if err != nil {
		return unavailable(err, "answer")
	}
	return s.group.health()
}
