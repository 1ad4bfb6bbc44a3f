package server_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/tokentext"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/ldap/ldaptest"
	"github.com/keyreeve/keyreeve/server/authn/oidc/oidctest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// tokenClient sends requests over REST: with a certificate, a token, both or neither.
type tokenClient struct {
	t    *testing.T
	http *http.Client
	base string
}

// withToken returns a client that may send tokens, with the certificate of a name; "" for none.
func withToken(t *testing.T, s *servertest.Server, name string) *tokenClient {
	t.Helper()
	config := clientTLS(t, s, "dev")
	config.Certificates = nil
	if name != "" {
		config = clientTLS(t, s, name)
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &tokenClient{t, &http.Client{Timeout: 30 * time.Second, Transport: transport}, "https://" + s.HTTPS}
}

// tokenAnswer is an answer with the members that these tests look at.
type tokenAnswer struct {
	status    int
	challenge string
	cache     string

	AccessToken string        `json:"accessToken"`
	TokenID     string        `json:"tokenId"`
	ExpiresAt   time.Time     `json:"expiresAt"`
	Detail      string        `json:"detail"`
	Allowed     bool          `json:"allowed"`
	Reasons     []string      `json:"reasons"`
	Principal   string        `json:"principal"`
	Tokens      []listedToken `json:"tokens"`
	Next        string        `json:"nextPageToken"`
}

type listedToken struct {
	TokenID   string `json:"tokenId"`
	Principal string `json:"principal"`
}

// ask sends a request; token is "" if there is none.
func (c *tokenClient) ask(method, path, token string, body any) (out tokenAnswer) {
	c.t.Helper()
	text, headers := "", http.Header{}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		text = string(b)
	}
	if token != "" {
		headers.Set("Authorization", "Bearer "+token)
	}
	res, answer := sendREST(c.t, c.http, method, c.base+path, text, headers)
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &out); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
	out.status, out.challenge, out.cache = res.StatusCode, res.Header.Get("WWW-Authenticate"), res.Header.Get("Cache-Control")
	return out
}

// body is a JSON object.
type body map[string]any

// buy buys a token, with more members of the order.
func (c *tokenClient) buy(order body) tokenAnswer {
	c.t.Helper()
	out := c.ask("POST", "/v1/auth/token", "", order)
	if out.status != http.StatusOK || out.AccessToken == "" || out.cache != "no-store" {
		c.t.Fatalf("a token for %v: %+v", order, out)
	}
	return out
}

var byCertificate = body{"grantType": "certificate"}

// encrypt asks for Encrypt and returns the status.
func (c *tokenClient) encrypt(token, id string) int {
	c.t.Helper()
	return c.ask("POST", "/v1/encrypt", token, body{"keyId": id, "format": "raw", "plaintext": base64.StdEncoding.EncodeToString([]byte("data"))}).status
}

// wantStatus fails unless an answer has a status.
func wantStatus(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d; want %d", what, got, want)
	}
}

// within asks again until the answer is the one that is wanted, for at most a second.
func within(t *testing.T, what string, want int, ask func() int) {
	t.Helper()
	for end := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := ask()
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: still %d after a second; want %d", what, got, want)
			return
		}
	}
}

