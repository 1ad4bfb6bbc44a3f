package core

import "context"

// DueDateTable reads the dates at which the clock changes what objects may do.
type DueDateTable interface {
	// DueDates lists dates that were reached at or before a time and are not noted
	// yet, in order, beginning after the given one. They are hints: the sealed row of
	// the object decides.
	DueDates(ctx context.Context, until int64, after DueDate, limit int) ([]DueDate, error)
}

// DueDate is a date of an object at which the clock changes what the object may do.
type DueDate struct {
	Tenant string
	ID     string // Unique Identifier
	Tag    Tag
	At     int64 // Unix seconds
}

// AddDueDate stores a date to come. One that is there already stays as it is.
type AddDueDate struct{ DueDate DueDate }

// ForTenant implements [Write].
func (AddDueDate) ForTenant() string { return OwnWork }

// NoteDueDate notes that a date has been reached. Conflict if that has been noted
// before, or the date is not there.
type NoteDueDate struct{ DueDate DueDate }

// ForTenant implements [Write].
func (NoteDueDate) ForTenant() string { return OwnWork }
