package core

// Change is one atomic step of the store: its writes are carried out in order, in
// one transaction, or none of them is. Audit entries and usage come last, wherever
// they stand: other transactions wait for the rows that they count in.
type Change struct{ Writes []Write }

// Write is one row of a [Change]. Each kind stands beside the port of its table.
type Write interface {
	// ForTenant returns the tenant in whose share of the store the write is done:
	// [OwnWork] for what the server does for itself.
	ForTenant() string
}

// ChangeOf returns a change that consists of the writes.
func ChangeOf(writes ...Write) *Change { return &Change{Writes: writes} }

// Add appends writes.
func (c *Change) Add(writes ...Write) { c.Writes = append(c.Writes, writes...) }

// ForTenant returns the tenant of the first write that is made for one.
func (c *Change) ForTenant() string {
	for _, w := range c.Writes {
		if t := w.ForTenant(); t != OwnWork {
			return t
		}
	}
	return OwnWork
}

// WritesOf returns the writes of one kind, in order.
func WritesOf[W Write](c *Change) (all []W) {
	for _, w := range c.Writes {
		if w, ok := w.(W); ok {
			all = append(all, w)
		}
	}
	return all
}

// Stored returns the objects that are inserted or updated, in order.
func (c *Change) Stored() (all []*ManagedObject) {
	for _, w := range c.Writes {
		switch w := w.(type) {
		case InsertObject:
			all = append(all, w.Object)
		case UpdateObject:
			all = append(all, w.Object)
		}
	}
	return all
}

// Objects returns the objects that are inserted or updated, then those that are
// deleted.
func (c *Change) Objects() []*ManagedObject {
	all := c.Stored()
	for _, w := range WritesOf[DeleteObject](c) {
		all = append(all, w.Object)
	}
	return all
}

// Usage returns the sum of what the change counts.
func (c *Change) Usage() (sum Usage) {
	for _, w := range WritesOf[AddUsage](c) {
		sum = sum.Add(w.Usage)
	}
	return sum
}

// InsertObject stores a new object of Version 1. The store assigns its Seq and sets
// it once the change is stored. ObjectAlreadyExists if the identifier is taken.
type InsertObject struct{ Object *ManagedObject }

// UpdateObject stores the next version of an object. Conflict unless the row is at
// Version-1 and has the same Seq.
type UpdateObject struct {
	Object *ManagedObject

	// RemovesKey says that the row had key material that it no longer has. It must
	// soon be gone from the files of an embedded database too.
	RemovesKey bool
}

// DeleteObject removes an object and its dates, to undo an insertion. Conflict
// unless the row is at Version and Seq. Its key material is removed as in
// [UpdateObject].
type DeleteObject struct{ Object *ManagedObject }

// SaveKeySet stores a set of keys, or moves it on from pending. Conflict if its
// number or epoch is another set's.
type SaveKeySet struct{ KeySet KeySet }

// InsertInstallation stores the row of the installation. Conflict if the database
// has one.
type InsertInstallation struct{ Installation Installation }

// BeginIntent stores an intent.
type BeginIntent struct{ Intent Intent }

// FinishIntent removes an intent.
type FinishIntent struct {
	ID string

	// MustBeOpen makes the change fail with Conflict if the intent is not there any
	// more.
	MustBeOpen bool
}

// AddDueDate stores a date to come. One that is there already stays as it is.
type AddDueDate struct{ DueDate DueDate }

// NoteDueDate notes that a date has been reached. Conflict if that has been noted
// before, or the date is not there.
type NoteDueDate struct{ DueDate DueDate }

// AddUsage counts what a tenant has more, or less, with the change.
type AddUsage struct {
	Tenant string
	Usage  Usage
}

// AppendEntry stores an audit record.
type AppendEntry struct{ Entry *Entry }

// ForTenant implements [Write].
func (w InsertObject) ForTenant() string { return w.Object.Tenant }

// ForTenant implements [Write].
func (w UpdateObject) ForTenant() string { return w.Object.Tenant }

// ForTenant implements [Write].
func (w DeleteObject) ForTenant() string { return w.Object.Tenant }

// ForTenant implements [Write].
func (SaveKeySet) ForTenant() string { return OwnWork }

// ForTenant implements [Write].
func (InsertInstallation) ForTenant() string { return OwnWork }

// ForTenant implements [Write].
func (w BeginIntent) ForTenant() string { return w.Intent.Tenant }

// ForTenant implements [Write].
func (FinishIntent) ForTenant() string { return OwnWork }

// ForTenant implements [Write].
func (AddDueDate) ForTenant() string { return OwnWork }

// ForTenant implements [Write].
func (NoteDueDate) ForTenant() string { return OwnWork }

// ForTenant implements [Write].
func (w AddUsage) ForTenant() string { return w.Tenant }

// ForTenant implements [Write].
func (w AppendEntry) ForTenant() string { return w.Entry.Tenant }
