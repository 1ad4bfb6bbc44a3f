// Package oidctest is a small OpenID provider for tests: its configuration, its keys, and
// tokens with any claims and headers. It relies on nothing of the server. Start at [Start].
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is a running provider. Its fields are changed before the requests that they concern.
type Issuer struct {
	URL string

	t      testing.TB
	mu     sync.Mutex
	keys   []jose.JSONWebKey // private; the last one signs
	listed []jose.JSONWebKey
	answer http.HandlerFunc // instead of its own; nil: none
	reads  int
}

// Start starts a provider on loopback with one key. It ends with the test.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.serveBy(httptest.NewServer(i))
	return i
}

// StartTLS starts a provider like [Start] by https, and returns its certificate.
func StartTLS(t testing.TB) (*Issuer, *x509.Certificate) {
	t.Helper()
	i := &Issuer{t: t}
	server := httptest.NewUnstartedServer(i)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	server.StartTLS()
	i.serveBy(server)
	return i, server.Certificate()
}

func (i *Issuer) serveBy(server *httptest.Server) {
	i.t.Cleanup(server.Close)
	i.URL = server.URL
	i.AddKey("one")
}

// AddKey makes a key that signs from now on, and lists it beside the others.
func (i *Issuer) AddKey(id string) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.Use(jose.JSONWebKey{Key: key, KeyID: id, Algorithm: "ES256", Use: "sig"})
}

// Use signs with a private key from now on, and lists its public key beside the others.
func (i *Issuer) Use(private jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.listed = append(i.keys, private), append(i.listed, private.Public())
}

// List lists exactly these keys from now on.
func (i *Issuer) List(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = keys
}

// Listed returns the keys that it lists.
func (i *Issuer) Listed() []jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listed
}

// Answer has a handler answer all requests from now on; nil ends that.
func (i *Issuer) Answer(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

// Down has every request fail from now on.
func (i *Issuer) Down() {
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

// Reads returns how often its configuration was asked for.
func (i *Issuer) Reads() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reads
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	answer, listed := i.answer, i.listed
	if r.URL.Path == "/.well-known/openid-configuration" {
		i.reads++
	}
	i.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	case r.URL.Path == "/keys":
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: listed})
	default:
		http.NotFound(w, r)
	}
}

// Claims returns the claims of a good token for alice that ends in 10 minutes, with changes. A
// change to nil removes a claim.
func (i *Issuer) Claims(now time.Time, changes map[string]any) map[string]any {
	c := map[string]any{"iss": i.URL, "aud": "keyreeve", "sub": "0001", "preferred_username": "alice", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Token signs claims with the newest key.
func (i *Issuer) Token(claims any) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	return i.Sign(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, "JWT", claims)
}

// Sign signs claims with any key, of a type of token.
func (i *Issuer) Sign(key jose.SigningKey, typ string, claims any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}
