package core

// Change is one transaction of the store: all its writes are done, in order, or none.
// Audit entries and usage are written last, whatever their place in the list, because
// other transactions wait for the rows that count them.
type Change struct{ Writes []Write }

// Write is one row of a [Change]. Each kind is declared beside the port of its table.
type Write interface {
	// ForTenant returns the tenant in whose share of the store the write is done:
	// [OwnWork] for the server's own work.
	ForTenant() string
}

// ChangeOf returns a change that consists of the writes.
func ChangeOf(writes ...Write) *Change { return &Change{Writes: writes} }

// Add appends writes.
func (c *Change) Add(writes ...Write) { c.Writes = append(c.Writes, writes...) }

// ForTenant returns the tenant of the first write that belongs to one, or [OwnWork].
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

// Usage returns the sum of all usage in the change.
func (c *Change) Usage() (sum Usage) {
	for _, w := range WritesOf[AddUsage](c) {
		sum = sum.Add(w.Usage)
	}
	return sum
}

// Undo remembers the changes of a batch, so that they can be undone. The engine fills
// it; [Engine.Undo] uses it. Not safe for concurrent use.
type Undo struct{ Steps []UndoStep }

// UndoStep is one change of an object. If Before is nil, the object was made and is
// deleted again. Otherwise After is replaced by Before.
type UndoStep struct{ Before, After *ManagedObject }
