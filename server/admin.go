package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
)

// The admin socket answers the commands of the same machine: HTTP and JSON over
// a Unix socket that only the server's own user can open.

func (s *Server) openAdmin() error {
	path := s.cfg.AdminSocket()
	if err := s.cfg.checkDir(); err != nil {
		return err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("another server answers at %s; stop it, or take another dir", path)
	}
	os.Remove(path)
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return fmt.Errorf("the admin socket cannot be made; see dir (--dir): %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /audit", s.adminAudit)
	mux.HandleFunc("GET /doors", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]string{"kmip": s.KMIPAddr, "https": s.HTTPSAddr}, nil)
	})
	mux.HandleFunc("GET /certificates/damaged", func(w http.ResponseWriter, r *http.Request) {
		damaged, err := engine.DamagedCertificates(r.Context(), s.store)
		reply(w, damaged, err)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { reply(w, s.health(r), nil) })
	mux.HandleFunc("POST /policy/reload", func(w http.ResponseWriter, r *http.Request) {
		err := s.Reload(r.Context())
		reply(w, map[string]string{"policy": s.policy.Hash()}, err) // the one that is in force now
	})
	mux.HandleFunc("GET /policy/simulate", s.adminSimulate)
	mux.HandleFunc("GET /hsm/orphans", s.adminOrphans)
	mux.HandleFunc("POST /hsm/orphans/purge", s.adminPurge)
	mux.HandleFunc("GET /hsm/keys", s.adminKeySets)
	mux.HandleFunc("GET /tenants", s.adminListTenants)
	mux.HandleFunc("POST /tenants", s.adminCreateTenant)
	s.admin = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, ConnContext: peerOf}
	s.admin.Handler = ownUser(mux)
	s.goServe(func() error { return s.admin.Serve(l) }, http.ErrServerClosed)
	return nil
}

// errNoServer is why a question was not answered at all.
var errNoServer = errors.New("no server answers")