// A certificate buys a token, which works over a connection without a certificate, as the
// same principal. Narrowed, it does what it names; bound, it needs its certificate; revoked,
// it ends at once. A token buys no token, and a wrong one is never the certificate beside it.
func TestTokenByCertificate(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	dev, alone := withToken(t, s, "dev"), withToken(t, s, "")
	kmip := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id, other := aesKey(t, kmip, activeNow), aesKey(t, kmip, activeNow)

	none := alone.ask("GET", "/v1/keys", "", nil)
	if none.status != http.StatusUnauthorized || !strings.HasPrefix(none.challenge, "Bearer") {
		t.Errorf("without certificate and token: %+v; want 401 with a challenge", none)
	}
	wantStatus(t, "to buy a token without a certificate", alone.ask("POST", "/v1/auth/token", "", byCertificate).status, 401)

	token := dev.buy(byCertificate)
	if end := time.Until(token.ExpiresAt); end < 13*time.Minute || end > 16*time.Minute {
		t.Errorf("the token ends in %v; want the default of 15 minutes", end)
	}
	wantStatus(t, "encrypt with the token", alone.encrypt(token.AccessToken, id), 200)
	wantStatus(t, "encrypt with token and certificate", dev.encrypt(token.AccessToken, id), 200)
	if used := strings.Join(records(t, s, "Encrypt", "--json"), "\n"); strings.Count(used, `"token":"`+token.TokenID+`"`) != 2 {
		t.Errorf("the records of the two requests do not name the token %s:\n%s", token.TokenID, used)
	}
	wantStatus(t, "a token buys a token", alone.ask("POST", "/v1/auth/token", token.AccessToken, byCertificate).status, 403)
	wantStatus(t, "a token buys a token beside the certificate", dev.ask("POST", "/v1/auth/token", token.AccessToken, byCertificate).status, 403)

	narrow := dev.buy(body{"grantType": "certificate", "actions": []string{"encrypt"}, "keys": []string{id}}).AccessToken
	wantStatus(t, "the narrowed token encrypts with its key", alone.encrypt(narrow, id), 200)
	wantStatus(t, "the narrowed token encrypts with another key", alone.encrypt(narrow, other), 403)
	wantStatus(t, "the narrowed token reads its key", alone.ask("GET", "/v1/keys/"+id, narrow, nil).status, 403)
	wantStatus(t, "the narrowed token makes a key", alone.ask("POST", "/v1/keys", narrow, body{"type": "symmetric", "algorithm": "AES", "length": 256, "usage": []string{"encrypt"}}).status, 403)
	wantStatus(t, "a token narrowed to nothing", dev.ask("POST", "/v1/auth/token", "", body{"grantType": "certificate", "actions": []string{}}).status, 400)
	wantStatus(t, "a token narrowed to nonsense", dev.ask("POST", "/v1/auth/token", "", body{"grantType": "certificate", "actions": []string{"nonsense"}}).status, 400)
	wantStatus(t, "a token for a day", dev.ask("POST", "/v1/auth/token", "", body{"grantType": "certificate", "lifetime": "24h"}).status, 400)

	s.Issue("bob", "default")
	s.Issue("eve", "elsewhere")
	bound := dev.buy(body{"grantType": "certificate", "bind": true}).AccessToken
	wantStatus(t, "the bound token with its certificate", dev.encrypt(bound, id), 200)
	wantStatus(t, "the bound token without a certificate", alone.encrypt(bound, id), 401)
	wantStatus(t, "the bound token with another certificate", withToken(t, s, "bob").encrypt(bound, id), 401)
	wantStatus(t, "a token with a certificate of its tenant", withToken(t, s, "bob").encrypt(token.AccessToken, id), 200)
	wantStatus(t, "a token with a certificate of another tenant", withToken(t, s, "eve").encrypt(token.AccessToken, id), 401)

	for what, wrong := range map[string]string{"a wrong secret": token.AccessToken[:len(token.AccessToken)-2] + "ca", "an unknown token": unknownToken(), "nonsense": "nonsense"} {
		refused := dev.ask("GET", "/v1/keys", wrong, nil)
		if refused.status != http.StatusUnauthorized || !strings.Contains(refused.challenge, "invalid_token") || strings.Contains(refused.Detail, wrong) {
			t.Errorf("%s beside a good certificate: %+v; want 401 and no word of the token", what, refused)
		}
	}

	if own := alone.ask("GET", "/v1/auth/tokens", token.AccessToken, nil); own.status != 200 || len(own.Tokens) != 3 {
		t.Errorf("dev's tokens: %+v; want three", own)
	}
	if page := dev.ask("GET", "/v1/auth/tokens?limit=2", "", nil); len(page.Tokens) != 2 || page.Next == "" {
		t.Errorf("a page of dev's tokens: %+v; want two and a next page", page)
	}
	bob := withToken(t, s, "bob")
	if others := bob.ask("GET", "/v1/auth/tokens", "", nil); others.status != 200 || len(others.Tokens) != 0 {
		t.Errorf("bob sees the tokens %+v; want none", others)
	}
	wantStatus(t, "bob revokes dev's token", bob.ask("DELETE", "/v1/auth/token", "", body{"tokenId": token.TokenID}).status, 404)
	verified := bob.ask("POST", "/v1/auth/verify", "", body{"token": narrow, "action": "encrypt", "keyId": id})
	if !verified.Allowed || verified.Principal != "default/dev" {
		t.Errorf("verify a token that may: %+v", verified)
	}
	for what, ask := range map[string]body{"another action": {"token": narrow, "action": "decrypt", "keyId": id}, "another key": {"token": narrow, "action": "encrypt", "keyId": other},
		"no such key": {"token": narrow, "action": "encrypt", "keyId": "nothing"}, "no such token": {"token": unknownToken(), "action": "encrypt", "keyId": id}} {
		if out := bob.ask("POST", "/v1/auth/verify", "", ask); out.status != 200 || out.Allowed || len(out.Reasons) == 0 {
			t.Errorf("verify, %s: %+v; want a denial with a reason", what, out)
		}
	}
	if out := withToken(t, s, "eve").ask("POST", "/v1/auth/verify", "", body{"token": narrow, "action": "encrypt", "keyId": id}); out.Allowed || out.Principal != "" {
		t.Errorf("verify by another tenant: %+v; want that the token is not valid", out)
	}

	wantStatus(t, "dev revokes its token", dev.ask("DELETE", "/v1/auth/token", "", body{"token": token.AccessToken}).status, 204)
	wantStatus(t, "the revoked token", alone.encrypt(token.AccessToken, id), 401)
	wantStatus(t, "to revoke it again", dev.ask("DELETE", "/v1/auth/token", "", body{"tokenId": token.TokenID}).status, 404)

	ends := dev.buy(byCertificate).AccessToken
	if out, err := s.Command("cert", "revoke", "--name", "dev", "--dir", s.Dir); err != nil {
		t.Fatalf("cert revoke: %v\n%s", err, out)
	}
	within(t, "a token whose certificate was revoked", 401, func() int { return alone.encrypt(ends, id) })
	assertNowhere(t, s, token.AccessToken, narrow, bound, ends)
}

