// Package httpd is the REST door: thin, over mutual TLS, on the same engine as
// KMIP. Names in its JSON are the standard's, in snake_case.
//
// A route is a row: method, path and handler; body bounds, identity, request id
// and error rendering happen at one place for all. It decides nothing.
// Start at [New].
package httpd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// Authenticator tells who a verified connection is; see package authn.
type Authenticator interface {
	Principal(*tls.ConnectionState) (*core.Principal, error)
	Revoked(*x509.Certificate) bool
}

// Options are what the door is made of.
type Options struct {
	Engine  *engine.Engine
	Auth    Authenticator
	Health  func(r *http.Request) Health
	Metrics http.Handler
	Memory  *bounds.Memory // shared by the doors; nil: without bound, for tests

	Operation time.Duration // until its client is told that the outcome is not known
}

// Health is the answer of GET /v1/health.
type Health struct {
	Live  bool            `json:"live"`
	Ready bool            `json:"ready"`
	HSM   core.HSMHealth  `json:"-"`
	Parts map[string]Part `json:"parts"` // hsm, store, policy, audit
}

// Part is the state of one hand.
type Part struct {
	Ready   bool     `json:"ready"`
	Problem string   `json:"problem,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

type route struct {
	pattern   string
	operation core.Operation // what is recorded of a request that does not come so far
	handle    func(s *service, c *core.Caller, r *http.Request) (any, error)
}

var routes = []route{
	{"POST /v1/keys", core.OperationCreate, (*service).createKey},
	{"GET /v1/keys", core.OperationLocate, (*service).listKeys},
	{"GET /v1/keys/{id}", core.OperationGetAttributes, (*service).getKey},
	{"POST /v1/encrypt", core.OperationEncrypt, (*service).encrypt},
	{"POST /v1/decrypt", core.OperationDecrypt, (*service).decrypt},
	{"GET /v1/health", 0, (*service).health},
}

type service struct{ Options }

// New makes the handler.
func New(o Options) http.Handler {
	s := &service{o}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.pattern, s.wrap(r))
	}
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.principal(r); err != nil {
			fail(w, requestID(), s.stranger(r, err))
			return
		}
		s.Metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, requestID(), core.Errorf(core.OperationNotSupported, "there is nothing at %s %s; see docs/REST.md", r.Method, shown(r.URL.Path)))
	})
	return mux
}

// Server wraps the handler with every deadline and bound set. It speaks HTTP/1.1
// alone: a connection has one request at a time then, so that the bounds on
// connections bound requests, and their bodies in memory, too.
func Server(h http.Handler, c *tls.Config, operation time.Duration) *http.Server {
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return &http.Server{Handler: h, TLSConfig: c, Protocols: one, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 20*time.Second + operation,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ConnContext: withConnection}
}

type connectionKey struct{}

// withConnection lets a handler look at its connection.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// wrap is what all routes have in common.
func (s *service) wrap(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := requestID()
		w.Header().Set("Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		p, err := s.principal(r)
		if err != nil {
			w.Header().Set("Connection", "close")
			fail(w, id, s.stranger(r, err))
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		c := &core.Caller{Principal: p, Door: core.DoorREST, Address: host, RequestID: id, ClientRef: clip(r.Header.Get("X-Request-Id"))}
		if r.Method == http.MethodPost && !jsonBody(r) {
			fail(w, id, s.Engine.Refuse(r.Context(), c, to.operation, core.Errorf(core.InvalidMessage, "the Content-Type must be application/json")))
			return
		}
		if err := to.excess(r); err != nil {
			fail(w, id, s.Engine.Refuse(r.Context(), c, to.operation, err))
			return
		}
		m, err := s.reserve(c, r)
		if err != nil {
			fail(w, id, s.Engine.Refuse(r.Context(), c, to.operation, err))
			return
		}
		defer m.free()
		out, err := s.within(to, c, r, m)
		if err != nil {
			fail(w, id, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost && r.URL.Path == "/v1/keys" {
			w.WriteHeader(http.StatusCreated)
		}
		json.NewEncoder(w).Encode(out)
	}
}

// within does what a route is for, or answers that it has not come back: a call
// into the HSM cannot be ended from outside. The work's context ends with the
// connection: net/http does not see a client go away that has sent something
// behind its request.
func (s *service) within(to route, c *core.Caller, r *http.Request, m *memory) (any, error) {
	type result struct {
		out any
		err error
	}
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	back := make(chan result, 1)
	go func() {
		defer m.free()
		defer func() {
			if p := recover(); p != nil {
				slog.Error("rest", "request", c.RequestID, "panic", p)
				back <- result{err: fmt.Errorf("panic: %v", p)}
			}
		}()
		out, err := to.handle(s, c, r.WithContext(ctx))
		back <- result{out, err}
	}()
	timer, tick := time.NewTimer(s.Operation), time.NewTicker(bounds.WatchEvery)
	defer timer.Stop()
	defer tick.Stop()
	conn, _ := ctx.Value(connectionKey{}).(net.Conn)
	for {
		select {
		case r := <-back:
			return r.out, r.err
		case <-tick.C:
			if bounds.Gone(conn) {
				leave()
			}
		case <-timer.C:
			plain := *c
			return nil, s.Engine.Leave(context.WithoutCancel(ctx), &plain, to.operation, s.Operation)
		}
	}
}

// excess refuses a query or a body that the route does not read: whoever sends it
// would rely on it.
func (to *route) excess(r *http.Request) error {
	switch {
	case r.URL.RawQuery != "" && to.operation != core.OperationLocate:
		return core.Errorf(core.InvalidField, "%s takes no query; leave %q out", to.pattern, shown(r.URL.RawQuery))
	case r.Method == http.MethodGet && r.ContentLength != 0:
		return core.Errorf(core.InvalidMessage, "%s takes no body; leave it out", to.pattern)
	}
	return nil
}

func jsonBody(r *http.Request) bool {
	typ, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(typ) == "application/json"
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}

// principal names the caller; a certificate revoked since the handshake counts
// no more. The first time on a connection it counts the connection for the caller.
func (s *service) principal(r *http.Request) (*core.Principal, error) {
	if r.TLS == nil {
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "this door needs TLS with a client certificate")
	}
	p, err := s.Auth.Principal(r.TLS)
	if err != nil {
		return nil, err
	}
	conn, _ := r.Context().Value(connectionKey{}).(net.Conn)
	if slot := slotOf(conn); slot != nil {
		if full := slot.Pass(p.Tenant, p.ID); full != "" {
			return nil, core.Errorf(core.Busy, "too many connections: those of %s are taken; use fewer, or try again", full)
		}
	}
	return p, nil
}

// stranger records who was not let in, and returns the answer.
func (s *service) stranger(r *http.Request, why error) error {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	record := core.Record{Door: core.DoorREST, Address: host, Detail: why.Error()}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		record.ClientRef = clip(r.TLS.PeerCertificates[0].Subject.String())
	}
	if err := s.Engine.RecordLogin(r.Context(), record); err != nil {
		return err
	}
	return why
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *service) health(_ *core.Caller, r *http.Request) (any, error) { return s.Health(r), nil }
