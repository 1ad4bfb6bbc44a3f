// Package ldap verifies passwords by asking an LDAP directory (RFC 4511, RFC 4513).
//
// A service account finds the one entry of a name, a bind with the password proves it, and
// the groups of the entry become groups and roles as far as the settings allow. The package
// relies on TLS for the directory's identity; it never sends a password in clear, and never an
// empty one. It follows no referral, and bounds everything that the directory sends. Guesses
// are slowed down, and right passwords remembered, by package password. Start at
// [Directory.Verify].
package ldap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/secretfile"
)

// Ports are what a Directory relies on.
type Ports struct {
	// RequireTenant fails if a tenant is not declared.
	RequireTenant func(ctx context.Context, tenant string) error
	// Report is called when the directory stops answering, and with nil when it answers again.
	Report func(url string, err error)
}

// Directory is one LDAP directory. Safe for concurrent use.
type Directory struct {
	settings Settings
	ports    Ports
	sessions *sessionPool
	groups   *groupFinder
	userBase *ldap.DN
	outage   outage
}

// New returns a directory whose settings [Settings.Check] accepts. It does not connect.
func New(s Settings, p Ports) (*Directory, error) {
	s = s.withDefaults()
	d := &Directory{settings: s, ports: p}
	var err error
	if d.sessions, err = newSessionPool(&s); err != nil {
		return nil, err
	}
	if d.userBase, err = ldap.ParseDN(s.UserBase); err != nil {
		return nil, err
	}
	d.groups, err = newGroupFinder(&s)
	return d, err
}

// Tenant returns the tenant of all principals of the directory.
func (d *Directory) Tenant() string { return d.settings.Tenant }

// AtOnce returns how many logins may be checked at once.
func (d *Directory) AtOnce() int { return d.settings.Connections }

// RememberFor returns how long the outcome of a login is remembered.
func (d *Directory) RememberFor() time.Duration { return d.settings.RememberFor }

// maxPasswordBytes bounds a password that is sent.
const maxPasswordBytes = 1024

// refuseLogin refuses a login. The sentence is that of package password for each cause.
func refuseLogin(cause string) error {
	return core.Wrap(core.AuthenticationNotSuccessful, errors.New(cause), "the user name or the password is not right")
}

