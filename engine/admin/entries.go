package admin

import (
	"errors"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// entries reads and stores the entries of the directory for the verbs.
type entries struct {
	directory *directory.Directory
	tokens    *directory.Tokens // nil: there are none
}

// anyVersion is the expected version if the caller expects none.
const anyVersion = -1

// ErrOtherVersion is in the chain of the error, of code Conflict, that a verb fails with if
// the newest version of an entry is not the one that the caller expects.
var ErrOtherVersion = errors.New("another version is the newest")

// change is one new version of a directory entry.
type change struct {
	kind     core.EntryKind
	tenant   string
	id       string
	reason   string
	expected int64 // the version that it replaces, 0: there must be no entry; anyVersion: any
	deleted  bool
	body     []byte
}

// entry returns the next version of the entry. It fails with Conflict if the newest version
// is not the one that the caller expects.
func (d *entries) entry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	next := d.directory.NextVersion(ch.kind, ch.tenant, ch.id) // first: a version that is stored after it makes the commit fail
	if err := d.checkExpected(&ch); err != nil {
		return nil, err
	}
	return &core.DirectoryEntry{Kind: ch.kind, Tenant: ch.tenant, ID: ch.id, Version: next, At: k.Now, Author: authorOf(k.Caller), Reason: ch.reason, Deleted: ch.deleted, Body: ch.body}, nil
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
	return core.Wrap(core.Conflict, ErrOtherVersion, "the newest version of the %s %s is %d, not %d; read it again", ch.kind, core.ClientText(ch.id), newest, ch.expected)
}

// store commits new versions of entries, and the objects that change with them, together
// with the record.
func (d *entries) store(k *engine.Call, writes ...core.Write) error {
	ch := core.ChangeOf(writes...)
	err := k.Commit(ch)
	if err == nil {
		d.directory.ShowStored(ch)
	}
	return err
}

// saveEntry stores one version of an entry.
func (d *entries) saveEntry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	e, err := d.entry(k, ch)
	if err != nil {
		return nil, err
	}
	return e, d.store(k, core.SaveDirectoryEntry{Entry: e})
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
