package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/replay"
)

// ReplayInput is a version of a key policy, and the recorded requests that are decided under
// it and without it.
type ReplayInput struct {
	Tenant   string // "": the caller's
	Name     string
	Document []byte // nil: that of the newest stored version, such as one that waits
	Since    int64  // Unix seconds
	Until    int64  // Unix seconds, the whole second included; 0: now
	Before   int64  // the place where an earlier answer has ended; 0: begin with the newest record
	Limit    int    // records that are looked at; at most MaxReplayed
}

// Bounds of one replay.
const (
	MaxReplayed = 1000            // records of one answer
	replayMicro = 15_000_000      // microseconds, after which an answer ends early
	maxPeriod   = 366 * 24 * 3600 // from since to until, in seconds
)

// Replay says which recorded requests a version of a key policy would decide otherwise.
type Replay = replay.Result

// ReplayedRequest is a recorded request whose decision flips, or cannot be known.
type ReplayedRequest = replay.Request

// ReplayPolicy decides recorded requests of a tenant twice: as they would be decided now, and with
// the version. The time, the door, the address, the principal, the action and the object are
// those of the record. Objects are as they are now. If the policies look at something that
// the record does not have, such as parameters or the roles at that time, the request is
// undecided, unless it does not matter. ReplayPolicy changes nothing and leaves one record.
func ReplayPolicy(ctx context.Context, v *Verbs, c *core.Caller, in ReplayInput) (out Replay, err error) {
	err = v.run(ctx, c, core.ActionReplayPolicy, "policy "+core.ClientText(in.Name), func(k *engine.Call) error {
		deadline := k.Ports.Clock.Mono() + replayMicro
		p, err := newReplay(v, k, &in)
		if err != nil {
			return err
		}
		out.Policy = fmt.Sprintf("%s@%d", in.Name, p.Version.Version)
		if err := decideRecords(v, k, p, deadline, &in, &out); err != nil {
			return err
		}
		k.Record.Detail = fmt.Sprintf("policy %s, %d records from %s to %s: %d flip, %d undecided", out.Policy, out.Records, timeText(in.Since), timeText(in.Until), len(out.Flips), len(out.Undecided))
		return nil
	})
	if err != nil {
		return Replay{}, err
	}
	return out, nil
}

// newReplay checks the input and compiles the version.
func newReplay(v *Verbs, k *engine.Call, in *ReplayInput) (*replay.Decider, error) {
	tenant, err := engine.AskedTenant(k, in.Tenant)
	if err != nil {
		return nil, err
	}
	if in.Until == 0 {
		in.Until = k.Now
	}
	if in.Since <= 0 || in.Since >= in.Until || in.Until-in.Since > maxPeriod {
		return nil, core.Errorf(core.InvalidField, "the period must begin before it ends, and have at most 366 days")
	}
	if in.Limit < 1 || in.Limit > MaxReplayed {
		return nil, core.Errorf(core.InvalidField, "the limit must be from 1 to %d records", MaxReplayed)
	}
	p := &replay.Decider{Tenant: tenant, Store: k.Ports.Store, Facts: k.Ports.Facts, Policy: k.Ports.Policy, KeyPolicies: v.ports.KeyPolicies, Now: k.Now}
	p.Version = core.DirectoryVersion{Name: core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: in.Name}, Version: v.directory.NextVersion(core.EntryPolicy, tenant, in.Name)}
	document := in.Document
	if document == nil {
		e, err := v.directory.Get(core.EntryPolicy, tenant, in.Name)
		if err != nil {
			return nil, absent(err, core.EntryPolicy, in.Name)
		}
		body, err := directory.DecodePolicyBody(e.Body)
		if err != nil {
			return nil, err
		}
		document, p.Version.Version = body.Document, e.Version
	}
	if p.Targets, err = v.ports.KeyPolicies.CheckKeyPolicy(k.Ctx, in.Name, document, v.knownNames(tenant)); err != nil {
		return nil, err
	}
	p.Families = map[string]bool{}
	for _, reference := range p.Targets.Keys {
		if o, err := findKey(k, tenant, reference); err == nil {
			p.Families[o.Family()] = true
		} else if core.CodeOf(err) != core.ItemNotFound {
			return nil, err
		}
	}
	if p.Proposed, err = v.ports.KeyPolicies.Propose(p.Version, document); err != nil {
		return nil, err
	}
	p.Roles, err = rolesThatMatter(v, p)
	return p, err
}

// rolesThatMatter lists the roles that policies.rego or the tenant gives a meaning, and the
// roles and groups to which the policy is attached or will be.
func rolesThatMatter(v *Verbs, p *replay.Decider) ([]string, error) {
	holders, err := v.attachmentsOf(p.Tenant, p.Version.Name.ID)
	if err != nil {
		return nil, err
	}
	roles := slices.DeleteFunc(slices.Concat(holders, p.Targets.Holders), func(name string) bool { return !replay.IsMembership(name) })
	for _, name := range core.BuiltInRoles {
		roles = append(roles, core.RoleHolder+name)
	}
	own, err := v.directory.ListHeads(core.EntryRole, p.Tenant, "", replay.MaxRolesTried+1)
	for _, e := range own {
		roles = append(roles, core.RoleHolder+e.ID)
	}
	return roles, err
}

// decideRecords looks at records, newest first, until there are no more, the limit is reached
// or the time is over.
func decideRecords(v *Verbs, k *engine.Call, p *replay.Decider, deadline int64, in *ReplayInput, out *Replay) error {
	stored, err := k.Ports.Store.Records(k.Ctx, core.RecordQuery{Tenant: p.Tenant, Since: in.Since * 1e6, Until: in.Until*1e6 + 999_999, Before: in.Before, Limit: in.Limit})
	if err != nil {
		return err
	}
	for _, e := range stored {
		r, err := v.ports.ReadRecord(e)
		if err != nil {
			return err
		}
		out.Records++
		out.Before = e.Number
		if err := p.DecideRecord(k.Ctx, &r, out); err != nil {
			return err
		}
		if k.Ports.Clock.Mono() > deadline {
			return nil
		}
	}
	if len(stored) < in.Limit {
		out.Before = 0
	}
	return nil
}
