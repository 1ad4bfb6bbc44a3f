package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/serverpolicy"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/exchanges"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// adminDoor is the door for the commands of the same machine: HTTP and JSON over a
// Unix socket that only the server's own user can open. Like the other doors it
// decides nothing: the policy is asked for the action of each route.
type adminDoor struct {
	engine    *engine.Engine
	admin     *admin.Verbs
	tokens    *admin.TokenVerbs
	tenants   *admin.TenantVerbs
	clients   *admin.ClientVerbs
	upkeep    *upkeep.Verbs
	jobs      *jobs.Verbs
	store     core.Store
	policy    *authz.Authorizer
	log       *slog.Logger
	mapped    func(tenant string) []*core.Principal // by tls.principals
	addresses map[string]string
	health    *healthCheck
	reloads   *reloader
	exchanges *exchanges.Keeper
}

var adminRoutes = slices.Concat([]adminsocket.Route[*adminDoor]{
	adminsocket.NewRoute("GET /audit", core.ActionReadRecords, adminsocket.AskedAndRecorded, (*adminDoor).listRecords),
	adminsocket.NewRoute("GET /doors", core.ActionReadHealth, adminsocket.Asked, (*adminDoor).listDoors),
	adminsocket.NewRoute("GET /health", core.ActionReadHealth, adminsocket.Asked, (*adminDoor).tellHealth),
	adminsocket.NewRoute("GET /certificates/damaged", core.ActionReadHealth, adminsocket.Asked, (*adminDoor).listDamaged),
	adminsocket.NewRoute("GET /policy/simulate", core.ActionSimulatePolicy, adminsocket.AskedByEngine, (*adminDoor).simulate),
	adminsocket.NewRoute("GET /policy/explain", core.ActionSimulatePolicy, adminsocket.AskedByEngine, explainAccess),
	adminsocket.NewRoute("POST /policy/reload", core.ActionReload, adminsocket.Asked, (*adminDoor).reloadPolicy),
	adminsocket.NewRoute("GET /hsm/orphans", core.ActionListTokenObjects, adminsocket.AskedAndRecorded, (*adminDoor).listOrphans),
	adminsocket.NewRoute("GET /hsm/keys", core.ActionListTokenObjects, adminsocket.AskedAndRecorded, (*adminDoor).listKeySets),
	adminsocket.NewRoute("POST /hsm/orphans/purge", core.ActionPurgeTokenObject, adminsocket.AskedByEngine, (*adminDoor).purgeOrphans),
	adminsocket.NewRoute("GET /policies", core.ActionReadPolicies, adminsocket.AskedByEngine, (*adminDoor).listPolicies),
	adminsocket.NewRoute("GET /policies/one", core.ActionReadPolicies, adminsocket.AskedByEngine, (*adminDoor).readPolicy),
	adminsocket.NewRoute("PUT /policies/one", core.ActionSavePolicy, adminsocket.AskedByEngine, (*adminDoor).savePolicy),
	adminsocket.NewRoute("DELETE /policies/one", core.ActionDeletePolicy, adminsocket.AskedByEngine, (*adminDoor).deletePolicy),
	adminsocket.NewRoute("GET /policies/history", core.ActionReadPolicies, adminsocket.AskedByEngine, (*adminDoor).policyHistory),
	adminsocket.NewRoute("POST /policies/rollback", core.ActionSavePolicy, adminsocket.AskedByEngine, (*adminDoor).rollBackPolicy),
	adminsocket.NewRoute("POST /policies/withdraw", core.ActionSavePolicy, adminsocket.AskedByEngine, (*adminDoor).withdrawPolicy),
	adminsocket.NewRoute("POST /policies/replay", core.ActionReplayPolicy, adminsocket.AskedByEngine, (*adminDoor).replayPolicy),
	adminsocket.NewRoute("GET /policies/canaries", core.ActionReadPolicies, adminsocket.AskedByEngine, (*adminDoor).listCanaries),
	adminsocket.NewRoute("PUT /policies/canaries/one", core.ActionSaveCanary, adminsocket.AskedByEngine, (*adminDoor).saveCanary),
	adminsocket.NewRoute("DELETE /policies/canaries/one", core.ActionDeleteCanary, adminsocket.AskedByEngine, (*adminDoor).deleteCanary),
	adminsocket.NewRoute("GET /policies/targets", core.ActionReadPolicies, adminsocket.AskedByEngine, (*adminDoor).listTargets),
	adminsocket.NewRoute("POST /policies/attach", core.ActionAttachPolicy, adminsocket.AskedByEngine, (*adminDoor).attachPolicy),
	adminsocket.NewRoute("POST /policies/detach", core.ActionDetachPolicy, adminsocket.AskedByEngine, (*adminDoor).detachPolicy),
	adminsocket.NewRoute("GET /users", core.ActionReadUsers, adminsocket.AskedByEngine, (*adminDoor).listUsers),
	adminsocket.NewRoute("PUT /users/one", core.ActionSaveUser, adminsocket.AskedByEngine, (*adminDoor).saveUser),
	adminsocket.NewRoute("DELETE /users/one", core.ActionDeleteUser, adminsocket.AskedByEngine, (*adminDoor).deleteUser),
	adminsocket.NewRoute("GET /roles", core.ActionReadRoles, adminsocket.AskedByEngine, (*adminDoor).listRoles),
	adminsocket.NewRoute("PUT /roles/one", core.ActionSaveRole, adminsocket.AskedByEngine, (*adminDoor).saveRole),
	adminsocket.NewRoute("DELETE /roles/one", core.ActionDeleteRole, adminsocket.AskedByEngine, (*adminDoor).deleteRole),
	adminsocket.NewRoute("GET /tenants", core.ActionListTenants, adminsocket.AskedByEngine, listTenants),
	adminsocket.NewRoute("POST /tenants", core.ActionCreateTenant, adminsocket.AskedByEngine, createTenant),
	adminsocket.NewRoute("GET /tenants/one", core.ActionListTenants, adminsocket.AskedByEngine, readTenant),
	adminsocket.NewRoute("PATCH /tenants/one", core.ActionSaveTenant, adminsocket.AskedByEngine, saveTenant),
	adminsocket.NewRoute("DELETE /tenants/one", core.ActionDeleteTenant, adminsocket.AskedByEngine, deleteTenant),
	adminsocket.NewRoute("POST /tenants/confirm", core.ActionDeleteTenant, adminsocket.AskedByEngine, confirmDeletion),
	adminsocket.NewRoute("POST /tenants/restore", core.ActionDeleteTenant, adminsocket.AskedByEngine, restoreTenant),
	adminsocket.NewRoute("GET /approvals", core.ActionReadApprovals, adminsocket.AskedByEngine, listApprovals),
	adminsocket.NewRoute("GET /approvals/one", core.ActionReadApprovals, adminsocket.AskedByEngine, readApproval),
	adminsocket.NewRoute("POST /approvals/approve", core.ActionApproveRequest, adminsocket.AskedByEngine, approveRequest),
	adminsocket.NewRoute("POST /approvals/deny", core.ActionDenyRequest, adminsocket.AskedByEngine, denyRequest),
	adminsocket.NewRoute("GET /clients", core.ActionReadClients, adminsocket.AskedByEngine, listClients),
	adminsocket.NewRoute("GET /clients/one", core.ActionReadClients, adminsocket.AskedByEngine, readClient),
	adminsocket.NewRoute("GET /clients/doctor", core.ActionDiagnoseClient, adminsocket.AskedByEngine, diagnoseClient),
	adminsocket.NewRoute("PUT /clients/one", core.ActionSaveClient, adminsocket.AskedByEngine, saveClient),
	adminsocket.NewRoute("POST /clients/authority", core.ActionCreateAuthority, adminsocket.AskedByEngine, createAuthority),
	adminsocket.NewRoute("GET /clients/crl", core.ActionReadRevocations, adminsocket.AskedByEngine, readRevocations),
	adminsocket.NewRoute("POST /clients/revoke", core.ActionRevokeClient, adminsocket.AskedByEngine, revokeClient),
	adminsocket.NewRoute("GET /tokens", core.ActionReadTokens, adminsocket.AskedByEngine, (*adminDoor).listTokens),
	adminsocket.NewRoute("POST /tokens", core.ActionIssueToken, adminsocket.AskedByEngine, (*adminDoor).issueToken),
	adminsocket.NewRoute("DELETE /tokens/one", core.ActionRevokeToken, adminsocket.AskedByEngine, (*adminDoor).revokeToken),
}, adminsocket.ServerPolicyRoutes(func(d *adminDoor) *serverpolicy.Keeper { return d.reloads.serverPolicy }), jobRoutes())

