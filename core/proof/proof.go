// Package proof says what senders prove or claim about themselves, and what verifies it. It
// verifies nothing itself. Start at [Evidence] and [Credential].
package proof

import (
	"cmp"
	"context"
	"crypto/x509"

	"github.com/keyreeve/keyreeve/core"
)

// Evidence holds what a connection proves or claims about its sender. A door only
// collects it. An [Authenticator] decides who the sender is.
type Evidence struct {
	Certificates []*x509.Certificate // of the client, its own first; TLS has proved that it holds the key
}

// Credential is one Credential in the Authentication of a message (KMIP 1.4 §2.1.2, 2.1 §9.11).
// The types Username and Password, Device, One Time Password and Hashed Password are decoded. Other
// types keep their fields in Value. All bytes alias the message.
type Credential struct {
	Type            core.CredentialType
	Username        string
	Password        []byte
	OneTimePassword []byte
	Hashed          *HashedPassword // nil: another type
	Device          *Device         // nil: another type
	Value           []core.Field
}

// HashedPassword proves that the sender knows a password (KMIP 2.1 §9.11, Table 415). With
// S1 = Hash(Username || Password) and S2 = Hash(Password || Username) it is
// Hash(S1 || Timestamp) || S2.
type HashedPassword struct {
	Timestamp int64                 // Unix microseconds
	Algorithm core.HashingAlgorithm // 0: SHA-256
	Hash      []byte

	// ServerHash is the Server Hashed Password of the answer (2.1 §8.5): Hash(Timestamp || S1 ||
	// Hash(S2)). The code that verifies the credential sets it.
	ServerHash []byte
}

// Device has the identifiers of a Device credential (KMIP 1.4 §2.1.2, 2.1 §9.11). "" is one that was
// not sent.
type Device struct{ SerialNumber, Identifier, Network, Machine, Media string }

// The attributes of a user that a Device credential of it must have too, if the user has them.
const (
	DeviceSerialNumberAttribute = "device-serial-number"
	DeviceIdentifierAttribute   = "device-identifier"
	NetworkIdentifierAttribute  = "network-identifier"
	MachineIdentifierAttribute  = "machine-identifier"
	MediaIdentifierAttribute    = "media-identifier"
)

// UserName returns the user that a device logs in as: its Device Identifier, or else its Device
// Serial Number.
func (d *Device) UserName() string { return cmp.Or(d.Identifier, d.SerialNumber) }

// Matches reports whether d has each identifier that is among the attributes of a user.
func (d *Device) Matches(attributes map[string]string) bool {
	for name, sent := range map[string]string{DeviceSerialNumberAttribute: d.SerialNumber, DeviceIdentifierAttribute: d.Identifier, NetworkIdentifierAttribute: d.Network,
		MachineIdentifierAttribute: d.Machine, MediaIdentifierAttribute: d.Media} {
		if wanted, ok := attributes[name]; ok && wanted != sent {
			return false
		}
	}
	return true
}

// Empty reports whether a credential says nothing. libkmip sends a Username and a Password
// without characters.
func (c *Credential) Empty() bool {
	return c.Username == "" && len(c.Password) == 0 && len(c.OneTimePassword) == 0 && c.Hashed == nil && (c.Device == nil || *c.Device == Device{}) && len(c.Value) == 0
}

// CredentialAuthenticator turns the credentials of messages into principals. Safe for
// concurrent use.
type CredentialAuthenticator interface {
	// ForConnection returns the function that Identify of an origin describes, for the
	// messages of one connection from an address.
	ForConnection(address string) IdentifySender
}

// IdentifySender returns the sender of a message with credentials, on a connection whose
// certificate proves a principal. It returns that principal itself if the credentials are
// not verified, because they are empty or the server's settings ignore them. Otherwise the
// credentials decide, and the certificate only says who may send them (KMIP Profiles 2.1
// §3.1.3). The principal stays the same pointer while nothing about it changes. Errors
// have code AuthenticationNotSuccessful, or say why the credentials cannot be verified
// now. A refusal is never an answer for the certificate's principal. The function may wait
// until ctx ends, and keeps nothing of the credentials. It is called by one goroutine at a
// time.
type IdentifySender func(ctx context.Context, certificate *core.Principal, credentials []Credential) (*core.Principal, error)

// BearerAuthenticator turns the bearer tokens of one issuer into principals: those of this
// server, or those of OpenID providers. Safe for concurrent use.
type BearerAuthenticator interface {
	// Recognizes reports whether a token has the form of the issuer's tokens. It says
	// nothing about whether the token is right.
	Recognizes(token string) bool

	// ForConnection returns the function for the requests of one connection from an
	// address.
	ForConnection(address string) IdentifyBearer
}

// IdentifyBearer returns the principal that a bearer token proves now. certificate is the
// principal that the certificate of the connection proves; nil if there is none. It only says
// who may send the token, and is never the answer. The principal stays the same pointer while
// nothing about it changes. Errors have code AuthenticationNotSuccessful, or say why the token
// cannot be verified now. The function keeps nothing of the token. It is called by one
// goroutine at a time.
type IdentifyBearer func(ctx context.Context, certificate *core.Principal, token string) (*core.Principal, error)

// Authenticator turns evidence into principals. Safe for concurrent use.
type Authenticator interface {
	// Identify returns a function. Each call of it returns the principal that the
	// evidence proves at that time: the answer changes when a certificate is revoked
	// or expires, or a setting changes. A door calls it for each message. The
	// principal stays the same pointer while nothing about it changes. Errors have
	// code AuthenticationNotSuccessful. The function is safe for concurrent use.
	Identify(e Evidence) func() (*core.Principal, error)
}
