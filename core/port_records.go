package core

import "context"

// RecordTable reads the audit records.
type RecordTable interface {
	// Records returns records, newest first.
	Records(ctx context.Context, q RecordQuery) ([]StoredEntry, error)
}

// AppendEntry stores an audit record.
type AppendEntry struct{ Entry *Entry }

// ForTenant implements [Write].
func (w AppendEntry) ForTenant() string { return w.Entry.Tenant }

// Journal turns a record into the bytes that are stored.
type Journal interface {
	Seal(r *Record) Entry
}
