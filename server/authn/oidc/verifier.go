// Package oidc verifies bearer tokens of other issuers: signed JWTs of OpenID providers.
//
// The settings of an issuer say which of its tokens are good and which tenants, names, groups
// and roles they may name; everything else is refused or left out. It relies on the keys that
// the issuer publishes, on the directory of users, and on the counts of failed logins in
// package password. It never logs a token, and it does not ask an issuer whether a token was
// revoked. Start at [Verifier.ForConnection].
package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/proof"
)

const (
	maxTokenBytes = 16 << 10
	maxRemembered = 4096 // tokens
)

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
	Users    Users
	Guessing Guessing
	// RequireTenant fails if a tenant is not declared.
	RequireTenant func(ctx context.Context, tenant string) error
	// Report takes the outcome of reading an issuer's keys: each failure, and the first
	// success after one.
	Report func(issuer string, err error)
	Now    func() time.Time
}

// Verifier verifies the tokens of all issuers. Safe for concurrent use.
type Verifier struct {
	ports   Ports
	issuers map[string]*trustedIssuer // by URL

	mu         sync.RWMutex
	remembered *cache.Bounded[*provenToken] // by issuer and SHA-256
}

type trustedIssuer struct {
	Issuer
	keys *keyring
}

// NewVerifier returns a Verifier of issuers that [CheckIssuers] accepts. It reads no keys.
func NewVerifier(all []Issuer, p Ports) (*Verifier, error) {
	v := &Verifier{ports: p, issuers: map[string]*trustedIssuer{}, remembered: cache.New(maxRemembered, maxTokenLife, func(*provenToken) {})}
	for i, s := range all {
		s = s.withDefaults()
		keys, err := newKeyring(&s, p.Now, p.Report)
		if err != nil {
			return nil, fmt.Errorf("authentication.issuers[%d].ca: %w", i, err)
		}
		v.issuers[s.URL] = &trustedIssuer{s, keys}
	}
	return v, nil
}

// Watch keeps the keys of all issuers new until ctx ends.
func (v *Verifier) Watch(ctx context.Context) {
	var all sync.WaitGroup
	for _, issuer := range v.issuers {
		all.Go(func() { issuer.keys.Watch(ctx) })
	}
	all.Wait()
}

var _ proof.BearerAuthenticator = (*Verifier)(nil)

// Recognizes implements [proof.BearerAuthenticator]. A JWT that is signed has three parts.
func (v *Verifier) Recognizes(token string) bool { return strings.Count(token, ".") == 2 }

// ForConnection implements [proof.BearerAuthenticator]. The function verifies no signature
// again as long as the keys of the issuer are the ones that it was verified with.
func (v *Verifier) ForConnection(address string) proof.IdentifyBearer {
	c := &connection{verifier: v, address: address}
	return c.identify
}

// Causes for which a token is refused. The client gets the same sentence for each. The record
// has the cause. Causes in badToken are those of a token that no trusted issuer has signed.
var (
	errForm      = errors.New("it is no JWT signed by an asymmetric algorithm")
	errIssuer    = errors.New("its issuer is not in authentication.issuers")
	errAlgorithm = errors.New("its algorithm is not allowed for its issuer")
	errType      = errors.New("its type is that of no access token")
	errKey       = errors.New("its key is none of the issuer's")
	errSignature = errors.New("its signature is wrong")

	errNoKeys       = errors.New("the keys of its issuer could not be read, or not for too long")
	errAudience     = errors.New("it is for another audience")
	errNoTimes      = errors.New("it lacks exp or iat")
	errExpired      = errors.New("it has expired")
	errNotYet       = errors.New("it is not valid yet")
	errLifetime     = errors.New("it lives longer than max_lifetime")
	errTenantClaim  = errors.New("its issuer may not name this tenant")
	errName         = errors.New("it names nobody, or a name that its issuer may not give")
	errElsewhere    = errors.New("its groups or roles are too many and are kept elsewhere")
	errConfirmation = errors.New("its claim cnf cannot be checked; only x5t#S256 can")
	errBound        = errors.New("it is bound to another client certificate")
	errCertificate  = errors.New("the client certificate beside it is of another tenant")
	errUser         = errors.New("a user of the directory has this name, and its issuer may not name users")
	errDisabled     = errors.New("the user of this name is disabled or has expired")
)

var badToken = []error{errForm, errIssuer, errAlgorithm, errType, errKey, errSignature}

func refuseToken(cause error) error {
	return core.Wrap(core.AuthenticationNotSuccessful, cause, "the access token is not right or no longer valid; get a new one")
}

// provenToken is what a good token proves. It never changes.
type provenToken struct {
	principal *core.Principal
	boundTo   string
	issuer    *trustedIssuer
	keys      *keySet // that its key is of
}

// connection verifies the tokens of one connection.
type connection struct {
	verifier    *Verifier
	address     string
	proven      *provenToken    // by the last token; nil: none yet
	certificate *core.Principal // that came with it
	principal   *core.Principal
}

func (c *connection) identify(ctx context.Context, certificate *core.Principal, text string) (*core.Principal, error) {
	proven, err := c.verifier.proveToken(ctx, text)
	if err != nil {
		if slices.Contains(badToken, err) {
			if slow := c.verifier.ports.Guessing.NoteFailureFrom(c.address); slow != nil {
				return nil, slow
			}
		}
		return nil, refuseToken(err)
	}
	if err := proven.checkCertificate(certificate); err != nil {
		return nil, refuseToken(err)
	}
	if err := c.verifier.ports.RequireTenant(ctx, proven.principal.Tenant); err != nil {
		return nil, err
	}
	if err := c.verifier.checkUser(proven); err != nil {
		return nil, err
	}
	return c.principalOf(proven, certificate)
}

