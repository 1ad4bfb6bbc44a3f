package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server"
)

type certCmd struct {
	Issue  certIssueCmd  `cmd:"" help:"Make DIR/certs/NAME.pem and NAME-key.pem."`
	Revoke certRevokeCmd `cmd:"" help:"Put a certificate on the revocation list, which a running server obeys within a second."`
}

type certIssueCmd struct {
	Dir    string        `help:"Folder of the development server." type:"path" required:""`
	Name   string        `help:"Name of the principal." required:""`
	Tenant string        `help:"Its tenant, which is declared if it is not." default:"default"`
	Group  []string      `help:"A group it belongs to; may be repeated."`
	Role   []string      `help:"A role it has: admin, auditor, monitor, or one that your own policy knows; may be repeated."`
	TTL    time.Duration `help:"How long it is valid." default:"8760h"`
}

func (c *certIssueCmd) Run() error {
	if err := certs.Issue(c.Dir, certs.Request{Name: c.Name, Tenant: c.Tenant, Groups: c.Group, Roles: c.Role, TTL: c.TTL}); err != nil {
		return err
	}
	if err := server.DeclareDevTenant(c.Dir, c.Tenant); err != nil {
		return fmt.Errorf("the certificate was made, and its tenant is not declared: %w", err)
	}
	fmt.Println(filepath.Join(c.Dir, "certs", c.Name+".pem"))
	return nil
}

type certRevokeCmd struct {
	Dir  string `help:"Folder of the development server." type:"path" required:""`
	Name string `help:"Name of the certificate." required:""`
}

func (c *certRevokeCmd) Run() error {
	if err := certs.Revoke(c.Dir, c.Name); err != nil {
		return err
	}
	fmt.Println("revoked", c.Name)
	return nil
}
