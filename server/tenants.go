package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// admission is the authenticator of both doors. It refuses principals that have
// expired, and those of tenants that are not declared or not active.
type admission struct {
	auth    proof.Authenticator
	tenants interface {
		RequireDeclared(ctx context.Context, tenant string) error
	}
	rows core.TenantRows
}

// declaredWait bounds the look for a tenant's row.
const declaredWait = 5 * time.Second

// Identify returns a function that tells who a connection is, for each message. The
// tenant is looked up again only when the principal has changed.
func (a admission) Identify(e proof.Evidence) func() (*core.Principal, error) {
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
		if err := a.checkActive(p.Tenant); err != nil {
			return nil, err
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

// checkActive refuses a tenant that is known not to be active. If its row cannot be relied on,
// the engine refuses each request, and the connection stays open for better times.
func (a admission) checkActive(tenant string) error {
	row, err := a.rows.Tenant(tenant)
	if err != nil || row.State == core.TenantActive {
		return nil
	}
	return core.Errorf(core.AuthenticationNotSuccessful, "tenant %s is %s, so its clients are refused; an administrator of the server can enable or restore it unless it is deleted", core.ClientText(tenant), row.State)
}

// admission is the authenticator of both doors.
func (s *Server) admission() admission { return admission{s.auth, s.engine.Tenants, s.tenants} }

// connectionsOf returns how many connections the row of a tenant allows to it; 0: as many as
// the settings. If the row cannot be relied on, the engine refuses the requests.
func (s *Server) connectionsOf(tenant string) int {
	row, err := s.tenants.Tenant(tenant)
	if err != nil {
		return 0
	}
	return int(row.Connections)
}

// doorSlots bounds the connections of each door.
func (s *Server) doorSlots() bounds.SlotLimits {
	l := s.cfg.slotLimits()
	l.OfTenant = s.connectionsOf
	return l
}

// CreatedTenant is the answer of the command tenant create.
type CreatedTenant struct {
	Tenant  string `json:"tenant"`
	Created bool   `json:"created"` // false: it was declared before
}

// createTenant declares the tenant that is named.
func createTenant(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	name := q.Get("name")
	made, err := d.tenants.CreateTenant(ctx, c, name)
	return CreatedTenant{Tenant: name, Created: made}, err
}

// listTenants lists what the command tenant list shows.
func listTenants(d *adminDoor, ctx context.Context, c *core.Caller, _ *adminsocket.Question) (any, error) {
	return d.tenants.ListTenants(ctx, c, "", math.MaxInt)
}

func readTenant(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return tenantAnswer(d.tenants.ReadTenant(ctx, c, q.Get("name")))
}

func tenantAnswer(t admin.NamedTenant, err error) (any, error) { return httpd.TenantShown(&t), err }

// saveTenant changes settings, which are in the body, or disables or enables a tenant.
func saveTenant(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	in := admin.SaveTenantInput{Name: q.Get("name"), Reason: q.Get("reason")}
	if len(q.Body) > 0 {
		in.Settings = q.Body
	}
	if disabled := q.Get("disabled"); disabled != "" {
		in.Disabled = new(disabled == "yes")
	}
	return tenantAnswer(d.tenants.SaveTenant(ctx, c, in))
}

// deleteTenant is the first step of a deletion.
func deleteTenant(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return tenantAnswer(d.tenants.DeleteTenant(ctx, c, admin.DeleteTenantInput{Name: q.Get("name"), Reason: q.Get("reason"), Now: q.Get("now") != ""}))
}

// confirmDeletion is the second step.
func confirmDeletion(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return d.tenants.ConfirmDeletion(ctx, c, q.Get("name"), q.Get("reason"))
}

func restoreTenant(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return tenantAnswer(d.tenants.RestoreTenant(ctx, c, q.Get("name"), q.Get("reason")))
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
	err := adminsocket.Ask(cfg.AdminSocket(), http.MethodPost, "/tenants", map[string][]string{"name": {tenant}}, &out)
	if errors.Is(err, adminsocket.ErrNoServer) {
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
		err = errors.Join(err, core.CheckTenantName(tenant))
		if err == nil {
			_, err = s.engine.Tenants.Declare(ctx, tenant)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the tenants of %s cannot be declared: %w", filepath.Join(s.cfg.Dir, devTenants), err)
	}
	return nil, nil
}
