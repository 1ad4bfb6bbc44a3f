// Package bearer verifies the access tokens that this server has issued.
//
// A token is a random secret, so it is compared with the hash that the directory keeps, in
// constant time. Anyone who sends it may do what its owner may do now: the certificate that bought
// it is checked again as on a connection, and a user is looked up. It relies on the directory,
// on package authn and on the counts of failed logins in package password. It never logs a
// token. Start at [Verifier.ForConnection].
package bearer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"reflect"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/core/tokentext"
)

// Tokens is where tokens are looked up. It answers from memory. Safe for concurrent use.
type Tokens interface {
	// Find returns the tenant of a token and the version of its entry. The code is
	// ItemNotFound if there is none, or StoreUnavailable if changes may have been missed. It
	// allocates nothing.
	Find(id string) (tenant string, version int64, err error)
	Token(tenant, id string) (*core.AccessToken, error)
}

// Users is where users are looked up.
type Users interface {
	// User returns the newest version of a user, or nil if there is no such user.
	User(tenant, name string) (*core.User, error)
}

// Guessing slows down failed logins.
type Guessing interface {
	// NoteFailureFrom counts a failed login from an address. It fails with
	// AuthenticationNotSuccessful if the address must wait before its next one.
	NoteFailureFrom(address string) error
}

// Ports are what a Verifier relies on.
type Ports struct {
	Tokens       Tokens
	Users        Users
	Certificates proof.Authenticator // that of connections, so that both follow one rule
	Guessing     Guessing
	// HasDirectory reports whether a tenant has an LDAP directory, whose people may have tokens.
	HasDirectory func(tenant string) bool
	// RequireTenant fails if a tenant is not declared.
	RequireTenant func(ctx context.Context, tenant string) error
}

// Verifier verifies access tokens. Safe for concurrent use.
type Verifier struct{ ports Ports }

// NewVerifier returns a Verifier.
func NewVerifier(p Ports) *Verifier { return &Verifier{p} }

var _ proof.BearerAuthenticator = (*Verifier)(nil)

// Recognizes implements [proof.BearerAuthenticator].
func (v *Verifier) Recognizes(token string) bool {
	_, _, ok := tokentext.Parse(token)
	return ok
}

// ForConnection implements [proof.BearerAuthenticator]. The function is cheap as long as the
// connection sends the same token and nothing changes.
func (v *Verifier) ForConnection(address string) proof.IdentifyBearer {
	c := &connection{verifier: v, address: address}
	return c.identify
}

// refuseFor refuses a token for a cause of this package.
func refuseFor(cause string) error { return refuseToken(errors.New(cause)) }

// refuseToken refuses a token. The client gets the same sentence for each cause. The record has
// the cause.
func refuseToken(cause error) error {
	return core.Wrap(core.AuthenticationNotSuccessful, cause, "the access token is not right or no longer valid; get a new one")
}

// connection verifies the tokens of one connection.
type connection struct {
	verifier *Verifier
	address  string
	last     provenToken
}

// provenToken is the token that the connection has sent last.
type provenToken struct {
	tenant, id  string
	version     int64
	token       *core.AccessToken // nil: none yet
	buyer       func() (*core.Principal, error)
	owner       *core.Principal // of the certificate that bought it, or a person of an LDAP directory, or
	user        *core.User
	certificate *core.Principal // of the connection
	principal   *core.Principal
}

func (c *connection) identify(ctx context.Context, certificate *core.Principal, text string) (*core.Principal, error) {
	id, secret, ok := tokentext.Parse(text)
	if !ok {
		return nil, c.countFailure("it does not have the form of a token")
	}
	known, err := c.loadToken(id)
	if err != nil {
		return nil, err
	}
	if known.token == nil || !known.token.HasSecret(&secret) {
		if known.token == nil {
			subtle.ConstantTimeCompare(make([]byte, sha256.Size), secret[:]) // an unknown ID costs the same
			return nil, c.countFailure("there is no such token, or it was revoked")
		}
		return nil, c.countFailure("its secret is wrong")
	}
	if err := known.checkConnection(certificate); err != nil {
		return nil, err
	}
	p, err := c.verifier.principalOf(ctx, known, certificate)
	if err != nil {
		return nil, err
	}
	c.last = *known
	if time.Now().Unix() >= p.Expires {
		return nil, refuseFor("it has expired")
	}
	return p, nil
}

// countFailure counts a failed try to send a token.
func (c *connection) countFailure(cause string) error {
	if err := c.verifier.ports.Guessing.NoteFailureFrom(c.address); err != nil {
		return err
	}
	return refuseFor(cause)
}

// loadToken returns what is known of a token; nothing if there is none. Its secret has not been
// compared yet.
func (c *connection) loadToken(id string) (*provenToken, error) {
	tenant, version, err := c.verifier.ports.Tokens.Find(id)
	switch core.CodeOf(err) {
	case core.ItemNotFound:
		return &provenToken{}, nil
	case core.StoreUnavailable:
		return nil, err
	}
	if err != nil {
		return nil, refuseToken(err)
	}
	if c.last.token != nil && c.last.id == id && c.last.tenant == tenant && c.last.version == version {
		again := c.last
		return &again, nil
	}
	t, err := c.verifier.ports.Tokens.Token(tenant, id)
	switch {
	case core.CodeOf(err) == core.ItemNotFound:
		return &provenToken{}, nil
	case core.CodeOf(err) == core.StoreUnavailable:
		return nil, err
	case err != nil:
		return nil, refuseToken(err)
	}
	return &provenToken{tenant: tenant, id: id, version: version, token: t}, nil
}

