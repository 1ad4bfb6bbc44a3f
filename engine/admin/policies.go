package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// PolicyVersion describes one version of a key policy.
type PolicyVersion struct {
	Name       string
	Version    int64
	State      PolicyState
	At         int64 // Unix seconds; when it was stored
	ActivateAt int64 // Unix seconds: since when it is in force; 0: since it was stored
	Author     string
	Reason     string
	Document   []byte // as it was written, or without white space if it has ActivateAt; nil in lists
}

// PolicyState says whether a version of a key policy counts.
type PolicyState string

// The states of versions.
const (
	PolicyActive   PolicyState = "active"   // in force on this node
	PolicyWaiting  PolicyState = "waiting"  // the newest version, not in force yet
	PolicyReplaced PolicyState = "replaced" // a newer version has taken its place, or was withdrawn with it
	PolicyDeleted  PolicyState = "deleted"  // it ended the policy
)

// describePolicy returns what is told of a version, with its document if the entry has one.
func (d *entries) describePolicy(e *core.DirectoryEntry) (PolicyVersion, error) {
	now, err := d.directory.StandingOfPolicy(e.Tenant, e.ID)
	if err != nil {
		return PolicyVersion{}, err
	}
	body, err := directory.DecodePolicyBody(e.Body)
	if err != nil {
		return PolicyVersion{}, err
	}
	if e.Body == nil && e.Version == now.Newest {
		body.ActivateAt = now.ActivateAt
	}
	return PolicyVersion{Name: e.ID, Version: e.Version, State: stateOf(e, &now), At: e.At, ActivateAt: body.ActivateAt, Author: e.Author, Reason: e.Reason, Document: body.Document}, nil
}

func stateOf(e *core.DirectoryEntry, now *directory.PolicyStanding) PolicyState {
	switch {
	case e.Deleted:
		return PolicyDeleted
	case e.Version == now.InForce:
		return PolicyActive
	case e.Version == now.Newest:
		return PolicyWaiting
	}
	return PolicyReplaced
}

// SavePolicyInput is a new version of a key policy.
type SavePolicyInput struct {
	Tenant   string // "": the caller's
	Name     string
	Document []byte // the JSON form of the policy
	Reason   string
	Expected *int64 // the version that it replaces, 0 if it must be new; nil: any

	ActivateAt int64 // Unix seconds: since when it is in force; 0: at once
}

// SavedPolicy is what SavePolicy has done.
type SavedPolicy struct {
	Name       string
	Version    int64
	State      PolicyState
	ActivateAt int64    // Unix seconds; 0: it is in force at once
	Hash       string   // SHA-256 of the normal form, hex
	Attached   []string // to which objects and holders the document has attached it
	Warnings   []string
}

