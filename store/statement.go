package store

import (
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/dberror"
)

// statement is one statement of a change. SQLite runs them one by one, PostgreSQL all
// in one round trip, so no statement may depend on the result of another.
type statement struct {
	text string
	args []any
	// rows returns an error if the number of rows is wrong; nil: any number is right.
	rows func(n int64) error
	// duplicate is the error if the row exists; nil: the error of the database.
	duplicate error
	doing     string // for an error of the database: it "could not write an object"
}

// outcome returns the error of a statement that was run.
func (s *statement) outcome(n int64, err error, isDuplicate func(error) bool) error {
	switch {
	case err != nil && s.duplicate != nil && isDuplicate(err):
		return s.duplicate
	case err != nil:
		return dberror.Unavailable(err, s.doing)
	case s.rows != nil:
		return s.rows(n)
	}
	return nil
}

// exactlyOne fails with otherwise unless the statement changed one row.
func exactlyOne(otherwise error) func(int64) error {
	return func(n int64) error {
		if n != 1 {
			return otherwise
		}
		return nil
	}
}

// notStored is the error if a database reports success for an INSERT but stored no row.
// A trigger or a rule that somebody added can do that.
func notStored(table string) error {
	return core.Errorf(core.StoreUnavailable, "the database accepted a row of table %s and did not store it; remove the triggers and rules of that table, and find out who can write the database", table)
}

// sqlBuilder writes SQL with numbered parameters: every value is bound.
type sqlBuilder struct {
	text strings.Builder
	args []any
}

// appendSQL appends text, then one parameter for each value.
func (s *sqlBuilder) appendSQL(text string, values ...any) {
	s.text.WriteString(text)
	for i, v := range values {
		if i > 0 {
			s.text.WriteString(", ")
		}
		s.args = append(s.args, v)
		fmt.Fprintf(&s.text, "$%d", len(s.args))
	}
}

// valueRows returns the parameters of n rows of VALUES, starting at $first.
func valueRows(first, n, columns int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = "(" + parameters(first+i*columns, first+(i+1)*columns-1) + ")"
	}
	return strings.Join(rows, ", ")
}

func parameters(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		if i > from {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i)
	}
	return b.String()
}

// nullable turns nil into NULL. The driver would store nil bytes as empty ones.
func nullable(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}
