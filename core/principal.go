package core

import "slices"

// Principal is who asks. It is made once per connection where possible, never
// changes, and may be shared by goroutines.
type Principal struct {
	Tenant   string
	ID       string // unique in the tenant, "dev"
	Groups   []string
	Roles    []string // "admin", "auditor"
	Method   string   // how it proved itself, one of Methods
	Strength Strength // of that proof

	// The channel's own identity, beside the effective one above.
	Subject     string // subject of the client certificate
	Serial      string // its serial number, hex
	Fingerprint string // SHA-256 of the certificate, hex
	Expires     int64  // Unix seconds after which it is nobody
}

// SystemTenant is the tenant of the server itself. No client belongs to it: the
// records of a client could be taken for those of the server's administrator.
const SystemTenant = "system"

// Methods lists how a principal can have proved itself. A policy that names
// another is refused.
var Methods = []string{"mtls", "system"}

// HasRole reports whether p holds a role.
func (p *Principal) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

// InGroup reports whether p is a member of group g; nobody is a member of "".
func (p *Principal) InGroup(g string) bool { return g != "" && slices.Contains(p.Groups, g) }

// Door is how a request arrived.
type Door string

// The doors. What an administrator does to the server itself comes by the
// machine's own, a socket or a signal. No operation of KMIP comes that way.
const (
	DoorKMIP  Door = "kmip"
	DoorREST  Door = "rest"
	DoorClock Door = "clock"
	DoorAdmin Door = "admin"
)

// Caller is all that the engine knows of one request: who, through which door,
// from where. Version is the client's KMIP version, zero at other doors; it
// only chooses between rules that the standard itself changed.
type Caller struct {
	Principal *Principal
	Door      Door
	Address   string // of the peer, without port
	Version   Version
	RequestID string // ours, one a request message
	ClientRef string // Client Correlation Value or REST request header, for the record only
	Undo      *Undo  // not nil: the batch may have to be undone, so remember how

	// Room asks the door for memory before so many bytes of an answer are made; it
	// may wait. nil: there is room.
	Room func(bytes int) error
}
