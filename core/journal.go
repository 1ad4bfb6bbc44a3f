package core

// Journal turns a record into the bytes that are stored.
type Journal interface {
	Seal(r *Record) Entry
}
