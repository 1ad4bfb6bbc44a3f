// Package canary decides canaries: requests of a tenant that must stay denied, or allowed.
//
// It relies on the code that decides requests. It stores nothing. Start at [StillHolds].
package canary

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/keyreeve/keyreeve/core"
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

// StillHolds fails with Conflict if a canary holds by one decider and not by the next: now, or
// when all versions that wait are in force.
func StillHolds(tenant, name string, c *Canary, now, next *Decider) error {
	for _, pair := range [][2]*Decider{{now, next}, {now.WhenNoneWaits(), next.WhenNoneWaits()}} {
		broken, err := pair[1].Breaks(tenant, c)
		if err != nil {
			return err
		}
		if broken == "" {
			continue
		}
		before, err := pair[0].Breaks(tenant, c)
		if err != nil {
			return err
		}
		if before == "" {
			return core.Errorf(core.Conflict, "the canary %s of tenant %s would not hold any more: %s. Change what you apply, or remove the canary", core.ClientText(name), core.ClientText(tenant), broken)
		}
	}
	return nil
}

// Decider decides canaries by facts and policies, as they are or as they are proposed.
type Decider struct {
	Ports
	Objects map[string]*core.ManagedObject // in the place of stored ones

	ctx        context.Context
	now        int64
	versionsAt int64 // Unix seconds; the versions of policies that are in force then decide
}

// Ports are what decides. All are required.
type Ports struct {
	Store  core.ObjectTable
	Facts  core.AccessFacts
	Keys   core.KeyPolicies
	Policy core.Policy
}

// New returns a decider of requests at a time, in Unix seconds.
func New(ctx context.Context, now int64, p Ports) *Decider {
	return &Decider{Ports: p, ctx: ctx, now: now, versionsAt: now}
}

// WhenNoneWaits decides as d will when all versions that wait now are in force.
func (d *Decider) WhenNoneWaits() *Decider {
	later := *d
	later.versionsAt = d.now + core.MaxPolicyWait
	return &later
}

// Breaks says how a canary does not hold, "" if it does. What cannot be decided is denied, as
// a request would be. It fails with PolicyUnavailable if the context of d has ended: everything
// would then be denied, so that canaries seemed to hold.
func (d *Decider) Breaks(tenant string, c *Canary) (string, error) {
	for _, action := range core.ActionsNamed(c.Action) {
		decided, err := d.decideCanary(tenant, c, action)
		if err := d.ctx.Err(); err != nil {
			return "", core.Wrap(core.PolicyUnavailable, err, "the canaries were not decided in time, so nothing is changed; try again")
		}
		asked := action.String() + " by " + core.ClientText(c.Principal)
		switch {
		case decided.Allow == c.Allowed:
		case err != nil:
			return asked + " must stay allowed and cannot be decided: " + core.DetailOf(err), nil
		case c.Allowed:
			return asked + " must stay allowed and would be denied: " + strings.Join(decided.Reasons, ", "), nil
		default:
			return asked + " must stay denied and would be allowed: " + strings.Join(decided.Reasons, ", "), nil
		}
	}
	return "", nil
}

func (d *Decider) decideCanary(tenant string, c *Canary, action core.Action) (core.Decision, error) {
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
	if err := d.Facts.AddFacts(&r); err != nil {
		return core.Decision{}, err
	}
	r.Now = at
	if err := d.Keys.FindStatements(d.ctx, &r); err != nil {
		return core.Decision{}, err
	}
	r.Policies = nil // their statements are found
	return d.Policy.Decide(d.ctx, &r)
}

func (d *Decider) objectOf(tenant, id string) (*core.ManagedObject, error) {
	if o := d.Objects[id]; o != nil {
		proposed := *o
		proposed.Version = 0 // it is not stored, so no answer about it is remembered
		return &proposed, nil
	}
	return d.Store.Object(d.ctx, tenant, id)
}
