package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/authn/oidc/oidctest"
)

// world is everything that a Verifier relies on.
type world struct {
	t        *testing.T
	issuer   *oidctest.Issuer
	now      time.Time
	users    map[string]*core.User // of tenant t
	failures int
	slow     error
	refused  error // of the tenant
	reports  []error
	identify proof.IdentifyBearer
}

func (w *world) User(_, name string) (*core.User, error) { return w.users[name], nil }

func (w *world) NoteFailureFrom(string) error {
	w.failures++
	return w.slow
}

// newWorld has an issuer for tenant t whose settings may be changed.
func newWorld(t *testing.T, change func(*oidc.Issuer)) *world {
	t.Helper()
	w := &world{t: t, issuer: oidctest.Start(t), now: time.Now().Truncate(time.Second), users: map[string]*core.User{}}
	w.identify = w.verifier(settingsOf(w.issuer, change)).ForConnection("192.0.2.1")
	return w
}

func settingsOf(i *oidctest.Issuer, change func(*oidc.Issuer)) oidc.Issuer {
	s := oidc.Issuer{URL: i.URL, Audience: "keyreeve", Tenant: "t", NamePrefix: "sso."}
	if change != nil {
		change(&s)
	}
	return s
}

func (w *world) verifier(all ...oidc.Issuer) *oidc.Verifier {
	w.t.Helper()
	if err := oidc.CheckIssuers(all); err != nil {
		w.t.Fatal(err)
	}
	v, err := oidc.NewVerifier(all, oidc.Ports{Users: w, Guessing: w, Now: func() time.Time { return w.now },
		RequireTenant: func(context.Context, string) error { return w.refused },
		Report:        func(_ string, err error) { w.reports = append(w.reports, err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// signToken returns a good token with changed claims.
func (w *world) signToken(changes map[string]any) string {
	return w.issuer.Token(w.issuer.Claims(w.now, changes))
}

func (w *world) wantGood(what, token string) *core.Principal {
	w.t.Helper()
	p, err := w.identify(w.t.Context(), nil, token)
	if err != nil {
		w.t.Fatalf("%s is refused: %v", what, err)
	}
	return p
}

// wantRefused fails unless a token is refused for a cause, and the error shows no part of the token.
func (w *world) wantRefused(what, token, cause string) {
	w.t.Helper()
	p, err := w.identify(w.t.Context(), nil, token)
	switch {
	case err == nil:
		w.t.Errorf("%s proves %s/%s; want a refusal", what, p.Tenant, p.ID)
	case core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(err.Error(), cause):
		w.t.Errorf("%s: %v; want a refusal because %s", what, err, cause)
	case len(token) > 0 && strings.Contains(err.Error(), token):
		w.t.Errorf("%s: the error has the token: %.200v", what, err)
	}
}

// A good token names what the settings let its issuer name, and nothing else.
func TestGoodToken(t *testing.T) {
	w := newWorld(t, func(s *oidc.Issuer) {
		s.GroupsClaim, s.Groups = "groups", []string{"storage", "db"}
		s.RolesClaim, s.Roles = "realm_access.roles", []string{"operator"}
		s.Attributes, s.Required = []string{"department", "absent"}, map[string]string{"azp": "cli", "scope": "keys"}
	})
	claims := map[string]any{"groups": []string{"storage", "storage", "kitchen", "not a name"}, "realm_access": map[string]any{"roles": []string{"admin", "operator", "auditor", "system"}},
		"department": "R&D", "secret": "x", "azp": "cli", "scope": []string{"openid", "keys"}, "aud": []string{"other", "keyreeve"}}
	token := w.signToken(claims)
	sum := sha256.Sum256([]byte(token))
	want := &core.Principal{Tenant: "t", ID: "sso.alice", Groups: []string{"storage"}, Roles: []string{"operator"}, Method: core.MethodToken, Strength: core.StrengthToken,
		Attributes: map[string]string{"department": "R&D", "issuer": w.issuer.URL}, TokenID: "jwt" + hex.EncodeToString(sum[:16]), Expires: w.now.Add(10 * time.Minute).Unix()}
	p := w.wantGood("a good token", token)
	if !reflect.DeepEqual(p, want) {
		t.Errorf("the principal is\n%+v; want\n%+v", p, want)
	}
	if again := w.wantGood("the token again", token); again != p {
		t.Error("the principal of the same token is another pointer, though nothing has changed")
	}
	if w.failures != 0 {
		t.Errorf("%d failures were counted for a good token", w.failures)
	}
	array := &core.Principal{Tenant: "t", ID: "array7", Serial: "7", Fingerprint: "f", Expires: p.Expires - 60}
	beside, err := w.identify(t.Context(), array, token)
	if err != nil || beside.ID != "sso.alice" || beside.Certificate != array || beside.Serial != "7" || beside.Expires != array.Expires {
		t.Errorf("beside a certificate: %+v, %v; want the token's principal until the certificate expires", beside, err)
	}
	if _, err := w.identify(t.Context(), &core.Principal{Tenant: "other"}, token); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("beside a certificate of another tenant: %v; want a refusal", err)
	}
	if still := w.wantGood("the token without the certificate", token); still.Certificate != nil || still.Expires != want.Expires {
		t.Errorf("without the certificate: %+v; want no trace of it", still)
	}
}

// Each claim that is wrong refuses the token.
func TestWrongClaims(t *testing.T) {
	w := newWorld(t, func(s *oidc.Issuer) {
		s.Tenant, s.TenantClaim, s.Tenants = "", "org.tenant", []string{"t", "u"}
		s.GroupsClaim, s.Groups = "groups", []string{"*"}
		s.RolesClaim, s.Roles = "roles", []string{"operator"}
		s.Attributes, s.Required = []string{"department"}, map[string]string{"azp": "cli"}
	})
	good := map[string]any{"org": map[string]any{"tenant": "u"}, "azp": "cli"}
	if p := w.wantGood("the unchanged token", w.signToken(good)); p.Tenant != "u" {
		t.Fatalf("the tenant is %s; want u", p.Tenant)
	}
	seconds := func(d time.Duration) any { return w.now.Add(d).Unix() }
	many := make([]string, core.MaxUserNames+1)
	for i := range many {
		many[i] = "g" + strings.Repeat("x", i%60) + string(rune('a'+i/60))
	}
	for _, c := range []struct {
		claim string
		value any
		cause string
	}{
		{"aud", "other", "another audience"}, {"aud", nil, "another audience"}, {"aud", []any{"keyreeve", 1}, "aud"}, {"aud", []string{}, "another audience"}, {"aud", "keyreeve2", "another audience"},
		{"iss", "https://elsewhere.example.com", "issuer"}, {"iss", nil, "issuer"}, {"iss", 7, "JWT"}, {"iss", []string{w.issuer.URL}, "JWT"}, {"iss", w.issuer.URL + "/", "issuer"},
		{"exp", nil, "exp"}, {"exp", seconds(0), "expired"}, {"exp", seconds(-time.Second), "expired"}, {"exp", "soon", "exp"}, {"exp", -1, "exp"}, {"exp", 1e300, "exp"}, {"exp", seconds(13 * time.Hour), "max_lifetime"},
		{"iat", nil, "iat"}, {"iat", seconds(31 * time.Second), "not valid yet"}, {"iat", true, "iat"}, {"nbf", seconds(31 * time.Second), "not valid yet"}, {"nbf", "x", "nbf"},
		{"org", nil, "tenant"}, {"org", map[string]any{"tenant": "v"}, "tenant"}, {"org", map[string]any{"tenant": []string{"t"}}, "org.tenant"}, {"org", "t", "tenant"}, {"org", map[string]any{"tenant": core.SystemTenant}, "tenant"},
		{"preferred_username", nil, "nobody"}, {"preferred_username", "", "preferred_username"}, {"preferred_username", 7, "preferred_username"}, {"preferred_username", "a/b", "nobody"},
		{"preferred_username", strings.Repeat("a", 64), "nobody"}, {"preferred_username", "alice@example.com", "nobody"}, {"preferred_username", []string{"alice"}, "preferred_username"},
		{"groups", 7, "groups"}, {"groups", []any{"a", 7}, "groups"}, {"groups", map[string]any{"a": 1}, "groups"}, {"groups", many, "more than"}, {"_claim_names", map[string]any{"groups": "src1"}, "elsewhere"},
		{"roles", true, "roles"}, {"department", 7, "department"}, {"department", strings.Repeat("d", 257), "department"}, {"department", "a\nb", "department"},
		{"azp", nil, "azp"}, {"azp", "other", "azp"}, {"azp", 7, "azp"},
		{"cnf", "x", "cnf"}, {"cnf", map[string]any{"jkt": "x"}, "cnf"}, {"cnf", map[string]any{"x5t#S256": "short"}, "cnf"}, {"cnf", map[string]any{}, "cnf"}, {"cnf", map[string]any{"x5t#S256": strings.Repeat("A", 43), "jkt": "x"}, "cnf"}, {"cnf", map[string]any{"x5t#S256": 7}, "cnf"},
	} {
		changes := map[string]any{"org": good["org"], "azp": "cli", c.claim: c.value}
		text, _ := json.Marshal(c.value)
		w.wantRefused("a token with "+c.claim+" "+string(text[:min(len(text), 60)]), w.signToken(changes), c.cause)
	}
	for claim, value := range map[string]any{"iat": seconds(30 * time.Second), "nbf": seconds(30 * time.Second), "exp": seconds(time.Second)} {
		w.wantGood("a token with "+claim+" within the skew", w.signToken(map[string]any{"org": good["org"], "azp": "cli", claim: value}))
	}
	if p := w.wantGood("a token with other roles", w.signToken(map[string]any{"org": good["org"], "azp": "cli", "roles": []string{"admin", "system"}})); len(p.Roles) != 0 {
		t.Errorf("an issuer that may name operator has named %v", p.Roles)
	}
}

// Only a listed key of the issuer itself signs, by an algorithm that is allowed.
func TestWrongSignatures(t *testing.T) {
	w := newWorld(t, nil)
	claims := w.issuer.Claims(w.now, nil)
	good := w.issuer.Token(claims)
	w.wantGood("the unchanged token", good)
	parts := strings.Split(good, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signedBy := func(algorithm jose.SignatureAlgorithm, key any, id string) string {
		return w.issuer.Sign(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, "JWT", claims)
	}
	public, err := x509.MarshalPKIXPublicKey(w.issuer.Listed()[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	second := oidctest.Start(t)
	second.AddKey("theirs")
	payload, _ := json.Marshal(second.Claims(w.now, map[string]any{"iss": w.issuer.URL}))
	w.identify = w.verifier(settingsOf(w.issuer, nil), settingsOf(second, func(s *oidc.Issuer) { s.NamePrefix = "two." })).ForConnection("192.0.2.1")
	if p := w.wantGood("a token of the second issuer", second.Token(second.Claims(w.now, nil))); p.ID != "two.alice" {
		t.Errorf("the second issuer names %s; want two.alice", p.ID)
	}
	for what, c := range map[string][2]string{
		"alg none":                         {encode(`{"alg":"none","kid":"one"}`) + "." + parts[1] + ".", "JWT"},
		"alg none with a signature":        {encode(`{"alg":"none","kid":"one"}`) + "." + parts[1] + "." + parts[2], "JWT"},
		"HS256 by the public key":          {signedBy(jose.HS256, public, "one"), "JWT"},
		"an algorithm that is not allowed": {signedBy(jose.ES384, newCurve(t, elliptic.P384()), "one"), "algorithm"},
		"another key of the same kid":      {signedBy(jose.ES256, other, "one"), "signature"},
		"an unknown kid":                   {signedBy(jose.ES256, other, "unknown"), "key"},
		"no kid":                           {signedBy(jose.ES256, other, ""), "key"},
		"a kid of another issuer":          {second.Token(json.RawMessage(payload)), "key"},
		"no signature":                     {parts[0] + "." + parts[1] + ".", "signature"},
		"other claims":                     {parts[0] + "." + encode(strings.Replace(string(mustDecode(t, parts[1])), "alice", "admin", 1)) + "." + parts[2], "signature"},
		"another header":                   {encode(`{"alg":"ES256","kid":"one","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], "signature"},
		"a critical header":                {encode(`{"alg":"ES256","kid":"one","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2], ""},
		"a logout token":                   {w.issuer.Sign(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: other, KeyID: "one"}}, "logout+jwt", claims), "type"},
		"a type that is no text":           {encode(`{"alg":"ES256","kid":"one","typ":7}`) + "." + parts[1] + "." + parts[2], ""},
		"a key in the header":              {encode(`{"alg":"ES256","jwk":{"kty":"oct","k":"AA"}}`) + "." + parts[1] + "." + parts[2], ""},
		"claims that are twice there":      {w.issuer.Token(json.RawMessage(`{"iss":"` + w.issuer.URL + `","iss":"x"}`)), "JWT"},
		"claims that are no object":        {w.issuer.Token(json.RawMessage(`[]`)), "JWT"},
		"claims that are null":             {w.issuer.Token(json.RawMessage(`null`)), "issuer"},
		"two dots":                         {"..", "JWT"},
		"nothing":                          {"", "JWT"},
		"nesting":                          {encode(`{"alg":"ES256","kid":"one"}`) + "." + encode(strings.Repeat("[", 8000)) + ".AA", "JWT"},
		"a huge token":                     {good + strings.Repeat("A", 16<<10), "JWT"},
	} {
		before := w.failures
		w.wantRefused(what, c[0], c[1])
		if w.failures != before+1 {
			t.Errorf("%s: %d failures were counted; want 1", what, w.failures-before)
		}
	}
	w.slow = core.Errorf(core.AuthenticationNotSuccessful, "too many failed logins, try again in 4 s")
	w.wantRefused("one more after too many", "..", "too many failed logins")
	w.wantGood("a good token after too many failures", good)
}

func newCurve(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustDecode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Weak keys, keys for encryption, symmetric keys and keys of an unknown kind are left out.
func TestKeysThatSignNothing(t *testing.T) {
	w := newWorld(t, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]jose.JSONWebKey{
		"a weak key":           {Key: weak, KeyID: "k", Algorithm: "RS256", Use: "sig"},
		"a key for encryption": {Key: newCurve(t, elliptic.P256()), KeyID: "k", Algorithm: "ES256", Use: "enc"},
		"a key without a kid":  {Key: newCurve(t, elliptic.P256()), Algorithm: "ES256", Use: "sig"},
	} {
		w.now = w.now.Add(time.Minute)
		w.issuer.List(w.issuer.Listed()[0], key.Public())
		w.wantRefused(what, w.issuer.Sign(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, "JWT", w.issuer.Claims(w.now, nil)), "key")
	}
}

// A key so large that each use of it is slow is left out.
func TestHugeKey(t *testing.T) {
	w := newWorld(t, nil)
	modulus := new(big.Int).SetBit(big.NewInt(1), 9000, 1)
	w.issuer.List(jose.JSONWebKey{Key: &rsa.PublicKey{N: modulus, E: 65537}, KeyID: "huge", Use: "sig"})
	w.wantRefused("a token of an issuer with a huge key alone", w.signToken(nil), "could not be read")
}

// A key of another algorithm than its own is not used, and RSA and Ed25519 keys work.
func TestAlgorithms(t *testing.T) {
	w := newWorld(t, func(s *oidc.Issuer) { s.Algorithms = []string{"PS256", "ES256"} })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pinned := jose.JSONWebKey{Key: key, KeyID: "rsa", Algorithm: "PS256", Use: "sig"}
	w.issuer.Use(pinned)
	w.wantGood("PS256", w.signToken(nil))
	unpinned := jose.JSONWebKey{Key: key, KeyID: "rsa"}
	w.wantRefused("RS256, which is not allowed", w.issuer.Sign(jose.SigningKey{Algorithm: jose.RS256, Key: unpinned}, "JWT", w.issuer.Claims(w.now, nil)), "algorithm")
	w = newWorld(t, nil)
	w.issuer.Use(pinned)
	w.wantRefused("RS256 by a key for PS256", w.issuer.Sign(jose.SigningKey{Algorithm: jose.RS256, Key: unpinned}, "JWT", w.issuer.Claims(w.now, nil)), "signature")
}

// A new key counts at its first token, but at most one read of the keys begins in 10 s. A key
// that was withdrawn proves nothing after the next read, not even for a token seen before.
func TestRotation(t *testing.T) {
	w := newWorld(t, nil)
	first := w.signToken(nil)
	w.wantGood("a token by the first key", first)
	w.issuer.AddKey("two")
	w.wantRefused("a token by a new key at once", w.signToken(nil), "key")
	for range 50 {
		w.wantRefused("and again", w.signToken(nil), "key")
	}
	if n := w.issuer.Reads(); n != 1 {
		t.Errorf("the keys were read %d times within 10 s; want 1", n)
	}
	w.now = w.now.Add(11 * time.Second)
	w.wantGood("a token by the new key after 10 s", w.signToken(nil))
	w.wantGood("a token by the first key, which is listed still", first)
	w.issuer.List(w.issuer.Listed()[1])
	w.wantGood("a token by a key that was withdrawn, before the next read", first)
	w.now = w.now.Add(11 * time.Second)
	w.issuer.AddKey("three")
	w.wantGood("a token by the third key", w.signToken(nil))
	w.wantRefused("a token by a key that was withdrawn", first, "key")
}

// While the issuer is down its known keys go on until keys_for is over. Then nothing is good.
func TestIssuerIsDown(t *testing.T) {
	w := newWorld(t, func(s *oidc.Issuer) { s.KeysFor, s.MaxLifetime = time.Hour, 10*time.Hour })
	w.issuer.Down()
	long := w.signToken(map[string]any{"exp": w.now.Add(9 * time.Hour).Unix()})
	w.wantRefused("a token before the first read", long, "could not be read")
	w.issuer.Answer(nil)
	w.now = w.now.Add(11 * time.Second)
	w.wantGood("a token of an issuer that is up", long)
	w.issuer.Down()
	w.now = w.now.Add(59 * time.Minute)
	w.wantGood("a known token of an issuer that is down", long)
	w.wantGood("a new token of an issuer that is down", w.signToken(nil))
	w.now = w.now.Add(time.Minute)
	w.wantRefused("a token after keys_for", long, "could not be read")
	if n := len(w.reports); n != 3 || w.reports[0] == nil || w.reports[1] != nil || w.reports[2] == nil {
		t.Errorf("the reports are %v; want a failure, a success and a failure", w.reports)
	}
	if w.failures != 0 {
		t.Errorf("%d failures were counted, though no client sent a wrong token", w.failures)
	}
}

// What an issuer answers is bounded and must be its own.
func TestAnswersOfAnIssuer(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { t.Error("another host was asked") }))
	defer elsewhere.Close()
	for what, answer := range map[string]http.HandlerFunc{
		"a redirect to another host": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL+r.URL.Path, 302) },
		"a redirect in a circle":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, 302) },
		"a huge document": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"issuer":"` + strings.Repeat("x", 1<<20) + `"}`))
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`<html>`)) },
		"nothing": func(w http.ResponseWriter, _ *http.Request) {},
	} {
		w := newWorld(t, nil)
		w.issuer.Answer(answer)
		w.wantRefused(what, w.signToken(nil), "could not be read")
		if len(w.reports) != 1 || w.reports[0] == nil {
			t.Errorf("%s: the reports are %v; want one failure", what, w.reports)
		}
	}
	w := newWorld(t, nil)
	for what, c := range map[string]struct{ issuer, keys, after string }{
		"keys over http": {w.issuer.URL, "http://id.example.com/keys", ""}, "keys in a file": {w.issuer.URL, "file:///etc/keys", ""}, "no address": {w.issuer.URL, "", ""},
		"another issuer":                  {"https://id.example.com", w.issuer.URL + "/keys", ""},
		"a huge document of spaces":       {w.issuer.URL, w.issuer.URL + "/keys", strings.Repeat(" ", 1<<20)},
		"a document with something after": {w.issuer.URL, w.issuer.URL + "/keys", "{}"},
	} {
		w.now, w.reports = w.now.Add(time.Minute), nil
		w.issuer.Answer(func(out http.ResponseWriter, _ *http.Request) {
			w.issuer.Answer(nil) // the keys themselves are there
			json.NewEncoder(out).Encode(map[string]string{"issuer": c.issuer, "jwks_uri": c.keys})
			out.Write([]byte(c.after))
		})
		w.wantRefused(what, w.signToken(nil), "could not be read")
		if len(w.reports) != 1 || w.reports[0] == nil {
			t.Errorf("%s: the reports are %v; want one failure", what, w.reports)
		}
	}
	w.now = w.now.Add(time.Minute)
	w.wantGood("a token of the issuer that answers well again", w.signToken(nil))
}

// An issuer is believed only if its TLS certificate is from an authority of the system or of
// the file in the settings.
func TestCertificateOfAnIssuer(t *testing.T) {
	issuer, certificate := oidctest.StartTLS(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	w.issuer = issuer
	for ca, cause := range map[string]string{"": "could not be read", file: ""} {
		w.identify = w.verifier(settingsOf(issuer, func(s *oidc.Issuer) { s.CA = ca })).ForConnection("192.0.2.1")
		if cause != "" {
			w.wantRefused("a token of an issuer with an unknown certificate", w.signToken(nil), cause)
			continue
		}
		w.wantGood("a token of an issuer with a certificate from the file", w.signToken(nil))
	}
	missing := settingsOf(issuer, func(s *oidc.Issuer) { s.CA = file + "x" })
	if _, err := oidc.NewVerifier([]oidc.Issuer{missing}, oidc.Ports{Now: time.Now}); err == nil || !strings.Contains(err.Error(), "authentication.issuers[0].ca") {
		t.Errorf("without the file: %v; want an error that names the setting", err)
	}
}

// A token that is bound to a certificate (RFC 8705) is good with that one alone.
func TestBoundToken(t *testing.T) {
	w := newWorld(t, nil)
	sum := sha256.Sum256([]byte("certificate"))
	token := w.signToken(map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	right := &core.Principal{Tenant: "t", ID: "a", Fingerprint: hex.EncodeToString(sum[:])}
	if _, err := w.identify(t.Context(), right, token); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	w.wantRefused("a bound token without a certificate", token, "bound")
	if _, err := w.identify(t.Context(), &core.Principal{Tenant: "t", Fingerprint: "ab"}, token); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("with another certificate: %v; want a refusal", err)
	}
}

// An issuer names no user of the directory unless it may, and then no disabled one.
func TestNamesOfUsers(t *testing.T) {
	w := newWorld(t, nil)
	token := w.signToken(nil)
	w.wantGood("a name that no user has", token)
	w.users["sso.alice"] = &core.User{Tenant: "t", Name: "sso.alice"}
	w.wantRefused("a name that a user has got meanwhile", token, "user of the directory")
	w = newWorld(t, func(s *oidc.Issuer) { s.NamePrefix, s.MayNameUsers = "", true })
	w.users["alice"] = &core.User{Tenant: "t", Name: "alice"}
	token = w.signToken(nil)
	w.wantGood("a user's name by an issuer that may", token)
	w.users["alice"] = &core.User{Tenant: "t", Name: "alice", Disabled: true}
	w.wantRefused("a disabled user", token, "disabled")
	w.users["alice"] = &core.User{Tenant: "t", Name: "alice", Expires: w.now.Unix()}
	w.wantRefused("an expired user", token, "expired")
	w.refused = core.Errorf(core.AuthenticationNotSuccessful, "no such tenant")
	w.wantRefused("a tenant that is not declared", token, "no such tenant")
}

// Names are cut, prefixed and taken from sub as the settings say.
func TestNames(t *testing.T) {
	w := newWorld(t, func(s *oidc.Issuer) { s.NameClaim, s.NameSuffix, s.NameFromSub = "email", "@example.com", true })
	if p := w.wantGood("a mail address", w.signToken(map[string]any{"email": "bob@example.com"})); p.ID != "sso.bob" {
		t.Errorf("the name is %s; want sso.bob", p.ID)
	}
	if p := w.wantGood("sub in its place", w.signToken(map[string]any{"sub": "carl@example.com"})); p.ID != "sso.carl" {
		t.Errorf("the name is %s; want sso.carl", p.ID)
	}
	for _, mail := range []string{"bob@example.org", "@example.com", "bob@evil@example.com", "bob"} {
		w.wantRefused("the mail address "+mail, w.signToken(map[string]any{"email": mail}), "nobody")
	}
}

// A token ends when it expires, also on an open connection that has sent it before.
func TestTokenExpires(t *testing.T) {
	w := newWorld(t, nil)
	token := w.signToken(nil)
	w.now = w.now.Add(10*time.Minute - time.Second)
	w.wantGood("a token in its last second", token)
	w.now = w.now.Add(time.Second)
	w.wantRefused("a token at its end", token, "expired")
}

// Settings that could let an issuer name too much are refused, by the name of the setting.
func TestSettings(t *testing.T) {
	good := oidc.Issuer{URL: "https://id.example.com/realms/one", Audience: "keyreeve", Tenant: "t", NamePrefix: "sso."}
	if err := oidc.CheckIssuers([]oidc.Issuer{good}); err != nil {
		t.Fatal(err)
	}
	for setting, changes := range map[string][]func(*oidc.Issuer){
		"issuer": {
			func(s *oidc.Issuer) { s.URL = "" }, func(s *oidc.Issuer) { s.URL = "http://id.example.com" }, func(s *oidc.Issuer) { s.URL = "http://localhost.example.com" },
			func(s *oidc.Issuer) { s.URL = "https://u:p@id.example.com" }, func(s *oidc.Issuer) { s.URL = "https://id.example.com?x=1" }, func(s *oidc.Issuer) { s.URL = "file:///etc" },
		},
		"audience":     {func(s *oidc.Issuer) { s.Audience = "" }},
		"algorithms":   {func(s *oidc.Issuer) { s.Algorithms = []string{"none"} }, func(s *oidc.Issuer) { s.Algorithms = []string{"RS256", "HS256"} }},
		"tenant":       {func(s *oidc.Issuer) { s.Tenant = "" }, func(s *oidc.Issuer) { s.TenantClaim = "x" }, func(s *oidc.Issuer) { s.Tenant = core.SystemTenant }, func(s *oidc.Issuer) { s.Tenants = []string{"t"} }},
		"name_prefix":  {func(s *oidc.Issuer) { s.NamePrefix = "" }, func(s *oidc.Issuer) { s.NamePrefix = "/" }},
		"groups":       {func(s *oidc.Issuer) { s.GroupsClaim = "groups" }, func(s *oidc.Issuer) { s.GroupsClaim, s.Groups = "groups", []string{"a b"} }},
		"roles":        {func(s *oidc.Issuer) { s.Roles = []string{"admin"} }, func(s *oidc.Issuer) { s.RolesClaim, s.Roles = "roles", []string{"*"} }},
		"attributes":   {func(s *oidc.Issuer) { s.Attributes = []string{"issuer"} }, func(s *oidc.Issuer) { s.Attributes = []string{"a b"} }},
		"required":     {func(s *oidc.Issuer) { s.Required = map[string]string{"azp": ""} }},
		"clock_skew":   {func(s *oidc.Issuer) { s.ClockSkew = 6 * time.Minute }, func(s *oidc.Issuer) { s.ClockSkew = -1 }},
		"max_lifetime": {func(s *oidc.Issuer) { s.MaxLifetime = 25 * time.Hour }},
		"keys_for":     {func(s *oidc.Issuer) { s.KeysFor = 200 * time.Hour }},
		"tenant_claim": {func(s *oidc.Issuer) { s.Tenant, s.TenantClaim = "", "org" }},
	} {
		for i, change := range changes {
			s := good
			change(&s)
			if err := oidc.CheckIssuers([]oidc.Issuer{s}); err == nil || !strings.HasPrefix(err.Error(), "[0].") || !strings.Contains(err.Error(), setting) {
				t.Errorf("%s, change %d: %v; want an error that names it", setting, i, err)
			}
		}
	}
	second := good
	second.URL = "https://two.example.com"
	for prefix, apart := range map[string]bool{"sso.": false, "sso.two.": false, "s": false, "two.": true} {
		second.NamePrefix = prefix
		if err := oidc.CheckIssuers([]oidc.Issuer{good, second}); (err == nil) != apart {
			t.Errorf("two issuers of one tenant with the prefixes sso. and %s: %v; want them accepted: %v", prefix, err, apart)
		}
	}
	second.NamePrefix, second.Tenant = "sso.", "u"
	if err := oidc.CheckIssuers([]oidc.Issuer{good, second}); err != nil {
		t.Errorf("two issuers of two tenants: %v", err)
	}
	if err := oidc.CheckIssuers([]oidc.Issuer{good, good}); err == nil {
		t.Error("one issuer has two entries")
	}
}

// Reading the keys ends with the server.
func TestWatch(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		w.verifier(settingsOf(w.issuer, nil)).Watch(ctx)
		close(ended)
	}()
	for w.issuer.Reads() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
}
