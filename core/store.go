package core

import "context"

// Store is all tables of one database. Callers ask only for the tables that they use.
// The implementations behave alike; storetest checks that. All methods are safe for
// concurrent use. Errors have the code ItemNotFound, ObjectAlreadyExists, Conflict or
// StoreUnavailable. If a row was tampered with, the code is Tampered, and nothing of
// the row is returned. If the key of its seal is not loaded, it is TokenUnavailable.
type Store interface {
	Committer
	ObjectTable
	KeySetTable
	IntentTable
	InstallationTable
	DueDateTable
	UsageTable
	RecordTable
	DirectoryTable

	// Shared reports whether other processes may change rows, so that snapshots
	// must not be used for longer than SnapshotLeaseMS.
	Shared() bool

	Health(ctx context.Context) error
	Close() error
}

// Committer stores changes.
type Committer interface {
	// Commit stores a change as one transaction, durable when it returns nil.
	// Commits of many callers may share one sync.
	Commit(ctx context.Context, c *Change) error
}

// SnapshotLeaseMS is how long, in milliseconds, a snapshot of a shared store
// may be used (promise 5: revoked everywhere within a second).
const SnapshotLeaseMS = 800

// Sealer makes and checks the seals of database rows. The key of a tenant's
// seals is in the token; tenant "" names the system set, which seals the rows
// that decide about tenants or belong to none. The caller writes a row in one
// canonical form, with the table's name in it, so that a row of one table is
// never valid in another. The code is TokenUnavailable if the tenant's keys are
// not loaded, CryptographicFailure if the seal is wrong. Safe for
// concurrent use.
type Sealer interface {
	// Seal returns the seal of a row under the newest key R: two bytes of its
	// epoch, big endian, then 32 bytes.
	Seal(tenant string, row []byte) ([]byte, error)
	// CheckSeal returns an error unless seal is the seal of row.
	CheckSeal(tenant string, row, seal []byte) error

	// EncryptBody encrypts a body of the directory under a key of the system set. The
	// result is BodyOverhead bytes longer than the body and is bound to name, which is
	// the caller's canonical form of what the body belongs to.
	EncryptBody(name, body []byte) ([]byte, error)
	// DecryptBody reverses EncryptBody. The code is CryptographicFailure if the result
	// was changed or belongs to another name.
	DecryptBody(name, encrypted []byte) ([]byte, error)
}

// BodyOverhead is the length of what EncryptBody adds, in bytes: two of the epoch of the
// key, 12 of the IV, 16 of the tag.
const BodyOverhead = 2 + 12 + 16
