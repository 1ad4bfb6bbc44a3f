package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

// defaultTenant is declared at start: an installation has at least this tenant.
const defaultTenant = "default"

// admission is the authenticator of both doors. It refuses principals that have
// expired, and those of tenants that are not declared.
type admission struct {
	auth    core.Authenticator
	tenants interface {
		RequireDeclared(ctx context.Context, tenant string) error
	}
}

// declaredWait bounds the look for a tenant's row.
const declaredWait = 5 * time.Second

// Identify returns a function that tells who a connection is, for each message. The
// tenant is looked up again only when the principal has changed.
func (a admission) Identify(e core.Evidence) func() (*core.Principal, error) {
	identify := a.auth.Identify(e)
	var admitted atomic.Pointer[core.Principal]
	return func() (*core.Principal, error) {
		p, err := identify()
		if err != nil {
			return nil, err
		}
		if p.Expires != 0 && time.Now().Unix() > p.Expires {
			return nil, core.Errorf(core.AuthenticationNotSuccessful, "what proved that the client is %s/%s has expired; authenticate again", p.Tenant, p.ID)
		}
		if p == admitted.Load() {
			return p, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), declaredWait)
		defer cancel()
		if err := a.tenants.RequireDeclared(ctx, p.Tenant); err != nil {
			return nil, err
		}
		admitted.Store(p)
		return p, nil
	}
}

// CreatedTenant is the answer of the command tenant create.
type CreatedTenant struct {
	Tenant  string `json:"tenant"`
	Created bool   `json:"created"` // false: it was declared before
}

// createTenant declares the tenant that is named.
func (d *adminDoor) createTenant(ctx context.Context, c *core.Caller, q *adminQuestion) (any, error) {
	name := q.Get("name")
	if err := checkTenantName(name); err != nil {
		return nil, err
	}
	made, err := d.admin.CreateTenant(ctx, c, name)
	return CreatedTenant{Tenant: name, Created: made}, err
}

// checkTenantName refuses what no certificate can name as its tenant.
func checkTenantName(name string) error {
	if !identity.ValidName(name) {
		return core.Errorf(core.InvalidField, "%q cannot be a tenant; use letters, digits, '.', '_' and '-', at most 64", name)
	}
	if name == core.SystemTenant {
		return core.Errorf(core.InvalidField, "tenant %q is the server's own; choose another name", name)
	}
	return nil
}

// listTenants lists what the command tenant list shows.
func (d *adminDoor) listTenants(ctx context.Context, c *core.Caller, _ *adminQuestion) (any, error) {
	return d.admin.ListTenants(ctx, c)
}

// devTenants is a file in a development folder: the tenants that keyreeve cert issue
// has named, one a line. The server of the folder declares them when it starts.
const devTenants = "tenants"

// DeclareDevTenant declares a tenant on the development server of a folder. If the
// server is not running, it declares the tenant at its next start.
func DeclareDevTenant(dir, tenant string) error {
	// The file is written first: a server that is just starting either reads it or
	// answers at its socket, because it opens the socket before it reads the file.
	if err := noteDevTenant(dir, tenant); err != nil {
		return err
	}
	cfg := Defaults()
	cfg.Dir = dir
	var out CreatedTenant
	err := Ask(cfg.AdminSocket(), http.MethodPost, "/tenants", url.Values{"name": {tenant}}, &out)
	if errors.Is(err, errNoServer) {
		return nil
	}
	return err
}

func noteDevTenant(dir, tenant string) error {
	path := filepath.Join(dir, devTenants)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if slices.Contains(strings.Fields(string(text)), tenant) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, tenant)
	return errors.Join(err, f.Close())
}

// declareDevTenants declares the tenants in the file of a development folder.
func (s *Server) declareDevTenants(ctx context.Context) (stopper, error) {
	if s.cfg.dev == nil {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(s.cfg.Dir, devTenants))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, tenant := range strings.Fields(string(text)) {
		err = errors.Join(err, checkTenantName(tenant))
		if err == nil {
			_, err = s.engine.Tenants.Declare(ctx, tenant)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the tenants of %s cannot be declared: %w", filepath.Join(s.cfg.Dir, devTenants), err)
	}
	return nil, nil
}
