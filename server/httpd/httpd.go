// Package httpd is the REST door: thin, over TLS, on the same engine as
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
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/attributes"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/engine/uses"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/handshake"
)

// Options are the parts that the door uses.
type Options struct {
	Engine     *engine.Engine
	Objects    *objects.Verbs
	Uses       *uses.Verbs
	Attributes *attributes.Verbs
	Admin      *admin.Verbs

	Auth    core.Authenticator
	Bearers []core.BearerAuthenticator // the first that recognizes a token verifies it
	Tokens  *admin.TokenVerbs
	Tenants *admin.TenantVerbs

	Clients *admin.ClientVerbs
	// CountFailure counts a wrong invitation from an address. It fails with
	// AuthenticationNotSuccessful if the address must wait.
	CountFailure func(address string) error

	// LogIn verifies a password that is to buy a token. nil: no password buys one.
	LogIn func(context.Context, password.Login) (*core.User, *core.Principal, error)
	// PasswordAlone lets a password buy a token over TLS without a client certificate.
	PasswordAlone bool

	Health  func(ctx context.Context, tenant string) Health // what a tenant is told
	Ready   func(context.Context) bool                      // for everybody; cheap when asked often
	Metrics http.Handler
	Memory  *bounds.Memory // shared by the doors; nil: without bound, for tests

	Operation time.Duration // until its client is told that the outcome is not known
}

// Health is the answer of GET /v1/health.
type Health struct {
	Live     bool            `json:"live"`
	Ready    bool            `json:"ready"`
	Degraded bool            `json:"degraded"` // something needs an operator, though requests are answered
	HSM      core.HSMHealth  `json:"-"`
	Parts    map[string]Part `json:"parts"` // hsm, store, policy, audit, tls
}

