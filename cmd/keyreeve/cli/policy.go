package cli

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/server"
)

type policyCmd struct {
	Simulate simulateCmd `cmd:"" help:"Ask what the policy would say, without doing anything. Exits with 0 for allow, 2 for deny, 1 if it cannot be asked."`
	Reload   reloadCmd   `cmd:"" help:"Read the policy file again. If the new policy fails its tests, the old one stays in force."`
}

type simulateCmd struct {
	where
	As     string   `help:"Who asks: NAME, or TENANT/NAME." required:""`
	Do     string   `help:"The operation, such as Get." required:""`
	Object string   `help:"Unique Identifier of the object, where there is one."`
	From   string   `help:"Address it is asked from." default:"127.0.0.1"`
	At     string   `help:"Time it is asked at, such as 2026-01-31T12:00:00Z; left out: now."`
	Group  []string `help:"A group of the principal, where its certificate is not in DIR/certs."`
	Role   []string `help:"A role of it."`
}

func (c *simulateCmd) Run() error {
	q := url.Values{"as": {c.As}, "do": {c.Do}, "object": {c.Object}, "from": {c.From}, "at": {c.At}, "group": c.Group, "role": c.Role}
	if c.Dir != "" && len(c.Group)+len(c.Role) == 0 {
		addIdentity(c.Dir, c.As, q)
	}
	var out server.Simulated
	if err := c.askServer("GET", "/policy/simulate", q, &out); err != nil {
		return err
	}
	fmt.Println(map[bool]string{true: "allow", false: "deny"}[out.Allow])
	for _, r := range out.Reasons {
		fmt.Println(" ", r)
	}
	if !out.Allow {
		return exitStatus(denied)
	}
	return nil
}

// addIdentity takes tenant, groups and roles from the principal's certificate.
func addIdentity(dir, as string, q url.Values) {
	name := as[strings.LastIndex(as, "/")+1:]
	block, err := pemfile.One(filepath.Join(dir, "certs", filepath.Base(name)+".pem"), "CERTIFICATE")
	if err != nil {
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	if r, ok := identity.Of(cert); ok && (as == name || as == r.Tenant+"/"+r.Name) {
		q.Set("as", r.Tenant+"/"+r.Name)
		q["group"], q["role"] = r.Groups, r.Roles
	}
}

type reloadCmd struct{ where }

func (c *reloadCmd) Run() error {
	var out struct{ Policy string }
	if err := c.askServer("POST", "/policy/reload", nil, &out); err != nil {
		return err
	}
	fmt.Println("policy", out.Policy)
	return nil
}
