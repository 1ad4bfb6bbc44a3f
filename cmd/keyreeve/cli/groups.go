package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/server"
)

// A group of a tenant is a name that users, enrolled clients and certificates have. These
// commands show and change those whose members the server knows: users and enrolled clients.

// groupMembers are the members of a group, such as user:alice.
type groupMembers struct {
	Name    string   `json:"name"`
	Members []string `json:"members"`
}

// readGroups asks for the groups of a tenant, in the order of their names.
func (o *ofTenant) readGroups() ([]groupMembers, error) {
	members := map[string][]string{}
	add := func(kind, name string, groups []string) {
		for _, g := range groups {
			members[g] = append(members[g], kind+":"+name)
		}
	}
	err := eachPage(o, "/users", func(u server.User) string { return u.Name }, func(page []server.User) error {
		for _, u := range page {
			add("user", u.Name, u.Groups)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachPage(o, "/clients", func(c server.EnrolledClient) string { return c.Name }, func(page []server.EnrolledClient) error {
		for _, c := range page {
			add("client", c.Name, c.Groups)
		}
		return nil
	})
	out := []groupMembers{}
	for name, all := range members {
		out = append(out, groupMembers{name, all})
	}
	slices.SortFunc(out, func(a, b groupMembers) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

type groupListCmd struct{ tenantListing }

// Run lists the groups.
func (c *groupListCmd) Run() error {
	groups, err := c.readGroups()
	if err != nil {
		return err
	}
	return printLines(groups, c.JSON, func(g groupMembers) string {
		return oneLine(fmt.Sprintf("%s | %s", g.Name, strings.Join(g.Members, ",")))
	})
}

// namedGroup is a command about the membership of one user in a group.
type namedGroup struct {
	withReason
	Name string `arg:"" help:"Name of the group."`
	User string `required:"" help:"Name of the user."`
}

// readUser asks for the user.
func (c *namedGroup) readUser() (out server.User, err error) {
	err = eachPage(&c.ofTenant, "/users", func(u server.User) string { return u.Name }, func(page []server.User) error {
		for _, u := range page {
			if u.Name == c.User {
				out = u
			}
		}
		return nil
	})
	if err == nil && out.Name == "" {
		err = fmt.Errorf("there is no user %s (see keyreeve user list)", c.User)
	}
	return out, err
}

// change asks for the groups of the user, and saves what edit makes of them. If another
// command was faster, the server refuses the change.
func (c *namedGroup) change(edit func([]string) []string, done string) error {
	user, err := c.readUser()
	if err != nil {
		return err
	}
	groups := edit(slices.Clone(user.Groups))
	if slices.Equal(groups, user.Groups) {
		fmt.Println("user", user.Name, "is as it was")
		return nil
	}
	body, err := json.Marshal(server.UserChange{Groups: &groups})
	if err != nil {
		return err
	}
	if err := c.askServerWith("PUT", "/users/one", c.query("name", c.User, "reason", c.Reason, "existing", "yes", "expected", strconv.FormatInt(user.Version, 10)), body, &user); err != nil {
		return err
	}
	fmt.Println("user", user.Name, done, c.Name)
	return nil
}

type groupAddCmd struct{ namedGroup }

// Run gives a group to a user.
func (c *groupAddCmd) Run() error {
	return c.change(func(groups []string) []string {
		if slices.Contains(groups, c.Name) {
			return groups
		}
		return append(groups, c.Name)
	}, "is in the group")
}

type groupRemoveCmd struct{ namedGroup }

// Run takes a group from a user.
func (c *groupRemoveCmd) Run() error {
	return c.change(func(groups []string) []string {
		return slices.DeleteFunc(groups, func(g string) bool { return g == c.Name })
	}, "is no longer in the group")
}
