package admin

import (
	"bytes"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// entries reads and stores the entries of the directory for the verbs.
type entries struct {
	directory *directory.Directory
	tokens    *directory.Tokens // nil: there are none

	keyPolicies core.KeyPolicies
}

// anyVersion is the expected version if the caller expects none.
const anyVersion = -1

// change is one new version of a directory entry.
type change struct {
	kind     core.EntryKind
	tenant   string
	id       string
	reason   string
	expected int64 // the version that it replaces, 0: there must be no entry; anyVersion: any
	deleted  bool
	body     []byte
	madeFor  int64 // the version for which the body was made, from older ones; 0: any
}

// entry returns the next version of the entry. It fails with Conflict if the newest version
// is not the one that the caller expects.
func (d *entries) entry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	next := d.directory.NextVersion(ch.kind, ch.tenant, ch.id) // first: a version that is stored after it makes the commit fail
	if err := d.checkExpected(&ch); err != nil {
		return nil, err
	}
	if ch.madeFor != 0 && ch.madeFor != next {
		return nil, core.Wrap(core.Conflict, engine.ErrOtherVersion, "the %s %s was changed meanwhile; read it again", ch.kind, core.ClientText(ch.id))
	}
	if err := d.checkRoom(&ch); err != nil {
		return nil, err
	}
	return &core.DirectoryEntry{Kind: ch.kind, Tenant: ch.tenant, ID: ch.id, Version: next, At: k.Now, Author: authorOf(k.Caller), Reason: ch.reason, Deleted: ch.deleted, Body: ch.body}, nil
}

// Bounds of the entries of one tenant, which every node has in memory.
const (
	maxTenantEntries = 200_000
	maxTenantBytes   = 128 << 20 // of their bodies
)

// checkRoom fails with QuotaExceeded if a tenant has no room for a new body. An entry can
// always be deleted, or replaced by one of the same length. Tokens and
// approvals have bounds of their own.
func (d *entries) checkRoom(ch *change) error {
	if ch.deleted || ch.kind.Prunable() {
		return nil
	}
	n, bytes := d.directory.UsageBeside(core.DirectoryName{Tenant: ch.tenant, Kind: ch.kind, ID: ch.id})
	return roomBeside(ch, n, bytes)
}

// roomBeside is checkRoom for a tenant that has other entries, and bytes of bodies.
func roomBeside(ch *change, entries, bytes int) error {
	if entries >= maxTenantEntries || bytes+len(ch.body) > maxTenantBytes {
		return core.Errorf(core.QuotaExceeded, "the policies, users and roles of tenant %s are %d with %d bytes, and %d more bytes do not fit; at most %d with %d bytes are possible; delete some",
			core.ClientText(ch.tenant), entries, bytes, len(ch.body), maxTenantEntries, maxTenantBytes)
	}
	return nil
}

// checkExpected fails with Conflict if the newest version of an entry is not the one that
// the change replaces. An entry that was deleted counts as version 0, as one that never
// existed.
func (d *entries) checkExpected(ch *change) error {
	if ch.expected == anyVersion {
		return nil
	}
	newest, err := d.directory.Version(ch.kind, ch.tenant, ch.id)
	switch {
	case err != nil && core.CodeOf(err) != core.ItemNotFound:
		return err
	case newest == ch.expected:
		return nil
	case ch.expected == 0:
		return core.Errorf(core.ObjectAlreadyExists, "there is a %s %s already", ch.kind, core.ClientText(ch.id))
	case newest == 0:
		return absent(err, ch.kind, ch.id)
	}
	return core.Wrap(core.Conflict, engine.ErrOtherVersion, "the newest version of the %s %s is %d, not %d; read it again", ch.kind, core.ClientText(ch.id), newest, ch.expected)
}

// store commits new versions of entries, and the objects that change with them, together
// with the record. It fails with Conflict if a canary would not hold any more.
func (d *entries) store(k *engine.Call, writes ...core.Write) error {
	if err := d.checkCanaries(k, writes); err != nil {
		return err
	}
	ch := core.ChangeOf(writes...)
	err := k.Commit(ch)
	if err == nil {
		d.directory.ShowStored(ch)
	}
	return err
}

// saveEntry stores one version of an entry, and returns it. If it would change nothing, it stores
// nothing and returns the newest version.
func (d *entries) saveEntry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	e, err := d.entry(k, ch)
	if err != nil {
		return nil, err
	}
	if newest := d.sameAsNewest(k, e); newest != nil {
		return newest, nil
	}
	return e, d.store(k, core.SaveDirectoryEntry{Entry: e})
}

// sameAsNewest returns the version before e if it has the same body, otherwise nil. It asks the
// database too: if another node has stored a version that this one has not read yet, e is a change,
// and storing it fails with Conflict.
func (d *entries) sameAsNewest(k *engine.Call, e *core.DirectoryEntry) *core.DirectoryEntry {
	known, err := d.directory.Get(e.Kind, e.Tenant, e.ID)
	if err != nil || e.Deleted || known.Version != e.Version-1 || !bytes.Equal(known.Body, e.Body) {
		return nil
	}
	stored, err := k.Ports.Store.DirectoryHistory(k.Ctx, e.Name(), 0, 1)
	if err != nil || len(stored) != 1 || stored[0].Version != known.Version {
		return nil
	}
	return known
}

// deleteEntry ends an entry that exists. The access tokens of a user end with it.
func (d *entries) deleteEntry(k *engine.Call, ch change) error {
	if _, err := d.directory.Version(ch.kind, ch.tenant, ch.id); err != nil {
		return absent(err, ch.kind, ch.id)
	}
	ch.deleted, ch.body = true, nil
	e, err := d.entry(k, ch)
	if err != nil {
		return err
	}
	writes := []core.Write{core.SaveDirectoryEntry{Entry: e}}
	if ch.kind == core.EntryUser && d.tokens != nil {
		ends, err := d.endTokensOf(k, ch.tenant, ch.id)
		if err != nil {
			return err
		}
		writes = append(writes, ends...)
	}
	return d.store(k, writes...)
}

// absent names the entry in an error of code ItemNotFound.
func absent(err error, kind core.EntryKind, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "there is no %s %s", kind, core.ClientText(id))
	}
	return err
}
