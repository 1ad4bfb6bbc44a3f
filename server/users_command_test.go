package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// Each command about users counts for an open connection. Credentials mean nothing before the tenant
// has its first user, and are refused after its last one was removed.
func TestUserCommandsCountOnOpenConnections(t *testing.T) {
	s := servertest.Start(t)
	const first, second = "a long enough password", "another long password"
	c := withPassword(dial(t, s, "dev", core.V1_4), "fortigate7", first)
	query := func() core.ResultReason {
		t.Helper()
		_, err := kmiptest.Do(c, &kmip.Query, &core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		if err != nil && kmiptest.Reason(err) == 0 {
			t.Fatal(err)
		}
		return kmiptest.Reason(err)
	}
	if r := query(); r != 0 {
		t.Errorf("a credential while the tenant has no users: %v; want it to be ignored", r)
	}
	for _, step := range []struct {
		what, input string
		command     []string
		sent        string
		want        core.ResultReason
	}{
		{"a new user", first, []string{"add", "fortigate7"}, first, 0},
		{"a wrong password", "", nil, second, core.ReasonAuthenticationNotSuccessful},
		{"the old password", second, []string{"password", "fortigate7"}, first, core.ReasonAuthenticationNotSuccessful},
		{"the new password", "", nil, second, 0},
		{"a disabled user", "", []string{"disable", "fortigate7"}, second, core.ReasonAuthenticationNotSuccessful},
		{"an enabled user", "", []string{"enable", "fortigate7"}, second, 0},
		{"a removed user", "", []string{"remove", "fortigate7"}, second, core.ReasonAuthenticationNotSuccessful},
	} {
		if step.command != nil {
			userCommand(t, s, step.input, step.command...)
		}
		withPassword(c, "fortigate7", step.sent)
		got := query()
		for end := time.Now().Add(10 * time.Second); got != step.want && time.Now().Before(end); got = query() {
			time.Sleep(50 * time.Millisecond)
		}
		if got != step.want {
			t.Fatalf("%s: the answer stays %v; want %v", step.what, got, step.want)
		}
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--json")
	if err != nil || !strings.Contains(out, "the user is disabled") || strings.Contains(out, first) || strings.Contains(out, second) {
		t.Errorf("the records of failed logins: %v\n%s", err, out)
	}
}