// unknownToken is a token that no server has issued.
func unknownToken() string {
	token, _, _ := tokentext.New()
	return string(token)
}

// assertNowhere demands that no record and no line of the log has a secret of a token: what
// follows the last underline of the server's own, and the signature of an issuer's.
func assertNowhere(t *testing.T, s *servertest.Server, tokens ...string) {
	t.Helper()
	written, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	log := string(written) + strings.Join(records(t, s, "", "--json"), "\n")
	for _, token := range tokens {
		secret := token[strings.LastIndexByte(token, '.')+1:]
		if secret == token {
			secret = token[strings.LastIndexByte(token, '_')+1:]
		}
		if len(secret) < 32 || strings.Contains(log, secret) {
			t.Errorf("the secret of a token is in the log or in a record")
		}
	}
}

// A password buys a token, beside a certificate of the tenant, or alone if the setting says
// so. The token has the rights that the user has now; it ends with the user and with the
// password.
func TestTokenByPassword(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	set := fresh(t)
	set["authentication"] = map[string]any{"password_without_certificate": true}
	s := startInstalled(t, dir, set)
	kmip := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id := aesKey(t, kmip, activeNow)
	const password, next = "a long enough password", "another good password"
	userCommand(t, s, password, "add", "alice")
	applyPolicy(t, s, "payroll", `{"keyId": "`+id+`", "statements": [{"principal": "role:payroll", "actions": ["encrypt"], "effect": "allow"}]}`)
	alone := withToken(t, s, "")
	order := body{"grantType": "password", "tenant": "default", "user": "alice", "password": password}
	token := alone.buy(order).AccessToken
	beside := withToken(t, s, "dev").buy(body{"grantType": "password", "user": "alice", "password": password}).AccessToken
	for what, one := range map[string]string{"alone": token, "beside a certificate": beside} {
		wantStatus(t, "a token bought "+what+" before alice has the role", alone.encrypt(one, id), 403)
	}
	userCommand(t, s, "", "change", "alice", "--role", "payroll")
	within(t, "the same token after alice got the role", 200, func() int { return alone.encrypt(token, id) })
	assertReasons(t, s, "Encrypt", "statement payroll@1/1", 1)
	for what, wrong := range map[string]body{
		"a wrong password": {"grantType": "password", "tenant": "default", "user": "alice", "password": "not the password"},
		"no such user":     {"grantType": "password", "tenant": "default", "user": "nobody", "password": password},
		"no such tenant":   {"grantType": "password", "tenant": "elsewhere", "user": "alice", "password": password},
		"no tenant":        {"grantType": "password", "user": "alice", "password": password},
	} {
		wantStatus(t, what, alone.ask("POST", "/v1/auth/token", "", wrong).status, 401)
	}
	wantStatus(t, "a wrong password beside a certificate", withToken(t, s, "dev").ask("POST", "/v1/auth/token", "", body{"grantType": "password", "user": "alice", "password": "not the password"}).status, 401)
	userCommand(t, s, next, "password", "alice")
	within(t, "the token after its password was changed", 401, func() int { return alone.encrypt(token, id) })

	issued, err := exec.Command(servertest.Binary(t), "token", "issue", "alice", "--action", "encrypt", "--key", id, "--dir", s.Dir).Output()
	if err != nil {
		t.Fatalf("token issue: %v", err)
	}
	given := strings.TrimSpace(string(issued))
	wantStatus(t, "a token that an administrator issued", alone.encrypt(given, id), 200)
	out, err := s.Command("token", "list", "--dir", s.Dir)
	if err != nil || strings.Count(out, "alice") != 3 {
		t.Errorf("token list: %v\n%s; want three tokens of alice", err, out)
	}
	userCommand(t, s, "", "disable", "alice")
	within(t, "the token of a disabled user", 401, func() int { return alone.encrypt(given, id) })
	userCommand(t, s, "", "enable", "alice")
	within(t, "the token of the user who is enabled again", 200, func() int { return alone.encrypt(given, id) })
	userCommand(t, s, "", "remove", "alice")
	userCommand(t, s, password, "add", "alice", "--role", "payroll")
	wantStatus(t, "the token of a user who was removed and made again", alone.encrypt(given, id), 401)
	wantStatus(t, "the password's token of that user", alone.encrypt(token, id), 401)
	assertNowhere(t, s, token, beside, given)
}