// SavePolicy stores the next version of a key policy, and attaches the policy to what the
// document names, if the caller may do Attach Policy. The version is in force at once or
// from ActivateAt on. Until then the version that is in force stays in force, or none if
// there is none. A version that waits is replaced. If the document is wrong, the code is
// InvalidField, with the path of the fault, and nothing is stored.
func (v *Verbs) SavePolicy(ctx context.Context, c *core.Caller, in SavePolicyInput) (out SavedPolicy, err error) {
	err = v.runRequest(ctx, c, core.ActionSavePolicy, "policy "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		facts, err := v.ports.KeyPolicies.CheckKeyPolicy(ctx, in.Name, in.Document, v.knownNames(tenant))
		if err != nil {
			return err
		}
		if err := requireApprovals(v, k, tenant, []string{in.Name}, nil, nil); err != nil {
			return err
		}
		e, err := v.nextPolicy(k, tenant, &in)
		if err != nil {
			return err
		}
		out = SavedPolicy{Name: in.Name, Version: e.Version, State: PolicyActive, ActivateAt: in.ActivateAt, Hash: facts.Hash, Warnings: facts.Warnings}
		if in.ActivateAt > 0 {
			out.State = PolicyWaiting
		}
		writes := []core.Write{core.SaveDirectoryEntry{Entry: e}}
		for _, holder := range facts.Holders {
			w, _, err := v.attachHolder(k, tenant, holder, in.Name)
			if err != nil {
				return err
			}
			writes, out.Attached = append(writes, w...), append(out.Attached, holder)
		}
		families := map[string]bool{} // to which it is attached
		for _, id := range facts.Keys {
			o, err := findKey(k, tenant, id)
			if core.CodeOf(err) == core.ItemNotFound {
				out.Warnings = append(out.Warnings, fmt.Sprintf("keyId: there is no object %s yet; attach the policy when there is", core.ClientText(id)))
				continue
			}
			if err != nil {
				return err
			}
			if !families[o.Family()] {
				w, _, err := v.attachObject(k, tenant, id, in.Name)
				if err != nil {
					return err
				}
				writes = append(writes, w...)
			}
			families[o.Family()], out.Attached = true, append(out.Attached, id)
		}
		if len(writes) > 1 {
			if _, err := k.Decide(core.ActionAttachPolicy, nil); err != nil {
				return err
			}
		}
		k.Record.Detail = fmt.Sprintf("policy %s@%d, normal form %.16s%s", in.Name, e.Version, facts.Hash, activationDetail(in.ActivateAt))
		return v.store(k, writes...)
	})
	if err != nil {
		return SavedPolicy{}, err
	}
	return out, nil
}

// activationDetail says for the record when a version is in force; "" if at once.
func activationDetail(at int64) string {
	if at == 0 {
		return ""
	}
	return ", in force from " + timeText(at)
}

func timeText(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// nextPolicy returns the next version of a key policy. If it waits, it has the document that
// is in force until then, so that no node needs a second row to decide.
func (d *entries) nextPolicy(k *engine.Call, tenant string, in *SavePolicyInput) (*core.DirectoryEntry, error) {
	next := d.directory.NextVersion(core.EntryPolicy, tenant, in.Name) // before the version in force is read
	body := directory.PolicyBody{ActivateAt: in.ActivateAt, Document: in.Document}
	if in.ActivateAt != 0 {
		if in.ActivateAt <= k.Now || in.ActivateAt > k.Now+core.MaxPolicyWait {
			return nil, core.Errorf(core.InvalidField, "the time of activation must be in the future, at most 366 days from now; leave it out to put the policy in force at once")
		}
		now, err := d.policyInForce(tenant, in.Name, k.Now)
		if err != nil {
			return nil, err
		}
		if now != nil {
			body.Before, body.Until = now.Version, now.Body
		}
	}
	text, err := body.Encode()
	if err != nil {
		return nil, err
	}
	return d.entry(k, change{kind: core.EntryPolicy, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected), body: text, madeFor: next})
}

// policyInForce returns the version of a key policy that is in force at a time, nil if none
// is.
func (d *entries) policyInForce(tenant, name string, at int64) (*core.DirectoryEntry, error) {
	version, err := d.directory.PolicyInForce(tenant, name, at)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, nil
	}
	if err != nil || version == 0 {
		return nil, err
	}
	return d.directory.PolicyVersion(core.DirectoryVersion{Name: core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: name}, Version: version})
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

// UnknownRoles returns a warning for each role that is neither built in nor declared in a tenant.
// Principals may have such roles: key policies and policies.rego can name them.
func UnknownRoles(v *Verbs, tenant string, roles *[]string) (warnings []string) {
	if roles == nil {
		return nil
	}
	exists := v.knownNames(tenant)
	for _, r := range *roles {
		if !exists(core.RoleHolder + r) {
			warnings = append(warnings, fmt.Sprintf("there is no role %s: it gives nothing until somebody declares it, or a policy names it (built in: %s; declared: see `keyreeve role list`)",
				core.ClientText(r), strings.Join(core.BuiltInRoles[:len(core.BuiltInRoles)-1], ", ")))
		}
	}
	return warnings
}

