package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// PolicyVersion describes one version of a key policy.
type PolicyVersion struct {
	Name     string
	Version  int64
	At       int64 // Unix seconds
	Author   string
	Reason   string
	Deleted  bool
	Document []byte // as it was written; nil in lists
}

// describe returns what is told of a version.
func describe(e *core.DirectoryEntry) PolicyVersion {
	return PolicyVersion{Name: e.ID, Version: e.Version, At: e.At, Author: e.Author, Reason: e.Reason, Deleted: e.Deleted, Document: e.Body}
}

// SavePolicyInput is a new version of a key policy.
type SavePolicyInput struct {
	Tenant   string // "": the caller's
	Name     string
	Document []byte // the JSON form of the policy
	Reason   string
	Expected *int64 // the version that it replaces, 0 if it must be new; nil: any
}

// SavedPolicy is what SavePolicy has done.
type SavedPolicy struct {
	Name     string
	Version  int64
	Hash     string   // SHA-256 of the normal form, hex
	Attached []string // to which objects and holders the document has attached it
	Warnings []string
}

// SavePolicy stores the next version of a key policy, which is in force at once, and
// attaches it to what its document names, if the caller may do Attach Policy. If the
// document is wrong, the code is InvalidField, with the path of the fault, and nothing is
// stored.
func (v *Verbs) SavePolicy(ctx context.Context, c *core.Caller, in SavePolicyInput) (out SavedPolicy, err error) {
	err = v.run(ctx, c, core.ActionSavePolicy, "policy "+core.ClientText(in.Name), func(k *engine.Call) error {
		tenant, err := tenantOf(c, in.Tenant)
		if err != nil {
			return err
		}
		facts, err := v.ports.KeyPolicies.CheckKeyPolicy(ctx, in.Name, in.Document, v.knownNames(tenant))
		if err != nil {
			return err
		}
		e, err := v.entry(k, change{kind: core.EntryPolicy, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected), body: in.Document})
		if err != nil {
			return err
		}
		out = SavedPolicy{Name: in.Name, Version: e.Version, Hash: facts.Hash, Warnings: facts.Warnings}
		writes := []core.Write{core.SaveDirectoryEntry{Entry: e}}
		for _, holder := range facts.Holders {
			w, _, err := v.attachHolder(k, tenant, holder, in.Name)
			if err != nil {
				return err
			}
			writes, out.Attached = append(writes, w...), append(out.Attached, holder)
		}
		for _, id := range facts.Keys {
			w, _, err := v.attachObject(k, tenant, id, in.Name)
			if core.CodeOf(err) == core.ItemNotFound {
				out.Warnings = append(out.Warnings, fmt.Sprintf("keyId: there is no object %s yet; attach the policy when there is", core.ClientText(id)))
				continue
			}
			if err != nil {
				return err
			}
			writes, out.Attached = append(writes, w...), append(out.Attached, id)
		}
		if len(writes) > 1 {
			if _, err := k.Decide(core.ActionAttachPolicy, nil); err != nil {
				return err
			}
		}
		k.Record.Detail = fmt.Sprintf("policy %s@%d, normal form %.16s", in.Name, e.Version, facts.Hash)
		return v.store(k, writes...)
	})
	if err != nil {
		return SavedPolicy{}, err
	}
	return out, nil
}

func expectedOf(version *int64) int64 {
	if version == nil {
		return anyVersion
	}
	return *version
}

// knownNames returns a function that says whether a user or a role of a tenant exists.
// Certificates name principals that the server does not know in advance.
func (d *entries) knownNames(tenant string) func(string) bool {
	return func(name string) bool {
		kind, id, _ := strings.Cut(name, ":")
		switch kind {
		case "user":
			_, err := d.directory.Version(core.EntryUser, tenant, id)
			return err == nil
		case "role":
			_, err := d.directory.Version(core.EntryRole, tenant, id)
			return err == nil || slices.Contains(core.BuiltInRoles, id)
		}
		return true
	}
}

