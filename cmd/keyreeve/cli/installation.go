package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server"
)

type initCmd struct {
	Config string `help:"Configuration file of the server." type:"path" required:""`
}

// Run prints the id of the installation that it made.
func (c *initCmd) Run() error {
	cfg, err := server.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	id, err := server.Init(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	fmt.Println("installation", id)
	return nil
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

type doctorCmd struct{ where }

// Run prints a line for each part, and exits with 1 when one has a problem.
func (c *doctorCmd) Run() error {
	cfg, err := c.settings()
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range server.Doctor(context.Background(), cfg) {
		state := "ok     "
		if f.Problem != "" {
			state, bad = "PROBLEM", bad+1
		}
		fmt.Printf("%s %-12s %s\n", state, f.Part, oneLine(f.Problem+f.Note))
	}
	if bad > 0 {
		return fmt.Errorf("%d of the parts have a problem", bad)
	}
	return nil
}

func (c *doctorCmd) settings() (server.Config, error) {
	if c.Dir != "" {
		_, err := os.Stat(filepath.Join(c.Dir, "pin")) // the last thing that is made: see member.DevToken
		if errors.Is(err, fs.ErrPermission) {
			return server.Config{}, fmt.Errorf("%s cannot be read by this user; run keyreeve as the user whose server it is: %w", c.Dir, err)
		}
		if err != nil {
			return server.Config{}, fmt.Errorf("%s is no folder of a development server; keyreeve serve --dev --dir %s makes one", c.Dir, c.Dir)
		}
		return server.FindDev(c.Dir, "127.0.0.1:0", "127.0.0.1:0")
	}
	return c.loadSettings()
}
