package core

import "context"

// CandidatePage is how many objects a search reads at once. Each can have 64 KiB of
// attributes, which take twice as much when they are read.
const CandidatePage = 200

// ObjectTable reads the objects.
type ObjectTable interface {
	// Object returns a snapshot with its Material.
	Object(ctx context.Context, tenant, id string) (*ManagedObject, error)

	// Candidates returns objects that may match f: every match is among them, and
	// others can be. Rows are ordered by Seq, descending unless f.OldestFirst. Paging
	// starts after the given Seq; 0 starts at the beginning. Name, links, groups,
	// vendor attributes and the typed columns are found by an index. Material has only
	// its Class, on which a decision of the policy can depend. Fewer than limit rows mean
	// that there are no more.
	Candidates(ctx context.Context, tenant string, f Filter, beyond int64, limit int) ([]*ManagedObject, error)

	// Residents returns which of the given CKA_IDs the row of an object names. It is a hint:
	// the seals of the rows are not checked. The row of a destroyed object names none,
	// unless it can be restored.
	Residents(ctx context.Context, tokens [][]byte) (map[string]bool, error)

	// OldestRows counts the first rows of a tenant, in the order of Seq. The seals of the
	// rows are not checked: the keys of the tenant may be destroyed.
	OldestRows(ctx context.Context, tenant string, limit int) (OldestRows, error)

	// RowHash returns the SHA-256 of an object's row at o.Version: of what its
	// seal covers, except Seq.
	RowHash(o *ManagedObject) ([]byte, error)
}

// Filter tells the store what Locate searches for. The engine checks each candidate
// again.
type Filter struct {
	Now         int64      // for states that dates have changed since
	Attributes  Attributes // the request's; see Matches
	Owner       string     // with Groups: only objects of this owner or these groups
	Groups      []string
	WholeTenant bool // ignore Owner and Groups: the policy lets the principal see the tenant
	OldestFirst bool
}

// OldestRows are the first rows of a tenant.
type OldestRows struct {
	Count   int
	LastSeq int64 // 0 if there are none
}

// RemoveRows removes the rows of a tenant up to a Seq, with their dates, and sets its usage
// to 0. It is for a tenant that was deleted.
type RemoveRows struct {
	Tenant string
	UpTo   int64
}

// ForTenant implements [Write].
func (w RemoveRows) ForTenant() string { return w.Tenant }

// InsertObject stores a new object of Version 1. The store assigns its Seq and sets
// it once the change is stored. ObjectAlreadyExists if the identifier or an alias is taken.
type InsertObject struct{ Object *ManagedObject }

// ForTenant implements [Write].
func (w InsertObject) ForTenant() string { return w.Object.Tenant }

// UpdateObject stores the next version of an object. Conflict unless the row is at
// Version-1 and has the same Seq.
type UpdateObject struct {
	Object *ManagedObject

	// RemovesKey says that the row loses its key material. The material must soon be
	// gone from the files of an embedded database too.
	RemovesKey bool
}

// ForTenant implements [Write].
func (w UpdateObject) ForTenant() string { return w.Object.Tenant }

// DeleteObject removes an object and its dates, to undo an insertion. Conflict
// unless the row is at Version and Seq. Its key material is removed as in
// [UpdateObject].
type DeleteObject struct{ Object *ManagedObject }

// ForTenant implements [Write].
func (w DeleteObject) ForTenant() string { return w.Object.Tenant }
