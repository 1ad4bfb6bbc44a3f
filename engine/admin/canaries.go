package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/canary"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Canary is a request that must stay denied, or allowed. Its entry names it.
type Canary = canary.Canary

// MaxCanaries bounds the canaries of one tenant. Each change of policies decides all of them.
const MaxCanaries = 100

// canaryTime is how long the canaries of tenants may take in one change.
const canaryTime = 10 * time.Second

// NamedCanary is a canary of a tenant.
type NamedCanary struct {
	Name    string
	Version int64
	Canary
}

// SaveCanaryInput makes or replaces a canary.
type SaveCanaryInput struct {
	Tenant string // "": the caller's
	Name   string
	Canary Canary
	Reason string
}

// SaveCanary makes or replaces a canary. It fails with InvalidField if the request is not
// decided now as the canary demands, and with QuotaExceeded if there are too many.
func SaveCanary(ctx context.Context, v *Verbs, c *core.Caller, in SaveCanaryInput) error {
	return v.run(ctx, c, core.ActionSaveCanary, "canary "+core.ClientText(in.Name), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		if !core.ValidName(in.Name) {
			return core.Errorf(core.InvalidField, "%q is no name of letters, digits, '.', '_' and '-'", core.ClientText(in.Name))
		}
		body, err := core.EncodeBody(&in.Canary)
		if err != nil {
			return err
		}
		all, err := v.canariesOf(tenant)
		if err != nil {
			return err
		}
		if len(all) >= MaxCanaries && !slices.ContainsFunc(all, func(one NamedCanary) bool { return one.Name == in.Name }) {
			return core.Errorf(core.QuotaExceeded, "the tenant has %d canaries; it can have no more", len(all))
		}
		now := deciderNow(k.Ctx, k.Ports, v.keyPolicies)
		for _, d := range []*canary.Decider{now, now.WhenNoneWaits()} {
			if broken, err := d.Breaks(tenant, &in.Canary); err != nil {
				return err
			} else if broken != "" {
				return core.Errorf(core.InvalidField, "the canary does not hold now, or when no policy waits any more: %s", broken)
			}
		}
		_, err = v.saveEntry(k, change{kind: core.EntryCanary, tenant: tenant, id: in.Name, reason: in.Reason, expected: anyVersion, body: body})
		return err
	})
}

// DeleteCanary ends a canary.
func DeleteCanary(ctx context.Context, v *Verbs, c *core.Caller, in Removal) error {
	return v.deleteNamed(ctx, c, core.ActionDeleteCanary, core.EntryCanary, in)
}

// ListCanaries lists the canaries of a tenant by name.
func ListCanaries(ctx context.Context, v *Verbs, c *core.Caller, tenant string) ([]NamedCanary, error) {
	return listEntries(ctx, v, c, core.ActionReadPolicies, listOf{core.EntryCanary, tenant, "", MaxCanaries}, namedCanary)
}

func namedCanary(e *core.DirectoryEntry) (NamedCanary, error) {
	out := NamedCanary{Name: e.ID, Version: e.Version}
	return out, core.DecodeBody(e.Body, &out.Canary)
}