// DeletePolicy ends a key policy that is attached to nothing. Conflict if it is.
func (v *Verbs) DeletePolicy(ctx context.Context, c *core.Caller, in Removal) error {
	return v.run(ctx, c, core.ActionDeletePolicy, "policy "+core.ClientText(in.Name), func(k *engine.Call) error {
		tenant, err := tenantOf(c, in.Tenant)
		if err != nil {
			return err
		}
		if _, err := v.directory.Version(core.EntryPolicy, tenant, in.Name); err != nil {
			return absent(err, core.EntryPolicy, in.Name)
		}
		holders, err := v.holdersOf(k, tenant, in.Name)
		if err != nil {
			return err
		}
		if len(holders) > 0 {
			return core.Errorf(core.Conflict, "the policy %s is attached to %s; detach it first", core.ClientText(in.Name), strings.Join(holders[:min(len(holders), maxHoldersNamed)], ", "))
		}
		return v.deleteEntry(k, change{kind: core.EntryPolicy, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected)})
	})
}

// maxHoldersNamed bounds the holders that an error names.
const maxHoldersNamed = 5

// ReadPolicy returns the newest version of a key policy.
func (v *Verbs) ReadPolicy(ctx context.Context, c *core.Caller, tenant, name string) (PolicyVersion, error) {
	return readEntry(ctx, v, c, core.ActionReadPolicies, core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: name}, func(e *core.DirectoryEntry) (PolicyVersion, error) { return describe(e), nil })
}

// ListPolicies lists the newest versions of a tenant's key policies by name, without their
// documents, starting after a name.
func (v *Verbs) ListPolicies(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]PolicyVersion, error) {
	return listEntries(ctx, v, c, core.ActionReadPolicies, listOf{core.EntryPolicy, tenant, after, limit}, func(e *core.DirectoryEntry) (PolicyVersion, error) { return describe(e), nil })
}

// PolicyHistory lists versions of a key policy without their documents, newest first, below
// a version; 0 starts with the newest.
func (v *Verbs) PolicyHistory(ctx context.Context, c *core.Caller, tenant, name string, below int64, limit int) (out []PolicyVersion, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, "history of policy "+core.ClientText(name), func(k *engine.Call) error {
		tenant, err := tenantOf(c, tenant)
		if err != nil {
			return err
		}
		if v.directory.NextVersion(core.EntryPolicy, tenant, name) == 1 {
			return core.Errorf(core.ItemNotFound, "there is no policy %s", core.ClientText(name))
		}
		for more := true; more && len(out) < limit; {
			all, err := k.Ports.Store.DirectoryHistory(ctx, core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: name}, below, min(limit-len(out), historyPage))
			if err != nil {
				return err
			}
			for _, e := range all {
				one := describe(e)
				one.Document = nil
				out, below = append(out, one), e.Version
			}
			more = len(all) == historyPage
		}
		return nil
	})
	return out, err
}

// historyPage is how many versions of a policy, with their documents, are in memory at once.
const historyPage = 16

// RollBackInput names a version of a key policy that is put in force again.
type RollBackInput struct {
	Tenant   string // "": the caller's
	Name     string
	To       int64
	Reason   string // "": made
	Expected *int64 // the newest version; nil: any
}

// RollBackPolicy stores the document of an old version as the newest one.
func (v *Verbs) RollBackPolicy(ctx context.Context, c *core.Caller, in RollBackInput) (SavedPolicy, error) {
	old, err := v.ReadPolicyVersion(ctx, c, in.Tenant, in.Name, in.To)
	if err != nil {
		return SavedPolicy{}, err
	}
	if in.Reason == "" {
		in.Reason = fmt.Sprintf("back to version %d", in.To)
	}
	return v.SavePolicy(ctx, c, SavePolicyInput{Tenant: in.Tenant, Name: in.Name, Document: old.Document, Reason: in.Reason, Expected: in.Expected})
}

// ReadPolicyVersion returns one version of a key policy that has a document.
func (v *Verbs) ReadPolicyVersion(ctx context.Context, c *core.Caller, tenant, name string, version int64) (out PolicyVersion, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, fmt.Sprintf("policy %s@%d", core.ClientText(name), version), func(k *engine.Call) error {
		tenant, err := tenantOf(c, tenant)
		if err != nil {
			return err
		}
		old, err := k.Ports.Store.DirectoryHistory(ctx, core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: name}, version+1, 1)
		if err != nil {
			return err
		}
		if len(old) == 0 || old[0].Version != version || old[0].Deleted {
			return core.Errorf(core.ItemNotFound, "the policy %s has no version %d with a document", core.ClientText(name), version)
		}
		out = describe(old[0])
		return nil
	})
	return out, err
}