func (s *Server) openAdmin(context.Context) (stopper, error) {
	if err := s.cfg.checkDir(); err != nil {
		return nil, err
	}
	l, err := adminsocket.Listen(s.cfg.AdminSocket())
	if err != nil {
		return nil, err
	}
	d := &adminDoor{engine: s.engine, admin: s.admin, tokens: s.tokens, clients: s.clients, tenants: s.tenantVerbs, upkeep: s.upkeep.verbs, jobs: jobs.NewVerbs(s.engine, s.jobs), store: s.store, policy: s.policy, log: s.log, mapped: s.mappedPrincipals,
		addresses: map[string]string{"kmip": s.KMIPAddr, "https": s.HTTPSAddr}, health: s.health, reloads: s.reloads, exchanges: s.exchanges}
	return s.servingHTTP("admin socket", adminsocket.Server(adminsocket.Handler(d, adminRoutes, d, door.StatusOf)), l), nil
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

// MayInspect asks the policy for a route that leaves a record only if it is refused.
func (d *adminDoor) MayInspect(ctx context.Context, c *core.Caller, action core.Action) error {
	return d.engine.MayInspect(ctx, c, action)
}

// Administer asks the policy for a route whose answers leave a record.
func (d *adminDoor) Administer(ctx context.Context, c *core.Caller, action core.Action, detail string, do func() error) error {
	return d.admin.Administer(ctx, c, action, detail, do)
}

// listDoors tells where the server listens.
func (d *adminDoor) listDoors(context.Context, *core.Caller, *adminsocket.Question) (any, error) {
	return d.addresses, nil
}

func (d *adminDoor) tellHealth(ctx context.Context, c *core.Caller, _ *adminsocket.Question) (any, error) {
	return d.health.askParts(ctx, c.Principal.Tenant), nil
}

// listDamaged lists the stored certificates that are damaged.
func (d *adminDoor) listDamaged(ctx context.Context, _ *core.Caller, _ *adminsocket.Question) (any, error) {
	return upkeep.DamagedCertificates(ctx, d.store)
}

// reloadPolicy returns the hash of the policy that is in force now.
func (d *adminDoor) reloadPolicy(ctx context.Context, _ *core.Caller, _ *adminsocket.Question) (any, error) {
	err := d.reloads.reload(ctx)
	return adminsocket.ReloadedPolicy{Policy: d.policy.Hash(), Note: d.reloads.serverPolicy.FileNote()}, err
}