// canariesOf lists all canaries of a tenant.
func (d *entries) canariesOf(tenant string) (all []NamedCanary, err error) {
	list, err := d.directory.List(core.EntryCanary, tenant, "", 2*MaxCanaries)
	if err != nil {
		return nil, err
	}
	all = make([]NamedCanary, len(list))
	for i := range list {
		if all[i], err = namedCanary(list[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// checkCanaries fails with Conflict if a canary of the tenant holds now and would not hold
// with the writes. A canary that does not hold now stops no change: another one may be what
// makes it hold again. A policy that waits is checked as if it were in force.
func (d *entries) checkCanaries(k *engine.Call, writes []core.Write) error {
	p := proposalOf(writes)
	if p == nil {
		return nil
	}
	all, err := d.canariesOf(p.tenant)
	if err != nil || len(all) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(k.Ctx, canaryTime)
	defer cancel()
	now, next := deciderNow(ctx, k.Ports, d.keyPolicies), deciderNow(ctx, k.Ports, d.keyPolicies)
	next.Facts, next.Objects = k.Ports.Facts.Propose(p.entries), p.objects
	for _, e := range p.entries {
		if e.Kind != core.EntryPolicy || e.Deleted {
			continue
		}
		body, err := directory.DecodePolicyBody(e.Body)
		if err != nil {
			return err
		}
		if next.Keys, err = next.Keys.Propose(core.DirectoryVersion{Name: e.Name(), Version: e.Version}, body.Document); err != nil {
			return err
		}
	}
	for i := range all {
		if err := canary.StillHolds(p.tenant, all[i].Name, &all[i].Canary, now, next); err != nil {
			return err
		}
	}
	return nil
}

// CheckCanaries looks for canaries of all tenants that hold now and would not hold with
// another policies.rego. It fails with Conflict if the administrator on the server's machine
// has made one of them. A tenant's own canary stops no operator: broken names the first ones.
func CheckCanaries(ctx context.Context, v *Verbs, policy core.Policy) (broken []string, err error) {
	all, err := v.directory.ListEverywhere(core.EntryCanary)
	if err != nil {
		return nil, err
	}
	deciders := func(ctx context.Context) (now, next *canary.Decider) {
		now, next = deciderNow(ctx, &v.engine.Ports, v.keyPolicies), deciderNow(ctx, &v.engine.Ports, v.keyPolicies)
		next.Policy = policy
		return now, next
	}
	now, next := deciders(ctx)
	byOperator := func(e *core.DirectoryEntry) bool { return strings.HasPrefix(e.Author, core.SystemTenant+"/") }
	for _, e := range all {
		if byOperator(e) {
			if err := entryHolds(e, now, next); err != nil {
				return nil, err
			}
		}
	}
	short, cancel := context.WithTimeout(ctx, canaryTime)
	defer cancel()
	now, next = deciders(short)
	for _, e := range all {
		if byOperator(e) {
			continue
		}
		err := entryHolds(e, now, next)
		switch {
		case err == nil:
		case ctx.Err() != nil || core.CodeOf(err) != core.Conflict && short.Err() == nil:
			return nil, err
		case short.Err() != nil:
			return append(broken, fmt.Sprintf("not all canaries of tenants were decided within %v", canaryTime)), nil
		case len(broken) < maxBrokenNamed:
			broken = append(broken, core.DetailOf(err))
		}
	}
	return broken, nil
}

// entryHolds is [canary.StillHolds] for the canary of an entry.
func entryHolds(e *core.DirectoryEntry, now, next *canary.Decider) error {
	one, err := namedCanary(e)
	if err != nil {
		return err
	}
	return canary.StillHolds(e.Tenant, e.ID, &one.Canary, now, next)
}

// BreaksCanary says how the canary of an entry does not hold now, "" if it does.
func BreaksCanary(ctx context.Context, v *Verbs, e *core.DirectoryEntry) (why string, err error) {
	c, err := namedCanary(e)
	if err != nil {
		return "", err
	}
	return deciderNow(ctx, &v.engine.Ports, v.keyPolicies).Breaks(e.Tenant, &c.Canary)
}

// maxBrokenNamed bounds the broken canaries of tenants that an answer and a record name.
const maxBrokenNamed = 8

// deciderNow decides as requests are decided now.
func deciderNow(ctx context.Context, p *engine.Ports, keys core.KeyPolicies) *canary.Decider {
	return canary.New(ctx, p.Clock.Now(), canary.Ports{Store: p.Store, Facts: p.Facts, Keys: keys, Policy: p.Policy})
}

// proposal is what a change does to what decides requests of a tenant.
type proposal struct {
	tenant  string
	entries []*core.DirectoryEntry
	objects map[string]*core.ManagedObject // with the policies that are attached then
}

// proposalOf returns what the writes change in policies, attachments and roles, nil if
// nothing.
func proposalOf(writes []core.Write) *proposal {
	p := &proposal{objects: map[string]*core.ManagedObject{}}
	for _, w := range writes {
		switch w := w.(type) {
		case core.SaveDirectoryEntry:
			if slices.Contains([]core.EntryKind{core.EntryPolicy, core.EntryAttachment, core.EntryRole}, w.Entry.Kind) {
				p.tenant, p.entries = w.Entry.Tenant, append(p.entries, w.Entry)
			}
		case core.UpdateObject:
			p.tenant, p.objects[w.Object.ID] = w.Object.Tenant, w.Object
		}
	}
	if p.tenant == "" {
		return nil
	}
	return p
}
