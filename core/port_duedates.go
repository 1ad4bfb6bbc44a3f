package core

import "context"

// DueDateTable reads the dates at which the clock changes what objects may do.
type DueDateTable interface {
	// DueDates lists dates of some kinds that were reached at or before a time and are not
	// noted yet, in order, starting after the given one. They are hints: the sealed row of
	// the object decides.
	DueDates(ctx context.Context, kinds DueKinds, until int64, after DueDate, limit int) ([]DueDate, error)
}

// DueKinds is a range of Tags, which say what a date is.
type DueKinds struct{ From, To Tag }

// DueAttributes are the dates that are attributes of the standard.
var DueAttributes = DueKinds{0x420000, 0x54FFFF}

// The dates that are no attributes of the standard. The row of such a date is removed when it is
// noted.
const (
	DuePurge        Tag = 1 + iota // of an object that was deleted softly; see [PurgeAtAttribute]
	DuePurgeKept                   // the same, after the policy has denied the purge
	DueRotation                    // of a key; see [RotateAtAttribute]
	DueRotationKept                // the same, after the policy has denied the rotation
)

// The dates at which objects are purged, and keys are rotated.
var (
	DuePurges    = DueKinds{DuePurge, DuePurgeKept}
	DueRotations = DueKinds{DueRotation, DueRotationKept}
)

// Has reports whether the kinds have a Tag.
func (k DueKinds) Has(t Tag) bool { return k.From <= t && t <= k.To }

// FirstDueDate is before all dates.
var FirstDueDate = DueDate{At: -1 << 62}

// DueDate is a date of an object at which the clock changes what the object may do.
type DueDate struct {
	Tenant string
	ID     string // Unique Identifier
	Tag    Tag
	At     int64 // Unix seconds
}

// AddDueDate stores a future date. If it is stored already, nothing changes.
type AddDueDate struct{ DueDate DueDate }

// ForTenant implements [Write].
func (AddDueDate) ForTenant() string { return OwnWork }

// NoteDueDate notes that a date has been reached, and removes the row unless the date is one of
// [DueAttributes]. Conflict if that was noted before, or the date is not stored.
type NoteDueDate struct{ DueDate DueDate }

// ForTenant implements [Write].
func (NoteDueDate) ForTenant() string { return OwnWork }