// Ask puts a question to the server that answers at an admin socket.
func Ask(socket, method, path string, q url.Values, out any) error {
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequest(method, "http://admin"+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("%w at %s; is it running, and is this its user?", errNoServer, socket)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var e struct{ Error string }
		json.NewDecoder(res.Body).Decode(&e)
		return errors.New(e.Error)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// maxSocketPath is what a Unix socket's path may have, in bytes.
const maxSocketPath = 107

// checkDir says what keeps the admin socket from being made in dir.
func (c *Config) checkDir() error {
	info, err := os.Stat(c.Dir)
	switch {
	case err != nil:
		return fmt.Errorf("the folder of the admin socket is not there; make it, or see dir (--dir): %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is no folder; see dir (--dir)", c.Dir)
	case len(c.AdminSocket()) > maxSocketPath:
		return fmt.Errorf("the path of the admin socket has %d bytes and may have %d; choose a shorter dir (--dir)", len(c.AdminSocket()), maxSocketPath)
	case unix.Access(c.Dir, unix.W_OK) != nil:
		return fmt.Errorf("%s cannot be written; see dir (--dir), and whether it belongs to keyreeve's user", c.Dir)
	}
	return nil
}

// socketPrincipal is who asks over the admin socket. No certificate makes it: its
// method is another.
var socketPrincipal = &core.Principal{Tenant: core.SystemTenant, ID: "socket", Roles: []string{"system"}, Method: "system"}

// socketCaller is a request over the admin socket, as the policy sees it.
func socketCaller(ctx context.Context) *core.Caller {
	return &core.Caller{Principal: socketPrincipal, Door: core.DoorAdmin, ClientRef: strings.TrimPrefix(askedBy(ctx), ", ")}
}

type peerKey struct{}

// askedBy tells who asked over the admin socket; a signal tells nothing.
func askedBy(ctx context.Context) string {
	if uid, ok := ctx.Value(peerKey{}).(int); ok {
		return fmt.Sprintf(", asked by user %d", uid)
	}
	return ""
}

// peerOf asks the kernel who opened the connection.
func peerOf(ctx context.Context, c net.Conn) context.Context {
	uid := -1
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					uid = int(cred.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// ownUser lets in the server's own user alone, and root.
func ownUser(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if uid, ok := r.Context().Value(peerKey{}).(int); !ok || (uid != os.Getuid() && uid != 0) {
			http.Error(w, `{"error":"only the server's own user may do this"}`, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = map[string]string{"error": err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}

// AuditPage is the answer of the command audit list, newest first.
type AuditPage struct {
	Entries []audit.Entry `json:"entries"`
	Before  int64         `json:"before,omitempty"` // page on from here; 0: there are no more
}

// Bounds of one answer about records.
const (
	maxAuditPage = 1000 // entries
	adminPages   = 20   // pages that a filtered question walks through, of 1000 entries
)

func (s *Server) adminAudit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	rq, want, err := auditQuery(q)
	if err != nil {
		reply(w, nil, err)
		return
	}
	action, _ := core.ActionByName(q.Get("operation"))
	var page AuditPage
	for range adminPages {
		stored, err := s.store.Records(r.Context(), rq)
		if err != nil {
			reply(w, nil, err)
			return
		}
		for _, e := range stored {
			entry, err := audit.Decode(e)
			if err != nil {
				reply(w, nil, fmt.Errorf("record %d: %w", e.Number, err))
				return
			}
			if fits(q.Get("principal"), entry.Principal) && (fits(q.Get("object"), entry.Object) || slices.Contains(entry.Others, q.Get("object"))) && fits(action.String(), entry.Operation) && fits(q.Get("outcome"), entry.Outcome) {
				if page.Entries = append(page.Entries, entry); len(page.Entries) == want {
					page.Before = e.Number
					reply(w, page, nil)
					return
				}
			}
			rq.Before = e.Number
		}
		if len(stored) < rq.Limit {
			reply(w, page, nil)
			return
		}
	}
	page.Before = rq.Before // not all has been looked at
	reply(w, page, nil)
}

// auditQuery reads a filter of records. What it does not understand is an error: a
// filter that is passed over would show more than was asked for.
func auditQuery(q url.Values) (rq core.RecordQuery, want int, err error) {
	texts := []string{"tenant", "principal", "object", "operation", "outcome"}
	numbers := map[string]int64{"limit": 0, "since": 0, "until": 0, "before": 0}
	for name, values := range q {
		_, isNumber := numbers[name]
		if len(values) != 1 || (!isNumber && !slices.Contains(texts, name)) {
			return rq, 0, fmt.Errorf("%q is no filter of records, or is given twice", name)
		}
		if !isNumber || values[0] == "" {
			continue
		}
		if numbers[name], err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return rq, 0, fmt.Errorf("%s must be a whole number, not %q", name, values[0])
		}
	}
	if o := q.Get("outcome"); !slices.ContainsFunc([]core.Outcome{"", core.Allowed, core.Denied, core.Failed}, func(is core.Outcome) bool { return strings.EqualFold(o, string(is)) }) {
		return rq, 0, fmt.Errorf("outcome must be allowed, denied or failed, not %q", o)
	}
	if o := q.Get("operation"); o != "" {
		if _, ok := core.ActionByName(o); !ok {
			return rq, 0, fmt.Errorf("operation %q is in no record; Get, Create Key Pair and Load Policy are some", o)
		}
	}
	if n := numbers["limit"]; n <= 0 || n > maxAuditPage {
		return rq, 0, fmt.Errorf("limit must be from 1 to %d", maxAuditPage)
	}
	return core.RecordQuery{Tenant: q.Get("tenant"), Since: numbers["since"], Until: numbers["until"], Before: numbers["before"], Limit: 1000}, int(numbers["limit"]), nil
}

func fits(want, have string) bool { return want == "" || strings.EqualFold(want, have) }

// Simulated is the answer of the command policy simulate.
type Simulated struct {
	Allow   bool     `json:"allow"`
	Reasons []string `json:"reasons"`
	Policy  string   `json:"policy"`
}

// adminSimulate asks the policy without doing anything. The principal is given
// as TENANT/NAME with groups and roles, since certificates name them.
func (s *Server) adminSimulate(w http.ResponseWriter, r *http.Request) {
	out, err := s.simulate(r)
	reply(w, out, err)
}

// mapped gives p the groups and roles that tls.principals gives it.
func (s *Server) mapped(p *core.Principal) {
	for _, m := range s.cfg.TLS.Principals {
		if m.Tenant == p.Tenant && m.Name == p.ID {
			p.Groups, p.Roles = m.Groups, m.Roles
			return
		}
	}
}

// whoAsks reads the principal of a simulation: NAME or TENANT/NAME, with groups
// and roles.
func whoAsks(q url.Values) (tenant, name string, err error) {
	tenant, name, ok := strings.Cut(q.Get("as"), "/")
	if !ok {
		tenant, name = "default", tenant
	}
	if tenant == "" || name == "" || strings.ContainsAny(tenant+name, "/:") {
		return "", "", fmt.Errorf("--as must be NAME or TENANT/NAME, not %q", q.Get("as"))
	}
	for _, s := range slices.Concat([]string{tenant, name}, q["group"], q["role"]) {
		if err := plainText(s, 256); err != nil || s == "" {
			return "", "", fmt.Errorf("%q is no name of a principal, group or role", s)
		}
	}
	return tenant, name, nil
}

func (s *Server) simulate(r *http.Request) (*Simulated, error) {
	q := r.URL.Query()
	tenant, name, err := whoAsks(q)
	if err != nil {
		return nil, err
	}
	action, ok := core.ActionByName(q.Get("do"))
	if !ok || !action.Askable() {
		return nil, fmt.Errorf("%q is no operation; Get and Encrypt are some", q.Get("do"))
	}
	from := q.Get("from")
	if _, err := netip.ParseAddr(from); err != nil {
		return nil, fmt.Errorf("--from must be an IP address, not %q", from)
	}
	p := &core.Principal{Tenant: tenant, ID: name, Groups: q["group"], Roles: q["role"], Method: "mtls"}
	if len(p.Groups)+len(p.Roles) == 0 {
		s.mapped(p)
	}
	req := core.AccessRequest{Action: action, Door: core.DoorKMIP, Address: from, Now: time.Now().Unix(), Principal: p}
	if tenant == socketPrincipal.Tenant && name == socketPrincipal.ID {
		req.Principal, req.Door, req.Address = socketPrincipal, core.DoorAdmin, ""
	}
	if at := q.Get("at"); at != "" {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return nil, fmt.Errorf("--at must be a time such as 2026-01-31T12:00:00Z")
		}
		req.Now = t.Unix()
	}
	if id := q.Get("object"); id != "" {
		o, err := s.store.Object(r.Context(), tenant, id)
		if core.CodeOf(err) == core.ItemNotFound {
			return nil, fmt.Errorf("for tenant %s there is no object %q: the answer would be Item Not Found", tenant, id)
		}
		if err != nil {
			return nil, err
		}
		req.Object, req.State = o, o.StateAt(req.Now)
	}
	d, err := s.policy.Decide(r.Context(), &req)
	if err != nil {
		return nil, fmt.Errorf("the policy did not decide, so the request would be refused: %w", err)
	}
	if !d.Allow && req.Object == nil && s.dependsOnObject(r.Context(), req) {
		return nil, fmt.Errorf("whether %s may %s depends on the object: name one with --object", name, req.Action)
	}
	return &Simulated{Allow: d.Allow, Reasons: d.Reasons, Policy: d.PolicyHash}, nil
}

// dependsOnObject reports whether a request that is denied without an object is
// allowed for an active key of the one who asks.
func (s *Server) dependsOnObject(ctx context.Context, req core.AccessRequest) bool {
	req.Object = &core.ManagedObject{Tenant: req.Principal.Tenant, ID: "any", Owner: req.Principal.ID, Type: core.ObjectTypeSymmetricKey}
	req.State = core.Active
	d, err := s.policy.Decide(ctx, &req)
	return err == nil && d.Allow
}