// Part is the state of one part of the server, such as the HSM.
type Part struct {
	Ready    bool     `json:"ready"`
	Degraded bool     `json:"degraded,omitempty"`
	Problem  string   `json:"problem,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// route is one row of the REST API, beside the table in docs/REST.md.
type route struct {
	method, path string
	action       core.Action // recorded if the request is refused before the handler runs
	takes        input
	status       int // of a success; 204: without a body
	answer       func(s *service, c *core.Caller, r *http.Request) (any, error)
}

// input is what a route reads besides its path. All else is refused.
type input uint8

const (
	takesNothing input = iota
	takesQuery         // of at most maxParameters
	takesBody          // JSON of at most maxBody bytes
)

var routes = []route{
	{"POST", "/v1/keys", core.ActionCreate, takesBody, http.StatusCreated, typedAnswer((*service).createKey)},
	{"GET", "/v1/keys", core.ActionLocate, takesQuery, http.StatusOK, typedAnswer((*service).listKeys)},
	{"GET", "/v1/keys/{id}", core.ActionGetAttributes, takesNothing, http.StatusOK, typedAnswer((*service).getKey)},
	{"POST", "/v1/encrypt", core.ActionEncrypt, takesBody, http.StatusOK, typedAnswer((*service).encrypt)},
	{"POST", "/v1/decrypt", core.ActionDecrypt, takesBody, http.StatusOK, typedAnswer((*service).decrypt)},

	{"POST", "/v1/policies", core.ActionSavePolicy, takesBody, http.StatusCreated, typedAnswer(createPolicy)},
	{"GET", "/v1/policies", core.ActionReadPolicies, takesQuery, http.StatusOK, typedAnswer(listPolicies)},
	{"GET", "/v1/policies/{policyId}", core.ActionReadPolicies, takesQuery, http.StatusOK, typedAnswer(getPolicy)},
	{"PUT", "/v1/policies/{policyId}", core.ActionSavePolicy, takesBody, http.StatusOK, typedAnswer(replacePolicy)},
	{"DELETE", "/v1/policies/{policyId}", core.ActionDeletePolicy, takesQuery, http.StatusNoContent, typedAnswer(deletePolicy)},
	{"GET", "/v1/policies/{policyId}/versions", core.ActionReadPolicies, takesQuery, http.StatusOK, typedAnswer(listVersions)},
	{"POST", "/v1/policies/{policyId}/rollback", core.ActionSavePolicy, takesBody, http.StatusOK, typedAnswer(rollBackPolicy)},
	{"POST", "/v1/policies/{policyId}/withdraw", core.ActionSavePolicy, takesBody, http.StatusOK, typedAnswer(withdrawPolicy)},
	{"POST", "/v1/policies/{policyId}/replay", core.ActionReplayPolicy, takesBody, http.StatusOK, typedAnswer(replayPolicy)},
	{"POST", "/v1/policies/{policyId}/attach", core.ActionAttachPolicy, takesBody, http.StatusOK, typedAnswer(attachPolicy)},
	{"POST", "/v1/policies/{policyId}/detach", core.ActionDetachPolicy, takesBody, http.StatusOK, typedAnswer(detachPolicy)},
	{"GET", "/v1/keys/{keyId}/policy", core.ActionReadPolicies, takesNothing, http.StatusOK, typedAnswer(policiesOfKey)},
	{"POST", "/v1/keys/{keyId}/policy", core.ActionAttachPolicy, takesBody, http.StatusOK, typedAnswer(attachToKey)},
	{"DELETE", "/v1/keys/{keyId}/policy/{policyId}", core.ActionDetachPolicy, takesNothing, http.StatusOK, typedAnswer(detachFromKey)},
	{"GET", "/v1/keys/{keyId}/access", core.ActionSimulatePolicy, takesQuery, http.StatusOK, typedAnswer(accessToKey)},
	{"GET", "/v1/canaries", core.ActionReadPolicies, takesNothing, http.StatusOK, typedAnswer(listCanaries)},
	{"PUT", "/v1/canaries/{name}", core.ActionSaveCanary, takesBody, http.StatusOK, typedAnswer(saveCanary)},
	{"DELETE", "/v1/canaries/{name}", core.ActionDeleteCanary, takesQuery, http.StatusNoContent, typedAnswer(deleteCanary)},
	{"POST", "/v1/simulate", core.ActionSimulatePolicy, takesBody, http.StatusOK, typedAnswer(simulate)},

	{"POST", "/v1/users", core.ActionSaveUser, takesBody, http.StatusCreated, typedAnswer(createUser)},
	{"GET", "/v1/users", core.ActionReadUsers, takesQuery, http.StatusOK, typedAnswer(listUsers)},
	{"GET", "/v1/users/{name}", core.ActionReadUsers, takesNothing, http.StatusOK, typedAnswer(getUser)},
	{"PATCH", "/v1/users/{name}", core.ActionSaveUser, takesBody, http.StatusOK, typedAnswer(changeUser)},
	{"DELETE", "/v1/users/{name}", core.ActionDeleteUser, takesQuery, http.StatusNoContent, typedAnswer(deleteUser)},
	{"POST", "/v1/roles", core.ActionSaveRole, takesBody, http.StatusCreated, typedAnswer(createRole)},
	{"GET", "/v1/roles", core.ActionReadRoles, takesQuery, http.StatusOK, typedAnswer(listRoles)},
	{"GET", "/v1/roles/{name}", core.ActionReadRoles, takesNothing, http.StatusOK, typedAnswer(getRole)},
	{"PATCH", "/v1/roles/{name}", core.ActionSaveRole, takesBody, http.StatusOK, typedAnswer(changeRole)},
	{"DELETE", "/v1/roles/{name}", core.ActionDeleteRole, takesQuery, http.StatusNoContent, typedAnswer(deleteRole)},

	{"POST", clientPath, core.ActionSaveClient, takesBody, http.StatusCreated, typedAnswer(createClient)},
	{"GET", clientPath, core.ActionReadClients, takesQuery, http.StatusOK, typedAnswer(listClients)},
	{"GET", "/v1/clients/{name}", core.ActionReadClients, takesNothing, http.StatusOK, typedAnswer(getClient)},
	{"PATCH", "/v1/clients/{name}", core.ActionSaveClient, takesBody, http.StatusOK, typedAnswer(changeClient)},
	{"DELETE", "/v1/clients/{name}", core.ActionRevokeClient, takesQuery, http.StatusOK, typedAnswer(revokeClient)},
	{"GET", "/v1/clients/crl", core.ActionReadRevocations, takesNothing, http.StatusOK, typedAnswer(readRevocations)},
	{"POST", "/v1/clients/renew", core.ActionRenewClient, takesBody, http.StatusCreated, typedAnswer(renewClient)},

	{"POST", "/v1/tenants", core.ActionCreateTenant, takesBody, http.StatusCreated, typedAnswer(createTenant)},
	{"GET", "/v1/tenants", core.ActionListTenants, takesQuery, http.StatusOK, typedAnswer(listTenants)},
	{"GET", "/v1/tenants/{tenantId}", core.ActionReadTenant, takesNothing, http.StatusOK, typedAnswer(getTenant)},
	{"PATCH", "/v1/tenants/{tenantId}", core.ActionSaveTenant, takesBody, http.StatusOK, typedAnswer(changeTenant)},
	{"DELETE", "/v1/tenants/{tenantId}", core.ActionDeleteTenant, takesQuery, http.StatusOK, typedAnswer(deleteTenant)},
	{"POST", "/v1/tenants/{tenantId}/confirm", core.ActionDeleteTenant, takesBody, http.StatusOK, typedAnswer(confirmDeletion)},
	{"POST", "/v1/tenants/{tenantId}/restore", core.ActionDeleteTenant, takesBody, http.StatusOK, typedAnswer(restoreTenant)},
	{"GET", "/v1/tenants/{tenantId}/keys", core.ActionLocate, takesQuery, http.StatusOK, typedAnswer(keysOfTenant)},

	{"POST", tokenPath, core.ActionIssueToken, takesBody, http.StatusOK, typedAnswer(issueToken)},
	{"DELETE", tokenPath, core.ActionRevokeToken, takesBody, http.StatusNoContent, typedAnswer(revokeToken)},
	{"GET", "/v1/auth/tokens", core.ActionReadTokens, takesQuery, http.StatusOK, typedAnswer(listTokens)},
	{"POST", "/v1/auth/verify", core.ActionReadTokens, takesBody, http.StatusOK, typedAnswer(verifyToken)},
	{"GET", "/v1/approvals", core.ActionReadApprovals, takesQuery, http.StatusOK, typedAnswer(listApprovals)},
	{"GET", "/v1/approvals/{approvalId}", core.ActionReadApprovals, takesNothing, http.StatusOK, typedAnswer(getApproval)},
	{"POST", "/v1/approvals/{approvalId}/approve", core.ActionApproveRequest, takesBody, http.StatusOK, typedAnswer(approveRequest)},
	{"POST", "/v1/approvals/{approvalId}/deny", core.ActionDenyRequest, takesBody, http.StatusNoContent, typedAnswer(denyRequest)},
	{"GET", "/v1/health", core.ActionReadHealth, takesNothing, http.StatusOK, typedAnswer((*service).health)},
}

func (to *route) pattern() string { return to.method + " " + to.path }

// typedAnswer turns a handler whose answer has a type of its own into that of a row.
func typedAnswer[A any](answer func(*service, *core.Caller, *http.Request) (A, error)) func(*service, *core.Caller, *http.Request) (any, error) {
	return func(s *service, c *core.Caller, r *http.Request) (any, error) { return answer(s, c, r) }
}

type service struct{ Options }

// New makes the handler. It identifies the caller before it looks for a route, so that
// a route that is added later is closed to strangers too.
func New(o Options) http.Handler {
	s := &service{o}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.pattern(), s.routeHandler(r))
	}
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, callerOf(r).RequestID, core.Errorf(core.OperationNotSupported, "there is nothing at %s %s; see docs/REST.md", r.Method, quotable(r.URL.Path)))
	})
	return s.openOr(s.authenticated(mux))
}

// openOr answers the two routes that need no certificate, for load balancers and
// supervisors, and passes on all others. Their answer is one fact without detail.
func (s *service) openOr(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var name string
		good := true
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
		case r.URL.Path == "/v1/health/live":
			name = "live"
		case r.URL.Path == "/v1/health/ready":
			name, good = "ready", s.Ready(r.Context())
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
func (s *service) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID()
		w.Header().Set("Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		p, r, err := s.identify(w, r)
		if err != nil {
			s.recordStranger(r, err)
			if core.CodeOf(err) == core.AuthenticationNotSuccessful {
				w.Header().Set("WWW-Authenticate", challengeTo(r))
			}
			w.Header().Set("Connection", "close")
			writeProblem(w, id, err)
			return
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		c := &core.Caller{Principal: p, Door: core.DoorREST, Address: host, RequestID: id, ClientRef: clipRequestID(r.Header.Get("X-Request-Id"))}
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
func (s *service) routeHandler(to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, to := callerOf(r), to.forInvitation(r)
		err := to.checkInput(r)
		if err != nil {
			writeProblem(w, c.RequestID, s.Engine.RecordRefused(r.Context(), c, to.action, err))
			return
		}
		m, err := s.reserve(c, r)
		if err != nil {
			writeProblem(w, c.RequestID, s.Engine.RecordRefused(r.Context(), c, to.action, err))
			return
		}
		defer m.release()
		out, err := s.answerWithin(to, c, r, m)
		if err != nil {
			writeProblem(w, c.RequestID, err)
			return
		}
		if h, ok := out.(withHeaders); ok {
			h.setHeaders(w.Header())
		}
		if to.status == http.StatusNoContent {
			w.WriteHeader(to.status)
			return
		}
		if list, ok := out.(revocationList); ok {
			w.Header().Set("Content-Type", "application/pkix-crl")
			w.Write(list)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(to.status)
		json.NewEncoder(w).Encode(out)
	})
}

// withHeaders is an answer that is more than its body.
type withHeaders interface{ setHeaders(http.Header) }

// answerWithin does what a route is for, or answers that it has not come back: see
// [bounds.Work]. The work's context ends with the connection: net/http does not see a
// client go away that has sent something behind its request.
func (s *service) answerWithin(to route, c *core.Caller, r *http.Request, m *memory) (any, error) {
	type result struct {
		out any
		err error
	}
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	began, plain := time.Now(), *c
	var late error
	work := bounds.Work{Limit: s.Operation, Began: func() time.Time { return began }, Cancel: leave, Answer: func(ctx context.Context) bool {
		late = s.Engine.RecordUnfinished(ctx, &plain, to.action, s.Operation)
		return true
	}}
	if conn, ok := ctx.Value(connectionKey{}).(*connection); ok {
		work.Conn = conn.Conn
	}
	back := make(chan result, 1)
	go func() {
		defer m.release()
		defer func() {
			if p := recover(); p != nil {
				slog.Error("rest", "request", c.RequestID, "panic", p)
				back <- result{err: fmt.Errorf("panic: %v", p)}
			}
		}()
		out, err := to.answer(s, c, r.WithContext(ctx))
		back <- result{out, err}
	}()
	if done, ended := bounds.Await(ctx, &work, back); ended {
		return done.out, done.err
	}
	return nil, late
}

// checkInput refuses a query, a body or an If-Match that the route does not read, because a
// client that sends one relies on it, and a body that is no JSON.
func (to *route) checkInput(r *http.Request) error {
	if err := to.checkIfMatch(r); err != nil {
		return err
	}
	switch {
	case r.URL.RawQuery != "" && to.takes != takesQuery:
		return core.Errorf(core.InvalidField, "%s takes no query; leave %q out", to.pattern(), quotable(r.URL.RawQuery))
	case to.takes != takesBody && r.ContentLength != 0:
		return core.Errorf(core.InvalidMessage, "%s takes no body; leave it out", to.pattern())
	case to.takes == takesBody:
		return isJSON(r)
	}
	return nil
}

// isJSON refuses headers that declare anything but JSON in UTF-8, because the body is
// read as that.
func isJSON(r *http.Request) error {
	types, codings := r.Header.Values("Content-Type"), r.Header.Values("Content-Encoding")
	if len(codings) > 0 && (len(codings) > 1 || !strings.EqualFold(codings[0], "identity")) {
		return core.Errorf(core.InvalidMessage, "the Content-Encoding %q is not supported; send the body as it is", quotable(strings.Join(codings, ", ")))
	}
	if len(types) == 1 {
		kind, parameters, err := mime.ParseMediaType(types[0])
		charset, given := parameters["charset"]
		switch {
		case err != nil || kind != "application/json":
		case given && !strings.EqualFold(charset, "utf-8"):
			return core.Errorf(core.InvalidMessage, "the charset %q is not supported; use UTF-8", quotable(charset))
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

// recordStranger records a client that was refused. If that fails, only the log says
// so: there is no answer to hold back.
func (s *service) recordStranger(r *http.Request, why error) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	var sent []*x509.Certificate
	if r.TLS != nil {
		sent = r.TLS.PeerCertificates
	}
	if err := s.Engine.RecordLogin(context.WithoutCancel(r.Context()), methodTried(r), handshake.Refused(core.DoorREST, host, sent, why.Error())); err != nil {
		slog.Error("audit", "operation", "Login", "error", err)
	}
}

// methodTried returns how a client tried to prove who it is.
func methodTried(r *http.Request) string {
	if len(r.Header.Values("Authorization")) > 0 {
		return core.MethodToken
	}
	if o, ok := r.Context().Value(orderKey{}).(*tokenOrder); ok && o.body.GrantType == grantPassword {
		if o.body.Code != "" {
			return core.MethodCode
		}
		return core.MethodPassword
	}
	return core.MethodCertificate
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// health answers with the state of every part, if the policy allows it.
func (s *service) health(c *core.Caller, r *http.Request) (Health, error) {
	if err := s.Engine.MayInspect(r.Context(), c, core.ActionReadHealth); err != nil {
		return Health{}, err
	}
	return s.Health(r.Context(), c.Principal.Tenant), nil
}

// metrics answers with the metrics, if the policy allows it.
func (s *service) metrics(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	if err := s.Engine.MayInspect(r.Context(), c, core.ActionReadMetrics); err != nil {
		writeProblem(w, c.RequestID, err)
		return
	}
	s.Metrics.ServeHTTP(w, r)
}
