package server_test

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// that was sent as a name.
func TestRecordsNameTheUserOfAFailedLogin(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const right, wrong = "a long enough password", "not the password: 7"
	userCommand(t, s, right, "add", "alice")
	c := withPassword(dial(t, s, "dev", core.V1_4), "alice", wrong)
	if _, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}}); err == nil {
		t.Error("a wrong password is accepted over KMIP")
	}
	dev := restAs(t, s, "dev")
	dev.must(401, "POST", "/v1/auth/token", `{"grantType":"password","user":"bob","password":"`+wrong+`"}`)
	dev.must(401, "POST", "/v1/auth/token", `{"grantType":"password","tenant":"elsewhere","user":"carl","password":"`+wrong+`"}`)
	dev.must(401, "POST", "/v1/auth/token", `{"grantType":"password","user":"`+wrong+`","password":"x\u001b[2J","code":"123456"}`)
	got := records(t, s, "Login")
	all := strings.Join(got, "\n")
	for _, want := range []string{"claims to be Username and Password alice", "claims to be user bob", "claims to be user elsewhere/carl"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("the records lack %q:\n%s", want, all)
		}
	}
	if len(got) != 4 || strings.Contains(all, wrong) || strings.Contains(all, "123456") || strings.Contains(all, "\x1b") {
		t.Errorf("%d records of failed logins; want 4, without what was sent as a password or a code:\n%s", len(got), all)
	}
}
