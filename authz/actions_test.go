package authz_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// mayBeIn has the sets of policies.rego that may name an action of each kind.
var mayBeIn = map[core.ActionKind][]string{
	core.UseAction:        {"open_operations", "use_operations", "off_operations"},
	core.ManageAction:     {"open_operations", "use_operations", "admin_operations", "operator_operations", "token_operations", "approval_operations", "clock_operations", "off_operations"},
	core.ReadAction:       {"open_operations", "use_operations", "admin_operations", "operator_operations", "auditor_operations", "server_operations", "monitor_operations", "socket_operations", "tenant_operations", "people_operations", "token_operations", "review_operations", "approval_operations"},
	core.AdministerAction: {"socket_operations", "tenant_operations", "people_operations"},
}

// withoutObject has the sets whose permits are for questions without an object.
var withoutObject = []string{"open_operations", "server_operations", "monitor_operations", "socket_operations", "tenant_operations", "people_operations", "token_operations", "review_operations", "approval_operations"}

// The table of actions agrees with policies.rego. An action that the server offers is only in
// sets of its kind. An action that it does not offer is in no set, and so denied to all. No
// set has anything else.
func TestPolicyNamesEveryAction(t *testing.T) {
	sets, member := regexp.MustCompile(`(?s)\n(\w+_operations) := \{(.*?)\}`), regexp.MustCompile(`"([^"]+)"`)
	named := map[core.Action][]string{}
	for _, set := range sets.FindAllStringSubmatch(keyreeve.Policy, -1) {
		for _, m := range member.FindAllStringSubmatch(set[2], -1) {
			action, ok := core.ActionByName(m[1])
			if !ok || action.String() != m[1] || !slices.Contains(mayBeIn[action.Kind()], set[1]) {
				t.Errorf("%s names %q, which is %q and may be in %v", set[1], m[1], action.Kind(), mayBeIn[action.Kind()])
				continue
			}
			bare := slices.Contains(withoutObject, set[1])
			if row := action.Info(); set[1] != "off_operations" && ((bare && row.Objects == core.OneObject) || (!bare && row.Objects == core.NoObject)) {
				t.Errorf("%s names %v, and the policy is never asked so", set[1], action)
			}
			named[action] = append(named[action], set[1])
		}
	}
	for _, action := range core.Actions() {
		row := action.Info()
		offered := action.Askable() && (row.Operation == 0 || kmip.RowOf(row.Operation) != nil)
		if offered != (named[action] != nil) {
			t.Errorf("%v is offered: %v, and policies.rego names it in %v", action, offered, named[action])
		}
	}
}

// A policy can use kinds, and is refused if it uses an unknown one.
func TestPolicyCanSpeakOfKinds(t *testing.T) {
	a := open(t, allowIf(`input.kind == "read"`), goodTest)
	alice := someone("t", "alice", "")
	for _, action := range askable() {
		d, err := a.Decide(ctx, ask(alice, action, object("alice", "")))
		if want := action.Kind() == core.ReadAction; err != nil || d.Allow != want {
			t.Errorf("%v, of kind %s: %v, %v; want %v", action, action.Kind(), d.Allow, err, want)
		}
	}
	for _, kind := range []string{"event", "Read", "write"} {
		if _, err := authz.Load(ctx, authz.Options{}, with(allowIf(`input.kind == "`+kind+`"`), goodTest)); err == nil || !strings.Contains(err.Error(), "input.kind") {
			t.Errorf("a policy that names the kind %q: %v", kind, err)
		}
	}
}
