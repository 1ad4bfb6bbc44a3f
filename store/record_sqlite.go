package store

import (
	"context"
	"fmt"
	"math/bits"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/dberror"
)

// largestInsert is the most audit entries in one statement.
const largestInsert = 128

// entriesText holds the INSERTs of 1, 2, 4 ... largestInsert entries of one node, with
// consecutive counts. SQLite has one writer, with the number 0.
var entriesText = func() (texts []string) {
	for n := 1; n <= largestInsert; n *= 2 {
		rows := make([]string, n)
		for i := range rows {
			first := 3 + 3*i
			rows[i] = fmt.Sprintf("($1, $2 + %d, 0, $%d, $%d, $%d)", i, first, first+1, first+2)
		}
		texts = append(texts, "INSERT INTO audit_entry (node, count, writer, tenant, at, body) VALUES "+strings.Join(rows, ", "))
	}
	return texts
}()

// insertEntries inserts the entries of the batch, in as few statements as powers of
// two allow.
func (s *sqliteStore) insertEntries(ctx context.Context) error {
	entries := s.batchEntries
	err := s.counts.readMissing(entries, func(node string) (n int64, err error) {
		return n, s.writeConn.QueryRowContext(ctx, selectCount, node, s.counts.writer).Scan(&n)
	})
	if err != nil {
		return dberror.Unavailable(err, "read the count of the audit records")
	}
	s.counts.assign(entries)
	for given := s.counts.assigned; len(entries) > 0; {
		n := 1
		for n*2 <= len(entries) && n*2 <= largestInsert && oneNode(entries[:n*2]) {
			n *= 2
		}
		s.entryArguments = append(s.entryArguments[:0], s.nameArgument(entries[0].Node), given[0])
		for i := range entries[:n] {
			e := &entries[i]
			s.entryArguments = append(s.entryArguments, s.nameArgument(e.Tenant), e.Time, e.Body)
		}
		stored, err := s.execPrepared(ctx, entriesText[bits.TrailingZeros(uint(n))], s.entryArguments...)
		clear(s.entryArguments)
		if err == nil {
			rows, _ := stored.RowsAffected() // SQLite knows the number without an error
			err = storedEntries(rows, n)
		}
		if err != nil {
			s.counts.forget()
			if dberror.IsUncertain(err) {
				err = dberror.UnknownOutcome(err)
			}
			return dberror.Unavailable(err, "write the audit records")
		}
		entries, given = entries[n:], given[n:]
	}
	return nil
}

// oneNode reports whether the entries are all of the same node.
func oneNode(entries []core.Entry) bool {
	for i := range entries {
		if entries[i].Node != entries[0].Node {
			return false
		}
	}
	return true
}
