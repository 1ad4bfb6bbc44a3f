// Package replay decides recorded requests under a proposed version of a key policy and
// without it. It stores nothing. Start at [Decider.DecideRecord].
package replay

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Result says which recorded requests a version of a key policy would decide otherwise.
type Result struct {
	Policy    string // such as "payroll@4"
	Records   int    // that were looked at
	Same      int    // requests that are decided as before
	NoRequest int    // records of something that the policy does not decide
	Flips     []Request
	Undecided []Request
	Before    int64 // where the next answer goes on; 0: there are no more records
}

// Request is a recorded request whose decision flips, or cannot be known.
type Request struct {
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

// Decider decides recorded requests with a proposed version of a policy. It is for one replay.
type Decider struct {
	Tenant   string
	Version  core.DirectoryVersion // the proposed one
	Targets  core.KeyPolicyFacts   // to what its document attaches the policy
	Families map[string]bool       // of keys to which its document attaches it, by version 1
	Proposed core.KeyPolicies
	Roles    []string // "role:NAME" and "group:NAME" that can matter, whatever the request

	Store       core.Store
	Facts       core.AccessFacts
	Policy      core.Policy
	KeyPolicies core.KeyPolicies
	Now         int64 // Unix seconds

	principals map[string]*core.Principal // one for each name and set of roles, so that matches are remembered
}

// IsMembership reports whether the name of a holder is that of a role or a group.
func IsMembership(name string) bool {
	return strings.HasPrefix(name, core.RoleHolder) || strings.HasPrefix(name, core.GroupHolder)
}

// MaxRolesTried bounds the roles and groups with which one request is tried.
const MaxRolesTried = 32

// DecideRecord decides the request of one record, and counts it.
func (p *Decider) DecideRecord(ctx context.Context, r *core.Record, out *Result) error {
	if !isRequest(r, p.Tenant) {
		out.NoRequest++
		return nil
	}
	shown := Request{At: r.Time / 1e6, RequestID: r.RequestID, Principal: r.Principal, Action: r.Action, Object: r.Object, Door: r.Door, Address: r.Address}
	q, lacks, err := p.questionOf(ctx, r)
	if err != nil {
		return err
	}
	same := false
	if q != nil {
		var d core.Decision
		if d, same, lacks, err = p.compare(ctx, r, q, lacks); err != nil {
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
func (p *Decider) questionOf(ctx context.Context, r *core.Record) (*core.AccessRequest, []string, error) {
	q := &core.AccessRequest{Action: r.Action, Door: r.Door, Address: r.Address, Now: r.Time / 1e6, Principal: p.principalOf(r)}
	lacks := []string{lacksParameters, lacksAttributes, lacksApprovals}
	if r.Method == "" {
		lacks = append(lacks, lacksStrength)
	}
	if r.Action.Info().Objects != core.OneObject {
		return q, lacks, nil
	}
	o, err := p.Store.Object(ctx, p.Tenant, r.Object)
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
func (p *Decider) principalOf(r *core.Record) *core.Principal {
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
func (p *Decider) sharedPrincipal(one *core.Principal, variant string) *core.Principal {
	key := strings.Join([]string{one.ID, one.Method, one.Strength.String(), one.TokenID, variant}, "\x00")
	if known, ok := p.principals[key]; ok {
		return known
	}
	if p.principals == nil {
		p.principals = map[string]*core.Principal{}
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
func (p *Decider) compare(ctx context.Context, r *core.Record, q *core.AccessRequest, lacks []string) (d core.Decision, same bool, missing []string, err error) {
	all, complete, err := p.compareAll(ctx, q)
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
func (p *Decider) compareAll(ctx context.Context, q *core.AccessRequest) (all []comparison, complete bool, err error) {
	first, err := p.decideTwice(ctx, q)
	if err != nil {
		return nil, false, err
	}
	others, err := p.compareWithRoles(ctx, q, first.reads)
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
func (p *Decider) compareWithRoles(ctx context.Context, q *core.AccessRequest, reads []string) (all []comparison, err error) {
	names := slices.Clone(p.Roles)
	for _, name := range reads {
		if IsMembership(name) {
			names = append(names, name)
		}
	}
	if q.Object != nil && q.Object.Group != "" {
		names = append(names, core.GroupHolder+q.Object.Group)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > MaxRolesTried {
		return nil, nil
	}
	for i := range len(names) + 1 {
		some := names
		if i < len(names) {
			some = names[i : i+1]
		}
		tried := *q
		tried.Principal = p.withRoles(q.Principal, some)
		one, err := p.decideTwice(ctx, &tried)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// withRoles returns a principal with roles and groups.
func (p *Decider) withRoles(of *core.Principal, names []string) *core.Principal {
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
func (p *Decider) decideTwice(ctx context.Context, q *core.AccessRequest) (c comparison, err error) {
	before := *q
	before.Now = p.Now // the versions that are in force now, and not at the time of the record
	if err := p.Facts.AddFacts(&before); err != nil {
		return c, err
	}
	after := before
	after.Policies, c.concerned = p.withVersion(&before)
	before.Now, after.Now = q.Now, q.Now
	if c.before, err = p.Policy.Decide(ctx, &before); err != nil || !c.concerned {
		c.after = c.before
		return c, err
	}
	if c.reads, err = p.readsOf(&before, &after); err != nil {
		return c, err
	}
	if err := p.Proposed.FindStatements(ctx, &after); err != nil {
		return c, err
	}
	after.Policies = nil // their statements are found
	c.after, err = p.Policy.Decide(ctx, &after)
	return c, err
}

// readsOf returns what the policies about a request look at, without the version and with it.
func (p *Decider) readsOf(before, after *core.AccessRequest) ([]string, error) {
	old, err := p.KeyPolicies.Reads(before)
	if err != nil {
		return nil, err
	}
	next, err := p.Proposed.Reads(after)
	return append(old, next...), err
}

// withVersion returns the policies of a request with the version among them, and whether it
// is.
func (p *Decider) withVersion(r *core.AccessRequest) ([]core.DirectoryVersion, bool) {
	policies := slices.Clone(r.Policies)
	concerned := false
	for i := range policies {
		if policies[i].Name == p.Version.Name {
			policies[i], concerned = p.Version, true
		}
	}
	if !concerned && p.isTarget(r) {
		policies, concerned = append(policies, p.Version), true
	}
	return policies, concerned
}

// isTarget reports whether the document of the version attaches it to the object or the
// principal of a request.
func (p *Decider) isTarget(r *core.AccessRequest) bool {
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
		if p.Families[o.Family()] {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(p.Targets.Holders, name) })
}
