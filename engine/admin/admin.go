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

	// HashPassword makes the hash of a new password. It waits while as many hashes as
	// may be are made: each takes much memory.
	HashPassword func(ctx context.Context, password []byte) (core.PasswordHash, error)

	// HashedVerifiers returns what is kept of a user's password to verify Hashed Passwords.
	HashedVerifiers func(name string, password []byte) []core.HashedVerifier

	// ReadRecord reads an entry of the audit log back.
	ReadRecord func(core.StoredEntry) (core.Record, error)

	// MappedPrincipals lists the principals of a tenant that the configuration names.
	MappedPrincipals func(tenant string) []*core.Principal

	IssuedTokens *directory.Tokens    // nil: the server has no access tokens
	Approvals    *directory.Approvals // nil: nothing waits for approvals
	UsedCodes    *directory.UsedCodes // nil: users have no one-time codes
	ImportJobs   *directory.Ending    // nil: there are none
	Once         *directory.Once      // nil: no Idempotency-Keys are remembered
}

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	entries
	engine *engine.Engine
	ports  Ports
}

// New returns the verbs of an engine.
func New(e *engine.Engine, p Ports) *Verbs {
	return &Verbs{entries{p.Directory, p.IssuedTokens, p.KeyPolicies}, e, p}
}

// Administer asks the policy whether a caller may do an action on the server itself,
// lets verb do it and records how it ended. detail is text for the record.
func (v *Verbs) Administer(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func() error) error {
	return v.run(ctx, c, action, detail, func(*engine.Call) error { return verb() })
}

// run is Administer for verbs that need the call.
func (v *Verbs) run(ctx context.Context, c *core.Caller, action core.Action, detail string, verb func(*engine.Call) error) error {
	return v.runRequest(ctx, c, action, detail, nil, verb)
}

// runRequest is run for a request that can wait for approvals, which are bound to it.
func (v *Verbs) runRequest(ctx context.Context, c *core.Caller, action core.Action, detail string, request any, verb func(*engine.Call) error) error {
	k := v.engine.Begin(ctx, c, action)
	k.Record.Detail, k.Request = detail, request
	return k.End(runAdmitted(k, verb))
}

// runAdmitted runs verb if the quota of requests and the policy permit it. A panic becomes
// an error.
func runAdmitted(k *engine.Call, verb func(*engine.Call) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = engine.LogPanic(k, p)
		}
	}()
	if err := engine.AdmitRequest(k); err != nil {
		return err
	}
	if _, err := k.Decide(k.Action, nil); err != nil {
		return err
	}
	if err := verb(k); err != nil {
		return err
	}
	return engine.Finish(k)
}

// authorOf returns the author of a version, as TENANT/ID.
func authorOf(c *core.Caller) string { return c.Principal.Tenant + "/" + c.Principal.ID }

// Removal names an entry that is deleted.
type Removal struct {
	Tenant   string // "": the caller's
	Name     string
	Reason   string
	Expected *int64 // the newest version; nil: any
}

// listOf names a part of the entries of a tenant.
type listOf struct {
	kind          core.EntryKind
	tenant, after string
	limit         int
}

// readPage reads a page of entries with their bodies. Policies are listed without them.
func (v *Verbs) readPage(tenant string, l *listOf) ([]*core.DirectoryEntry, error) {
	if l.kind == core.EntryPolicy {
		return v.directory.ListHeads(l.kind, tenant, l.after, l.limit)
	}
	return v.directory.List(l.kind, tenant, l.after, l.limit)
}

// listEntries lists the newest versions of entries by ID, starting after an ID.
func listEntries[T any](ctx context.Context, v *Verbs, c *core.Caller, action core.Action, l listOf, read func(*core.DirectoryEntry) (T, error)) (out []T, err error) {
	err = v.run(ctx, c, action, "list", func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, l.tenant)
		if err != nil {
			return err
		}
		all, err := v.readPage(tenant, &l)
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

// readEntry reads the newest version of an entry.
func readEntry[T any](ctx context.Context, v *Verbs, c *core.Caller, action core.Action, name core.DirectoryName, read func(*core.DirectoryEntry) (T, error)) (out T, err error) {
	err = v.run(ctx, c, action, string(name.Kind)+" "+core.ClientText(name.ID), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, name.Tenant)
		if err != nil {
			return err
		}
		e, err := v.directory.Get(name.Kind, tenant, name.ID)
		if err != nil {
			return absent(err, name.Kind, name.ID)
		}
		out, err = read(e)
		return err
	})
	return out, err
}
