package server_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/ldap/ldaptest"
	"github.com/keyreeve/keyreeve/server/authn/oidc/oidctest"
	"github.com/keyreeve/keyreeve/server/servertest"
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

// startWithDirectory starts a server whose tenant default has an LDAP directory with alice, who is in the
// group payroll, which is a role for the server.
func startWithDirectory(t *testing.T) (*servertest.Server, *ldaptest.Server) {
	t.Helper()
	slapd := ldaptest.Start(t)
	slapd.AddGroup("payroll", ldaptest.Groups, slapd.AddPerson("alice"))
	dir, fresh := installed(t)
	set := fresh(t)
	set["authentication"] = map[string]any{"password_without_certificate": true, "ldap": []any{map[string]any{"url": slapd.LDAPS, "ca": slapd.CA, "bind_dn": ldaptest.ServiceDN, "bind_password_file": slapd.PasswordFile,
		"user_base": ldaptest.People, "user_filter": "(&(uid=%s)(!(employeeType=disabled)))", "group_base": ldaptest.Groups, "tenant": "default", "name_prefix": "ldap.",
		"roles": map[string]string{"payroll": "payroll"}, "timeout": "1s", "remember_for": "1s", "token_lifetime": "2m"}}}
	return startInstalled(t, dir, set), slapd
}

// A password of the directory is the identity over KMIP, and buys a token over REST, as far as the
// settings let the directory name principals. A wrong one is never the certificate's principal. A disabled
// entry ends on an open connection after remember_for. While the directory hangs, users of the server
// log in, and health and a metric say so.
func TestPasswordsOfADirectory(t *testing.T) {
	s, slapd := startWithDirectory(t)
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4), activeNow)
	applyPolicy(t, s, "payroll", `{"keyId": "`+id+`", "statements": [{"sid": "staff", "principal": "role:payroll", "actions": ["encrypt"], "effect": "allow"}]}`)
	s.Issue("array7", "default")
	userCommand(t, s, "a long enough password", "add", "bob", "--role", "payroll")
	over := func(certificate, name, password string) *kmiptest.Client {
		return withPassword(dialWith(t, s, clientTLS(t, s, certificate), core.V2_1), name, password)
	}
	wantReason := func(what string, err error, want core.ResultReason) {
		t.Helper()
		if kmiptest.Reason(err) != want {
			t.Errorf("%s: %v; want the reason %v", what, err, want)
		}
	}
	alice := over("array7", "alice", ldaptest.Password)
	if err := encryptOver(alice, id); err != nil {
		t.Errorf("alice with the password of the directory: %v", err)
	}
	wantReason("a wrong password beside the owner's certificate", encryptOver(over("dev", "alice", "not the password"), id), core.ReasonAuthenticationNotSuccessful)
	s.Issue("eve", "elsewhere")
	wantReason("a certificate of a tenant without directory", encryptOver(over("eve", "alice", ldaptest.Password), id), core.ReasonObjectNotFound)

	alone := withToken(t, s, "")
	order := body{"grantType": "password", "tenant": "default", "user": "alice", "password": ldaptest.Password, "lifetime": "1h"}
	bought := alone.buy(order)
	if left := time.Until(bought.ExpiresAt); left > 2*time.Minute {
		t.Errorf("the token of a password of the directory lives %v; want at most token_lifetime, 2m", left)
	}
	beside := withToken(t, s, "dev").buy(body{"grantType": "password", "user": "alice", "password": ldaptest.Password}).AccessToken
	for what, token := range map[string]string{"alone": bought.AccessToken, "beside a certificate": beside} {
		wantStatus(t, "encrypt with a token bought "+what, alone.encrypt(token, id), 200)
	}
	wantStatus(t, "a wrong password", alone.ask("POST", "/v1/auth/token", "", body{"grantType": "password", "tenant": "default", "user": "alice", "password": "wrong"}).status, 401)
	if used := strings.Join(records(t, s, "Encrypt", "--json"), "\n"); strings.Count(used, `"principal":"ldap.alice"`) < 3 || strings.Count(used, `"named_by":"authentication.ldap"`) < 3 {
		t.Errorf("the records do not name ldap.alice and authentication.ldap:\n%s", used)
	}
	_, figures := askREST(t, s, "dev", http.MethodGet, "/metrics", "")
	for _, want := range []string{`keyreeve_failed_logins_total{door="kmip",method="password"} 1`, `keyreeve_failed_logins_total{door="rest",method="password"} 1`} {
		if !strings.Contains(figures, want) {
			t.Errorf("the metrics have no line %s", want)
		}
	}
	if logins := strings.Join(records(t, s, "Login"), "\n"); !strings.Contains(logins, "the LDAP directory refuses the password") {
		t.Errorf("no record of a failed login has the cause:\n%s", logins)
	}

	slapd.Replace("uid=alice,"+ldaptest.People, "employeeType", "disabled")
	for end := time.Now().Add(5 * time.Second); kmiptest.Reason(encryptOver(alice, id)) != core.ReasonAuthenticationNotSuccessful; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a disabled entry still logs in on an open connection, 5 s after remember_for of 1 s")
		}
	}
	userCommand(t, s, "a long enough password", "add", "ldap.alice")
	within(t, "a token whose owner's name a user has got", 401, func() int { return alone.encrypt(beside, id) })
	assertNowhere(t, s, bought.AccessToken, beside)

	slapd.Pause()
	t.Cleanup(slapd.Resume)
	wantStatus(t, "a password while the directory hangs", alone.ask("POST", "/v1/auth/token", "", order).status, 503)
	if err := encryptOver(over("array7", "bob", "a long enough password"), id); err != nil {
		t.Errorf("a user of the server while the directory hangs: %v", err)
	}
	_, health := askREST(t, s, "dev", http.MethodGet, "/v1/health", "")
	_, figures = askREST(t, s, "dev", http.MethodGet, "/metrics", "")
	if !strings.Contains(health, "verifies no passwords of tenant default") || !strings.Contains(figures, `keyreeve_ldap_up{tenant="default"} 0`) {
		t.Errorf("health says %s and the metric keyreeve_ldap_up is 0: %v; want both to tell of the outage", health, strings.Contains(figures, `keyreeve_ldap_up{tenant="default"} 0`))
	}
}

