package door

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/server/handshake"
)

// issuer is an issuer of bearer tokens that begin with its prefix. Only prefix+"good" is right.
type issuer struct {
	prefix string
	seen   *core.Principal // the certificate's principal beside the last token
}

func (i *issuer) Recognizes(token string) bool { return strings.HasPrefix(token, i.prefix) }

func (i *issuer) ForConnection(string) proof.IdentifyBearer {
	return func(_ context.Context, certificate *core.Principal, token string) (*core.Principal, error) {
		i.seen = certificate
		if token != i.prefix+"good" {
			return nil, core.Errorf(core.AuthenticationNotSuccessful, "the token is not right")
		}
		return &core.Principal{Tenant: "t", ID: "of " + i.prefix, Method: core.MethodToken, TokenID: token}, nil
	}
}

// records keeps what is stored of refused logins.
type records struct {
	core.Store
	n int
}

func (r *records) Shared() bool { return false }

func (r *records) Commit(_ context.Context, ch *core.Change) error {
	r.n += len(core.WritesOf[core.AppendEntry](ch))
	return nil
}

type plainJournal struct{ core.Journal }

func (plainJournal) Seal(*core.Record) core.Entry { return core.Entry{} }

// A request is that of its token if it has the header, and that of its certificate only if it
// has none. Each issuer gets its own tokens.
func TestTokenIsTheIdentity(t *testing.T) {
	certified := &core.Principal{Tenant: "t", ID: "certified", Method: core.MethodCertificate}
	ours, theirs := &issuer{prefix: "kr1_"}, &issuer{prefix: "ey"}
	stored := &records{}
	d := New(Options{Auth: coretest.Always(certified), Refused: handshake.Refused, Bearers: []proof.BearerAuthenticator{ours, theirs}, Engine: engineOf(stored)})
	who := d.authenticated(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Who", callerOf(r).Principal.ID) }))
	for what, c := range map[string]struct {
		headers []string
		without bool // a certificate
		want    string
	}{
		"no token":                       {nil, false, "certified"},
		"a token":                        {[]string{"Bearer kr1_good"}, false, "of kr1_"},
		"a token alone":                  {[]string{"Bearer kr1_good"}, true, "of kr1_"},
		"another issuer's":               {[]string{"Bearer eygood"}, true, "of ey"},
		"another case of the scheme":     {[]string{"bearer kr1_good"}, false, "of kr1_"},
		"a wrong token":                  {[]string{"Bearer kr1_bad"}, false, ""},
		"another issuer's wrong token":   {[]string{"Bearer eybad"}, false, ""},
		"a token that nobody recognizes": {[]string{"Bearer nonsense"}, false, ""},
		"an empty header":                {[]string{""}, false, ""},
		"an empty token":                 {[]string{"Bearer "}, false, ""},
		"no space":                       {[]string{"Bearer"}, false, ""},
		"another scheme":                 {[]string{"Basic ZGV2OmRldg=="}, false, ""},
		"two tokens":                     {[]string{"Bearer kr1_good", "Bearer kr1_good"}, false, ""},
		"a second word":                  {[]string{"Bearer kr1_good kr1_good"}, false, ""},
	} {
		r := httptest.NewRequest("GET", "https://x/v1/keys", nil)
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leafWithoutNames()}}
		if c.without {
			r.TLS.PeerCertificates = nil
		}
		for _, h := range c.headers {
			r.Header.Add("Authorization", h)
		}
		before := stored.n
		w := httptest.NewRecorder()
		who.ServeHTTP(w, r)
		got := w.Header().Get("Who")
		if got != c.want {
			t.Errorf("%s: the request is %q's; want %q", what, got, c.want)
		}
		challenge := w.Header().Get("WWW-Authenticate")
		if refused := c.want == ""; refused != (w.Code == http.StatusUnauthorized) || refused != strings.Contains(challenge, "invalid_token") {
			t.Errorf("%s: %d with the challenge %q", what, w.Code, challenge)
		}
		if c.want == "" && stored.n == before && before < 10 { // the others of an address are only counted
			t.Errorf("%s: the refusal left no record", what)
		}
		if strings.HasPrefix(c.want, "of") && (ours.seen == nil && theirs.seen == nil) != c.without {
			t.Errorf("%s: the issuers saw the certificates %v and %v", what, ours.seen, theirs.seen)
		}
		ours.seen, theirs.seen = nil, nil
	}
}

// engineOf returns an engine that stores its records alone.
func engineOf(stored *records) *engine.Engine {
	return engine.New(engine.Ports{Store: stored, Journal: plainJournal{}, Log: slog.New(slog.DiscardHandler)}, engine.Settings{})
}

// requestOf returns a request of a principal that was let in.
func requestOf(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	c := &core.Caller{Principal: &core.Principal{Tenant: "t", ID: "p"}, Door: core.DoorREST, RecordedAt: new(int64)}
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
}

func leafWithoutNames() *x509.Certificate {
	return &x509.Certificate{Raw: []byte{1}, SerialNumber: big.NewInt(1)}
}

// A route that identifies its clients in its own way does so for its path alone. A path that
// leads there by a redirect is identified by certificate, so that a login leaves its record.
func TestOwnWayToIdentifyIsOfOnePath(t *testing.T) {
	certified := &core.Principal{Tenant: "t", ID: "certified", Method: core.MethodCertificate}
	d := New(Options{Auth: coretest.Always(certified), Refused: handshake.Refused, Engine: engineOf(&records{})})
	asked := 0
	d.Add(Row(t, "POST", "/v1/auth/token", core.ActionIssueToken, TakesBody, 200, func(*testing.T, *core.Caller, *http.Request) (any, error) { return nil, nil }).
		IdentifyBy(func(_ *Connection, _ http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error) {
			asked++
			return certified, r, nil
		}))
	for _, c := range []struct {
		path string
		want int
	}{{"/v1/auth/token", 1}, {"//v1/auth/token", 0}, {"/v1//auth/token", 0}, {"/v1/auth/../auth/token", 0}, {"/v1/auth/./token", 0}, {"/v1/auth/token/", 0}} {
		r := httptest.NewRequest("POST", "https://x"+c.path, nil)
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leafWithoutNames()}}
		asked = 0
		d.authenticated(d.mux).ServeHTTP(httptest.NewRecorder(), r)
		if asked != c.want {
			t.Errorf("%s: identified %d times in the way of the route, want %d", c.path, asked, c.want)
		}
	}
}
