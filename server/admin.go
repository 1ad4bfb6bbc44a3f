package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// adminDoor is the door for the commands of the same machine: HTTP and JSON over a
// Unix socket that only the server's own user can open. Like the other doors it
// decides nothing: the policy is asked for the action of each route.
type adminDoor struct {
	engine     *engine.Engine
	admin      *admin.Verbs
	tokens     *admin.TokenVerbs
	tenants    *admin.TenantVerbs
	clients    *admin.ClientVerbs
	upkeep     *upkeep.Verbs
	store      core.Store
	policy     *authz.Authorizer
	log        *slog.Logger
	principals []authn.Mapping // tls.principals, for simulations
	addresses  map[string]string
	health     *healthCheck
	reloads    *reloader
}

// adminRoute is one question or order that the admin socket takes.
type adminRoute struct {
	pattern string
	action  core.Action
	checked adminCheck
	answer  func(d *adminDoor, ctx context.Context, c *core.Caller, q *adminQuestion) (any, error)
}

// adminQuestion is what a command asks. Passwords and documents are in the body: records
// tell the parameters.
type adminQuestion struct {
	url.Values
	body []byte // zeroed after the answer
}

// maxAdminBody bounds a body, in bytes: a key policy, or a user.
const maxAdminBody = core.MaxDirectoryBody

// adminCheck says where the policy is asked for a route, and what leaves a record.
type adminCheck uint8

const (
	asked            adminCheck = iota // here; a refusal leaves a record
	askedAndRecorded                   // here; an answer leaves a record too, before it is given
	askedByEngine                      // by the engine, which leaves the record
)

var adminRoutes = []adminRoute{
	{"GET /audit", core.ActionReadRecords, askedAndRecorded, (*adminDoor).listRecords},
	{"GET /doors", core.ActionReadHealth, asked, (*adminDoor).listDoors},
	{"GET /health", core.ActionReadHealth, asked, (*adminDoor).tellHealth},
	{"GET /certificates/damaged", core.ActionReadHealth, asked, (*adminDoor).listDamaged},
	{"GET /policy/simulate", core.ActionSimulatePolicy, askedByEngine, (*adminDoor).simulate},
	{"POST /policy/reload", core.ActionReload, asked, (*adminDoor).reloadPolicy},
	{"GET /hsm/orphans", core.ActionListTokenObjects, askedAndRecorded, (*adminDoor).listOrphans},
	{"GET /hsm/keys", core.ActionListTokenObjects, askedAndRecorded, (*adminDoor).listKeySets},
	{"POST /hsm/orphans/purge", core.ActionPurgeTokenObject, askedByEngine, (*adminDoor).purgeOrphans},
	{"GET /policies", core.ActionReadPolicies, askedByEngine, (*adminDoor).listPolicies},
	{"GET /policies/one", core.ActionReadPolicies, askedByEngine, (*adminDoor).readPolicy},
	{"PUT /policies/one", core.ActionSavePolicy, askedByEngine, (*adminDoor).savePolicy},
	{"DELETE /policies/one", core.ActionDeletePolicy, askedByEngine, (*adminDoor).deletePolicy},
	{"GET /policies/history", core.ActionReadPolicies, askedByEngine, (*adminDoor).policyHistory},
	{"POST /policies/rollback", core.ActionSavePolicy, askedByEngine, (*adminDoor).rollBackPolicy},
	{"POST /policies/withdraw", core.ActionSavePolicy, askedByEngine, (*adminDoor).withdrawPolicy},
	{"POST /policies/replay", core.ActionReplayPolicy, askedByEngine, (*adminDoor).replayPolicy},
	{"GET /policies/canaries", core.ActionReadPolicies, askedByEngine, (*adminDoor).listCanaries},
	{"PUT /policies/canaries/one", core.ActionSaveCanary, askedByEngine, (*adminDoor).saveCanary},
	{"DELETE /policies/canaries/one", core.ActionDeleteCanary, askedByEngine, (*adminDoor).deleteCanary},
	{"GET /policies/targets", core.ActionReadPolicies, askedByEngine, (*adminDoor).listTargets},
	{"POST /policies/attach", core.ActionAttachPolicy, askedByEngine, (*adminDoor).attachPolicy},
	{"POST /policies/detach", core.ActionDetachPolicy, askedByEngine, (*adminDoor).detachPolicy},
	{"GET /users", core.ActionReadUsers, askedByEngine, (*adminDoor).listUsers},
	{"PUT /users/one", core.ActionSaveUser, askedByEngine, (*adminDoor).saveUser},
	{"DELETE /users/one", core.ActionDeleteUser, askedByEngine, (*adminDoor).deleteUser},
	{"GET /roles", core.ActionReadRoles, askedByEngine, (*adminDoor).listRoles},
	{"PUT /roles/one", core.ActionSaveRole, askedByEngine, (*adminDoor).saveRole},
	{"DELETE /roles/one", core.ActionDeleteRole, askedByEngine, (*adminDoor).deleteRole},
	{"GET /tenants", core.ActionListTenants, askedByEngine, listTenants},
	{"POST /tenants", core.ActionCreateTenant, askedByEngine, createTenant},
	{"GET /tenants/one", core.ActionListTenants, askedByEngine, readTenant},
	{"PATCH /tenants/one", core.ActionSaveTenant, askedByEngine, saveTenant},
	{"DELETE /tenants/one", core.ActionDeleteTenant, askedByEngine, deleteTenant},
	{"POST /tenants/confirm", core.ActionDeleteTenant, askedByEngine, confirmDeletion},
	{"POST /tenants/restore", core.ActionDeleteTenant, askedByEngine, restoreTenant},
	{"GET /approvals", core.ActionReadApprovals, askedByEngine, listApprovals},
	{"GET /approvals/one", core.ActionReadApprovals, askedByEngine, readApproval},
	{"POST /approvals/approve", core.ActionApproveRequest, askedByEngine, approveRequest},
	{"POST /approvals/deny", core.ActionDenyRequest, askedByEngine, denyRequest},
	{"GET /clients", core.ActionReadClients, askedByEngine, listClients},
	{"GET /clients/one", core.ActionReadClients, askedByEngine, readClient},
	{"PUT /clients/one", core.ActionSaveClient, askedByEngine, saveClient},
	{"POST /clients/revoke", core.ActionRevokeClient, askedByEngine, revokeClient},
	{"GET /tokens", core.ActionReadTokens, askedByEngine, (*adminDoor).listTokens},
	{"POST /tokens", core.ActionIssueToken, askedByEngine, (*adminDoor).issueToken},
	{"DELETE /tokens/one", core.ActionRevokeToken, askedByEngine, (*adminDoor).revokeToken},
}

