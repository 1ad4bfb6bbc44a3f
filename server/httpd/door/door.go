// Package door is the frame of the REST door: HTTP over TLS, who asks, bounds, strict JSON,
// queries, pages and errors. It has no route of its own but health without details and the
// metrics.
//
// A route is a row: method, path, action, input, status, authentication and handler.
// Everything else happens at one place for all. It decides nothing. Start at [New].
package door

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// Options are the parts that the door uses.
type Options struct {
	Engine  *engine.Engine
	Auth    proof.Authenticator
	Bearers []proof.BearerAuthenticator // the first that recognizes a token verifies it

	Ready   func(context.Context) bool // for everybody; cheap when asked often
	Metrics http.Handler
	Memory  *bounds.Memory // shared by the doors; nil: without bound, for tests

	// Refused makes the record of a client that was refused.
	Refused func(door core.Door, address string, sent []*x509.Certificate, why string) core.Record

	Once *directory.Once // remembers Idempotency-Keys; nil: they are refused

	Operation time.Duration // until its client is told that the outcome is not known
}

// Route is one row of the REST API, beside its operation in api/openapi.yaml. [Row] makes it.
type Route struct {
	Method, Path string
	Action       core.Action // recorded if the request is refused before the handler runs
	Takes        Input
	Status       int          // of a success; 204: without a body
	Answers      reflect.Type // of a success, for the comparison with the specification
	answer       func(c *core.Caller, r *http.Request) (any, error)
	changes      bool                                                            // the route replaces a version, and honors If-Match
	rebuild      func(c *core.Caller, r *http.Request, made string) (any, error) // of a route that honours an Idempotency-Key
	identify     Identify
	inPath       []api.Parameter // by the specification, as query
	query        []api.Parameter
}

// Identify names the sender of a request that needs neither a certificate nor an access token.
// The request that it returns goes on, with an error too: see [WithAction] and [WithClaim].
type Identify func(c *Connection, w http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error)

// Row makes a row. The answer of its handler is sent as JSON, unless it is [Raw].
func Row[S, A any](s S, method, path string, action core.Action, takes Input, status int, answer func(S, *core.Caller, *http.Request) (A, error)) Route {
	return Route{Method: method, Path: path, Action: action, Takes: takes, Status: status, Answers: reflect.TypeFor[A](),
		answer: func(c *core.Caller, r *http.Request) (any, error) { return answer(s, c, r) }}
}

// HonorIfMatch returns the row for a route that replaces a version.
func (to Route) HonorIfMatch() Route {
	to.changes = true
	return to
}

// IdentifyBy returns the row for a route with a way of its own to prove who asks. It is used
// for requests without an access token.
func (to Route) IdentifyBy(i Identify) Route {
	to.identify = i
	return to
}

// Input is what a route reads besides its path. All else is refused.
type Input uint8

// The kinds of input.
const (
	TakesNothing Input = iota
	TakesQuery         // of at most MaxParameters
	TakesBody          // JSON of at most maxBody bytes
)

// Pattern returns the row as [http.ServeMux] takes it.
func (to *Route) Pattern() string { return to.Method + " " + to.Path }

// Raw is an answer that is no JSON.
type Raw struct {
	ContentType string
	Body        []byte
}

// Door is what the handlers of all routes share.
type Door struct {
	Options
	mux     *http.ServeMux
	rows    map[string]Route
	workers *bounds.Workers[func()] // they run handlers
}

// New makes a door without routes.
func New(o Options) *Door {
	d := &Door{o, http.NewServeMux(), map[string]Route{}, bounds.NewWorkers(func(handle func()) { handle() })}
	d.mux.HandleFunc("GET /metrics", d.metrics)
	d.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, callerOf(r).RequestID, core.Errorf(core.OperationNotSupported, "there is nothing at %s %s; see docs/REST.md", r.Method, Quotable(r.URL.Path)))
	})
	return d
}

// Add adds routes.
func (d *Door) Add(routes ...Route) {
	for _, r := range routes {
		if o := api.OperationOf(r.Pattern()); o != nil {
			r.inPath, r.query = o.InPath, o.Query
		}
		d.rows[r.Pattern()] = r
		d.mux.Handle(r.Pattern(), d.routeHandler(r))
	}
}

// Handler returns the handler of all routes. It identifies the caller before a route runs,
// so that a route that is added later is closed to strangers too.
func (d *Door) Handler() http.Handler { return api.Documents(d.openOr(d.authenticated(d.mux))) }

// openOr answers the two routes that need no certificate, for load balancers and
// supervisors, and passes on all others. Their answer is one fact without detail.
func (d *Door) openOr(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var name string
		good := true
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
		case r.URL.Path == "/v1/health/live":
			name = "live"
		case r.URL.Path == "/v1/health/ready":
			name, good = "ready", d.Ready(r.Context())
		}
		if name == "" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		if !good {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "{%q:%v}\n", name, good)
	})
}

