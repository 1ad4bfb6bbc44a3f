package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
)

// What somebody put into a name or a certificate does not reach a terminal.
func TestAuditLine(t *testing.T) {
	for want, e := range map[string]audit.Entry{
		"t allowed kmip a/b Get id | memory | owner":                       {Time: "t", Outcome: "allowed", Door: "kmip", Tenant: "a", Principal: "b", Operation: "Get", Object: "id", Where: "memory", Reasons: []string{"owner"}},
		"t denied  rest from 10.0.0.1 Login | AuthenticationNotSuccessful": {Time: "t", Outcome: "denied", Door: "rest", Address: "10.0.0.1", Operation: "Login", Code: "AuthenticationNotSuccessful"},
		"t failed  kmip a/b Get ?[2J?x | a?b":                              {Time: "t", Outcome: "failed", Door: "kmip", Tenant: "a", Principal: "b", Operation: "Get", Object: "\x1b[2J\u202ex", Detail: "a\nb"},
	} {
		if got := recordLine(e); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// The JSON of an entry says the same to a program, and nothing to a terminal.
func TestEscapedJSON(t *testing.T) {
	const text = "a\u202eb\u009bc\U000e0001 ä"
	in, _ := json.Marshal(text)
	out := escapeForTerminal(string(in))
	var back string
	if err := json.Unmarshal([]byte(out), &back); err != nil || back != text {
		t.Errorf("%s reads as %q, %v", out, back, err)
	}
	if strings.ContainsAny(out, "\u202e\u009b\U000e0001") || !strings.Contains(out, "ä") {
		t.Errorf("%q", out)
	}
}
