// Package httpd has the routes of administration of the REST door: policies, people, clients,
// tenants, tokens, approvals and health. They call the same verbs as the admin socket, and
// decide nothing. Start at [Routes].
package httpd

import (
	"context"
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// Options are the parts that the routes use.
type Options struct {
	Admin   *admin.Verbs
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

	Health func(ctx context.Context, tenant string) Health // what a tenant is told
}

type service struct {
	*door.Door
	Options
}

// Routes returns the rows of administration.
func Routes(d *door.Door, o Options) []door.Route {
	s := &service{d, o}
	return []door.Route{
		door.HonorOnceSecretly(door.Row(s, "POST", "/v1/policies", core.ActionSavePolicy, door.TakesBody, http.StatusCreated, createPolicy)),
		door.Row(s, "GET", "/v1/policies", core.ActionReadPolicies, door.TakesQuery, http.StatusOK, listPolicies),
		door.Row(s, "GET", "/v1/policies/{policyId}", core.ActionReadPolicies, door.TakesQuery, http.StatusOK, getPolicy),
		door.Row(s, "PUT", "/v1/policies/{policyId}", core.ActionSavePolicy, door.TakesBody, http.StatusOK, replacePolicy).HonorIfMatch(),
		door.Row(s, "DELETE", "/v1/policies/{policyId}", core.ActionDeletePolicy, door.TakesQuery, http.StatusNoContent, deletePolicy).HonorIfMatch(),
		door.Row(s, "GET", "/v1/policies/{policyId}/versions", core.ActionReadPolicies, door.TakesQuery, http.StatusOK, listVersions),
		door.Row(s, "POST", "/v1/policies/{policyId}/rollback", core.ActionSavePolicy, door.TakesBody, http.StatusOK, rollBackPolicy).HonorIfMatch(),
		door.Row(s, "POST", "/v1/policies/{policyId}/withdraw", core.ActionSavePolicy, door.TakesBody, http.StatusOK, withdrawPolicy).HonorIfMatch(),
		door.Row(s, "POST", "/v1/policies/{policyId}/replay", core.ActionReplayPolicy, door.TakesBody, http.StatusOK, replayPolicy),
		door.Row(s, "POST", "/v1/policies/{policyId}/attach", core.ActionAttachPolicy, door.TakesBody, http.StatusOK, attachPolicy),
		door.Row(s, "POST", "/v1/policies/{policyId}/detach", core.ActionDetachPolicy, door.TakesBody, http.StatusOK, detachPolicy),
		door.Row(s, "GET", "/v1/keys/{keyId}/policy", core.ActionReadPolicies, door.TakesNothing, http.StatusOK, policiesOfKey),
		door.Row(s, "POST", "/v1/keys/{keyId}/policy", core.ActionAttachPolicy, door.TakesBody, http.StatusOK, attachToKey),
		door.Row(s, "DELETE", "/v1/keys/{keyId}/policy/{policyId}", core.ActionDetachPolicy, door.TakesNothing, http.StatusOK, detachFromKey),
		door.Row(s, "GET", "/v1/keys/{keyId}/access", core.ActionSimulatePolicy, door.TakesQuery, http.StatusOK, accessToKey),
		door.Row(s, "GET", "/v1/canaries", core.ActionReadPolicies, door.TakesNothing, http.StatusOK, listCanaries),
		door.Row(s, "PUT", "/v1/canaries/{name}", core.ActionSaveCanary, door.TakesBody, http.StatusOK, saveCanary),
		door.Row(s, "DELETE", "/v1/canaries/{name}", core.ActionDeleteCanary, door.TakesQuery, http.StatusNoContent, deleteCanary),
		door.Row(s, "POST", "/v1/simulate", core.ActionSimulatePolicy, door.TakesBody, http.StatusOK, simulate),

		door.HonorOnce(door.Row(s, "POST", "/v1/users", core.ActionSaveUser, door.TakesBody, http.StatusCreated, createUser), s, rebuildUser),
		door.Row(s, "GET", "/v1/users", core.ActionReadUsers, door.TakesQuery, http.StatusOK, listUsers),
		door.Row(s, "GET", "/v1/users/{name}", core.ActionReadUsers, door.TakesNothing, http.StatusOK, getUser),
		door.Row(s, "PATCH", "/v1/users/{name}", core.ActionSaveUser, door.TakesBody, http.StatusOK, changeUser).HonorIfMatch(),
		door.Row(s, "DELETE", "/v1/users/{name}", core.ActionDeleteUser, door.TakesQuery, http.StatusNoContent, deleteUser).HonorIfMatch(),
		door.Row(s, "GET", "/v1/groups", core.ActionReadUsers, door.TakesQuery, http.StatusOK, listGroups),
		door.Row(s, "GET", "/v1/groups/{name}", core.ActionReadUsers, door.TakesNothing, http.StatusOK, getGroup),
		door.HonorOnce(door.Row(s, "POST", "/v1/roles", core.ActionSaveRole, door.TakesBody, http.StatusCreated, createRole), s, rebuildRole),
		door.Row(s, "GET", "/v1/roles", core.ActionReadRoles, door.TakesQuery, http.StatusOK, listRoles),
		door.Row(s, "GET", "/v1/roles/{name}", core.ActionReadRoles, door.TakesNothing, http.StatusOK, getRole),
		door.Row(s, "PATCH", "/v1/roles/{name}", core.ActionSaveRole, door.TakesBody, http.StatusOK, changeRole).HonorIfMatch(),
		door.Row(s, "DELETE", "/v1/roles/{name}", core.ActionDeleteRole, door.TakesQuery, http.StatusNoContent, deleteRole).HonorIfMatch(),

		door.HonorOnceSecretly(door.Row(s, "POST", clientPath, core.ActionSaveClient, door.TakesBody, http.StatusCreated, createClient).IdentifyBy(s.identifyForClients)),
		door.Row(s, "GET", clientPath, core.ActionReadClients, door.TakesQuery, http.StatusOK, listClients),
		door.Row(s, "GET", "/v1/clients/{name}", core.ActionReadClients, door.TakesNothing, http.StatusOK, getClient),
		door.Row(s, "PATCH", "/v1/clients/{name}", core.ActionSaveClient, door.TakesBody, http.StatusOK, changeClient).HonorIfMatch(),
		door.Row(s, "DELETE", "/v1/clients/{name}", core.ActionRevokeClient, door.TakesQuery, http.StatusOK, revokeClient).HonorIfMatch(),
		door.Row(s, "GET", "/v1/clients/crl", core.ActionReadRevocations, door.TakesNothing, http.StatusOK, readRevocations),
		door.HonorOnceSecretly(door.Row(s, "POST", "/v1/clients/renew", core.ActionRenewClient, door.TakesBody, http.StatusCreated, renewClient)),

		door.HonorOnce(door.Row(s, "POST", "/v1/tenants", core.ActionCreateTenant, door.TakesBody, http.StatusCreated, createTenant), s, rebuildTenant),
		door.Row(s, "GET", "/v1/tenants", core.ActionListTenants, door.TakesQuery, http.StatusOK, listTenants),
		door.Row(s, "GET", "/v1/tenants/{tenantId}", core.ActionReadTenant, door.TakesNothing, http.StatusOK, getTenant),
		door.Row(s, "PATCH", "/v1/tenants/{tenantId}", core.ActionSaveTenant, door.TakesBody, http.StatusOK, changeTenant).HonorIfMatch(),
		door.Row(s, "DELETE", "/v1/tenants/{tenantId}", core.ActionDeleteTenant, door.TakesQuery, http.StatusOK, deleteTenant).HonorIfMatch(),
		door.Row(s, "POST", "/v1/tenants/{tenantId}/confirm", core.ActionDeleteTenant, door.TakesBody, http.StatusOK, confirmDeletion),
		door.Row(s, "POST", "/v1/tenants/{tenantId}/restore", core.ActionDeleteTenant, door.TakesBody, http.StatusOK, restoreTenant),

		door.HonorOnceSecretly(door.Row(s, "POST", tokenPath, core.ActionIssueToken, door.TakesBody, http.StatusOK, issueToken).IdentifyBy(s.identifyBuyer)),
		door.Row(s, "DELETE", tokenPath, core.ActionRevokeToken, door.TakesBody, http.StatusNoContent, revokeToken),
		door.Row(s, "GET", "/v1/auth/tokens", core.ActionReadTokens, door.TakesQuery, http.StatusOK, listTokens),
		door.Row(s, "POST", "/v1/auth/verify", core.ActionReadTokens, door.TakesBody, http.StatusOK, verifyToken),
		door.Row(s, "GET", "/v1/approvals", core.ActionReadApprovals, door.TakesQuery, http.StatusOK, listApprovals),
		door.Row(s, "GET", "/v1/approvals/{approvalId}", core.ActionReadApprovals, door.TakesNothing, http.StatusOK, getApproval),
		door.Row(s, "POST", "/v1/approvals/{approvalId}/approve", core.ActionApproveRequest, door.TakesBody, http.StatusOK, approveRequest),
		door.Row(s, "POST", "/v1/approvals/{approvalId}/deny", core.ActionDenyRequest, door.TakesBody, http.StatusNoContent, denyRequest),
		door.Row(s, "GET", "/v1/health", core.ActionReadHealth, door.TakesNothing, http.StatusOK, (*service).health),
	}
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

// health answers with the state of every part, if the policy allows it.
func (s *service) health(c *core.Caller, r *http.Request) (Health, error) {
	if err := s.Engine.MayInspect(r.Context(), c, core.ActionReadHealth); err != nil {
		return Health{}, err
	}
	return s.Health(r.Context(), c.Principal.Tenant), nil
}
