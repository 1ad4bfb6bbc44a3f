package httpd

import (
	"context"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// membersOfGroups returns the users and enrolled clients of each group of the caller's tenant. It
// reads each of the two lists at once, so that each leaves one record.
func (s *service) membersOfGroups(ctx context.Context, c *core.Caller) (map[string][]string, error) {
	users, err := s.Admin.ListUsers(ctx, c, "", "", math.MaxInt)
	if err != nil {
		return nil, err
	}
	clients, err := s.Clients.List(ctx, c, "", "", math.MaxInt)
	if err != nil {
		return nil, err
	}
	members := map[string][]string{}
	add := func(name string, groups []string) {
		for _, g := range groups {
			members[g] = append(members[g], name)
		}
	}
	for i := range users {
		add("user:"+users[i].Name, users[i].Groups)
	}
	for i := range clients {
		add("client:"+clients[i].Name, clients[i].Groups)
	}
	return members, nil
}

// listGroups lists the groups of the tenant, in the order of their names.
func listGroups(s *service, c *core.Caller, r *http.Request) (api.GroupPage, error) {
	p, err := s.PageFor(c, r, core.ActionReadUsers, door.MaxPage)
	if err != nil {
		return api.GroupPage{}, err
	}
	members, err := s.membersOfGroups(r.Context(), c)
	if err != nil {
		return api.GroupPage{}, err
	}
	all := []api.Group{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name > p.After && len(all) <= p.Limit {
			all = append(all, api.Group{Name: name, Members: members[name]})
		}
	}
	all, next := door.CutPage(all, p, func(g *api.Group) string { return g.Name })
	return api.GroupPage{Groups: all, NextPageToken: next}, nil
}

func getGroup(s *service, c *core.Caller, r *http.Request) (api.Group, error) {
	members, err := s.membersOfGroups(r.Context(), c)
	name := r.PathValue("name")
	if err == nil && members[name] == nil {
		err = core.Errorf(core.ItemNotFound, "no user and no enrolled client has the group %q", door.Quotable(name))
	}
	return api.Group{Name: name, Members: members[name]}, err
}