// Without the setting, a password alone buys nothing. Without a user, no password does.
func TestPasswordAloneBuysNoToken(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	userCommand(t, s, "a long enough password", "add", "alice")
	order := body{"grantType": "password", "tenant": "default", "user": "alice", "password": "a long enough password"}
	wantStatus(t, "a password alone", withToken(t, s, "").ask("POST", "/v1/auth/token", "", order).status, 401)
	wantStatus(t, "a password beside a certificate", withToken(t, s, "dev").ask("POST", "/v1/auth/token", "", order).status, 200)
}

// The settings bound how long tokens live and how many there are. A token that has expired
// ends on an open connection.
func TestBoundsOfTokens(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	set := fresh(t)
	set["authentication"] = map[string]any{"token_lifetime": "2m", "token_max_lifetime": "3m", "tokens_per_principal": 2, "tokens_per_tenant": 3}
	s := startInstalled(t, dir, set)
	dev := withToken(t, s, "dev")
	first := dev.buy(byCertificate)
	if end := time.Until(first.ExpiresAt); end > 2*time.Minute {
		t.Errorf("the token ends in %v; want the setting's 2 minutes", end)
	}
	wantStatus(t, "a longer life than the setting's", dev.ask("POST", "/v1/auth/token", "", body{"grantType": "certificate", "lifetime": "4m"}).status, 400)
	dev.buy(body{"grantType": "certificate", "lifetime": "3m"})
	wantStatus(t, "the third token of a principal", dev.ask("POST", "/v1/auth/token", "", byCertificate).status, 403)
	s.Certify(certs.Request{Name: "bob", Tenant: "default"})
	bob := withToken(t, s, "bob")
	bob.buy(byCertificate)
	wantStatus(t, "the fourth token of the tenant", bob.ask("POST", "/v1/auth/token", "", byCertificate).status, 403)
	wantStatus(t, "revoke one", dev.ask("DELETE", "/v1/auth/token", "", body{"tokenId": first.TokenID}).status, 204)
	bob.buy(byCertificate)
	bought := 0
	for out := dev.ask("POST", "/v1/auth/token", "", byCertificate); out.status == http.StatusOK && bought < 100; out = dev.ask("POST", "/v1/auth/token", "", byCertificate) {
		bought++
		dev.ask("DELETE", "/v1/auth/token", "", body{"tokenId": out.TokenID})
	}
	if bought > 20 {
		t.Errorf("dev has bought and revoked %d tokens; want at most ten times the bound of 2", bought)
	}
}

