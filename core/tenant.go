package core

// TenantState says whether the requests of a tenant are answered.
type TenantState string

// The states of a tenant. Only requests of an active tenant are answered.
const (
	TenantActive   TenantState = "active"
	TenantDisabled TenantState = "disabled"
	TenantDeleting TenantState = "deleting" // its deletion was asked for; until it is confirmed, the tenant can be restored
	TenantDeleted  TenantState = "deleted"  // its keys are destroyed, or will be; nothing brings it back
)

// Tenant is what the administrator of the server has laid down for one tenant.
type Tenant struct {
	State       TenantState `json:"state"`
	DeleteAfter int64       `json:"deleteAfter,omitempty"` // Unix seconds; earlier, the deletion cannot be confirmed
	TenantSettings
}

// TenantSettings are the settings of one tenant. What is left out is as the settings of the
// server have it.
type TenantSettings struct {
	KeyGroup       string `json:"keyGroup,omitempty"` // owns new keys too if their maker is a member, unless the request or the setting of the client names a group
	Sensitive      *bool  `json:"sensitive,omitempty"`
	NotExtractable *bool  `json:"notExtractable,omitempty"`

	// Algorithms has the algorithms of new keys by the names of the standard, such as
	// "AES", each with the allowed lengths in bits. An empty list allows all lengths.
	Algorithms map[string][]int `json:"algorithms,omitempty"`
	Classes    []Class          `json:"classes,omitempty"` // of new objects
	Custody    []Mode           `json:"custody,omitempty"` // of new keys: "wrapped", "resident"

	DeactivatedMayProcess *bool `json:"deactivatedMayProcess,omitempty"`
	CompromisedMayProcess *bool `json:"compromisedMayProcess,omitempty"`

	Software *bool `json:"software,omitempty"` // false: keys are not used in Go where the token lacks a mechanism; never lifts the server's setting
	WeakKeys bool  `json:"weakKeys,omitempty"` // RSA keys of 1024 to 2047 bits are made too

	RetentionDays int64 `json:"retentionDays,omitempty"` // how long a deleted key can be restored, unless the request says otherwise; 0: as the server

	// Quotas, in place of those of the server; 0: the server's.
	Objects      int64 `json:"objects,omitempty"` // destroyed ones included
	ResidentKeys int64 `json:"residentKeys,omitempty"`
	Bytes        int64 `json:"bytes,omitempty"`       // attributes and sealed keys, about
	Requests     int64 `json:"requests,omitempty"`    // operations a second
	Connections  int64 `json:"connections,omitempty"` // at once, of each door of each node
}

// TenantRows finds the rows of tenants. Safe for concurrent use.
type TenantRows interface {
	// Tenant returns the row of a tenant. A tenant without one is active and has the
	// settings of the server. The code is Tampered if the row is missing that was there, or
	// was changed behind the server, and StoreUnavailable if changes may have been missed.
	// Nobody changes the result.
	Tenant(name string) (*Tenant, error)
}

// TenantWithoutRow is a tenant for which nothing was laid down. Do not change it.
var TenantWithoutRow = &Tenant{State: TenantActive}

// CheckTenantName fails with InvalidField if a name cannot be that of a tenant: no certificate
// could name it, or it is the server's own.
func CheckTenantName(name string) error {
	if !ValidName(name) {
		return Errorf(InvalidField, "%q cannot be a tenant; use letters, digits, '.', '_' and '-', at most %d", ClientText(name), MaxNameBytes)
	}
	if name == SystemTenant {
		return Errorf(InvalidField, "tenant %q is the server's own; choose another name", name)
	}
	return nil
}

// Check implements [Body]. The settings were checked before they were stored; see
// rules.MergeTenantSettings.
func (t *Tenant) Check() error {
	switch t.State {
	case TenantActive, TenantDisabled, TenantDeleting, TenantDeleted:
	default:
		return Errorf(InvalidField, "state: a tenant is active, disabled, deleting or deleted, not %q", ClientText(string(t.State)))
	}
	if t.DeleteAfter < 0 || (t.DeleteAfter > 0) != (t.State == TenantDeleting) {
		return Errorf(InvalidField, "deleteAfter: a tenant has this time as long as it is being deleted, and only then")
	}
	return nil
}
