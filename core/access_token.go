package core

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"
)

// AccessToken is what the directory keeps of a bearer token that this server has issued. The
// token itself is "kr1_ID_SECRET"; the ID is that of the directory entry. The entry has the
// tenant too. It is never changed, only deleted.
type AccessToken struct {
	SecretHash []byte `json:"secretHash"` // SHA-256
	Principal  string `json:"principal"`  // its ID in the tenant

	// Certificates is the chain that bought the token, in DER, that of the client first. It is
	// checked again at each use. Without it the token is that of a user.
	Certificates [][]byte `json:"certificates,omitempty"`
	// PasswordHash is the [User.ProofHash] when the user's password bought the token; empty if an
	// administrator issued it.
	PasswordHash []byte `json:"passwordHash,omitempty"`
	// UserBegun is [User.Begun] of the user whose token it is. The token is not that of a later
	// user of the same name.
	UserBegun int64 `json:"userBegun,omitempty"`
	// Person is what the LDAP directory said of the buyer whose password bought the token; nil if
	// it did not verify the buyer. It is not asked again.
	Person *DirectoryPerson `json:"person,omitempty"`

	Issued  int64    `json:"issued"`            // Unix seconds
	Expires int64    `json:"expires"`           // Unix seconds
	Actions []string `json:"actions,omitempty"` // words or names of the only actions; empty: all
	Keys    []string `json:"keys,omitempty"`    // Unique Identifiers of the only objects; empty: all
	BoundTo string   `json:"boundTo,omitempty"` // SHA-256 of the only certificate that may send it (RFC 8705 §3), hex; "": any or none
}

// DirectoryPerson is what an LDAP directory said of a person when it verified the password.
type DirectoryPerson struct {
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

func (p *DirectoryPerson) check() error {
	if p == nil {
		return nil
	}
	if err := checkNameList("person.groups", p.Groups); err != nil {
		return err
	}
	if err := checkNameList("person.roles", p.Roles); err != nil {
		return err
	}
	return checkUserAttributes(p.Attributes)
}

// Bounds of an access token.
const (
	MinTokenLifetime   = time.Minute
	MaxTokenLifetime   = 12 * time.Hour
	MaxTokenNames      = 64 // actions, and keys
	maxTokenChainBytes = 16 << 10
	maxTokenKeyBytes   = 128
)

// Check returns an error if a field of t is out of its bounds.
func (t *AccessToken) Check() error {
	chain := 0
	for _, c := range t.Certificates {
		chain += len(c)
	}
	lifetime := time.Duration(t.Expires-t.Issued) * time.Second
	switch {
	case len(t.SecretHash) != sha256.Size:
		return Errorf(InvalidField, "secretHash: it has %d bytes, not %d", len(t.SecretHash), sha256.Size)
	case !ValidName(t.Principal):
		return Errorf(InvalidField, "principal: %q is no name", ClientText(t.Principal))
	case chain > maxTokenChainBytes:
		return Errorf(InvalidField, "the client's certificates have %d bytes; a token can be bought with at most %d", chain, maxTokenChainBytes)
	case len(t.PasswordHash) != 0 && (len(t.PasswordHash) != sha256.Size || chain > 0):
		return Errorf(InvalidField, "passwordHash: it is no SHA-256, or there are certificates too")
	case t.Person != nil && (len(t.PasswordHash) != 0 || chain > 0):
		return Errorf(InvalidField, "person: there are certificates or a hash too")
	case t.Issued <= 0 || lifetime < MinTokenLifetime || lifetime > MaxTokenLifetime:
		return Errorf(InvalidField, "lifetime: a token lives %v to %v, not %v", MinTokenLifetime, MaxTokenLifetime, lifetime)
	case t.BoundTo != "" && !isFingerprint(t.BoundTo):
		return Errorf(InvalidField, "boundTo: it is no SHA-256 in hex")
	}
	if err := t.Person.check(); err != nil {
		return err
	}
	return t.checkNarrowing()
}

func (t *AccessToken) checkNarrowing() error {
	if len(t.Actions) > MaxTokenNames || len(t.Keys) > MaxTokenNames {
		return Errorf(InvalidField, "a token is narrowed to at most %d actions and %d keys", MaxTokenNames, MaxTokenNames)
	}
	for _, a := range t.Actions {
		if ActionsNamed(a) == nil {
			return Errorf(InvalidField, "actions: %q is no action; encrypt, rotate and \"Get Attributes\" are some", ClientText(a))
		}
	}
	for _, k := range t.Keys {
		if k == "" || len(k) > maxTokenKeyBytes || !printableText(k) {
			return Errorf(InvalidField, "keys: %q is no Unique Identifier", ClientText(k))
		}
	}
	return nil
}

func isFingerprint(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}

// HasSecret reports in constant time whether a secret with this SHA-256 is that of t.
func (t *AccessToken) HasSecret(hash *[sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(t.SecretHash, hash[:]) == 1
}
