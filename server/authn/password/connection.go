package password

import (
	"context"
	"reflect"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
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

var _ proof.CredentialAuthenticator = (*Verifier)(nil)

// ForConnection implements [proof.CredentialAuthenticator]. One credential proves something: a
// Username and Password or a Device credential (KMIP 1.4 §2.1.2, 2.1 §9.11), a One Time Password
// or a Hashed Password (2.1 §9.11), of a user of the certificate's tenant. Credentials are not
// verified in tenants that never had a user and have no directory.
func (v *Verifier) ForConnection(address string) proof.IdentifySender {
	c := &connection{verifier: v, address: address}
	return c.identify
}

func (c *connection) identify(ctx context.Context, certificate *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
	given, others := firstGiven(credentials)
	if given == nil {
		return certificate, nil
	}
	revision, err := c.verifier.users.Revision()
	if err != nil {
		return nil, err
	}
	if !c.verifier.mayLogIn(certificate.Tenant) {
		return certificate, nil
	}
	if err := checkForm(given, others); err != nil {
		return nil, err
	}
	if last := &c.last; last.certificate == certificate && last.revision == revision && given.Hashed == nil && c.isSamePassword(given) {
		return unlessExpired(last.principal)
	}
	return c.logIn(ctx, certificate, revision, given)
}

// firstGiven returns the first credential that is not empty, and whether there are others.
func firstGiven(credentials []proof.Credential) (given *proof.Credential, others bool) {
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

// checkForm refuses a credential whose type or form is never accepted.
func checkForm(given *proof.Credential, others bool) error {
	refuse := func(format string, args ...any) error {
		return core.Errorf(core.AuthenticationNotSuccessful, format, args...)
	}
	switch verified := given.Hashed != nil || given.OneTimePassword != nil || given.Device != nil; {
	case others:
		return refuse("the message has several credentials; send one")
	case given.Type == core.CredentialTypeTicket:
		return refuse("the server does not verify credentials of type Ticket yet; send a Username and Password, a Device credential, a One Time Password or a Hashed Password")
	case given.Type != core.CredentialTypeUsernameAndPassword && !verified:
		return refuse("the server does not verify credentials of type %v here; send a Username and Password, a Device credential, since KMIP 2.0 a One Time Password or a Hashed Password, or none", given.Type)
	case given.Device != nil && given.Device.UserName() == "":
		return refuse("the Device credential has no Device Identifier and no Device Serial Number, of which one is the name of a user; send one")
	case given.Device != nil && len(given.Password) == 0:
		return refuse("the Device credential has no Password; send that of the user %q", core.ClientText(given.Device.UserName()))
	case given.Hashed != nil && hashingOf(given.Hashed.Algorithm) == nil:
		return refuse("the Hashing Algorithm of a Hashed Password must be SHA-256, SHA-384 or SHA-512, not %v", given.Hashed.Algorithm)
	case given.Type == core.CredentialTypeOneTimePassword && len(given.OneTimePassword) == 0:
		return refuse("the One Time Password is empty")
	}
	return nil
}

// nameIn returns the name of the user that a credential is for.
func nameIn(given *proof.Credential) string {
	if given.Device != nil {
		return given.Device.UserName()
	}
	return given.Username
}

// isSamePassword reports whether the credential is the one of the last login, and its outcome
// still counts.
func (c *connection) isSamePassword(given *proof.Credential) bool {
	last := &c.last
	if last.certificate == nil || !last.proven.wasNamed(nameIn(given)) || !last.proven.isCurrent(time.Now()) {
		return false
	}
	m := last.proven.markOf(c.verifier.memory, given.Password, besidePassword(given.OneTimePassword, given.Device))
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
func (c *connection) logIn(ctx context.Context, certificate *core.Principal, revision uint64, given *proof.Credential) (*core.Principal, error) {
	l := &login{tenant: certificate.Tenant, from: source{certificate.ID, c.address}, code: given.OneTimePassword, device: given.Device}
	var u *core.User
	if name := nameIn(given); core.ValidName(name) {
		l.name = name
		var err error
		if u, err = c.verifier.users.User(l.tenant, l.name); err != nil {
			return nil, err
		}
	}
	proven, err := c.proveUser(ctx, l, u, certificate, given)
	if err != nil {
		return nil, err
	}
	p := principalOf(proven, certificate)
	if reflect.DeepEqual(p, c.last.principal) {
		p = c.last.principal // so that caches keyed by it stay valid
	}
	c.last = verifiedLogin{certificate, revision, proven, l.given, p}
	return unlessExpired(p)
}

// proveUser verifies a credential, unless it is the password of the last login, whose user and
// certificate have not changed.
func (c *connection) proveUser(ctx context.Context, l *login, u *core.User, certificate *core.Principal, given *proof.Credential) (provenUser, error) {
	switch {
	case given.Hashed != nil:
		return c.verifier.verifyHashed(l, u, given.Hashed, &c.last.mark)
	case !c.isSameUser(certificate, u) || !c.isSamePassword(given):
		return c.verifier.verify(ctx, l, u, given.Password)
	}
	l.given = c.last.mark
	proven := c.last.proven
	proven.user = u
	return proven, nil
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
	p := &core.Principal{Tenant: u.Tenant, ID: u.Name, Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Method: proven.method, Strength: core.StrengthPassword, Certificate: certificate, Expires: proven.until}
	switch proven.method {
	case core.MethodLDAP:
		p.NamedBy = core.NamedByLDAP
	case core.MethodCode:
		p.Strength = core.StrengthCode
	}
	if certificate != nil {
		p.Subject, p.Serial, p.Fingerprint = certificate.Subject, certificate.Serial, certificate.Fingerprint
		p.Expires = earlierEnd(p.Expires, certificate.Expires)
	}
	p.Expires = earlierEnd(p.Expires, u.Expires)
	return p
}

// earlierEnd returns the earlier of two times in Unix seconds, of which 0 is never.
func earlierEnd(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
