package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn/oidc/oidctest"
)

// A token of a trusted issuer is the identity over REST, as far as the settings let the issuer
// name it. It buys no token of the server. A refused one is 401 and leaves a record of Login
// with the cause, and no token is in the log, the records or the database.
func TestTokensOfAnIssuer(t *testing.T) {
	issuer := oidctest.Start(t)
	dir, fresh := installed(t)
	set := fresh(t)
	set["authentication"] = map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": "keyreeve", "tenant": "default", "name_prefix": "sso.",
		"roles_claim": "realm_access.roles", "roles": []string{"payroll"}, "max_lifetime": "1h"}}}
	s := startInstalled(t, dir, set)
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4), activeNow)
	applyPolicy(t, s, "payroll", `{"keyId": "`+id+`", "statements": [{"principal": "role:payroll", "actions": ["encrypt"], "effect": "allow"}]}`)
	sign := func(changes map[string]any) string { return issuer.Token(issuer.Claims(time.Now(), changes)) }
	roles := func(names ...string) map[string]any {
		return map[string]any{"realm_access": map[string]any{"roles": names}}
	}
	alone, beside := withToken(t, s, ""), withToken(t, s, "dev")

	good, other := sign(roles("payroll")), sign(roles("admin", "auditor"))
	wantStatus(t, "encrypt with the issuer's token", alone.encrypt(good, id), 200)
	wantStatus(t, "encrypt with it beside a certificate of the tenant", beside.encrypt(good, id), 200)
	s.Issue("eve", "elsewhere")
	wantStatus(t, "encrypt with it beside a certificate of another tenant", withToken(t, s, "eve").encrypt(good, id), 401)
	wantStatus(t, "encrypt with a token whose roles the issuer may not name", alone.encrypt(other, id), 403)
	wantStatus(t, "encrypt with that token beside the certificate of the key's owner", beside.encrypt(other, id), 403)
	wantStatus(t, "a token of an issuer buys a token", beside.ask("POST", "/v1/auth/token", good, byCertificate).status, 403)
	if used := strings.Join(records(t, s, "Encrypt", "--json"), "\n"); strings.Count(used, `"principal":"sso.alice"`) < 4 || !strings.Contains(used, `"token":"jwt`) {
		t.Errorf("the records of the requests do not name sso.alice and the token:\n%s", used)
	}

	wrong := sign(map[string]any{"aud": "another"})
	refused := beside.ask("GET", "/v1/keys", wrong, nil)
	if refused.status != 401 || !strings.Contains(refused.challenge, "invalid_token") {
		t.Errorf("a token for another audience: %+v; want 401 with a challenge", refused)
	}
	long := sign(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()})
	wantStatus(t, "a token that lives too long", alone.encrypt(long, id), 401)
	logins := strings.Join(records(t, s, "Login"), "\n")
	for _, cause := range []string{"it is for another audience", "it lives longer than max_lifetime"} {
		if !strings.Contains(logins, cause) {
			t.Errorf("no record of a failed login says %q:\n%s", cause, logins)
		}
	}
	userCommand(t, s, "a long enough password", "add", "sso.alice")
	within(t, "the token whose name a user has got", 401, func() int { return alone.encrypt(good, id) })
	assertNowhere(t, s, good, other, wrong, long)
}
