package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
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
type Replay struct {
	Policy    string // such as "payroll@4"
	Records   int    // that were looked at
	Same      int    // requests that are decided as before
	NoRequest int    // records of something that the policy does not decide
	Flips     []ReplayedRequest
	Undecided []ReplayedRequest
	Before    int64 // where the next answer goes on; 0: there are no more records
}

// ReplayedRequest is a recorded request whose decision flips, or cannot be known.
type ReplayedRequest struct {
	At        int64 // Unix seconds
	RequestID string
	Principal string
	Action    core.Action
	Object    string
	Door      core.Door
	Address   string
	Allow     bool     // with the version, if Lacks is empty
	Reasons   []string // with the version
	Lacks     []string // what the record does not have and the policies look at
}

// ReplayPolicy decides recorded requests of a tenant twice: as they would be decided now, and with
// the version. The time, the door, the address, the principal, the action and the object are
// those of the record. Objects are as they are now. If the policies look at something that
// the record does not have, such as parameters or the roles at that time, the request is
// undecided, unless it does not matter. ReplayPolicy changes nothing and leaves one record.
func ReplayPolicy(ctx context.Context, v *Verbs, c *core.Caller, in ReplayInput) (out Replay, err error) {
	err = v.run(ctx, c, core.ActionReplayPolicy, "policy "+core.ClientText(in.Name), func(k *engine.Call) error {
		p, err := newReplay(v, k, &in)
		if err != nil {
			return err
		}
		out.Policy = fmt.Sprintf("%s@%d", in.Name, p.version.Version)
		if err := p.decideRecords(&in, &out); err != nil {
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

// replay decides recorded requests with a proposed version of a policy.
type replay struct {
	verbs    *Verbs
	call     *engine.Call
	tenant   string
	version  core.DirectoryVersion // the proposed one
	targets  core.KeyPolicyFacts   // to what its document attaches the policy
	proposed core.KeyPolicies
	deadline int64 // by Clock.Mono

	roles      []string                   // "role:NAME" and "group:NAME" that can matter, whatever the request
	principals map[string]*core.Principal // one for each name and set of roles, so that matches are remembered
}

// newReplay checks the input and compiles the version.
func newReplay(v *Verbs, k *engine.Call, in *ReplayInput) (*replay, error) {
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
	p := &replay{verbs: v, call: k, tenant: tenant, principals: map[string]*core.Principal{}, deadline: k.Ports.Clock.Mono() + replayMicro}
	p.version = core.DirectoryVersion{Name: core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: in.Name}, Version: v.directory.NextVersion(core.EntryPolicy, tenant, in.Name)}
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
		document, p.version.Version = body.Document, e.Version
	}
	if p.targets, err = v.ports.KeyPolicies.CheckKeyPolicy(k.Ctx, in.Name, document, v.knownNames(tenant)); err != nil {
		return nil, err
	}
	if p.proposed, err = v.ports.KeyPolicies.Propose(p.version, document); err != nil {
		return nil, err
	}
	p.roles, err = p.rolesThatMatter()
	return p, err
}

// rolesThatMatter lists the roles that policies.rego or the tenant gives a meaning, and the
// roles and groups to which the policy is attached or will be.
func (p *replay) rolesThatMatter() ([]string, error) {
	holders, err := p.verbs.attachmentsOf(p.tenant, p.version.Name.ID)
	if err != nil {
		return nil, err
	}
	roles := slices.DeleteFunc(slices.Concat(holders, p.targets.Holders), func(name string) bool { return !isMembership(name) })
	for _, name := range core.BuiltInRoles {
		roles = append(roles, core.RoleHolder+name)
	}
	own, err := p.verbs.directory.ListHeads(core.EntryRole, p.tenant, "", maxRolesTried+1)
	for _, e := range own {
		roles = append(roles, core.RoleHolder+e.ID)
	}
	return roles, err
}

// isMembership reports whether the name of a holder is that of a role or a group.
func isMembership(name string) bool {
	return strings.HasPrefix(name, core.RoleHolder) || strings.HasPrefix(name, core.GroupHolder)
}

// maxRolesTried bounds the roles and groups with which one request is tried.
const maxRolesTried = 32

// decideRecords looks at records, newest first, until there are no more, the limit is reached
// or the time is over.
func (p *replay) decideRecords(in *ReplayInput, out *Replay) error {
	stored, err := p.call.Ports.Store.Records(p.call.Ctx, core.RecordQuery{Tenant: p.tenant, Since: in.Since * 1e6, Until: in.Until*1e6 + 999_999, Before: in.Before, Limit: in.Limit})
	if err != nil {
		return err
	}
	for _, e := range stored {
		r, err := p.verbs.ports.ReadRecord(e)
		if err != nil {
			return err
		}
		out.Records++
		out.Before = e.Number
		if err := p.decideRecord(&r, out); err != nil {
			return err
		}
		if p.call.Ports.Clock.Mono() > p.deadline {
			return nil
		}
	}
	if len(stored) < in.Limit {
		out.Before = 0
	}
	return nil
}

// decideRecord decides the request of one record, and counts it.
func (p *replay) decideRecord(r *core.Record, out *Replay) error {
	if !isRequest(r, p.tenant) {
		out.NoRequest++
		return nil
	}
	shown := ReplayedRequest{At: r.Time / 1e6, RequestID: r.RequestID, Principal: r.Principal, Action: r.Action, Object: r.Object, Door: r.Door, Address: r.Address}
	q, lacks, err := p.questionOf(r)
	if err != nil {
		return err
	}
	same := false
	if q != nil {
		var d core.Decision
		if d, same, lacks, err = p.compare(r, q, lacks); err != nil {
			return err
		}
		shown.Allow, shown.Reasons = d.Allow, d.Reasons
	}
	switch shown.Lacks = lacks; {
	case len(lacks) > 0:
		out.Undecided = append(out.Undecided, shown)
	case same:
		out.Same++
	default:
		out.Flips = append(out.Flips, shown)
	}
	return nil
}

// isRequest reports whether a record is about a request that the policy decides in the same
// way again.
func isRequest(r *core.Record, tenant string) bool {
	info := r.Action.Info()
	switch {
	case info == nil || !r.Action.Askable() || r.Tenant != tenant || r.Principal == "" || r.Door == "":
		return false
	case r.Outcome != core.Allowed && (r.Code == core.AuthenticationNotSuccessful || r.Code == core.ItemNotFound):
		return false
	}
	return info.Objects != core.OneObject || r.Object != ""
}

// What a record does not have, as answers name it.
const (
	lacksObject     = "the object, which is gone"
	lacksState      = "the object as it was: it has changed since"
	lacksParameters = "parameters"
	lacksRoles      = "groups and roles at that time"
	lacksAttributes = "attributes of the principal at that time"
	lacksApprovals  = "approvals"
	lacksStrength   = "how the principal proved itself"
	lacksDecision   = "a decision now: the policies cannot be evaluated for it"
)

// questionOf returns the request of a record, and what the record does not have. The question
// is nil if the object is gone.
func (p *replay) questionOf(r *core.Record) (*core.AccessRequest, []string, error) {
	q := &core.AccessRequest{Action: r.Action, Door: r.Door, Address: r.Address, Now: r.Time / 1e6, Principal: p.principalOf(r)}
	lacks := []string{lacksParameters, lacksAttributes, lacksApprovals}
	if r.Method == "" {
		lacks = append(lacks, lacksStrength)
	}
	if r.Action.Info().Objects != core.OneObject {
		return q, lacks, nil
	}
	o, err := p.call.Ports.Store.Object(p.call.Ctx, p.tenant, r.Object)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, []string{lacksObject}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	q.Object, q.State = o, o.StateAt(q.Now)
	if o.Attributes.Num(core.TagLastChangeDate) >= q.Now {
		lacks = append(lacks, lacksState)
	}
	return q, lacks, nil
}

// principalOf returns the principal of a record, without roles. Records of older versions do not
// say how the principal proved itself, unless by a token.
func (p *replay) principalOf(r *core.Record) *core.Principal {
	one := &core.Principal{Tenant: r.Tenant, ID: r.Principal, TokenID: r.Token, Method: r.Method, Strength: r.Strength}
	switch {
	case r.Method != "":
	case r.Token != "":
		one.Method, one.Strength = core.MethodToken, core.StrengthToken
	default:
		one.Method, one.Strength = core.MethodCertificate, core.StrengthCertificate
	}
	return p.sharedPrincipal(one, "")
}

// sharedPrincipal returns the same principal for the same name, proof and variant.
func (p *replay) sharedPrincipal(one *core.Principal, variant string) *core.Principal {
	key := strings.Join([]string{one.ID, one.Method, one.Strength.String(), one.TokenID, variant}, "\x00")
	if known, ok := p.principals[key]; ok {
		return known
	}
	p.principals[key] = one
	return one
}

// comparison is the decisions of one request without the version and with it.
type comparison struct {
	before, after core.Decision
	concerned     bool     // the policy is attached, or the version attaches it
	reads         []string // what the policies about the request look at
}

func (c *comparison) same() bool { return c.before.Allow == c.after.Allow }

// compare decides a request without the version and with it. The record does not have the
// roles of the principal, so it is decided for none and for each that can matter. The request
// is undecided if that makes a difference.
func (p *replay) compare(r *core.Record, q *core.AccessRequest, lacks []string) (d core.Decision, same bool, missing []string, err error) {
	all, complete, err := p.compareAll(q)
	if core.CodeOf(err) == core.PolicyUnavailable {
		return d, false, []string{lacksDecision}, nil
	}
	if err != nil {
		return d, false, nil, err
	}
	if !complete {
		missing = append(missing, lacksRoles)
	}
	all = thoseOfRecord(all, r)
	first := &all[0]
	for i := range all {
		if one := &all[i]; one.same() != first.same() || !one.same() && one.after.Allow != first.after.Allow {
			missing = append(missing, lacksRoles)
		}
		if all[i].concerned {
			missing = append(missing, missingFor(all[i].reads, lacks)...)
		}
	}
	slices.Sort(missing)
	return first.after, first.same(), slices.Compact(missing), nil
}

// thoseOfRecord returns the comparisons whose decision without the version is that of the
// record, for the same reasons by the same policy. With other roles the reasons would have
// been others. It returns all if there is none, because the policies have changed since.
func thoseOfRecord(all []comparison, r *core.Record) []comparison {
	reasons := slices.Sorted(slices.Values(r.Reasons))
	agree := slices.DeleteFunc(slices.Clone(all), func(c comparison) bool {
		return c.before.PolicyHash != r.PolicyHash || !slices.Equal(slices.Sorted(slices.Values(c.before.Reasons)), reasons)
	})
	if len(agree) == 0 {
		return all
	}
	return agree
}

// compareAll compares a request without roles, and with those that can matter. complete is
// false if these are too many.
func (p *replay) compareAll(q *core.AccessRequest) (all []comparison, complete bool, err error) {
	first, err := p.decideTwice(q)
	if err != nil {
		return nil, false, err
	}
	others, err := p.compareWithRoles(q, first.reads)
	return append(others, first), others != nil, err
}

// missingFor returns those of what a record lacks that policies look at.
func missingFor(reads, lacks []string) (missing []string) {
	for _, name := range reads {
		lack := ""
		switch {
		case strings.HasPrefix(name, "conditions.parameters"):
			lack = lacksParameters
		case strings.HasPrefix(name, "conditions.object"), strings.HasPrefix(name, "conditions.tags"):
			lack = lacksState
		case strings.HasPrefix(name, "conditions.principal"):
			lack = lacksAttributes
		case name == "gate":
			lack = lacksApprovals
		case strings.HasPrefix(name, "conditions.strength"), strings.HasPrefix(name, "client:"):
			lack = lacksStrength
		}
		if slices.Contains(lacks, lack) {
			missing = append(missing, lack)
		}
	}
	return missing
}

// compareWithRoles compares a request for a principal with each role or group that can
// matter, and with all of them. It returns nil if there are too many.
func (p *replay) compareWithRoles(q *core.AccessRequest, reads []string) (all []comparison, err error) {
	names := slices.Clone(p.roles)
	for _, name := range reads {
		if isMembership(name) {
			names = append(names, name)
		}
	}
	if q.Object != nil && q.Object.Group != "" {
		names = append(names, core.GroupHolder+q.Object.Group)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > maxRolesTried {
		return nil, nil
	}
	for i := range len(names) + 1 {
		some := names
		if i < len(names) {
			some = names[i : i+1]
		}
		tried := *q
		tried.Principal = p.withRoles(q.Principal, some)
		one, err := p.decideTwice(&tried)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// withRoles returns a principal with roles and groups.
func (p *replay) withRoles(of *core.Principal, names []string) *core.Principal {
	one := *of
	for _, name := range names {
		if role, ok := strings.CutPrefix(name, core.RoleHolder); ok {
			one.Roles = append(one.Roles, role)
		} else {
			one.Groups = append(one.Groups, strings.TrimPrefix(name, core.GroupHolder))
		}
	}
	return p.sharedPrincipal(&one, strings.Join(names, "\x00"))
}

// decideTwice decides a request as it would be decided now, by the code that decides
// requests, and with the version.
func (p *replay) decideTwice(q *core.AccessRequest) (c comparison, err error) {
	ports, before := p.call.Ports, *q
	before.Now = p.call.Now // the versions that are in force now, and not at the time of the record
	if err := ports.Facts.AddFacts(&before); err != nil {
		return c, err
	}
	after := before
	after.Policies, c.concerned = p.withVersion(&before)
	before.Now, after.Now = q.Now, q.Now
	if c.before, err = ports.Policy.Decide(p.call.Ctx, &before); err != nil || !c.concerned {
		c.after = c.before
		return c, err
	}
	if c.reads, err = p.readsOf(&before, &after); err != nil {
		return c, err
	}
	if err := p.proposed.FindStatements(p.call.Ctx, &after); err != nil {
		return c, err
	}
	after.Policies = nil // their statements are found
	c.after, err = ports.Policy.Decide(p.call.Ctx, &after)
	return c, err
}

// readsOf returns what the policies about a request look at, without the version and with it.
func (p *replay) readsOf(before, after *core.AccessRequest) ([]string, error) {
	old, err := p.verbs.ports.KeyPolicies.Reads(before)
	if err != nil {
		return nil, err
	}
	next, err := p.proposed.Reads(after)
	return append(old, next...), err
}

// withVersion returns the policies of a request with the version among them, and whether it
// is.
func (p *replay) withVersion(r *core.AccessRequest) ([]core.DirectoryVersion, bool) {
	policies := slices.Clone(r.Policies)
	concerned := false
	for i := range policies {
		if policies[i].Name == p.version.Name {
			policies[i], concerned = p.version, true
		}
	}
	if !concerned && p.isTarget(r) {
		policies, concerned = append(policies, p.version), true
	}
	return policies, concerned
}

// isTarget reports whether the document of the version attaches it to the object or the
// principal of a request.
func (p *replay) isTarget(r *core.AccessRequest) bool {
	names := []string{core.UserHolder + r.Principal.ID}
	for _, role := range r.Principal.Roles {
		names = append(names, core.RoleHolder+role)
	}
	for _, group := range r.Principal.Groups {
		names = append(names, core.GroupHolder+group)
	}
	if o := r.Object; o != nil {
		for i := range o.Attributes {
			if a := &o.Attributes[i]; a.Tag == core.TagObjectGroup {
				names = append(names, core.ObjectGroupHolder+a.Value.Text)
			}
		}
		if slices.Contains(p.targets.Keys, o.ID) {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(p.targets.Holders, name) })
}