// A token that was revoked on one node ends on another one within a second.
func TestTokenRevokedOnAnotherNode(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	first := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	second := secondNode(t, first, pg.URL)
	id := aesKey(t, dial(t, first, "dev", core.V1_4), activeNow)
	token := withToken(t, first, "dev").buy(byCertificate)
	there := withToken(t, second, "")
	within(t, "a token of the first node on the second one", 200, func() int { return there.encrypt(token.AccessToken, id) })
	wantStatus(t, "revoke it on the first node", withToken(t, first, "dev").ask("DELETE", "/v1/auth/token", "", body{"tokenId": token.TokenID}).status, 204)
	within(t, "the token on the second node", 401, func() int { return there.encrypt(token.AccessToken, id) })
}

// Wrong tokens by the thousand leave the server's memory flat, and an honest client is served
// all the time.
func TestManyWrongTokens(t *testing.T) {
	s := servertest.Start(t)
	kmip := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id := aesKey(t, kmip, activeNow)
	token := withToken(t, s, "dev").buy(byCertificate).AccessToken
	honest, hostile := withToken(t, s, ""), withToken(t, s, "")
	hostile.http.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	flood := func(n int) {
		for i := range n {
			if got := hostile.ask("GET", "/v1/keys", unknownToken(), nil).status; got != http.StatusUnauthorized {
				t.Fatalf("wrong token %d: %d; want 401", i, got)
			}
			if i%50 == 0 {
				wantStatus(t, fmt.Sprintf("the honest client after %d wrong tokens", i), honest.encrypt(token, id), 200)
			}
		}
	}
	flood(300)
	before := s.Resident(t)
	flood(1500)
	if grown := s.Resident(t) - before; grown > 24<<10 {
		t.Errorf("1,500 wrong tokens made the server grow by %d KiB", grown)
	}
	if n := len(records(t, s, "Login")); n == 0 || n > 100 {
		t.Errorf("1,800 wrong tokens left %d records of failed logins; want a few, and then their number", n)
	}
	if err := encryptOver(dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4), id); err != nil {
		t.Errorf("an array with a certificate from the same address: %v", err)
	}
}

// A token of a trusted issuer is the identity over REST, as far as the settings let the issuer
// name it. It buys no token of the server. A refused one is 401 and leaves a record of Login
// with the cause, and no token is in the log, the records or the database.
func TestTokensOfAnIssuer(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	if !strings.Contains(health, "verifies no passwords of tenant default") || !strings.Contains(figures, `keyreeve_ldap_directories_down 1`) {
		t.Errorf("health says %s and the metric keyreeve_ldap_directories_down is 1: %v; want both to tell of the outage", health, strings.Contains(figures, `keyreeve_ldap_directories_down 1`))
	}
}

// A directory and an issuer of one tenant may not name the same principals. The doctor finds a file that
// cannot be read, without asking the directory.
func TestSettingsOfADirectory(t *testing.T) {
	t.Parallel()
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