// Verify returns the user of this name if the password is right: the name is the one in the
// directory, behind name_prefix, and the user expires after token_lifetime. It fails with
// AuthenticationNotSuccessful if the directory refuses, and with StoreUnavailable if it cannot
// be asked.
func (d *Directory) Verify(ctx context.Context, name string, password []byte) (*core.User, error) {
	switch {
	case !core.ValidName(name):
		return nil, refuseLogin("the name cannot be that of a user")
	case len(password) == 0 || len(password) > maxPasswordBytes:
		return nil, refuseLogin("the password is empty or too long") // an empty one would succeed as anonymous: RFC 4513 §5.1.2
	}
	if err := d.ports.RequireTenant(ctx, d.settings.Tenant); err != nil {
		return nil, err
	}
	if err := d.outage.refusal(); err != nil {
		return nil, err
	}
	var u *core.User
	err := d.useSession(ctx, func(s *session) (err error) {
		u, err = d.verifyWith(s, name, password)
		return err
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// useSession runs f with a session. It notes an outage.
func (d *Directory) useSession(ctx context.Context, f func(*session) error) error {
	limited, cancel := context.WithTimeout(ctx, d.settings.Timeout)
	defer cancel()
	err := d.sessions.use(limited, f)
	switch {
	case err == nil || core.CodeOf(err) == core.AuthenticationNotSuccessful:
		d.noteAnswer(nil)
		return err
	case ctx.Err() != nil:
		return core.Wrap(core.StoreUnavailable, err, "the login ended before the LDAP directory had answered")
	case isOutage(err):
		d.noteAnswer(err)
	}
	return core.Wrap(core.StoreUnavailable, err, "the LDAP directory cannot verify the password now; try again later")
}

// noteAnswer notes whether the directory answers, and reports a change.
func (d *Directory) noteAnswer(err error) {
	if d.outage.note(err) {
		d.ports.Report(d.settings.URL, err)
	}
}

// verifyWith checks a password over one session.
func (d *Directory) verifyWith(s *session, name string, password []byte) (*core.User, error) {
	if err := d.bindService(s); err != nil {
		return nil, err
	}
	entry, err := d.findEntry(s, name)
	if err != nil {
		return nil, err
	}
	canonical, err := d.principalName(entry)
	if err != nil {
		return nil, err
	}
	if err := s.Bind(entry.DN, string(password)); err != nil {
		return nil, bindRefusal(err)
	}
	u := &core.User{Tenant: d.settings.Tenant, Name: canonical, Attributes: map[string]string{"directory": d.settings.URL}, Expires: time.Now().Add(d.settings.TokenLifetime).Unix()}
	if d.settings.namesGroups() {
		if err := d.bindService(s); err != nil {
			return nil, err
		}
		u.Groups, u.Roles, err = d.groups.find(s, entry)
	}
	return u, err
}

// serviceRefusedError is an error of the bind of the service account.
type serviceRefusedError struct{ cause error }

func (e *serviceRefusedError) Error() string {
	return "the LDAP directory refuses bind_dn with the password of bind_password_file: " + e.cause.Error()
}
func (e *serviceRefusedError) Unwrap() error { return e.cause }

// bindService makes the session that of the service account.
func (d *Directory) bindService(s *session) error {
	password, err := d.servicePassword()
	if err != nil {
		return &serviceRefusedError{err}
	}
	if err = s.Bind(d.settings.BindDN, password); isAnswer(err) {
		return &serviceRefusedError{err}
	}
	return err
}

// servicePassword reads the password of the service account. It is read at each login, so that
// a new one needs no restart.
func (d *Directory) servicePassword() (string, error) {
	password, err := secretfile.Line(d.settings.BindPasswordFile)
	if err == nil && password == "" {
		err = fmt.Errorf("the file %s is empty", d.settings.BindPasswordFile)
	}
	return password, err
}

// CheckFiles fails if the password of the service account cannot be read. [New] reads the other
// file.
func (d *Directory) CheckFiles() error {
	_, err := d.servicePassword()
	return err
}

// findEntry returns the one entry of a name.
func (d *Directory) findEntry(s *session, name string) (*ldap.Entry, error) {
	attributes := []string{d.settings.NameAttribute}
	if d.settings.MemberOf != "" {
		attributes = append(attributes, d.settings.MemberOf)
	}
	found, err := s.search(d.settings.UserBase, ldap.ScopeWholeSubtree, 2, fillFilter(d.settings.UserFilter, name), attributes)
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultReferral):
		return nil, refuseLogin("the LDAP directory refers to another server, and referrals are not followed")
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || len(found) > 1:
		return nil, refuseLogin("several entries of the LDAP directory have this name")
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, refuseLogin("there is no such user here or in the LDAP directory")
	}
	dn, err := ldap.ParseDN(found[0].DN)
	if err != nil || !d.userBase.AncestorOfFold(dn) {
		return nil, refuseLogin("the LDAP directory returned an entry outside of user_base")
	}
	return found[0], nil
}

// principalName returns the name of an entry's principal: as the directory spells it, because
// it finds a name in any spelling, and one person must not be several principals.
func (d *Directory) principalName(e *ldap.Entry) (string, error) {
	values := e.GetEqualFoldAttributeValues(d.settings.NameAttribute)
	if len(values) != 1 || !core.ValidName(values[0]) || !core.ValidName(d.settings.NamePrefix+values[0]) {
		return "", refuseLogin("the entry of the LDAP directory does not have exactly one name that can be a principal's (name_attribute)")
	}
	return d.settings.NamePrefix + values[0], nil
}

// bindRefusals are the results of a bind that refuse the user alone (RFC 4511 §4.1.9).
var bindRefusals = []uint16{ldap.LDAPResultInvalidCredentials, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultConstraintViolation,
	ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultReferral}

func bindRefusal(err error) error {
	if ldap.IsErrorAnyOf(err, bindRefusals...) {
		return refuseLogin("the LDAP directory refuses the password, or the user is disabled there")
	}
	return err
}

// isAnswer reports whether an error is a result that the directory has sent (RFC 4511 §4.1.9).
// The library uses higher numbers for its own errors.
func isAnswer(err error) bool {
	e, ok := errors.AsType[*ldap.Error](err)
	return ok && e.ResultCode < ldap.ErrorNetwork
}

// isBroken reports whether an error is one of the connection.
func isBroken(err error) bool {
	_, refused := errors.AsType[*serviceRefusedError](err)
	return err != nil && !refused && !isAnswer(err) && core.CodeOf(err) == core.Internal
}

// isOutage reports whether an error means that other logins will fail too.
func isOutage(err error) bool {
	_, refused := errors.AsType[*serviceRefusedError](err)
	return refused || isBroken(err) || ldap.IsErrorAnyOf(err, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable)
}

// Watch asks the directory now and then until ctx ends, so that the beginning and the end of an
// outage are known before the next login.
func (d *Directory) Watch(ctx context.Context) {
	_ = d.probe(ctx) // noteAnswer gets the error, here and below
	core.Every(ctx, probeInterval, func() {
		if d.outage.probeDue(time.Now()) {
			_ = d.probe(ctx)
		}
		d.sessions.closeIdle(time.Now().Add(-maxIdle))
	})
	d.sessions.closeIdle(time.Now())
}

// probe binds the service account and looks for the bases.
func (d *Directory) probe(ctx context.Context) error {
	return d.useSession(ctx, func(s *session) error {
		if err := d.bindService(s); err != nil {
			return err
		}
		for _, base := range []string{d.settings.UserBase, d.settings.GroupBase} {
			if base == "" {
				continue
			}
			if found, err := s.search(base, ldap.ScopeBaseObject, 1, "(objectClass=*)", []string{noAttributes}); err != nil || len(found) != 1 {
				return fmt.Errorf("the LDAP directory does not show %s to the service account (%d entries, %v)", base, len(found), err)
			}
		}
		return nil
	})
}

// Health is what an operator must know about a directory.
type Health struct {
	Tenant, URL string
	Problem     string // why it verifies no password; "": it does
}

// Health returns the state as of the last login or probe.
func (d *Directory) Health() Health {
	return Health{Tenant: d.settings.Tenant, URL: d.settings.URL, Problem: d.outage.describe()}
}
