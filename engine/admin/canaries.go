package admin

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Canary is a request that must stay denied, or allowed, whatever is changed in policies,
// attachments and roles. Its entry names it.
type Canary struct {
	Description string            `json:"description,omitempty"`
	Principal   string            `json:"principal"` // who asks, with all that follows
	Groups      []string          `json:"groups,omitempty"`
	Roles       []string          `json:"roles,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Action      string            `json:"action"`            // a word or a name of [core.ActionsNamed]: denied if all of them are, allowed if all are
	Object      string            `json:"object,omitempty"`  // Unique Identifier; "": none
	Door        core.Door         `json:"door"`              // core.DoorKMIP or core.DoorREST
	Address     string            `json:"address,omitempty"` // "": not known
	At          int64             `json:"at,omitempty"`      // Unix seconds; 0: the time of each check
	Allowed     bool              `json:"allowed,omitempty"` // it must stay allowed, not denied
}

// MaxCanaries bounds the canaries of one tenant. Each change of policies decides all of them.
const MaxCanaries = 100

// Check returns an error if a field of c is out of its bounds.
func (c *Canary) Check() error {
	u := core.User{Tenant: "any", Name: c.Principal, Version: 1, Groups: c.Groups, Roles: c.Roles, Attributes: c.Attributes}
	switch err := u.Check(); {
	case err != nil:
		return err
	case len(c.Description) > core.MaxDirectoryReason || strings.ContainsFunc(c.Description, func(r rune) bool { return !unicode.IsPrint(r) }):
		return core.Errorf(core.InvalidField, "description: a description has at most %d bytes of printable text", core.MaxDirectoryReason)
	case c.Action == core.EveryAction || core.ActionsNamed(c.Action) == nil:
		return core.Errorf(core.InvalidField, "action: %q is no action; encrypt, rotate and \"Get Attributes\" are some", core.ClientText(c.Action))
	case len(c.Object) > core.MaxDirectoryID || core.Printable(c.Object, core.MaxDirectoryID) != c.Object:
		return core.Errorf(core.InvalidField, "object: it is no Unique Identifier")
	case c.Door != core.DoorKMIP && c.Door != core.DoorREST:
		return core.Errorf(core.InvalidField, "door: it must be \"kmip\" or \"rest\"")
	case c.At < 0:
		return core.Errorf(core.InvalidField, "at: the time is before 1970")
	}
	if _, err := netip.ParseAddr(c.Address); c.Address != "" && err != nil {
		return core.Errorf(core.InvalidField, "address: %q is no IP address", core.ClientText(c.Address))
	}
	if c.Object != "" && slices.ContainsFunc(core.ActionsNamed(c.Action), func(a core.Action) bool { return a.Info().Objects == core.NoObject }) {
		return core.Errorf(core.InvalidField, "object: %q works on no object that exists; leave the object out", core.ClientText(c.Action))
	}
	return nil
}

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
		tenant, err := tenantOf(c, in.Tenant)
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
		now := newDecider(k.Ctx, k.Ports, v.keyPolicies)
		for _, d := range []*decider{now, now.whenNoneWaits()} {
			if broken := d.breaks(tenant, &in.Canary); broken != "" {
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
	now, next := newDecider(k.Ctx, k.Ports, d.keyPolicies), newDecider(k.Ctx, k.Ports, d.keyPolicies)
	next.facts, next.objects = k.Ports.Facts.Propose(p.entries), p.objects
	for _, e := range p.entries {
		if e.Kind != core.EntryPolicy || e.Deleted {
			continue
		}
		body, err := directory.DecodePolicyBody(e.Body)
		if err != nil {
			return err
		}
		if next.keys, err = next.keys.Propose(core.DirectoryVersion{Name: e.Name(), Version: e.Version}, body.Document); err != nil {
			return err
		}
	}
	for i := range all {
		if err := stillHolds(p.tenant, &all[i], now, next); err != nil {
			return err
		}
	}
	return nil
}

// stillHolds fails with Conflict if a canary holds by one decider and not by the next: now, or
// when all versions that wait are in force.
func stillHolds(tenant string, c *NamedCanary, now, next *decider) error {
	for _, pair := range [][2]*decider{{now, next}, {now.whenNoneWaits(), next.whenNoneWaits()}} {
		broken := pair[1].breaks(tenant, &c.Canary)
		if err := pair[1].ctx.Err(); err != nil { // what is not decided is denied, so that canaries seem to hold
			return core.Wrap(core.PolicyUnavailable, err, "the canaries were not decided in time, so nothing is changed; try again")
		}
		if broken != "" && pair[0].breaks(tenant, &c.Canary) == "" {
			return core.Errorf(core.Conflict, "the canary %s of tenant %s would not hold any more: %s. Change what you apply, or remove the canary", c.Name, core.ClientText(tenant), broken)
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
	now, next := newDecider(ctx, &v.engine.Ports, v.keyPolicies), newDecider(ctx, &v.engine.Ports, v.keyPolicies)
	next.policy = policy
	byOperator := func(e *core.DirectoryEntry) bool { return strings.HasPrefix(e.Author, core.SystemTenant+"/") }
	stopping, telling := slices.Clone(all), slices.Clone(all)
	stopping = slices.DeleteFunc(stopping, func(e *core.DirectoryEntry) bool { return !byOperator(e) })
	all = append(stopping, slices.DeleteFunc(telling, byOperator)...) // those that can stop the change first
	for _, e := range all {
		one, err := namedCanary(e)
		if err != nil {
			return nil, err
		}
		err = stillHolds(e.Tenant, &one, now, next)
		if err != nil && (byOperator(e) || core.CodeOf(err) == core.PolicyUnavailable) {
			return nil, err
		}
		if err != nil && len(broken) < maxBrokenNamed {
			broken = append(broken, err.Error())
		}
	}
	return broken, nil
}

// BreaksCanary says how the canary of an entry does not hold now, "" if it does.
func BreaksCanary(ctx context.Context, v *Verbs, e *core.DirectoryEntry) (why string, err error) {
	c, err := namedCanary(e)
	if err != nil {
		return "", err
	}
	return newDecider(ctx, &v.engine.Ports, v.keyPolicies).breaks(e.Tenant, &c.Canary), nil
}

// maxBrokenNamed bounds the broken canaries of tenants that an answer and a record name.
const maxBrokenNamed = 8

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

// decider decides canaries by facts and policies, as they are or as they are proposed.
type decider struct {
	ctx     context.Context
	now     int64
	store   core.ObjectTable
	facts   core.AccessFacts
	keys    core.KeyPolicies
	policy  core.Policy
	objects map[string]*core.ManagedObject // in the place of stored ones

	versionsAt int64 // Unix seconds; the versions of policies that are in force then decide
}

// newDecider decides as requests are decided now.
func newDecider(ctx context.Context, p *engine.Ports, keys core.KeyPolicies) *decider {
	now := p.Clock.Now()
	return &decider{ctx: ctx, now: now, versionsAt: now, store: p.Store, facts: p.Facts, keys: keys, policy: p.Policy}
}

// whenNoneWaits decides as d will when all versions that wait now are in force.
func (d *decider) whenNoneWaits() *decider {
	later := *d
	later.versionsAt = d.now + maxWaiting
	return &later
}

// breaks says how a canary does not hold, "" if it does. What cannot be decided is denied, as
// a request would be.
func (d *decider) breaks(tenant string, c *Canary) string {
	for _, action := range core.ActionsNamed(c.Action) {
		decided, err := d.decideCanary(tenant, c, action)
		asked := action.String() + " by " + core.ClientText(c.Principal)
		switch {
		case decided.Allow == c.Allowed:
		case err != nil:
			return asked + " must stay allowed and cannot be decided: " + err.Error()
		case c.Allowed:
			return asked + " must stay allowed and would be denied: " + strings.Join(decided.Reasons, ", ")
		default:
			return asked + " must stay denied and would be allowed: " + strings.Join(decided.Reasons, ", ")
		}
	}
	return ""
}

func (d *decider) decideCanary(tenant string, c *Canary, action core.Action) (core.Decision, error) {
	r := core.AccessRequest{Action: action, Door: c.Door, Address: c.Address, Now: d.now,
		Principal: &core.Principal{Tenant: tenant, ID: c.Principal, Groups: c.Groups, Roles: c.Roles, Attributes: c.Attributes, Method: core.MethodCertificate, Strength: core.StrengthCertificate}}
	if c.At != 0 {
		r.Now = c.At
	}
	if c.Object != "" {
		o, err := d.objectOf(tenant, c.Object)
		if err != nil {
			return core.Decision{}, err
		}
		r.Object, r.State = o, o.StateAt(r.Now)
	}
	at := r.Now
	r.Now = d.versionsAt
	if err := d.facts.AddFacts(&r); err != nil {
		return core.Decision{}, err
	}
	r.Now = at
	if err := d.keys.FindStatements(d.ctx, &r); err != nil {
		return core.Decision{}, err
	}
	r.Policies = nil // their statements are found
	return d.policy.Decide(d.ctx, &r)
}

func (d *decider) objectOf(tenant, id string) (*core.ManagedObject, error) {
	if o := d.objects[id]; o != nil {
		proposed := *o
		proposed.Version = 0 // it is not stored, so no answer about it is remembered
		return &proposed, nil
	}
	return d.store.Object(d.ctx, tenant, id)
}
