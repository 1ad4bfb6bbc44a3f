package core

import "slices"

// Principal is the sender of a request, whose identity is proved. It is made once per
// connection if possible, never changes, and may be shared by goroutines.
type Principal struct {
	Tenant   string
	ID       string // unique in the tenant, "dev"
	Groups   []string
	Roles    []string // "admin", "auditor"
	KeyGroup string   // one of Groups, which owns new keys too unless the request names another one; "": none
	Method   string   // how its identity was proved, one of Methods
	Strength Strength // of that proof

	Attributes map[string]string // of a user, by name; never changed

	// What an access token adds. A narrowed principal may do nothing else, whatever a policy
	// says.
	TokenID string   // of the token that proved the identity; "": none did
	Actions []string // words or names of the only actions; nil: not narrowed to actions
	Keys    []string // Unique Identifiers of the only objects; nil: not narrowed to objects

	// The identity of the connection. The one above is effective.
	Certificate *Principal // that the client certificate proves; nil: no other than this one
	Subject     string     // subject of the client certificate
	Serial      string     // its serial number, hex
	Fingerprint string     // SHA-256 of the certificate, hex
	NamedBy     string     // the setting that turned the certificate or password into this principal, such as "tls.principals[3]"; "": none was needed
	Expires     int64      // Unix seconds, 0: never; after that the principal is not valid
}

// SystemTenant is the tenant of the server itself. No client belongs to it: its
// records could be mistaken for those of the server's administrator.
const SystemTenant = "system"

// Methods lists the ways to prove an identity. A policy that names another one is
// rejected.
var Methods = []string{MethodCertificate, MethodPassword, MethodDevice, MethodHashedPassword, MethodCode, MethodLDAP, MethodToken, MethodSystem}

// The ways to prove an identity.
const (
	MethodCertificate    = "mtls"            // a client certificate
	MethodPassword       = "password"        // a user name and its password, beside a client certificate
	MethodDevice         = "device"          // identifiers of a device and the password of its user, beside a client certificate
	MethodHashedPassword = "hashed-password" // the same, with a hash in place of the password
	MethodCode           = "code"            // the same, with a one-time code too
	MethodLDAP           = "ldap"            // a user name and its password, verified by the LDAP directory of the tenant
	MethodToken          = "token"           // a bearer token
	MethodSystem         = "system"          // the kernel of the server's own machine
)

// NamedByLDAP is the setting of LDAP directories, of which a tenant has one.
const NamedByLDAP = "authentication.ldap"

// HasRole reports whether p holds a role.
func (p *Principal) HasRole(role string) bool { return slices.Contains(p.Roles, role) }

// InGroup reports whether p is a member of group g; nobody is a member of "".
func (p *Principal) InGroup(g string) bool { return g != "" && slices.Contains(p.Groups, g) }

// ConnectionPrincipal returns the principal that the client certificate of the connection
// proves. It is p itself if nothing but the certificate proved it, and nil if there is no
// certificate.
func (p *Principal) ConnectionPrincipal() *Principal {
	if p.Certificate == nil && p.Method == MethodCertificate {
		return p
	}
	return p.Certificate
}

// Door is how a request arrived.
type Door string

// The doors. DoorAdmin is on the server's own machine, a socket or a signal, for what
// an administrator does to the server itself. No operation of KMIP arrives there.
const (
	DoorKMIP  Door = "kmip"
	DoorREST  Door = "rest"
	DoorClock Door = "clock"
	DoorAdmin Door = "admin"
)

// Caller is everything that the engine knows about the origin of a request: the
// principal, the door and the address. Version is the client's KMIP version, zero at
// other doors. It only chooses between rules that the standard itself changed.
type Caller struct {
	Principal *Principal
	Door      Door
	Address   string // of the peer, without port
	Version   Version
	RequestID string // ours, one a request message
	ClientRef string // Client Correlation Value or REST request header, for the record only
	Undo      *Undo  // not nil: the batch may have to be undone, so remember how

	// ExpectedVersion is the ChangeNumber of the object which the request may change; 0: any. Another one
	// fails with Conflict.
	ExpectedVersion int64

	// Once is the Idempotency-Key of the request; nil: it has none.
	Once *Once

	// RecordedAt is set to the Time of each record of the request that was stored, in Unix
	// microseconds. nil: nobody wants to know.
	RecordedAt *int64

	// Beside are stored with each change of the request, in one transaction; nil but for
	// the clock, whose acts are noted by them.
	Beside []Write

	// Pending takes the records of operations that are stored together before the request is answered:
	// see RecordTogether of the engine. nil: each is stored when its operation ends.
	Pending *PendingRecords

	// Room reserves memory for so many bytes of an answer before they are made. It may
	// wait. nil: there is no bound.
	Room func(bytes int) error
}
