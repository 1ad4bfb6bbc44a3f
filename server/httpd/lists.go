package httpd

import (
	"context"
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// userPage is the answer of GET /v1/users.
type userPage struct {
	Users         []user `json:"users"`
	NextPageToken string `json:"nextPageToken,omitempty"`
}

func listUsers(s *service, c *core.Caller, r *http.Request) (userPage, error) {
	all, next, err := door.PageOf(s.Door, c, r, core.ActionReadUsers, s.Admin.ListUsers, func(one *core.User) string { return one.Name }, userShown)
	return userPage{all, next}, err
}

func deleteUser(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	return s.removeNamed(c, r, core.ActionDeleteUser, r.PathValue("name"), s.Admin.DeleteUser)
}

// rolePage is the answer of GET /v1/roles: the roles that the tenant has declared.
type rolePage struct {
	Roles         []role `json:"roles"`
	NextPageToken string `json:"nextPageToken,omitempty"`
}

func listRoles(s *service, c *core.Caller, r *http.Request) (rolePage, error) {
	all, next, err := door.PageOf(s.Door, c, r, core.ActionReadRoles, s.Admin.ListRoles, func(one *admin.NamedRole) string { return one.Name }, roleShown)
	return rolePage{all, next}, err
}

func deleteRole(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	return s.removeNamed(c, r, core.ActionDeleteRole, r.PathValue("name"), s.Admin.DeleteRole)
}

// policyPage is the answer of GET /v1/policies.
type policyPage struct {
	Policies      []policyVersion `json:"policies"`
	NextPageToken string          `json:"nextPageToken,omitempty"`
}

func listPolicies(s *service, c *core.Caller, r *http.Request) (policyPage, error) {
	all, next, err := door.PageOf(s.Door, c, r, core.ActionReadPolicies, s.Admin.ListPolicies, func(v *admin.PolicyVersion) string { return v.Name }, versionInList)
	return policyPage{all, next}, err
}

func deletePolicy(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	return s.removeNamed(c, r, core.ActionDeletePolicy, r.PathValue("policyId"), s.Admin.DeletePolicy)
}

// removeNamed ends a policy, a user or a role.
func (s *service) removeNamed(c *core.Caller, r *http.Request, action core.Action, name string, remove func(context.Context, *core.Caller, admin.Removal) error) (door.Nothing, error) {
	in, err := s.removalFor(c, r, action, name)
	if err != nil {
		return door.Nothing{}, err
	}
	return door.Nothing{}, remove(r.Context(), c, in)
}

// tokenPage is the answer of GET /v1/auth/tokens.
type tokenPage struct {
	Tokens        []listedToken `json:"tokens"`
	NextPageToken string        `json:"nextPageToken,omitempty"`
}

func listTokens(s *service, c *core.Caller, r *http.Request) (tokenPage, error) {
	all, next, err := door.PageOf(s.Door, c, r, core.ActionReadTokens, s.Tokens.List, func(t *admin.TokenFacts) string { return t.ID }, describeToken)
	return tokenPage{all, next}, err
}

// clientPage is the answer of GET /v1/clients.
type clientPage struct {
	Clients       []clientAnswer `json:"clients"`
	NextPageToken string         `json:"nextPageToken,omitempty"`
}

func listClients(s *service, c *core.Caller, r *http.Request) (clientPage, error) {
	all, next, err := door.PageOf(s.Door, c, r, core.ActionReadClients, s.Clients.List, func(one *admin.NamedClient) string { return one.Name }, clientShown)
	return clientPage{all, next}, err
}
