package directory

import (
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Tokens finds access tokens by their ID, which a client sends without the tenant. Safe for
// concurrent use.
type Tokens struct {
	directory *Directory

	mu    sync.RWMutex
	known map[string]knownToken // by ID
}

// knownToken is what is known of a token without its body.
type knownToken struct {
	tenant, principal string
	ends              int64 // Unix seconds; then its entry gives no right, whatever its version
	deleted           bool
}

// NewTokens must be called before the directory is opened.
func NewTokens(d *Directory) *Tokens {
	t := &Tokens{directory: d, known: map[string]knownToken{}}
	d.Watch(core.EntryToken, t.noteVersion)
	return t
}

// noteVersion notes a version of a token. A revoked one ends when it would have expired. If that is
// not known, because this node has started later, or the entry cannot be read, it ends after
// the longest lifetime.
func (t *Tokens) noteVersion(e *core.DirectoryEntry) {
	next := knownToken{tenant: e.Tenant, ends: e.At + int64(core.MaxTokenLifetime.Seconds()), deleted: e.Deleted}
	if body, err := decodeBody[core.AccessToken](e); !e.Deleted && err == nil {
		next.principal, next.ends = body.Principal, body.Expires
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if before, ok := t.known[e.ID]; ok && e.Deleted && before.tenant == e.Tenant && !before.deleted {
		next.principal, next.ends = before.principal, before.ends
	}
	t.known[e.ID] = next
}

// Find returns the tenant of a token and the version of its entry. The code is ItemNotFound if
// there is none or it was deleted; otherwise the codes are those of [Directory.Version]. It
// allocates nothing.
func (t *Tokens) Find(id string) (tenant string, version int64, err error) {
	t.mu.RLock()
	known, ok := t.known[id]
	t.mu.RUnlock()
	if !ok {
		if err := t.directory.Fresh(); err != nil {
			return "", 0, err
		}
		return "", 0, errAbsent
	}
	version, err = t.directory.Version(core.EntryToken, known.tenant, id)
	return known.tenant, version, err
}

// Token returns what the directory keeps of a token. The codes are those of [Directory.Get].
func (t *Tokens) Token(tenant, id string) (*core.AccessToken, error) {
	e, err := t.directory.Get(core.EntryToken, tenant, id)
	if err != nil {
		return nil, err
	}
	return decodeBody[core.AccessToken](e)
}

// TokenCount is how many tokens have not ended at a time.
type TokenCount struct {
	Living int
	Kept   int // with those that were revoked, whose entries are still kept
}

func (c *TokenCount) countToken(k *knownToken) {
	c.Kept++
	if !k.deleted {
		c.Living++
	}
}

// Count counts the tokens of a principal, and those of its tenant.
func (t *Tokens) Count(tenant, principal string, now int64) (ofPrincipal, ofTenant TokenCount) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, k := range t.known {
		if k.tenant != tenant || k.ends <= now {
			continue
		}
		ofTenant.countToken(&k)
		if k.principal == principal {
			ofPrincipal.countToken(&k)
		}
	}
	return ofPrincipal, ofTenant
}

// IDs lists the tokens of a tenant that live at a time, by ID, starting after an ID: those of
// one principal, or of all if principal is "".
func (t *Tokens) IDs(tenant, principal, after string, now int64, limit int) (ids []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id, k := range t.known {
		if k.tenant == tenant && !k.deleted && k.ends > now && id > after && (principal == "" || k.principal == principal) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), limit)]
}

// Ended lists tokens whose entries give no right any more, whatever version of them is in the
// database. They can be pruned.
func (t *Tokens) Ended(now int64, limit int) (names []core.DirectoryName) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id, k := range t.known {
		if len(names) == limit {
			break
		}
		if k.ends <= now {
			names = append(names, core.DirectoryName{Tenant: k.tenant, Kind: core.EntryToken, ID: id})
		}
	}
	slices.SortFunc(names, func(a, b core.DirectoryName) int { return strings.Compare(a.ID, b.ID) })
	return names
}

// IsStored reports whether the directory still has an entry of a token: another node may have
// pruned it.
func (t *Tokens) IsStored(name core.DirectoryName) bool {
	return t.directory.NextVersion(name.Kind, name.Tenant, name.ID) > 1
}

// Forget drops a token that was pruned.
func (t *Tokens) Forget(name core.DirectoryName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, name.ID)
}
