// Package admin has the operations of administrators: on the server, on tenants, and on
// the key policies, users and roles of a tenant.
//
// It relies on packages engine and engine/directory. Each operation asks the policy and
// leaves a record, in the same transaction as its change. An administrator of a tenant
// works on that tenant alone. Start at [Verbs.SavePolicy].
package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Ports are what the operations need beside an engine.
type Ports struct {
	Directory   *directory.Directory // nil: the server has no key policies and users
	KeyPolicies core.KeyPolicies

	// HashPassword makes the hash of a new password. It may wait, because a hash takes
	// much memory.
	HashPassword func(password []byte) (core.PasswordHash, error)
}

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	ports  Ports
}

// New returns the verbs of an engine.
func New(e *engine.Engine, p Ports) *Verbs { return &Verbs{e, p} }

// Administer asks the policy whether a caller may do an action on the server itself,
// lets verb do it and records how it ended. detail is text for the record.
func (v *Verbs) Administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	return v.run(ctx, c, action, detail, func(*engine.Call) error { return verb() })
}

// run is Administer for verbs that need the call.
func (v *Verbs) run(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func(*engine.Call) error) error {
	k := v.engine.Begin(ctx, c, action)
	k.Record.Detail = detail
	_, err := k.Decide(action, nil)
	if err == nil {
		err = verb(k)
	}
	return k.End(err)
}

// tenantOf returns the tenant that an operation is about. Only the administrator on the
// server's machine may name another tenant than its own.
func tenantOf(c *core.Caller, asked string) (string, error) {
	own := c.Principal.Tenant
	switch {
	case own == core.SystemTenant && asked == "":
		return "", core.Errorf(core.InvalidField, "name the tenant")
	case own == core.SystemTenant:
		return asked, nil
	case asked != "" && asked != own:
		return "", core.Errorf(core.ItemNotFound, "there is no tenant %s", core.ClientText(asked))
	}
	return own, nil
}

// authorOf returns the author of a version, as TENANT/ID.
func authorOf(c *core.Caller) string { return c.Principal.Tenant + "/" + c.Principal.ID }

// anyVersion is the expected version if the caller expects none.
const anyVersion = -1

// change is one new version of a directory entry.
type change struct {
	kind     core.EntryKind
	tenant   string
	id       string
	reason   string
	expected int64 // the version that it replaces, 0: a new entry; anyVersion: any
	deleted  bool
	body     []byte
}

// entry returns the next version of the entry. It fails with Conflict if the newest version
// is not the one that the caller expects.
func (v *Verbs) entry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	next := v.ports.Directory.NextVersion(ch.kind, ch.tenant, ch.id)
	if ch.expected != anyVersion && ch.expected != next-1 {
		return nil, core.Errorf(core.Conflict, "the newest version of the %s %s is %d, not %d; read it again", ch.kind, core.ClientText(ch.id), next-1, ch.expected)
	}
	return &core.DirectoryEntry{Kind: ch.kind, Tenant: ch.tenant, ID: ch.id, Version: next, At: k.Now, Author: authorOf(k.Caller), Reason: ch.reason, Deleted: ch.deleted, Body: ch.body}, nil
}

// store commits new versions of entries, and the objects that change with them, together
// with the record.
func (v *Verbs) store(k *engine.Call, writes ...core.Write) error {
	ch := core.ChangeOf(writes...)
	err := k.Commit(ch)
	if err == nil {
		v.ports.Directory.ShowStored(ch)
	}
	return err
}

// saveEntry stores one version of an entry.
func (v *Verbs) saveEntry(k *engine.Call, ch change) (*core.DirectoryEntry, error) {
	e, err := v.entry(k, ch)
	if err != nil {
		return nil, err
	}
	return e, v.store(k, core.SaveDirectoryEntry{Entry: e})
}

// deleteEntry ends an entry that exists.
func (v *Verbs) deleteEntry(k *engine.Call, ch change) error {
	if _, err := v.ports.Directory.Version(ch.kind, ch.tenant, ch.id); err != nil {
		return absent(err, ch.kind, ch.id)
	}
	ch.deleted, ch.body = true, nil
	_, err := v.saveEntry(k, ch)
	return err
}

// deleteNamed is an operation that ends an entry.
func (v *Verbs) deleteNamed(ctx context.Context, c *core.Caller, action core.Action, ch change) error {
	return v.run(ctx, c, action, string(ch.kind)+" "+core.ClientText(ch.id), func(k *engine.Call) (err error) {
		if ch.tenant, err = tenantOf(c, ch.tenant); err != nil {
			return err
		}
		return v.deleteEntry(k, ch)
	})
}

// absent names the entry in an error of code ItemNotFound.
func absent(err error, kind core.EntryKind, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "there is no %s %s", kind, core.ClientText(id))
	}
	return err
}

// listOf names a part of the entries of a tenant.
type listOf struct {
	kind          core.EntryKind
	tenant, after string
	limit         int
}

// listEntries lists the newest versions of entries by ID, starting after an ID.
func listEntries[T any](ctx context.Context, v *Verbs, c *core.Caller, action core.Action, l listOf, read func(*core.DirectoryEntry) (T, error)) (out []T, err error) {
	err = v.run(ctx, c, action, "list", func(*engine.Call) error {
		tenant, err := tenantOf(c, l.tenant)
		if err != nil {
			return err
		}
		all, err := v.ports.Directory.List(l.kind, tenant, l.after, l.limit)
		if err != nil {
			return err
		}
		for _, e := range all {
			one, err := read(e)
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}
