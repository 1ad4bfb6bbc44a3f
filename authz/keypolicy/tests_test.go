package keypolicy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// The tests in a policy pass if, and only if, the policy does what they expect.
func TestPoliciesTestThemselves(t *testing.T) {
	const policy = `{"statements": [
		{"principal": "client:alice", "actions": ["encrypt"], "effect": "allow", "conditions": {"ipAddress": "192.168.1.0/24", "tags": {"env": "prod"}}},
		{"principal": "role:guest", "actions": ["*"], "effect": "deny"},
		{"principal": "user:carl", "actions": ["Get"], "effect": "deny"},
		{"principal": "user:bob", "actions": ["export"], "effect": "allow", "conditions": {"strength": "token", "door": "rest", "principal": {"department": "hr"}, "object": {"type": "Secret Data"}, "parameters": {"wrapped": true}, "time": {"notBefore": "2026-01-01T00:00:00Z"}}}],
		"tests": [%s]}`
	m := newMatcher(t, MatcherOptions{})
	for test, passes := range map[string]bool{
		`{"principal": "client:alice", "action": "encrypt", "expect": "allow", "given": {"ipAddress": "192.168.1.7", "tags": {"env": "prod"}}}`:                  true,
		`{"principal": "user:alice", "action": "encrypt", "expect": "nothing", "given": {"ipAddress": "192.168.1.7", "tags": {"env": "prod"}}}`:                  true,
		`{"principal": "client:alice", "action": "encrypt", "expect": "nothing", "given": {"tags": {"env": "prod"}}}`:                                            true,
		`{"principal": "client:alice", "action": "encrypt", "expect": "nothing", "given": {"ipAddress": "192.168.1.7"}}`:                                         true,
		`{"principal": "client:alice", "action": "decrypt", "expect": "allow", "given": {"ipAddress": "192.168.1.7", "tags": {"env": "prod"}}}`:                  false,
		`{"principals": ["client:alice", "role:guest"], "action": "encrypt", "expect": "deny", "given": {"ipAddress": "192.168.1.7", "tags": {"env": "prod"}}}`:  true,
		`{"principals": ["client:alice", "role:guest"], "action": "encrypt", "expect": "allow", "given": {"ipAddress": "192.168.1.7", "tags": {"env": "prod"}}}`: false,
		`{"principal": "role:guest", "action": "delete", "expect": "deny"}`:                                                                                      true,
		`{"principal": "user:carl", "action": "export", "expect": "deny"}`:                                                                                       false, // Export is not denied
		`{"principal": "user:carl", "action": "export", "expect": "nothing"}`:                                                                                    false,
		`{"principal": "*", "action": "Sign", "expect": "nothing"}`:                                                                                              true,
		`{"principal": "*", "action": "Sign", "expect": "deny"}`:                                                                                                 false,
		`{"principal": "user:bob", "action": "Get", "expect": "allow", "given": {"strength": "certificate", "door": "rest", "principal": {"department": "hr"}, "object": {"type": "Secret Data"}, "parameters": {"wrapped": true}, "at": "2026-01-01T00:00:00Z"}}`: true,
		`{"principal": "user:bob", "action": "Get", "expect": "nothing", "given": {"strength": "password", "door": "rest", "principal": {"department": "hr"}, "object": {"type": "Secret Data"}, "parameters": {"wrapped": true}, "at": "2026-01-01T00:00:00Z"}}`:  true,
		`{"principal": "user:bob", "action": "Get", "expect": "nothing", "given": {"strength": "token", "door": "rest", "principal": {"department": "hr"}, "object": {"type": "Secret Data"}, "parameters": {"wrapped": false}, "at": "2026-01-01T00:00:00Z"}}`:    true,
		`{"principal": "user:bob", "action": "Get", "expect": "nothing", "given": {"strength": "token", "door": "rest", "principal": {"department": "hr"}, "object": {"type": "Secret Data"}, "parameters": {"wrapped": true}}}`:                                   true,
	} {
		err := m.RunTests(t.Context(), compileText(t, "p", fmt.Sprintf(policy, test)))
		if passes != (err == nil) || err != nil && (core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), "tests[0]")) {
			t.Errorf("%s: %v; want it to pass: %v", test, err, passes)
		}
	}
}

// Windows of the day begin with their first second, end before their last, and follow
// the clock of their zone when it changes.
func TestDailyEdges(t *testing.T) {
	for _, c := range []struct {
		from, to, zone, weekdays, at string
		inside                       bool
	}{
		{"08:00", "18:00", "UTC", "", "2026-05-05T08:00:00Z", true}, {"08:00", "18:00", "UTC", "", "2026-05-05T07:59:59Z", false}, {"08:00", "18:00", "UTC", "", "2026-05-05T17:59:59Z", true}, {"08:00", "18:00", "UTC", "", "2026-05-05T18:00:00Z", false},
		{"00:00", "24:00", "UTC", "tuesday", "2026-05-05T00:00:00Z", true}, {"00:00", "24:00", "UTC", "tuesday", "2026-05-05T23:59:59Z", true}, {"00:00", "24:00", "UTC", "tuesday", "2026-05-06T00:00:00Z", false}, {"00:00", "24:00", "UTC", "tuesday", "2026-05-04T23:59:59Z", false},
		{"22:00", "06:00", "UTC", "friday", "2026-05-08T22:00:00Z", true}, {"22:00", "06:00", "UTC", "friday", "2026-05-09T05:59:59Z", true}, {"22:00", "06:00", "UTC", "friday", "2026-05-09T06:00:00Z", false}, {"22:00", "06:00", "UTC", "friday", "2026-05-09T22:00:00Z", false}, {"22:00", "06:00", "UTC", "friday", "2026-05-08T05:00:00Z", false},
		{"22:00", "00:00", "UTC", "friday", "2026-05-08T23:59:59Z", true}, {"22:00", "00:00", "UTC", "friday", "2026-05-09T00:00:00Z", false},
		{"08:00", "09:00", "Europe/Berlin", "", "2026-03-28T07:30:00Z", true}, {"08:00", "09:00", "Europe/Berlin", "", "2026-03-29T07:30:00Z", false}, {"08:00", "09:00", "Europe/Berlin", "", "2026-03-29T06:30:00Z", true},
		{"22:00", "06:00", "Europe/Berlin", "saturday", "2026-03-29T03:59:59Z", true}, {"22:00", "06:00", "Europe/Berlin", "saturday", "2026-03-29T04:00:00Z", false},
		{"00:00", "01:00", "Asia/Kolkata", "monday", "2026-05-03T18:30:00Z", true}, {"00:00", "01:00", "Asia/Kolkata", "monday", "2026-05-03T18:29:59Z", false},
	} {
		weekdays := ""
		if c.weekdays != "" {
			weekdays = fmt.Sprintf(`, "weekdays": %q`, c.weekdays)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		r := usualRequest()
		r.Now = at.Unix()
		p := policyWith(t, "allow", fmt.Sprintf(`"time": {"daily": {"from": %q, "to": %q, "zone": %q%s}}`, c.from, c.to, c.zone, weekdays))
		if got := bothWays(t, r, p); (len(got.Allow) == 1) != c.inside {
			t.Errorf("%s to %s in %s on %q, at %s: %+v; want inside: %v", c.from, c.to, c.zone, c.weekdays, c.at, got, c.inside)
		}
	}
}