// A directory and an issuer of one tenant may not name the same principals. The doctor finds a file that
// cannot be read, without asking the directory.
func TestSettingsOfADirectory(t *testing.T) {
	for what, c := range map[string]struct {
		directory, issuer string
		refused           bool
	}{
		"the same prefix":           {"name_prefix: sso.", "tenant: t, name_prefix: sso.", true},
		"a prefix of the other":     {"name_prefix: s", "tenant: t, name_prefix: sso.", true},
		"the other way round":       {"name_prefix: sso.a", "tenant_claim: x, tenants: [u, t], name_prefix: sso.", true},
		"two prefixes":              {"name_prefix: ldap.", "tenant: t, name_prefix: sso.", false},
		"two tenants":               {"name_prefix: sso.", "tenant: u, name_prefix: sso.", false},
		"names that may be shared":  {"may_name_certificates: true", "tenant: t, name_prefix: sso.", false},
		"names of users by issuers": {"name_prefix: ldap.", "tenant: t, may_name_users: true", false},
	} {
		text := "authentication: {ldap: [{url: 'ldaps://d.example', bind_dn: cn=a, bind_password_file: f, user_base: dc=b, tenant: t, " + c.directory + "}], issuers: [{issuer: 'https://i.example', audience: k, " + c.issuer + "}]}"
		_, err := server.LoadConfig(write(t, filepath.Join(t.TempDir(), "c.yaml"), text))
		if got := strings.Contains(fmt.Sprint(err), "authentication."); got != c.refused || got && !strings.Contains(err.Error(), "authentication.ldap[0].name_prefix") {
			t.Errorf("%s: %v; want it refused: %v", what, err, c.refused)
		}
	}
	var cfg server.Config
	cfg.Authentication.LDAP = []ldap.Settings{{URL: "ldaps://127.0.0.1:1", BindDN: "cn=a", BindPasswordFile: filepath.Join(t.TempDir(), "missing"), UserBase: "dc=b", Tenant: "t", NamePrefix: "l."}}
	found := slices.ContainsFunc(server.Doctor(t.Context(), cfg), func(f server.Finding) bool {
		return f.Part == "ldap" && strings.Contains(f.Problem, "authentication.ldap[0].bind_password_file")
	})
	if !found {
		t.Error("the doctor says nothing of a password file that is missing")
	}
}