// principalOf returns the principal of a token beside a certificate, the same as before if
// nothing has changed.
func (c *connection) principalOf(proven *provenToken, certificate *core.Principal) (*core.Principal, error) {
	if c.proven != proven || c.certificate != certificate {
		p := *proven.principal
		if certificate != nil {
			p.Certificate, p.Subject, p.Serial, p.Fingerprint = certificate, certificate.Subject, certificate.Serial, certificate.Fingerprint
			if certificate.Expires != 0 {
				p.Expires = min(p.Expires, certificate.Expires)
			}
		}
		if !reflect.DeepEqual(&p, c.principal) {
			c.principal = &p
		}
		c.proven, c.certificate = proven, certificate
	}
	if c.verifier.ports.Now().Unix() >= c.principal.Expires {
		return nil, refuseToken(errExpired)
	}
	return c.principal, nil
}

// checkCertificate fails if the certificate of a connection may not send the token.
func (t *provenToken) checkCertificate(certificate *core.Principal) error {
	switch {
	case certificate != nil && certificate.Tenant != t.principal.Tenant:
		return errCertificate
	case t.boundTo != "" && (certificate == nil || certificate.Fingerprint != t.boundTo):
		return errBound
	}
	return nil
}

// checkUser fails if a user of the directory has the name of a token's principal, unless the
// issuer may name users and this one may still log in.
func (v *Verifier) checkUser(t *provenToken) error {
	u, err := v.ports.Users.User(t.principal.Tenant, t.principal.ID)
	switch {
	case err != nil || u == nil:
		return err
	case !t.issuer.MayNameUsers:
		return refuseToken(errUser)
	case u.Disabled || u.Expires != 0 && v.ports.Now().Unix() >= u.Expires:
		return refuseToken(errDisabled)
	}
	return nil
}

// proveToken returns what a token proves. It remembers it until the token expires or the issuer's
// keys are read again, so that a key that was withdrawn proves nothing any more.
func (v *Verifier) proveToken(ctx context.Context, text string) (*provenToken, error) {
	if len(text) > maxTokenBytes {
		return nil, errForm
	}
	token, err := jwt.ParseSigned(text, supportedAlgorithms)
	if err != nil {
		return nil, errForm
	}
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if token.UnsafeClaimsWithoutVerification(&claimed) != nil {
		return nil, errForm
	}
	issuer := v.issuers[claimed.Issuer]
	if issuer == nil {
		return nil, errIssuer
	}
	sum := sha256.Sum256([]byte(text))
	if known := v.recall(issuer, sum); known != nil {
		return known, nil
	}
	proven, err := issuer.verify(ctx, token, v.ports.Now())
	if err != nil {
		return nil, err
	}
	proven.principal.TokenID = "jwt" + hex.EncodeToString(sum[:16])
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remembered.Put(issuer.URL, string(sum[:]), proven)
	return proven, nil
}

// recall returns what is remembered of a token; nil if it must be verified.
func (v *Verifier) recall(issuer *trustedIssuer, sum [sha256.Size]byte) *provenToken {
	v.mu.RLock()
	known, ok := v.remembered.Get(issuer.URL, string(sum[:]))
	v.mu.RUnlock()
	if !ok || known.keys != issuer.keys.newest.Load() || !issuer.keys.isFresh(known.keys, issuer.KeysFor) || v.ports.Now().Unix() >= known.principal.Expires {
		return nil
	}
	return known
}

// tokenTypes are the types that a header may give, in lower case (RFC 7519 §5.1, RFC 9068
// §2.1). Others are those of logout tokens and the like.
var tokenTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// verify returns what a token proves, if everything about it is right.
func (i *trustedIssuer) verify(ctx context.Context, token *jwt.JSONWebToken, now time.Time) (*provenToken, error) {
	header := token.Headers[0]
	typ, isText := header.ExtraHeaders[jose.HeaderType].(string)
	switch {
	case !slices.Contains(i.Algorithms, header.Algorithm):
		return nil, errAlgorithm
	case header.ExtraHeaders[jose.HeaderType] != nil && !isText || !slices.Contains(tokenTypes, strings.ToLower(typ)):
		return nil, errType
	case header.KeyID == "":
		return nil, errKey
	}
	keys, set, err := i.keys.keysNamed(ctx, header.KeyID, i.KeysFor)
	if err != nil {
		return nil, err
	}
	c, err := verifiedClaims(token, keys, header.Algorithm)
	if err != nil {
		return nil, err
	}
	proven := &provenToken{issuer: i, keys: set}
	if proven.principal, err = i.principalOf(c, now); err != nil {
		return nil, err
	}
	proven.boundTo, err = c.boundTo()
	return proven, err
}

// verifiedClaims returns the claims of a token that one of the keys has signed.
func verifiedClaims(token *jwt.JSONWebToken, keys []jose.JSONWebKey, algorithm string) (claims, error) {
	for _, k := range keys {
		if k.Algorithm != "" && k.Algorithm != algorithm {
			continue
		}
		var c claims
		if token.Claims(k.Key, &c) == nil {
			return c, nil
		}
	}
	return nil, errSignature
}
