package directory

import (
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Ending follows the entries of a prunable kind. Each belongs to a principal and ends at a
// known time, after which it gives no right, whatever its version. The IDs are random. Safe
// for concurrent use.
type Ending struct {
	directory *Directory
	kind      core.EntryKind
	longest   int64 // lifetime of an entry, in seconds, if its end is not known
	readOwner func(*core.DirectoryEntry) (principal string, ends int64, err error)

	mu       sync.RWMutex
	known    map[string]knownEnding     // by ID
	ofTenant map[string]map[string]bool // IDs, so that no tenant looks through those of others
}

// knownEnding is what is known of an entry without its body.
type knownEnding struct {
	tenant, principal string
	ends              int64 // Unix seconds
	deleted           bool
}

// newEnding must be called before the directory is opened.
func newEnding(d *Directory, kind core.EntryKind, longest int64, readOwner func(*core.DirectoryEntry) (string, int64, error)) *Ending {
	t := &Ending{directory: d, kind: kind, longest: longest, readOwner: readOwner, known: map[string]knownEnding{}, ofTenant: map[string]map[string]bool{}}
	d.Watch(kind, t.noteVersion)
	return t
}

// noteVersion notes a version of an entry. A deleted one ends when it would have ended. If
// that is not known, because this node has started later, or the entry cannot be read, it
// ends after the longest lifetime.
func (t *Ending) noteVersion(e *core.DirectoryEntry) {
	next := knownEnding{tenant: e.Tenant, ends: e.At + t.longest, deleted: e.Deleted}
	if !e.Deleted {
		if principal, ends, err := t.readOwner(e); err == nil {
			next.principal, next.ends = principal, ends
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if before, ok := t.known[e.ID]; ok && e.Deleted && before.tenant == e.Tenant && !before.deleted {
		next.principal, next.ends = before.principal, before.ends
	}
	t.forgetLocked(e.ID)
	t.known[e.ID] = next
	if t.ofTenant[e.Tenant] == nil {
		t.ofTenant[e.Tenant] = map[string]bool{}
	}
	t.ofTenant[e.Tenant][e.ID] = true
}

// EndingCount is how many entries have not ended at a time.
type EndingCount struct {
	Living int
	Kept   int // with those that were deleted, which are still kept
}

func (c *EndingCount) countEntry(k *knownEnding) {
	c.Kept++
	if !k.deleted {
		c.Living++
	}
}

// Count counts the entries of a principal, and those of its tenant.
func (t *Ending) Count(tenant, principal string, now int64) (ofPrincipal, ofTenant EndingCount) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id := range t.ofTenant[tenant] {
		k := t.known[id]
		if k.ends <= now {
			continue
		}
		ofTenant.countEntry(&k)
		if k.principal == principal {
			ofPrincipal.countEntry(&k)
		}
	}
	return ofPrincipal, ofTenant
}

// IDs lists the entries of a tenant that live at a time, by ID, starting after an ID: those
// of one principal, or of all if principal is "".
func (t *Ending) IDs(tenant, principal, after string, now int64, limit int) (ids []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id := range t.ofTenant[tenant] {
		k := t.known[id]
		if !k.deleted && k.ends > now && id > after && (principal == "" || k.principal == principal) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)]
}

// Ended lists entries that give no right any more, whatever version of them is in the
// database. They can be pruned.
func (t *Ending) Ended(now int64, limit int) (names []core.DirectoryName) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id, k := range t.known {
		if len(names) == limit {
			break
		}
		if k.ends <= now {
			names = append(names, core.DirectoryName{Tenant: k.tenant, Kind: t.kind, ID: id})
		}
	}
	slices.SortFunc(names, func(a, b core.DirectoryName) int { return strings.Compare(a.ID, b.ID) })
	return names
}

// IsStored reports whether the directory still has an entry: another node may have pruned it.
func (t *Ending) IsStored(name core.DirectoryName) bool {
	return t.directory.NextVersion(name.Kind, name.Tenant, name.ID) > 1
}

// Forget drops an entry that was pruned.
func (t *Ending) Forget(name core.DirectoryName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(name.ID)
}

// forgetLocked drops an entry. The caller holds t.mu.
func (t *Ending) forgetLocked(id string) {
	tenant := t.known[id].tenant
	delete(t.known, id)
	if delete(t.ofTenant[tenant], id); len(t.ofTenant[tenant]) == 0 {
		delete(t.ofTenant, tenant)
	}
}
