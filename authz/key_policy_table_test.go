package authz_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// situation is what key policies and roles of the tenant say about a request.
type situation struct {
	policies []string // attached, of the texts below
	rights   []string // own roles of the caller that permit the action
	permits  bool     // it gives what a key policy or a role can give
	refuses  bool
}

var tablePolicies = map[string]string{
	"allow":     `{"statements": [{"principal": "*", "actions": ["*"], "effect": "allow"}]}`,
	"deny":      `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`,
	"others":    `{"statements": [{"principal": "user:somebody", "actions": ["*"], "effect": "allow"}, {"principal": "user:somebody", "actions": ["*"], "effect": "deny"}]}`,
	"only":      `{"exclusive": true, "statements": [{"principal": "*", "actions": ["*"], "effect": "allow"}]}`,
	"onlyOther": `{"exclusive": true, "statements": [{"principal": "user:somebody", "actions": ["*"], "effect": "allow"}]}`,
}

var situations = map[string]situation{
	"nothing":                                  {},
	"a matching allow":                         {policies: []string{"allow"}, permits: true},
	"a matching deny":                          {policies: []string{"deny"}, refuses: true},
	"an allow and a deny":                      {policies: []string{"allow", "deny"}, permits: true, refuses: true},
	"statements for somebody else":             {policies: []string{"others"}},
	"an exclusive allow":                       {policies: []string{"only"}, permits: true},
	"an exclusive policy without allow":        {policies: []string{"onlyOther"}, refuses: true},
	"an allow beside an exclusive policy":      {policies: []string{"allow", "onlyOther"}, refuses: true},
	"two exclusive policies, one of them open": {policies: []string{"only", "onlyOther"}, refuses: true},
	"an own role with the action":              {rights: []string{"clerk"}, permits: true},
	"an own role and a deny":                   {rights: []string{"clerk"}, policies: []string{"deny"}, permits: true, refuses: true},
	"an own role and an exclusive policy":      {rights: []string{"clerk"}, policies: []string{"onlyOther"}, permits: true, refuses: true},
}

// onTheMachine are the actions that the administrator on the server's machine may do,
// besides those that are open to everybody.
var onTheMachine = map[core.Action]bool{core.ActionReadHealth: true, core.ActionReadRecords: true, core.ActionReload: true}

// ofTenants are the actions, on tenants and jobs, that an administrator of the server may do over REST.
var ofTenants = map[core.Action]bool{core.ActionCreateTenant: true, core.ActionListTenants: true, core.ActionReadTenant: true, core.ActionSaveTenant: true, core.ActionDeleteTenant: true, core.ActionReadJobs: true, core.ActionChangeJob: true}

// allowedIn is what the default policy decides in a situation, in Go.
func allowedIn(s *situation, p *core.Principal, action core.Action, o *core.ManagedObject, door core.Door) bool {
	if s.refuses {
		return false
	}
	if p.Tenant != core.SystemTenant && p.HasRole(core.SystemRole) {
		asks := action == core.ActionQuery || action == core.ActionDiscoverVersions
		watches := action == core.ActionReadHealth || action == core.ActionReadMetrics
		given := s.permits && action.Kind() != core.AdministerAction
		return o == nil && (asks || ofTenants[action] && (door == core.DoorREST || given) || watches && (given || p.HasRole("admin")))
	}
	if p.Tenant == core.SystemTenant {
		r := rights[action]
		return o == nil && (onTheMachine[action] || r == machine || r == people || r == review || r == inquire || r == find || r == produce || s.permits && action.Kind() != core.AdministerAction)
	}
	if allowed(p, action, o) {
		return true
	}
	if !s.permits || action.Kind() == core.AdministerAction || o != nil && o.Tenant != p.Tenant {
		return false
	}
	r := rights[action]
	return !p.HasRole("auditor") || r == watch || r == review || r == inquire || r == find || r == read
}

// byTheClock are the actions that the clock may do to every object.
var byTheClock = map[core.Action]bool{core.ActionPurge: true, core.ActionReKey: true, core.ActionReKeyKeyPair: true}

