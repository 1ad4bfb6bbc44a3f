package httpd

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// Tenant is a tenant with what was laid down for it, as clients and commands see it.
type Tenant struct {
	TenantID string `json:"tenantId"`
	door.SavedVersion
	State       core.TenantState    `json:"state"`
	DeleteAfter string              `json:"deleteAfter,omitempty"` // when the deletion can be confirmed
	ChangedAt   string              `json:"changedAt,omitempty"`   // absent if nothing was laid down
	Author      string              `json:"author,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Settings    core.TenantSettings `json:"settings"` // what is left out is as for the server
	Usage       *TenantUsage        `json:"usage,omitempty"`
}

// TenantUsage is what a tenant has stored.
type TenantUsage struct {
	Objects      int64 `json:"objects"` // destroyed ones included
	ResidentKeys int64 `json:"residentKeys"`
	Bytes        int64 `json:"bytes"` // about
}

// TenantShown returns a tenant as clients and commands see it.
func TenantShown(t *admin.NamedTenant) Tenant {
	out := Tenant{TenantID: t.Name, SavedVersion: door.SavedVersion{Version: door.Version(t.Version)}, State: t.State, Author: t.Author, Reason: t.Reason, Settings: t.TenantSettings}
	if t.Version != 0 {
		out.ChangedAt = door.TimeText(t.At)
	}
	if t.DeleteAfter != 0 {
		out.DeleteAfter = door.TimeText(t.DeleteAfter)
	}
	if t.Usage != nil {
		out.Usage = &TenantUsage{t.Usage.Objects, t.Usage.ResidentKeys, t.Usage.Bytes}
	}
	return out
}

// newTenant is the body of POST /v1/tenants.
type newTenant struct {
	Name     string          `json:"name"`
	Settings json.RawMessage `json:"settings"`
	Reason   string          `json:"reason"`
}

func (in *newTenant) Validate() error {
	if in.Settings == nil {
		return nil
	}
	_, err := rules.MergeTenantSettings(core.TenantSettings{}, in.Settings)
	return err
}

// createTenant declares a tenant, and lays down its settings if there are any.
func createTenant(s *service, c *core.Caller, r *http.Request) (Tenant, error) {
	var in newTenant
	if err := s.DecodeFor(c, r, core.ActionCreateTenant, &in); err != nil {
		return Tenant{}, err
	}
	made, err := s.Tenants.CreateTenant(r.Context(), c, in.Name)
	if err == nil && !made {
		err = core.Errorf(core.ObjectAlreadyExists, "there is a tenant %s already", door.Quotable(in.Name))
	}
	if err != nil {
		return Tenant{}, err
	}
	out := Tenant{TenantID: in.Name, State: core.TenantActive}
	if in.Settings != nil {
		out, err = s.saveTenant(c, r, admin.SaveTenantInput{Name: in.Name, Settings: in.Settings, Reason: in.Reason})
	}
	out.Location = tenantPath(in.Name)
	return out, err
}

// rebuildTenant shows a tenant that an earlier request has declared.
func rebuildTenant(s *service, c *core.Caller, r *http.Request, _ string) (Tenant, error) {
	var in newTenant
	if err := s.DecodeFor(c, r, core.ActionReadTenant, &in); err != nil {
		return Tenant{}, err
	}
	t, err := s.Tenants.ReadTenant(r.Context(), c, in.Name)
	out := TenantShown(&t)
	out.Location = tenantPath(in.Name)
	return out, err
}

func tenantPath(name string) string { return "/v1/tenants/" + url.PathEscape(name) }

// tenantChange is the body of PATCH /v1/tenants/{tenantId}. What is left out stays as it is.
type tenantChange struct {
	Settings json.RawMessage `json:"settings"` // a member that is null becomes as for the server
	Disabled *bool           `json:"disabled"`
	Reason   string          `json:"reason"`
}

func changeTenant(s *service, c *core.Caller, r *http.Request) (Tenant, error) {
	var in tenantChange
	if err := s.DecodeFor(c, r, core.ActionSaveTenant, &in); err != nil {
		return Tenant{}, err
	}
	return s.saveTenant(c, r, admin.SaveTenantInput{Name: r.PathValue("tenantId"), Settings: in.Settings, Disabled: in.Disabled, Reason: in.Reason, Expected: door.ExpectedVersion(r)})
}

func (s *service) saveTenant(c *core.Caller, r *http.Request, in admin.SaveTenantInput) (Tenant, error) {
	t, err := s.Tenants.SaveTenant(r.Context(), c, in)
	return TenantShown(&t), err
}

func getTenant(s *service, c *core.Caller, r *http.Request) (Tenant, error) {
	t, err := s.Tenants.ReadTenant(r.Context(), c, r.PathValue("tenantId"))
	return TenantShown(&t), err
}

// deleteTenant is the first step of a deletion; confirmDeletion is the second one.
func deleteTenant(s *service, c *core.Caller, r *http.Request) (Tenant, error) {
	in, err := s.removalFor(c, r, core.ActionDeleteTenant, r.PathValue("tenantId"))
	if err != nil {
		return Tenant{}, err
	}
	t, err := s.Tenants.DeleteTenant(r.Context(), c, admin.DeleteTenantInput{Name: in.Name, Reason: in.Reason, Expected: in.Expected})
	return TenantShown(&t), err
}

// deletionConfirmed is the body of POST /v1/tenants/{tenantId}/confirm. Confirm is "destroy" and
// the name, as the command asks for it: the keys cannot be brought back.
type deletionConfirmed struct {
	Confirm string `json:"confirm"`
	Reason  string `json:"reason"`
}

func confirmDeletion(s *service, c *core.Caller, r *http.Request) (engine.Shredded, error) {
	var in deletionConfirmed
	if err := s.DecodeFor(c, r, core.ActionDeleteTenant, &in); err != nil {
		return engine.Shredded{}, err
	}
	name := r.PathValue("tenantId")
	if in.Confirm != "destroy "+name {
		return engine.Shredded{}, s.Engine.RecordRefused(r.Context(), c, core.ActionDeleteTenant, core.Errorf(core.InvalidField, `"confirm" must be "destroy %s"`, door.Quotable(name)))
	}
	return s.Tenants.ConfirmDeletion(r.Context(), c, name, in.Reason)
}

// tenantRestored is the body of POST /v1/tenants/{tenantId}/restore.
type tenantRestored struct {
	Reason string `json:"reason"`
}

func restoreTenant(s *service, c *core.Caller, r *http.Request) (Tenant, error) {
	var in tenantRestored
	if err := s.DecodeFor(c, r, core.ActionDeleteTenant, &in); err != nil {
		return Tenant{}, err
	}
	t, err := s.Tenants.RestoreTenant(r.Context(), c, r.PathValue("tenantId"), in.Reason)
	return TenantShown(&t), err
}

// tenantPage is the answer of GET /v1/tenants.
type tenantPage struct {
	Tenants       []listedTenant `json:"tenants"`
	NextPageToken string         `json:"nextPageToken,omitempty"`
}

// listedTenant is a tenant in a list.
type listedTenant struct {
	TenantID string `json:"tenantId"`
	State    string `json:"state"`
}

func listTenants(s *service, c *core.Caller, r *http.Request) (tenantPage, error) {
	list := func(ctx context.Context, c *core.Caller, _, after string, limit int) ([]engine.TenantStatus, error) {
		return s.Tenants.ListTenants(ctx, c, after, limit)
	}
	all, next, err := door.PageOf(s.Door, c, r, core.ActionListTenants, list, func(t *engine.TenantStatus) string { return t.Name }, func(t *engine.TenantStatus) listedTenant { return listedTenant{t.Name, t.State} })
	return tenantPage{all, next}, err
}