// DeletePolicy ends a key policy that is attached to nothing. Conflict if it is.
func (v *Verbs) DeletePolicy(ctx context.Context, c *core.Caller, in Removal) error {
	return v.runRequest(ctx, c, core.ActionDeletePolicy, "policy "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		if _, err := v.directory.Version(core.EntryPolicy, tenant, in.Name); err != nil {
			return absent(err, core.EntryPolicy, in.Name)
		}
		if err := requireApprovals(v, k, tenant, []string{in.Name}, nil, nil); err != nil {
			return err
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
	return readEntry(ctx, v, c, core.ActionReadPolicies, core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: name}, v.describePolicy)
}

// ListPolicies lists the newest versions of a tenant's key policies by name, without their
// documents, starting after a name.
func (v *Verbs) ListPolicies(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]PolicyVersion, error) {
	return listEntries(ctx, v, c, core.ActionReadPolicies, listOf{core.EntryPolicy, tenant, after, limit}, v.describePolicy)
}

// PolicyHistory lists versions of a key policy without their documents, newest first, below
// a version; 0 starts with the newest.
func (v *Verbs) PolicyHistory(ctx context.Context, c *core.Caller, tenant, name string, below int64, limit int) (out []PolicyVersion, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, "history of policy "+core.ClientText(name), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
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
				one, err := v.describePolicy(e)
				if err != nil {
					return err
				}
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

// RollBackPolicy stores the document of an old version as the newest one, which is in force
// at once. A version that waits is replaced.
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

// WithdrawPolicy ends a version of a key policy that waits: the version that is in force is
// stored again as the newest one. Conflict if none waits, or if the first version waits: that
// policy can be deleted.
func (v *Verbs) WithdrawPolicy(ctx context.Context, c *core.Caller, in Removal) (out SavedPolicy, err error) {
	err = v.runRequest(ctx, c, core.ActionSavePolicy, "withdraw policy "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		next := v.directory.NextVersion(core.EntryPolicy, tenant, in.Name)
		now, err := v.withdrawable(k, tenant, in.Name)
		if err != nil {
			return err
		}
		if err := requireApprovals(v, k, tenant, []string{in.Name}, nil, nil); err != nil {
			return err
		}
		if in.Reason == "" {
			in.Reason = fmt.Sprintf("back to version %d", now.Version)
		}
		e, err := v.saveEntry(k, change{kind: core.EntryPolicy, tenant: tenant, id: in.Name, reason: in.Reason, expected: expectedOf(in.Expected), body: now.Body, madeFor: next})
		if err == nil {
			out = SavedPolicy{Name: in.Name, Version: e.Version, State: PolicyActive}
		}
		return err
	})
	if err != nil {
		return SavedPolicy{}, err
	}
	return out, nil
}

// withdrawable returns the version of a key policy that is in force while a newer one waits.
func (d *entries) withdrawable(k *engine.Call, tenant, name string) (*core.DirectoryEntry, error) {
	newest, err := d.directory.Version(core.EntryPolicy, tenant, name)
	if err != nil {
		return nil, absent(err, core.EntryPolicy, name)
	}
	now, err := d.policyInForce(tenant, name, k.Now)
	switch {
	case err != nil:
		return nil, err
	case now == nil:
		return nil, core.Errorf(core.Conflict, "the first version of the policy %s waits; detach and delete the policy to end it", core.ClientText(name))
	case now.Version == newest:
		return nil, core.Errorf(core.Conflict, "no version of the policy %s waits", core.ClientText(name))
	}
	return now, nil
}

// ReadPolicyVersion returns one version of a key policy that has a document.
func (v *Verbs) ReadPolicyVersion(ctx context.Context, c *core.Caller, tenant, name string, version int64) (out PolicyVersion, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, fmt.Sprintf("policy %s@%d", core.ClientText(name), version), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
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
		out, err = v.describePolicy(old[0])
		return err
	})
	return out, err
}
