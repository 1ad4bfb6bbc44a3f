package password

import (
	"context"
	"reflect"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// connection verifies the credentials of the messages of one connection. It remembers the
// last login, so that a message with the same credentials costs one keyed hash. It is used
// by one goroutine at a time.
type connection struct {
	verifier *Verifier
	address  string
	last     verifiedLogin
}

// verifiedLogin is a login whose password was right.
type verifiedLogin struct {
	certificate *core.Principal // nil: there was no login yet
	revision    uint64          // of the users
	proven      provenUser
	mark        mark
	principal   *core.Principal
}

var _ core.CredentialAuthenticator = (*Verifier)(nil)

// ForConnection implements [core.CredentialAuthenticator]. The only credentials that prove
// something are one Username and Password (KMIP 1.4 §2.1.2, 2.1 §7.2), of a user of the
// certificate's tenant. Credentials are not verified in tenants that never had a user and have
// no directory.
func (v *Verifier) ForConnection(address string) core.IdentifySender {
	c := &connection{verifier: v, address: address}
	return c.identify
}

func (c *connection) identify(ctx context.Context, certificate *core.Principal, credentials []core.Credential) (*core.Principal, error) {
	given, others := firstGiven(credentials)
	if given == nil {
		return certificate, nil
	}
	revision, err := c.verifier.users.Revision()
	if err != nil {
		return nil, err
	}
	if c.verifier.directories[certificate.Tenant] == nil && !c.verifier.users.HadUsers(certificate.Tenant) {
		return certificate, nil
	}
	if err := checkForm(given, others); err != nil {
		return nil, err
	}
	if last := &c.last; last.certificate == certificate && last.revision == revision && c.isSamePassword(given) {
		return unlessExpired(last.principal)
	}
	return c.logIn(ctx, certificate, revision, given)
}

// firstGiven returns the first credential that is not empty, and whether there are others.
func firstGiven(credentials []core.Credential) (given *core.Credential, others bool) {
	for i := range credentials {
		if credentials[i].Empty() {
			continue
		}
		if given != nil {
			return given, true
		}
		given = &credentials[i]
	}
	return given, false
}

func checkForm(given *core.Credential, others bool) error {
	switch {
	case others:
		return core.Errorf(core.AuthenticationNotSuccessful, "the message has several credentials; send one Username and Password")
	case given.Type != core.CredentialTypeUsernameAndPassword:
		return core.Errorf(core.AuthenticationNotSuccessful, "the server does not verify credentials of type %v; send a Username and Password, or none", given.Type)
	}
	return nil
}

// isSamePassword reports whether the credential is the one of the last login, and its outcome
// still counts.
func (c *connection) isSamePassword(given *core.Credential) bool {
	last := &c.last
	if last.certificate == nil || !last.proven.wasNamed(given.Username) || !last.proven.isCurrent(time.Now()) {
		return false
	}
	m := last.proven.markOf(c.verifier.memory, given.Password)
	return m.equals(&last.mark)
}

// unlessExpired returns p, or a refusal if its time is over.
func unlessExpired(p *core.Principal) (*core.Principal, error) {
	if p.Expires != 0 && time.Now().Unix() >= p.Expires {
		return nil, refuseLogin(errExpired)
	}
	return p, nil
}

// logIn verifies a credential that is not the one of the last message, or was verified before
// something changed.
func (c *connection) logIn(ctx context.Context, certificate *core.Principal, revision uint64, given *core.Credential) (*core.Principal, error) {
	l := &login{tenant: certificate.Tenant, from: source{certificate.ID, c.address}}
	var u *core.User
	if core.ValidName(given.Username) {
		l.name = given.Username
		var err error
		if u, err = c.verifier.users.User(l.tenant, l.name); err != nil {
			return nil, err
		}
	}
	l.given = c.last.mark
	proven := provenUser{user: u}
	if !c.isSameUser(certificate, u) || !c.isSamePassword(given) {
		var err error
		if proven, err = c.verifier.verify(ctx, l, u, given.Password); err != nil {
			return nil, err
		}
	}
	p := principalOf(proven, certificate)
	if reflect.DeepEqual(p, c.last.principal) {
		p = c.last.principal // so that caches keyed by it stay valid
	}
	c.last = verifiedLogin{certificate, revision, proven, l.given, p}
	return unlessExpired(p)
}

// isSameUser reports whether u is the user of the last login in the same version, and the
// certificate is of the same principal.
func (c *connection) isSameUser(certificate *core.Principal, u *core.User) bool {
	last := &c.last
	if last.certificate == nil || u == nil || last.proven.directory != nil {
		return false
	}
	before := last.proven.user
	return last.certificate.ID == certificate.ID && before.Tenant == u.Tenant && before.Name == u.Name && before.Version == u.Version
}

// principalOf returns the principal of a user who has proved to be it, beside a certificate;
// nil if there is none.
func principalOf(proven provenUser, certificate *core.Principal) *core.Principal {
	u := proven.user
	p := &core.Principal{Tenant: u.Tenant, ID: u.Name, Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Method: core.MethodPassword, Strength: core.StrengthPassword, Certificate: certificate}
	if proven.directory != nil {
		p.Method, p.NamedBy = core.MethodLDAP, core.NamedByLDAP
	}
	if certificate != nil {
		p.Subject, p.Serial, p.Fingerprint, p.Expires = certificate.Subject, certificate.Serial, certificate.Fingerprint, certificate.Expires
	}
	if u.Expires != 0 && (p.Expires == 0 || u.Expires < p.Expires) {
		p.Expires = u.Expires
	}
	return p
}
