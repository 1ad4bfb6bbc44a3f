package store

import "context"

// scanner is one row of an answer.
type scanner interface{ Scan(dest ...any) error }

// tables reads the rows that both databases are asked for by the same statements. Each
// table's part is in the file of that table.
type tables struct {
	seals

	// query runs a statement and hands each row of the answer to read.
	query func(ctx context.Context, read func(scanner) error, text string, args ...any) error
}
