// Package policyfiles keeps the key policies, roles and users of a tenant as files.
//
// [Read] and [Write] know the folder; [Differences] and [Steps] compare it with what a
// server has. The package asks no server and stores nothing there. A folder is read as a
// whole: if one file is wrong, nothing of it is returned. Start at [Tenant].
package policyfiles

import (
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// Tenant is what a tenant has, by name. Users have no password here.
type Tenant struct {
	Policies map[string]Policy
	Roles    map[string]core.Role
	Users    map[string]core.User
}

// Policy is a key policy, and what it is attached to.
type Policy struct {
	Document *format.Document
	Version  int64    // on the server; 0: from a file
	Attached *Targets // nil: no file says it
}

// Targets are what a policy is attached to.
type Targets struct {
	Holders []string `json:"holders,omitempty"` // such as "role:ops", sorted
	Objects []string `json:"objects,omitempty"` // Unique Identifiers, sorted
}

// NewTenant returns a tenant that has nothing.
func NewTenant() *Tenant {
	return &Tenant{Policies: map[string]Policy{}, Roles: map[string]core.Role{}, Users: map[string]core.User{}}
}
