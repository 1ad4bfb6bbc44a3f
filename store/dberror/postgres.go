package dberror

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyreeve/keyreeve/core"
)

// postgresSentences say what to do, for each SQLSTATE.
var postgresSentences = map[string]string{
	"25006": "the database does not accept writes: this PostgreSQL is a standby or read-only; name all hosts, also the primary, in store.url",
	"26000": Pooled,
	"42P05": Pooled,
	"28000": "PostgreSQL rejects this role; check user and password in store.url, and pg_hba.conf",
	"28P01": "PostgreSQL rejects this role; check user and password in store.url, and pg_hba.conf",
	"3D000": "the database that store.url names does not exist",
	"42501": "the role in store.url may not do this; grant it the rights of the tables' owner",
	"42P01": "a table is missing; restart keyreeve, or restore the database from a backup if nobody replaced it on purpose",
	"53100": "the disk of PostgreSQL is full; free space, and keyreeve continues by itself",
	"53200": "PostgreSQL is out of memory",
	"53300": "PostgreSQL has no connection left; raise its max_connections, or lower pool_max_conns in store.url",
	"57014": "PostgreSQL cancelled the query; check its statement_timeout",
	"57P01": "PostgreSQL is shutting down; keyreeve connects again when it is back",
	"57P02": "PostgreSQL is restarting after a crash; keyreeve connects again when it is back",
	"57P03": "PostgreSQL is starting up; keyreeve connects again when it is ready",
	"57P05": "PostgreSQL closed an idle connection; keyreeve connects again",
}

// Pooled says what to do if a connection pooler is in the way.
const Pooled = "a connection pooler such as PgBouncer gives each transaction another session; add default_query_exec_mode=exec to store.url"

// postgresSentence returns what an operator must know about an error of PostgreSQL,
// with its SQLSTATE. It returns "" for other errors.
func postgresSentence(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); !connecting {
			return ""
		}
		if !strings.Contains(err.Error(), "read only connection") { // the driver has no value for this error
			return "the database cannot be reached: no PostgreSQL of store.url answers; check that one runs there and accepts this role"
		}
		e = &pgconn.PgError{Code: "25006"}
	}
	s := postgresSentences[e.Code]
	if s == "" {
		s = "PostgreSQL reported an error; see its log"
	}
	return s + " (SQLSTATE " + e.Code + ")"
}

// IsFailover reports whether a SQLSTATE says that the server does not accept writes or
// is shutting down.
func IsFailover(sqlState string) bool {
	switch sqlState {
	case "25006", "57P01", "57P02", "57P03", "57P05":
		return true
	}
	return false
}

// MustDiscard reports whether a connection must not be used again.
func MustDiscard(c *pgx.Conn, err error) bool {
	if c.IsClosed() || c.PgConn().IsBusy() || c.PgConn().TxStatus() != 'I' {
		return true
	}
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return mustDiscardAfter(e.Code)
	}
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &network)
}

// mustDiscardAfter reports whether a connection must not be used again after a
// SQLSTATE: connection exceptions, a server that does not accept writes or is shutting
// down, too little memory, prepared statements that the session does not have, and
// errors inside the server.
func mustDiscardAfter(code string) bool {
	switch {
	case IsFailover(code), code == "26000", code == "42P05", code == "0A000", code == "53200", code == "53300":
		return true
	}
	return len(code) == 5 && (code[:2] == "08" || code[:2] == "58" || code[:2] == "XX")
}

func IsPostgresDuplicate(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" // unique_violation
}

// CommitOutcome returns the error of a COMMIT as it is if the commit certainly failed,
// and [UnknownOutcome] otherwise. Only an ERROR of the server is certain. A FATAL error
// (the server is shutting down) can follow a commit that succeeded. pgx returns "conn
// closed" and calls it safe to retry, even if the connection broke after COMMIT was
// sent.
func CommitOutcome(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) || ok && e.SeverityUnlocalized == "ERROR" && e.Code != "40003" { // statement completion unknown
		return err
	}
	return UnknownOutcome(err)
}

// FromPostgres turns an error that has no code into StoreUnavailable.
func FromPostgres(err error, what string) error {
	if err == nil || core.CodeOf(err) != core.Internal {
		return err
	}
	return Unavailable(err, what)
}

// CannotOpen is the error if a database cannot be opened. The driver's error names
// address, role and database, but never the password.
func CannotOpen(err error) error {
	if core.CodeOf(err) != core.Internal {
		return err
	}
	return core.Wrap(core.StoreUnavailable, err, "PostgreSQL cannot be reached or brought up to date; check store.url, and that PostgreSQL runs there and accepts this role")
}

// IsMigrationRace reports whether the migration of another node explains an error: unique
// violation, duplicate table, column or object, a catalog row that was just
// changed, serialization, deadlock.
func IsMigrationRace(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"23505", "42P07", "42701", "42710", "XX000", "40001", "40P01"}, e.Code)
}
