package directory

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/tokentext"
)

// Client is what the directory keeps of an enrolled client: a program whose certificates this
// server issues. The entry has tenant and name. A certificate that is not listed here proves
// nothing.
type Client struct {
	Groups       []string            `json:"groups,omitempty"`
	Roles        []string            `json:"roles,omitempty"`
	KeyGroup     string              `json:"keyGroup,omitempty"`     // the one of Groups that owns new keys too; "": none
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

	// RenewedFrom is the serial number of the certificate with which the client got this one.
	// "": an administrator or an invitation gave it.
	RenewedFrom string `json:"renewedFrom,omitempty"`
}

// Bounds of the certificates of a client that have not expired.
const (
	MaxValidCertificates  = 8  // that are not revoked
	MaxClientCertificates = 64 // with revoked ones, which are kept until they expire
)

// maxSerialBits is the length of the longest serial number (RFC 5280 §4.1.2.2).
const maxSerialBits = 160

// Check returns an error if a field of c is out of its bounds.
func (c *Client) Check() error {
	likeUser := core.User{Tenant: "any", Name: "any", Version: 1, Groups: c.Groups, Roles: c.Roles} // the same bounds
	if err := likeUser.Check(); err != nil {
		return err
	}
	switch {
	case slices.Contains(c.Roles, core.SystemRole):
		return core.Errorf(core.InvalidField, "roles: no client can have the role system, which is that of the server's own machine")
	case c.KeyGroup != "" && !slices.Contains(c.Groups, c.KeyGroup):
		return core.Errorf(core.InvalidField, "keyGroup: %q is not one of the groups of the client", core.ClientText(c.KeyGroup))
	case len(c.Certificates) > MaxClientCertificates:
		return core.Errorf(core.InvalidField, "certificates: %d are kept, at most %d", len(c.Certificates), MaxClientCertificates)
	case (len(c.InvitationHash) == 0) != (c.InvitationEnds == 0) || (len(c.InvitationHash) != 0 && len(c.InvitationHash) != sha256.Size) || c.InvitationEnds < 0:
		return core.Errorf(core.InvalidField, "invitationHash: it is no SHA-256 with an end")
	}
	for _, one := range c.Certificates {
		if !isSerial(one.Serial) || (one.RenewedFrom != "" && !isSerial(one.RenewedFrom)) || len(one.Fingerprint) != hex.EncodedLen(sha256.Size) || one.Issued <= 0 || one.Expires < one.Issued || one.Revoked < 0 {
			return core.Errorf(core.InvalidField, "certificates: %q is no serial number in hex, its fingerprint is no SHA-256, or its times are not in order", core.ClientText(one.Serial))
		}
	}
	return nil
}

// isSerial reports whether a text is a serial number as certificates show it: in hex, without
// leading zeros.
func isSerial(text string) bool {
	n, ok := new(big.Int).SetString(text, 16)
	return ok && n.Sign() > 0 && n.BitLen() <= maxSerialBits && n.Text(16) == text
}

// CanRevoke reports whether a serial number is that of a certificate of the client, or of one
// that has expired and is no longer kept, but from which a kept one was renewed.
func (c *Client) CanRevoke(serial string) bool {
	return serial != "" && c.findCertificate(func(one *ClientCertificate) bool { return one.Serial == serial || one.RenewedFrom == serial }) != nil
}

// CertificateWith returns the certificate with a fingerprint, and nil if it was not issued to
// the client.
func (c *Client) CertificateWith(fingerprint string) *ClientCertificate {
	return c.findCertificate(func(one *ClientCertificate) bool { return one.Fingerprint == fingerprint })
}

func (c *Client) findCertificate(is func(*ClientCertificate) bool) *ClientCertificate {
	for i := range c.Certificates {
		if is(&c.Certificates[i]) {
			return &c.Certificates[i]
		}
	}
	return nil
}

// WithoutExpired returns the certificates that have not expired at a time. A certificate that
// was renewed from one that is left out counts as renewed from that one's predecessor. If all
// predecessors are left out, it counts as renewed from the first one, so that [Client.Revoke]
// finds it by a serial number that is no longer kept.
func (c *Client) WithoutExpired(now int64) (kept []ClientCertificate) {
	predecessor := map[string]string{} // of those that are left out; older ones come first
	for _, one := range c.Certificates {
		if before := predecessor[one.RenewedFrom]; before != "" {
			one.RenewedFrom = before
		}
		if one.Expires <= now {
			predecessor[one.Serial] = one.RenewedFrom
			continue
		}
		kept = append(kept, one)
	}
	return kept
}

// Revoke revokes the certificate with a serial number, and all that were renewed from it. ""
// stands for all certificates. It returns the serial numbers of those that were not revoked
// before. c gets a new list, so that nobody who reads the old one sees the change.
func (c *Client) Revoke(serial string, now int64) (revoked []string) {
	c.Certificates = slices.Clone(c.Certificates)
	of := map[string]bool{serial: true}
	for i := range c.Certificates { // a renewed one comes after the one that it was renewed from
		one := &c.Certificates[i]
		if serial != "" && !of[one.Serial] && !(one.RenewedFrom != "" && of[one.RenewedFrom]) {
			continue
		}
		of[one.Serial] = true
		if one.Revoked == 0 {
			one.Revoked = now
			revoked = append(revoked, one.Serial)
		}
	}
	return revoked
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
	text, _, hash = tokentext.New()
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
	_, hash, ok = tokentext.Parse(tokenPrefix + rest)
	return hash, ok
}

// Clients looks up the enrolled clients of tenants. Safe for concurrent use.
type Clients struct{ *Typed[*Client] }

// NewClients must be called before the directory is opened.
func NewClients(d *Directory) *Clients {
	return &Clients{NewTyped(d, core.EntryClient, decodeBody[Client])}
}

// Admit returns the groups, the roles and the group for new keys of a client whose certificate
// has a fingerprint. It fails if there is no such client, or the certificate was not issued to
// it or was revoked.
func (c *Clients) Admit(tenant, name, fingerprint string) (groups, roles []string, keyGroup string, err error) {
	client, err := c.Get(tenant, name)
	if err != nil {
		return nil, nil, "", err
	}
	switch one := client.CertificateWith(fingerprint); {
	case one == nil:
		return nil, nil, "", core.Errorf(core.AuthenticationNotSuccessful, "the certificate is not among those that this server has issued and keeps")
	case one.Revoked != 0:
		return nil, nil, "", core.Errorf(core.AuthenticationNotSuccessful, "the certificate has been revoked")
	}
	return client.Groups, client.Roles, client.KeyGroup, nil
}
