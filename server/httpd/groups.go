package httpd

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// membersOfGroups returns the users and enrolled clients of each group of the caller's tenant.
func (s *service) membersOfGroups(ctx context.Context, c *core.Caller) (map[string][]string, error) {
	members := map[string][]string{}
	add := func(name string, groups []string) {
		for _, g := range groups {
			members[g] = append(members[g], name)
		}
	}
	err := eachOf(func(after string) ([]core.User, error) { return s.Admin.ListUsers(ctx, c, "", after, door.MaxPage) }, func(u *core.User) string {
		add("user:"+u.Name, u.Groups)
		return u.Name
	})
	if err != nil {
		return nil, err
	}
	return members, eachOf(func(after string) ([]admin.NamedClient, error) {
		return s.Clients.List(ctx, c, "", after, door.MaxPage)
	}, func(one *admin.NamedClient) string {
		add("client:"+one.Name, one.Groups)
		return one.Name
	})
}

// eachOf calls do with each item of a list that is read in pages. do returns the item's name.
func eachOf[T any](list func(after string) ([]T, error), do func(*T) string) error {
	for after := ""; ; {
		page, err := list(after)
		if err != nil {
			return err
		}
		for i := range page {
			after = do(&page[i])
		}
		if len(page) < door.MaxPage {
			return nil
		}
	}
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
