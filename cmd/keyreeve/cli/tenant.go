package cli

import (
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/keyreeve/keyreeve/core/jsontext"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/server"
)

type tenantCmd struct {
	Create tenantCreateCmd `cmd:"" help:"Declare a tenant: makes its keys in the HSM. Until then a certificate that names it is refused."`
	List   tenantListCmd   `cmd:"" help:"List the tenants."`
}

type tenantCreateCmd struct {
	where
	Name string `arg:"" help:"Name of the tenant, as certificates name it."`
	JSON bool   `help:"Print a JSON object."`
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

type tenantListCmd struct {
	where
	JSON bool `help:"One JSON object a line."`
}

func (c *tenantListCmd) Run() error {
	var all []engine.TenantStatus
	if err := c.askServer("GET", "/tenants", nil, &all); err != nil {
		return err
	}
	return printLines(all, c.JSON, tenantLine)
}

// tenantLine shows one to people.
func tenantLine(t engine.TenantStatus) string {
	keys := "keys not loaded yet"
	if t.Loaded {
		keys = "keys loaded"
	}
	line := fmt.Sprintf("%s | %s | %s", t.Name, t.State, keys)
	if t.Problem != "" {
		line += " | PROBLEM " + t.Problem
	}
	return oneLine(line)
}

// printLines prints a line for each of a list: as JSON, or as people read it.
func printLines[T any](all []T, asJSON bool, line func(T) string) error {
	for _, one := range all {
		if !asJSON {
			fmt.Println(line(one))
		} else if err := printJSON(one); err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints a value as one line that is harmless to a terminal.
func printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	fmt.Println(jsontext.ForTerminal(string(b)))
	return nil
}