type callerKey struct{}

// callerOf returns the caller that authenticated has let in.
func callerOf(r *http.Request) *core.Caller { return r.Context().Value(callerKey{}).(*core.Caller) }

// authenticated passes on requests of clients whose certificate or access token names a
// principal at the time of the request. All others get 401.
func (d *Door) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID()
		w.Header().Set("Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		p, r, err := d.identify(w, r)
		if err != nil {
			setAuditID(w, d.recordStranger(r, id, err), id)
			if core.CodeOf(err) == core.AuthenticationNotSuccessful {
				w.Header().Set("WWW-Authenticate", challengeTo(r))
			}
			w.Header().Set("Connection", "close")
			writeProblem(w, id, err)
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		c := &core.Caller{Principal: p, Door: core.DoorREST, Address: host, RequestID: id, ClientRef: clipRequestID(r.Header.Get("X-Request-Id")), RecordedAt: new(int64)}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// Server wraps the handler with every deadline and bound set. It speaks HTTP/1.1
// alone: a connection has one request at a time then, so that the bounds on
// connections bound requests, and their bodies in memory, too.
func Server(h http.Handler, c *tls.Config, operation time.Duration) *http.Server {
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return &http.Server{Handler: h, TLSConfig: c, Protocols: one, DisableGeneralOptionsHandler: true, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 20*time.Second + operation,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ConnContext: withConnection}
}

// routeHandler is what all routes have in common.
func (d *Door) routeHandler(to Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, to := callerOf(r), to
		if a, ok := r.Context().Value(actionKey{}).(core.Action); ok {
			to.Action = a
		}
		err := to.checkInput(r)
		if err != nil {
			refuse(w, c, d.Engine.RecordRefused(r.Context(), c, to.Action, err))
			return
		}
		if expected := ExpectedVersion(r); expected != nil {
			c.ExpectedVersion = *expected
		}
		m, err := d.reserve(c, r)
		if err != nil {
			refuse(w, c, d.Engine.RecordRefused(r.Context(), c, to.Action, err))
			return
		}
		defer m.release()
		out, recorded, err := d.answerWithin(to, c, r, m)
		setAuditID(w, recorded, c.RequestID)
		if err != nil {
			writeProblem(w, c.RequestID, err)
			return
		}
		defer WipeAnswer(out)
		if h, ok := out.(withHeaders); ok {
			h.SetHeaders(w.Header())
		}
		if to.Status == http.StatusNoContent {
			w.WriteHeader(to.Status)
			return
		}
		if raw, ok := out.(Raw); ok {
			w.Header().Set("Content-Type", raw.ContentType)
			w.Write(raw.Body)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(to.Status)
		json.NewEncoder(w).Encode(out)
	})
}

// setAuditID names the last record that a request has left, by its time. 0: none.
func setAuditID(w http.ResponseWriter, recorded int64, request string) {
	if recorded != 0 {
		w.Header().Set("Audit-Id", audit.ID(recorded, request))
	}
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, c *core.Caller, err error) {
	setAuditID(w, *c.RecordedAt, c.RequestID)
	writeProblem(w, c.RequestID, err)
}

// withHeaders is an answer that is more than its body.
type withHeaders interface{ SetHeaders(http.Header) }

// secretAnswer is an answer that holds something in clear. It is zeroed when it has been sent, or
// when it came too late to be sent.
type secretAnswer interface{ Wipe() }

// WipeAnswer zeroes what an answer holds in clear.
func WipeAnswer(out any) {
	if s, ok := out.(secretAnswer); ok {
		s.Wipe()
	}
}

// answerWithin does what a route is for, or answers that it has not come back: see
// [bounds.Work]. The work's context ends with the connection: net/http does not see a
// client go away that has sent something behind its request. It also returns the time of the last
// record, 0 if there is none.
func (d *Door) answerWithin(to Route, c *core.Caller, r *http.Request, m *memory) (out any, recorded int64, err error) {
	type result struct {
		out any
		err error
	}
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	began, plain := time.Now(), *c
	plain.RecordedAt = new(int64) // that of c belongs to the work
	var late error
	work := bounds.Work{Limit: d.Operation, Began: func() time.Time { return began }, Cancel: leave, Answer: func(ctx context.Context) bool {
		late = d.Engine.RecordUnfinished(ctx, &plain, to.Action, d.Operation)
		return true
	}}
	if conn, ok := ctx.Value(connectionKey{}).(*Connection); ok {
		work.Conn = conn.Conn
	}
	back := make(chan result, 1)
	d.workers.Start(func() {
		defer m.release()
		defer func() {
			if p := recover(); p != nil {
				slog.Error("rest", "request", c.RequestID, "panic", p)
				back <- result{err: fmt.Errorf("panic: %v", p)}
			}
		}()
		out, err := d.answerOnce(to, c, r.WithContext(ctx))
		back <- result{out, err}
	})
	if done, ended := bounds.Await(ctx, &work, back); ended {
		return done.out, *c.RecordedAt, done.err
	}
	go func() { WipeAnswer((<-back).out) }()
	return nil, *plain.RecordedAt, late
}

// checkInput refuses a query, a body or an If-Match that the route does not read, because a
// client that sends one relies on it, and a body that is no JSON.
func (to *Route) checkInput(r *http.Request) error {
	if err := cmp.Or(to.checkIfMatch(r), to.checkOnce(r)); err != nil {
		return err
	}
	for _, p := range to.inPath {
		if err := p.Check(r.PathValue(p.Name)); err != nil {
			return core.Errorf(core.ItemNotFound, "%v", err) // nothing can have that name
		}
	}
	switch {
	case r.URL.RawQuery != "" && to.Takes != TakesQuery:
		return core.Errorf(core.InvalidField, "%s takes no query; leave %q out", to.Pattern(), Quotable(r.URL.RawQuery))
	case to.Takes != TakesBody && r.ContentLength != 0:
		return core.Errorf(core.InvalidMessage, "%s takes no body; leave it out", to.Pattern())
	case to.Takes == TakesBody:
		return IsJSON(r)
	case to.query != nil:
		return to.checkQuery(r)
	}
	return nil
}

// checkQuery checks a query by the specification.
func (to *Route) checkQuery(r *http.Request) error {
	given, err := SingleValues(r.URL.RawQuery)
	if err != nil {
		return err
	}
	return faultError(api.CheckQuery(given, to.query))
}

// IsJSON refuses headers that declare anything but JSON in UTF-8, because the body is
// read as that.
func IsJSON(r *http.Request) error {
	types, codings := r.Header.Values("Content-Type"), r.Header.Values("Content-Encoding")
	if len(codings) > 0 && (len(codings) > 1 || !strings.EqualFold(codings[0], "identity")) {
		return core.Errorf(core.InvalidMessage, "the Content-Encoding %q is not supported; send the body as it is", Quotable(strings.Join(codings, ", ")))
	}
	if len(types) == 1 {
		kind, parameters, err := mime.ParseMediaType(types[0])
		charset, given := parameters["charset"]
		switch {
		case err != nil || kind != "application/json":
		case given && !strings.EqualFold(charset, "utf-8"):
			return core.Errorf(core.InvalidMessage, "the charset %q is not supported; use UTF-8", Quotable(charset))
		default:
			return nil
		}
	}
	return core.Errorf(core.InvalidMessage, "the Content-Type must be application/json")
}

func clipRequestID(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}

// recordStranger records a client that was refused, and returns the time of the record; 0 if there
// is none. If that fails, only the log says so: there is no answer to hold back.
func (d *Door) recordStranger(r *http.Request, request string, why error) int64 {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	var sent []*x509.Certificate
	if r.TLS != nil {
		sent = r.TLS.PeerCertificates
	}
	claim := claimOf(r)
	record := d.Refused(core.DoorREST, host, sent, why.Error())
	record.ClientRef, record.RequestID = cmp.Or(claim.User, record.ClientRef), request
	at, err := d.Engine.RecordLoginAt(context.WithoutCancel(r.Context()), claim.Method, record)
	if err != nil {
		slog.Error("audit", "operation", "Login", "error", err)
		return 0
	}
	return at
}

type (
	actionKey struct{}
	claimKey  struct{}
)

// WithAction returns a request that is recorded as another action than that of its row, if it
// is refused.
func WithAction(r *http.Request, a core.Action) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), actionKey{}, a))
}

// WithClaim returns a request whose sender tried to prove who it is in another way than by
// certificate or token.
func WithClaim(r *http.Request, c Claim) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), claimKey{}, c))
}

// Claim says how the sender of a request tried to prove who it is.
type Claim struct {
	Method string // of core.Principal
	User   string // who it claims to be, for the record; "": nobody
}

// claimOf returns how a client tried to prove who it is.
func claimOf(r *http.Request) Claim {
	if len(r.Header.Values("Authorization")) > 0 {
		return Claim{Method: core.MethodToken}
	}
	if c, ok := r.Context().Value(claimKey{}).(Claim); ok {
		return c
	}
	return Claim{Method: core.MethodCertificate}
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// metrics answers with the metrics, if the policy allows it.
func (d *Door) metrics(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	if err := d.Engine.MayInspect(r.Context(), c, core.ActionReadMetrics); err != nil {
		refuse(w, c, err)
		return
	}
	d.Metrics.ServeHTTP(w, r)
}