// Times of one request over the admin socket. The token may have many objects.
const (
	adminRead  = 10 * time.Second
	adminWork  = 50 * time.Second
	adminWrite = time.Minute
)

func (s *Server) openAdmin(context.Context) (stopper, error) {
	path := s.cfg.AdminSocket()
	if err := s.cfg.checkDir(); err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("another server answers at %s; stop it, or take another dir", path)
	}
	os.Remove(path)
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("the admin socket cannot be made; see dir (--dir): %w", err)
	}
	d := &adminDoor{engine: s.engine, admin: s.admin, tokens: s.tokens, clients: s.clients, tenants: s.tenantVerbs, upkeep: s.upkeep.verbs, store: s.store, policy: s.policy, log: s.log, principals: s.cfg.TLS.Principals,
		addresses: map[string]string{"kmip": s.KMIPAddr, "https": s.HTTPSAddr}, health: s.health, reloads: s.reloads}
	admin := &http.Server{Handler: d.handler(), ReadHeaderTimeout: adminRead, ReadTimeout: adminRead, WriteTimeout: adminWrite, ConnContext: peerOf}
	return s.servingHTTP("admin socket", admin, l), nil
}

func (d *adminDoor) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range adminRoutes {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), adminWork)
			defer cancel()
			q := &adminQuestion{Values: r.URL.Query()}
			var out any
			var err error
			if q.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody)); err != nil {
				err = core.Wrap(core.InvalidField, err, "the body cannot be read, or has more than %d bytes", maxAdminBody)
			} else {
				out, err = d.answerRoute(ctx, &route, q)
			}
			clear(q.body)
			writeAnswer(w, out, err)
		})
	}
	return ownUser(mux)
}

func (d *adminDoor) answerRoute(ctx context.Context, route *adminRoute, q *adminQuestion) (out any, err error) {
	c := socketCaller(ctx)
	switch route.checked {
	case askedAndRecorded:
		err = d.admin.Administer(ctx, c, route.action, route.question(q.Values)+askedBy(ctx), func() (err error) {
			out, err = route.answer(d, ctx, c, q)
			return err
		})
		return out, err
	case askedByEngine:
	default:
		if err := d.engine.MayInspect(ctx, c, route.action); err != nil {
			return nil, err
		}
	}
	return route.answer(d, ctx, c, q)
}

// maxQuestion bounds what a record tells of a question, in bytes.
const maxQuestion = 400

// question returns the route with what is asked for, for a record.
func (route *adminRoute) question(q url.Values) string {
	for name, values := range q {
		if len(values) == 1 && values[0] == "" {
			delete(q, name) // the command line sends the filters that are not set too
		}
	}
	return core.Printable(strings.TrimSuffix(route.pattern+"?"+q.Encode(), "?"), maxQuestion)
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

// socketPrincipal is the principal of requests over the admin socket. No certificate
// can name it, because its method is another.
var socketPrincipal = &core.Principal{Tenant: core.SystemTenant, ID: "socket", Roles: []string{"system"}, Method: core.MethodSystem, Strength: core.StrengthSystem}

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

// writeAnswer writes an answer, or an error with all its causes: anyone who can ask here
// can read the log too.
func writeAnswer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(httpd.StatusOf(err))
		v = map[string]string{"error": err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}

// listDoors tells where the server listens.
func (d *adminDoor) listDoors(context.Context, *core.Caller, *adminQuestion) (any, error) {
	return d.addresses, nil
}

func (d *adminDoor) tellHealth(ctx context.Context, c *core.Caller, _ *adminQuestion) (any, error) {
	return d.health.askParts(ctx, c.Principal.Tenant), nil
}

// listDamaged lists the stored certificates that are damaged.
func (d *adminDoor) listDamaged(ctx context.Context, _ *core.Caller, _ *adminQuestion) (any, error) {
	return upkeep.DamagedCertificates(ctx, d.store)
}

// reloadPolicy returns the hash of the policy that is in force now.
func (d *adminDoor) reloadPolicy(ctx context.Context, _ *core.Caller, _ *adminQuestion) (any, error) {
	err := d.reloads.reload(ctx)
	return map[string]string{"policy": d.policy.Hash()}, err
}