// checkConnection fails if the certificate of a connection may not send the token.
func (k *provenToken) checkConnection(certificate *core.Principal) error {
	switch {
	case certificate != nil && certificate.Tenant != k.tenant:
		return refuseFor("the client certificate beside it is of another tenant")
	case k.token.BoundTo != "" && (certificate == nil || certificate.Fingerprint != k.token.BoundTo):
		return refuseFor("it is bound to another client certificate")
	}
	return nil
}

// principalOf returns the principal that a token proves now. It is the one of the last request
// if nothing has changed.
func (v *Verifier) principalOf(ctx context.Context, k *provenToken, certificate *core.Principal) (*core.Principal, error) {
	owner, user, err := v.ownerOf(k)
	if err != nil {
		return nil, err
	}
	if k.principal != nil && k.owner == owner && k.user == user && k.certificate == certificate {
		return k.principal, nil
	}
	if err := v.ports.RequireTenant(ctx, k.tenant); err != nil {
		return nil, err
	}
	p := &core.Principal{Tenant: k.tenant, ID: k.token.Principal, Method: core.MethodToken, Strength: core.StrengthToken, TokenID: k.id,
		Actions: k.token.Actions, Keys: k.token.Keys, Certificate: certificate, Expires: k.token.Expires}
	if certificate != nil {
		p.Subject, p.Serial, p.Fingerprint = certificate.Subject, certificate.Serial, certificate.Fingerprint
		p.Expires = earlier(p.Expires, certificate.Expires)
	}
	if owner != nil {
		p.Groups, p.Roles, p.KeyGroup, p.Attributes, p.NamedBy = owner.Groups, owner.Roles, owner.KeyGroup, owner.Attributes, owner.NamedBy
		p.Expires = earlier(p.Expires, owner.Expires)
	} else {
		p.Groups, p.Roles, p.Attributes = user.Groups, user.Roles, user.Attributes
		p.Expires = earlier(p.Expires, user.Expires)
	}
	if !reflect.DeepEqual(p, k.principal) {
		k.principal = p
	}
	k.owner, k.user, k.certificate = owner, user, certificate
	return k.principal, nil
}

// earlier returns the earlier of two times of expiry, of which the second is 0 if there is none.
func earlier(a, b int64) int64 {
	if b != 0 && b < a {
		return b
	}
	return a
}

// ownerOf returns the principal whose certificate or LDAP password bought a token, or the user
// whose token it is, if that may still authenticate.
func (v *Verifier) ownerOf(k *provenToken) (*core.Principal, *core.User, error) {
	if k.token.Person != nil {
		p, err := v.personOf(k)
		return p, nil, err
	}
	if len(k.token.Certificates) == 0 {
		u, err := v.userOf(k)
		return nil, u, err
	}
	if k.buyer == nil {
		chain, err := parseChain(k.token.Certificates)
		if err != nil {
			return nil, nil, refuseToken(err)
		}
		k.buyer = v.ports.Certificates.Identify(proof.Evidence{Certificates: chain})
	}
	p, err := k.buyer()
	switch {
	case core.CodeOf(err) == core.AuthenticationNotSuccessful:
		return nil, nil, refuseToken(err)
	case err != nil:
		return nil, nil, err
	case p.Tenant != k.tenant || p.ID != k.token.Principal:
		return nil, nil, refuseFor("the certificate that bought it names another principal now")
	}
	return p, nil, nil
}

// personOf returns the person of an LDAP directory whose password bought a token, as the
// directory described it then.
func (v *Verifier) personOf(k *provenToken) (*core.Principal, error) {
	if !v.ports.HasDirectory(k.tenant) {
		return nil, refuseFor("the tenant has no LDAP directory any more")
	}
	switch u, err := v.ports.Users.User(k.tenant, k.token.Principal); {
	case err != nil:
		return nil, err
	case u != nil:
		return nil, refuseFor("a user of the server has the name of its owner now")
	case k.owner != nil:
		return k.owner, nil
	}
	person := k.token.Person
	return &core.Principal{Groups: person.Groups, Roles: person.Roles, Attributes: person.Attributes, NamedBy: core.NamedByLDAP}, nil
}

func parseChain(der [][]byte) (chain []*x509.Certificate, err error) {
	chain = make([]*x509.Certificate, len(der))
	for i := range der {
		if chain[i], err = x509.ParseCertificate(der[i]); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// userOf returns the user whose token it is.
func (v *Verifier) userOf(k *provenToken) (*core.User, error) {
	u, err := v.ports.Users.User(k.tenant, k.token.Principal)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, refuseFor("there is no such user any more")
	case u.Begun != k.token.UserBegun:
		return nil, refuseFor("its user was removed, and another one has the name now")
	case u.Disabled:
		return nil, refuseFor("the user is disabled")
	case k.user == u: // the password is the one that was compared before
		return u, nil
	}
	if sum := u.ProofHash(); len(k.token.PasswordHash) != 0 && subtle.ConstantTimeCompare(sum[:], k.token.PasswordHash) != 1 {
		return nil, refuseFor("the password or the key of the one-time codes that bought it was changed")
	}
	return u, nil
}
