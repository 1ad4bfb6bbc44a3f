package core

// The directory keeps everything about policies and people: entries, each with its newest
// versions. A version is never changed. To change an entry is to store its next version.

// Bounds of a directory entry, in bytes.
const (
	MaxDirectoryBody   = 1 << 20
	MaxDirectoryID     = 256
	MaxDirectoryAuthor = 512
	MaxDirectoryReason = 1 << 10
)

// KeptVersions is how many versions of an entry are kept, the newest one included.
const KeptVersions = 100

// MaxPolicyWait is how long a version of a key policy can wait until it is in force, in seconds.
const MaxPolicyWait = 366 * 24 * 3600

// EntryKind is what a directory entry describes. It decides the form of the body.
type EntryKind string

// The kinds of directory entries.
const (
	EntryPolicy       EntryKind = "policy"
	EntryUser         EntryKind = "user"
	EntryRole         EntryKind = "role"
	EntryGroup        EntryKind = "group"
	EntryToken        EntryKind = "token"
	EntryTenant       EntryKind = "tenant"
	EntryApproval     EntryKind = "approval"
	EntryUsedCode     EntryKind = "used code"       // a one-time code of a user that was used
	EntryOnce         EntryKind = "idempotency key" // of a request that has made something
	EntryCanary       EntryKind = "canary"
	EntryClient       EntryKind = "client"        // an enrolled client
	EntryAttachment   EntryKind = "attachment"    // its ID names the holder, such as "role:admin"
	EntryImportJob    EntryKind = "import job"    // a transport key that one key is imported under
	EntryServerPolicy EntryKind = "server policy" // policies.rego, an entry of the whole server
	EntryJob          EntryKind = "job"           // the lease and the progress of a job of the clock, an entry of the whole server
)

// entryKinds lists the kinds, and which of them may be pruned.
var entryKinds = map[EntryKind]bool{EntryClient: false, EntryPolicy: false, EntryUser: false, EntryRole: false, EntryGroup: false,
	EntryToken: true, EntryUsedCode: true, EntryOnce: true, EntryTenant: false, EntryApproval: true, EntryCanary: false, EntryAttachment: false, EntryServerPolicy: false, EntryJob: false, EntryImportJob: true}

// Known reports whether the kind exists.
func (k EntryKind) Known() bool {
	_, ok := entryKinds[k]
	return ok
}

// Prunable reports whether entries of the kind may be removed with all their versions.
// If a row of such an entry is missing, that only takes rights away. There are two exceptions.
// Without its row, a used code can be used again until its time is over, and a request with an
// Idempotency-Key can make something again.
func (k EntryKind) Prunable() bool { return entryKinds[k] }

// DirectoryName names a directory entry.
type DirectoryName struct {
	Tenant string
	Kind   EntryKind
	ID     string
}

// DirectoryEntry is one version of a directory entry. Everything except Body is stored
// in clear; the row is sealed as a whole. Nobody changes an entry that the directory
// has returned.
type DirectoryEntry struct {
	Kind    EntryKind
	Tenant  string // "" for an entry of the whole server
	ID      string
	Version int64  // 1, 2, 3 ... without a gap
	At      int64  // Unix seconds; when this version was stored
	Author  string // the principal that stored it, as TENANT/ID
	Reason  string // why, in the author's words
	Deleted bool   // this version ends the entry; a later one can begin it again
	Body    []byte // JSON; its form is that of the kind
}

// Name returns the name of the entry.
func (e *DirectoryEntry) Name() DirectoryName {
	return DirectoryName{Tenant: e.Tenant, Kind: e.Kind, ID: e.ID}
}

// DirectoryVersion is the number of one version of an entry.
type DirectoryVersion struct {
	Name    DirectoryName
	Version int64
}
