package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/client"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/httpd"
)

type tenantCreateCmd struct {
	namedTenant
	JSON bool `help:"Print a JSON object."`
}

// Run succeeds if the tenant is declared, also if it was declared before.
func (c *tenantCreateCmd) Run() error {
	var out server.CreatedTenant
	if err := c.askServer("POST", "/tenants", url.Values{"name": {c.Name}}, &out); err != nil {
		return err
	}
	switch {
	case c.JSON:
		return printJSON(out)
	case out.Created:
		fmt.Println("tenant", out.Tenant, "is declared")
	default:
		fmt.Println("tenant", out.Tenant, "was declared before")
	}
	return nil
}

type tenantListCmd struct{ listing }

func (c *tenantListCmd) Run() error { return printList(&c.listing, "/tenants", tenantLine) }

// tenantLine shows one to people.
func tenantLine(t engine.TenantStatus) string {
	keys := "keys not loaded yet"
	switch {
	case t.State == string(core.TenantDeleted) && t.Problem == "":
		keys = "keys destroyed"
	case t.Loaded:
		keys = "keys loaded"
	}
	line := fmt.Sprintf("%s | %s | %s", t.Name, t.State, keys)
	if t.Problem != "" {
		line += " | PROBLEM " + t.Problem
	}
	return oneLine(line)
}

// namedTenant is a command about one tenant.
type namedTenant struct {
	where
	Name string `arg:"" help:"Name of the tenant, as certificates name it."`
}

// ask asks for the tenant, or for a change of it. pairs are further parameters.
func (c *namedTenant) ask(method string, settings []byte, pairs ...string) (out httpd.Tenant, err error) {
	return out, c.askServerWith(method, "/tenants/one", c.query(pairs...), settings, &out)
}

// query returns the parameters of a question about the tenant.
func (c *namedTenant) query(pairs ...string) url.Values {
	q := url.Values{"name": {c.Name}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q
}

type tenantShowCmd struct{ namedTenant }

// Run prints the tenant as JSON.
func (c *tenantShowCmd) Run() error {
	out, err := c.ask("GET", nil)
	if err != nil {
		return err
	}
	return printJSON(out)
}

// changedTenant is a command that changes one tenant and says why.
type changedTenant struct {
	namedTenant
	Reason string `help:"Why, for those who read the history."`
}

type tenantSetCmd struct {
	changedTenant
	Settings []string `arg:"" help:"SETTING=VALUE, where VALUE is JSON or a text: objects=1000 classes='[\"N\",\"X\"]'. SETTING= takes the setting away, so that the server's counts."`
}

// Run changes the settings that are given.
func (c *tenantSetCmd) Run() error {
	patch, err := settingsPatch(c.Settings)
	if err != nil {
		return err
	}
	out, err := c.ask("PATCH", patch, "reason", c.Reason)
	if err == nil {
		fmt.Printf("tenant %s@%d is in force\n", out.TenantID, out.Version)
	}
	return err
}

// settingsPatch returns the JSON object of settings that are written as NAME=VALUE.
func settingsPatch(settings []string) ([]byte, error) {
	patch := map[string]json.RawMessage{}
	for _, s := range settings {
		name, value, ok := strings.Cut(s, "=")
		if _, twice := patch[name]; !ok || twice {
			return nil, fmt.Errorf("%q must be SETTING=VALUE, each setting once", s)
		}
		switch {
		case value == "":
			patch[name] = json.RawMessage("null")
		case json.Valid([]byte(value)):
			patch[name] = json.RawMessage(value)
		default:
			text, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			patch[name] = text
		}
	}
	return json.Marshal(patch)
}

type tenantDisableCmd struct{ changedTenant }

// Run disables the tenant.
func (c *tenantDisableCmd) Run() error { return c.saveState("PATCH", "disabled", "yes") }

type tenantEnableCmd struct{ changedTenant }

// Run enables the tenant.
func (c *tenantEnableCmd) Run() error { return c.saveState("PATCH", "disabled", "no") }

type tenantDeleteCmd struct {
	changedTenant
	Now     bool `help:"Without the grace time; the tenant must be disabled." xor:"step"`
	Confirm bool `help:"The second step: destroy the keys of the tenant in the HSM for good." xor:"step"`
	Yes     bool `help:"Do not ask for a confirmation of the second step."`
}

// Run asks for the deletion, or confirms it.
func (c *tenantDeleteCmd) Run() error {
	if c.Confirm {
		return c.confirmDeletion()
	}
	now := ""
	if c.Now {
		now = "yes"
	}
	out, err := c.ask("DELETE", nil, "reason", c.Reason, "now", now)
	if err == nil {
		fmt.Printf("tenant %s is %s; confirm it after %s\n", out.TenantID, out.State, out.DeleteAfter)
	}
	return err
}

// confirmDeletion is the second step, which nothing takes back.
func (c *tenantDeleteCmd) confirmDeletion() error {
	if !c.Yes {
		if err := client.Confirm("destroy " + c.Name); err != nil {
			return err
		}
	}
	var out engine.Shredded
	if err := c.askServer("POST", "/tenants/confirm", c.query("reason", c.Reason), &out); err != nil {
		return err
	}
	fmt.Printf("tenant %s is deleted: %d sets of keys and %d resident keys were destroyed in the HSM (shredded: %s)\n", c.Name, out.KeySets, out.ResidentKeys, out.Shredded)
	return nil
}

type tenantRestoreCmd struct{ changedTenant }

// Run takes the deletion back.
func (c *tenantRestoreCmd) Run() error {
	var out httpd.Tenant
	err := c.askServer("POST", "/tenants/restore", c.query("reason", c.Reason), &out)
	if err == nil {
		fmt.Println("tenant", out.TenantID, "is", out.State)
	}
	return err
}

// saveState changes the state of the tenant and prints the new one.
func (c *changedTenant) saveState(method string, pairs ...string) error {
	out, err := c.ask(method, nil, append(pairs, "reason", c.Reason)...)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("tenant %s is %s\n", out.TenantID, out.State)
	return err
}
