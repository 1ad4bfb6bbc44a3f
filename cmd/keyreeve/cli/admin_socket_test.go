package cli

import (
	"testing"

	"github.com/keyreeve/keyreeve/audit"
)

// What somebody put into a name or a certificate does not reach a terminal.
func TestAuditLine(t *testing.T) {
	for want, e := range map[string]audit.Entry{
		"t allowed kmip a/b Get id | memory | owner":                                                {Time: "t", Outcome: "allowed", Door: "kmip", Tenant: "a", Principal: "b", Operation: "Get", Object: "id", ExecutedIn: "memory", Reasons: []string{"owner"}},
		"t denied  rest from 10.0.0.1 Login | AuthenticationNotSuccessful":                          {Time: "t", Outcome: "denied", Door: "rest", Address: "10.0.0.1", Operation: "Login", Code: "AuthenticationNotSuccessful"},
		"t denied  kmip a/b Login | claims to be Username and Password bob | the password is wrong": {Time: "t", Outcome: "denied", Door: "kmip", Tenant: "a", Principal: "b", Operation: "Login", ClientRef: "Username and Password bob", Detail: "the password is wrong"},
		"t denied  rest from 10.0.0.1 Login | claims to be user ?[2Jbob":                            {Time: "t", Outcome: "denied", Door: "rest", Address: "10.0.0.1", Operation: "Login", ClientRef: "user \x1b[2Jbob"},
		"t denied  rest from 10.0.0.1 Login | TLS: bad (certificate: subject CN=x)":                 {Time: "t", Outcome: "denied", Door: "rest", Address: "10.0.0.1", Operation: "Login", ClientRef: "CN=x", Detail: "TLS: bad (certificate: subject CN=x)"},
		"t failed  kmip a/b Get ?[2J?x | a?b":                                                       {Time: "t", Outcome: "failed", Door: "kmip", Tenant: "a", Principal: "b", Operation: "Get", Object: "\x1b[2J\u202ex", Detail: "a\nb"},
	} {
		if got := recordLine(e); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
