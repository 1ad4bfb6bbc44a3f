package store

import "context"

// scanner is one row of a result.
type scanner interface{ Scan(dest ...any) error }

// tables reads the rows for which both databases have the same statements. The file
// of each table has its part.
type tables struct {
	seals

	// query runs a statement and calls read for each row of the result.
	query func(ctx context.Context, read func(scanner) error, text string, args ...any) error
}
