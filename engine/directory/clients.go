package directory

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Client is what the directory keeps of an enrolled client: a program whose certificates this
// server issues. The entry has tenant and name. A certificate that is not listed here proves
// nothing.
type Client struct {
	Groups       []string            `json:"groups,omitempty"`
	Roles        []string            `json:"roles,omitempty"`
	Certificates []ClientCertificate `json:"certificates,omitempty"` // the newest last

	// An invitation lets anyone who has its secret get one certificate for the client.
	InvitationHash []byte `json:"invitationHash,omitempty"` // SHA-256 of the secret; empty: there is none
	InvitationEnds int64  `json:"invitationEnds,omitempty"` // Unix seconds
}

// ClientCertificate is a certificate that was issued to a client.
type ClientCertificate struct {
	Serial      string `json:"serial"`            // hex
	Fingerprint string `json:"fingerprint"`       // SHA-256, hex: with the authority's key alone nobody can make another one
	Issued      int64  `json:"issued"`            // Unix seconds
	Expires     int64  `json:"expires"`           // Unix seconds
	Revoked     int64  `json:"revoked,omitempty"` // Unix seconds, 0: it is not
}

// MaxClientCertificates bounds the certificates of a client that are kept.
const MaxClientCertificates = 8

// maxSerialBits is the length of the longest serial number (RFC 5280 §4.1.2.2).
const maxSerialBits = 160

// Check returns an error if a field of c is out of its bounds.
func (c *Client) Check() error {
	likeUser := core.User{Tenant: "any", Name: "any", Version: 1, Groups: c.Groups, Roles: c.Roles} // the same bounds
	if err := likeUser.Check(); err != nil {
		return err
	}
	switch {
	case slices.Contains(c.Roles, "system"):
		return core.Errorf(core.InvalidField, "roles: no client can have the role system, which is that of the server's own machine")
	case len(c.Certificates) > MaxClientCertificates:
		return core.Errorf(core.InvalidField, "certificates: %d are kept, at most %d", len(c.Certificates), MaxClientCertificates)
	case (len(c.InvitationHash) == 0) != (c.InvitationEnds == 0) || (len(c.InvitationHash) != 0 && len(c.InvitationHash) != sha256.Size) || c.InvitationEnds < 0:
		return core.Errorf(core.InvalidField, "invitationHash: it is no SHA-256 with an end")
	}
	for _, one := range c.Certificates {
		serial, ok := new(big.Int).SetString(one.Serial, 16)
		if !ok || serial.Sign() <= 0 || serial.BitLen() > maxSerialBits || serial.Text(16) != one.Serial || len(one.Fingerprint) != hex.EncodedLen(sha256.Size) || one.Issued <= 0 || one.Expires < one.Issued || one.Revoked < 0 {
			return core.Errorf(core.InvalidField, "certificates: %q is no serial number in hex, its fingerprint is no SHA-256, or its times are not in order", core.ClientText(one.Serial))
		}
	}
	return nil
}

// CertificateOf returns the certificate with a serial number, and nil if it was not issued to
// the client.
func (c *Client) CertificateOf(serial string) *ClientCertificate {
	for i := range c.Certificates {
		if c.Certificates[i].Serial == serial {
			return &c.Certificates[i]
		}
	}
	return nil
}

// IsInvited reports, in a time that does not depend on the hash, whether a secret with this
// SHA-256 is that of an invitation which has not ended at a time.
func (c *Client) IsInvited(hash *[sha256.Size]byte, now int64) bool {
	return subtle.ConstantTimeCompare(c.InvitationHash, hash[:]) == 1 && now < c.InvitationEnds
}

// An invitation is written as an access token with another prefix.
const (
	invitationPrefix = "kri_"
	tokenPrefix      = "kr1_"
)

// NewInvitation returns a random invitation as text, and the SHA-256 of its secret.
func NewInvitation() (text, hash []byte) {
	text, _, hash = core.NewAccessToken()
	copy(text, invitationPrefix)
	return text, hash
}

// ParseInvitation returns the SHA-256 of the secret of an invitation. ok is false if the text
// is not exactly in the form that [NewInvitation] makes.
func ParseInvitation(text string) (hash [sha256.Size]byte, ok bool) {
	rest, ok := strings.CutPrefix(text, invitationPrefix)
	if !ok {
		return hash, false
	}
	_, hash, ok = core.ParseAccessToken(tokenPrefix + rest)
	return hash, ok
}

// Clients looks up the enrolled clients of tenants. Safe for concurrent use.
type Clients struct{ *Typed[*Client] }

// NewClients must be called before the directory is opened.
func NewClients(d *Directory) *Clients {
	return &Clients{NewTyped(d, core.EntryClient, decodeBody[Client])}
}

// Admit returns the groups and roles of a client whose certificate has a fingerprint. It fails
// if there is no such client, or the certificate was not issued to it or was revoked.
func (c *Clients) Admit(tenant, name, fingerprint string) (groups, roles []string, err error) {
	client, err := c.Get(tenant, name)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(client.Certificates, func(one ClientCertificate) bool { return one.Fingerprint == fingerprint })
	switch {
	case i < 0:
		return nil, nil, core.Errorf(core.AuthenticationNotSuccessful, "the certificate is not among those that this server has issued and keeps")
	case client.Certificates[i].Revoked != 0:
		return nil, nil, core.Errorf(core.AuthenticationNotSuccessful, "the certificate has been revoked")
	}
	return client.Groups, client.Roles, nil
}