// The clock may do what is its own to the objects of the tenant for which it acts, unless a key policy
// denies it. Nobody else may do that by its name or its door.
func TestTheClockInEverySituation(t *testing.T) {
	a, _ := withKeyPolicies(t, tablePolicies)
	clock := someone("t", "keyreeve", "")
	clock.Method = core.MethodSystem
	mallory, otherTenant := someone("t", "keyreeve", ""), *clock
	otherTenant.Tenant = "u"
	decide := func(p *core.Principal, action core.Action, door core.Door, s situation) bool {
		r := askUnder(p, action, object("alice", "g"), 1, s.policies...)
		r.Rights, r.Door = s.rights, door
		d, err := a.Decide(ctx, r)
		if err != nil {
			t.Error(err)
		}
		return d.Allow
	}
	for _, action := range askable() {
		for where, s := range situations {
			want := !s.refuses && (byTheClock[action] || s.permits && action.Kind() != core.AdministerAction)
			if got := decide(clock, action, core.DoorClock, s); got != want {
				t.Errorf("%v by the clock with %s: %v; want %v", action, where, got, want)
			}
		}
		for what, allowed := range map[string]bool{
			"its name":               decide(mallory, action, core.DoorClock, situation{}) || decide(mallory, action, core.DoorKMIP, situation{}),
			"another door":           decide(clock, action, core.DoorREST, situation{}) || decide(clock, action, core.DoorAdmin, situation{}),
			"another tenant's clock": decide(&otherTenant, action, core.DoorClock, situation{}),
		} {
			if allowed {
				t.Errorf("%v is permitted to %s", action, what)
			}
		}
	}
}

// Each action by each relation to an object, in each situation, at the doors by which it
// can come. Key policies and roles of the tenant give nothing that administers the server,
// nothing to another tenant, and nothing against a deny or an exclusive policy. An action
// without a row here and in rights must be denied to all.
func TestEveryActionInEverySituation(t *testing.T) {
	a, _ := withKeyPolicies(t, tablePolicies)
	machine := someone(core.SystemTenant, "root", "", "system")
	machine.Method = core.MethodSystem
	overREST := someone("t", "ada", "g", "system", "admin")
	who := map[string]*core.Principal{
		"owner": someone("t", "alice", ""), "group member": someone("t", "bob", "g"), "stranger": someone("t", "eve", "h"),
		"another tenant's": someone("u", "alice", "g"), "another tenant's admin": someone("u", "root", "g", "admin"),
		"admin": someone("t", "root", "", "admin"), "auditor": someone("t", "ann", "g", "auditor"), "operator": someone("t", "otto", "", "operator"),
		"viewer": someone("t", "vera", "", "viewer"), "user": someone("t", "uma", "", "user"), "monitor": someone("t", "moni", "", "monitor"),
		"a false system": someone("t", "mallory", "", "system"), "the machine": machine, "the server's administrator": overREST,
	}
	verdicts := map[bool]int{}
	for _, action := range askable() {
		for name, p := range who {
			for where, s := range situations {
				for what, o := range map[string]*core.ManagedObject{"no object": nil, "an object": object("alice", "g")} {
					r := askUnder(p, action, o, 1, s.policies...)
					r.Rights = s.rights
					switch p {
					case machine:
						r.Door = core.DoorAdmin
					case overREST:
						r.Door = core.DoorREST
					}
					want := allowedIn(&s, p, action, o, r.Door)
					verdicts[want]++
					if d, err := a.Decide(ctx, r); err != nil || d.Allow != want || len(d.Reasons) == 0 {
						t.Errorf("%v by %s on %s with %s: %+v, %v; want %v", action, name, what, where, d, err, want)
					}
				}
			}
		}
	}
	if verdicts[true] < 2000 || verdicts[false] < 10_000 {
		t.Errorf("the table has %v verdicts; it should have many of both", verdicts)
	}
}
