package httpd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/httpd/door"
	"github.com/keyreeve/keyreeve/server/httpd/keyroutes"
)

// strangers is an authenticator that knows nobody.
type strangers struct{}

func (strangers) Identify(proof.Evidence) func() (*core.Principal, error) {
	return func() (*core.Principal, error) {
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "no client certificate came with the connection")
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

// pathMember is a part of a path that differs.
var pathMember = regexp.MustCompile(`\{[a-zA-Z]+\}`)

// allRoutes returns the rows of the whole REST door.
func allRoutes(d *door.Door, o Options) []door.Route {
	return slices.Concat(Routes(d, o), keyroutes.Routes(d, keyroutes.Options{}))
}

// Every route, and every path that is none, refuses a client without a certificate, except for
// the two of health without details, the specification and its page, in exactly one spelling.
func TestEveryRouteNeedsACertificate(t *testing.T) {
	stored := &records{}
	ready := true
	d := door.New(door.Options{Auth: strangers{}, Refused: handshake.Refused, Engine: engine.New(engine.Ports{Store: stored, Journal: plainJournal{}, Log: slog.New(slog.DiscardHandler)}, engine.Settings{}),
		Ready:   func(context.Context) bool { return ready },
		Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("metrics were given to a stranger") })})
	routes := allRoutes(d, Options{Health: func(context.Context, string) Health { t.Error("health was asked for a stranger"); return Health{} }})
	d.Add(routes...)
	h := d.Handler()
	ask := func(method, path string, withTLS bool) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://x"+path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		if r.TLS = nil; withTLS {
			r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	closed := []string{"GET /metrics", "POST /metrics", "GET /", "GET /nothing", "OPTIONS /v1/keys", "POST /v1/health/live", "DELETE /v1/health/ready", "GET /v1/health/live/", "GET /v1/health/live/x",
		"GET /v1/health//live", "GET /v1/keys/../health/live", "GET /V1/health/live", "GET //v1/health/live", "GET /v1/health/%6cive/x", "GET /v1//keys", "HEAD /v1/health", "CONNECT /v1/health/live",
		"POST /docs", "GET /docs/", "GET /Docs", "GET //docs", "DELETE /openapi.yaml", "GET /openapi.json", "GET /v1/openapi.yaml"}
	for _, r := range routes {
		closed = append(closed, pathMember.ReplaceAllString(r.Pattern(), "some-id"))
	}
	for _, route := range closed {
		method, path, _ := strings.Cut(route, " ")
		for _, withTLS := range []bool{true, false} {
			w := ask(method, path, withTLS)
			var p api.Problem
			err := json.Unmarshal(w.Body.Bytes(), &p)
			if w.Code != http.StatusUnauthorized || w.Header().Get("Content-Type") != "application/problem+json" || err != nil || p.Status != 401 || p.Code != core.AuthenticationNotSuccessful.String() {
				t.Errorf("%s: %d %s %s; want 401 problem+json", route, w.Code, w.Header(), w.Body)
			}
		}
	}
	if stored.n == 0 {
		t.Error("nobody is recorded")
	}
	before := stored.n
	for _, good := range []bool{true, false} {
		ready = good
		for path, want := range map[string]struct {
			status int
			body   string
		}{"/v1/health/live": {200, "{\"live\":true}\n"}, "/v1/health/ready": map[bool]struct {
			status int
			body   string
		}{true: {200, "{\"ready\":true}\n"}, false: {503, "{\"ready\":false}\n"}}[good]} {
			if w := ask("GET", path, true); w.Code != want.status || w.Body.String() != want.body || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s, ready %v: %d %q", path, good, w.Code, w.Body)
			}
			if w := ask("HEAD", path, true); w.Code != want.status {
				t.Errorf("HEAD %s: %d", path, w.Code)
			}
		}
	}
	for _, path := range []string{"/openapi.yaml", "/docs"} {
		if w := ask("GET", path, true); w.Code != 200 || w.Body.Len() < 10_000 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	if stored.n != before {
		t.Error("open routes leave records of failed logins")
	}
}
