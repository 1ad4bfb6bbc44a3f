package directory

import (
	"sync"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// Typed answers with the bodies of one kind of entries in decoded form. Safe for
// concurrent use.
type Typed[T any] struct {
	directory *Directory
	kind      core.EntryKind
	decode    func(*core.DirectoryEntry) (T, error)

	changes atomic.Uint64

	mu      sync.RWMutex
	decoded map[core.DirectoryName]typedBody[T]
	tenants map[string]int // entries of each tenant that were ever seen
}

type typedBody[T any] struct {
	version int64
	value   T
	err     error
}

// NewTyped returns the typed entries of a kind. It must be called before Open.
func NewTyped[T any](d *Directory, kind core.EntryKind, decode func(*core.DirectoryEntry) (T, error)) *Typed[T] {
	t := &Typed[T]{directory: d, kind: kind, decode: decode, decoded: map[core.DirectoryName]typedBody[T]{}, tenants: map[string]int{}}
	d.Watch(kind, t.note)
	return t
}

// note decodes a version. A body that cannot be decoded is an error of its entry.
func (t *Typed[T]) note(e *core.DirectoryEntry) {
	next := typedBody[T]{version: e.Version}
	if !e.Deleted {
		next.value, next.err = t.decode(e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.decoded[e.Name()]; !known {
		t.tenants[e.Tenant]++
	}
	t.decoded[e.Name()] = next
	t.changes.Add(1)
}

// Revision returns a number that changes with each change of an entry, of any tenant, and when
// a row is found to be tampered with. It fails as [Directory.Fresh] does.
func (t *Typed[T]) Revision() (uint64, error) {
	return t.changes.Load() + t.directory.refusals.Load(), t.directory.Fresh() // both only grow
}

// Any reports whether a tenant has ever had an entry of the kind, or a row that looked like
// one. If not, there is no need to ask for one.
func (t *Typed[T]) Any(tenant string) bool {
	t.mu.RLock()
	had := t.tenants[tenant] > 0
	t.mu.RUnlock()
	if had || t.directory.refused.Load() == 0 {
		return had
	}
	_, suspect := t.directory.suspects.Load(ownerOf{t.kind, tenant})
	return suspect
}

// Get returns the body of the newest version of an entry. The codes are those of
// [Directory.Get].
func (t *Typed[T]) Get(tenant, id string) (value T, err error) {
	version, err := t.directory.Version(t.kind, tenant, id)
	if err != nil {
		return value, err
	}
	t.mu.RLock()
	found := t.decoded[core.DirectoryName{Tenant: tenant, Kind: t.kind, ID: id}]
	t.mu.RUnlock()
	if found.version != version { // its watchers are being called
		e, err := t.directory.Get(t.kind, tenant, id)
		if err != nil {
			return value, err
		}
		return t.decode(e)
	}
	return found.value, found.err
}
