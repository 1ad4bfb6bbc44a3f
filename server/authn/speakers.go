package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// SpeakerRule says for which users of a tenant a client certificate may send passwords and
// bearer tokens. A tenant without a rule permits each of its certificates to speak for each of
// its users. In a tenant with rules a certificate speaks only for the users that a rule gives
// it, and for the principal of its own name.
type SpeakerRule struct {
	Tenant           string   `yaml:"tenant"`
	Certificate      string   `yaml:"certificate"`       // the principal that the certificate names, or
	CertificateGroup string   `yaml:"certificate_group"` // a group of it
	Users            []string `yaml:"users"`             // names; "*": each
	UserGroups       []string `yaml:"user_groups"`       // or groups of users
}

// Check fails if anything is wrong with a rule by itself.
func (r *SpeakerRule) Check() error {
	switch {
	case !core.ValidName(r.Tenant) || r.Tenant == core.SystemTenant:
		return fmt.Errorf(".tenant: %q cannot be the tenant of a client", r.Tenant)
	case (r.Certificate == "") == (r.CertificateGroup == ""):
		return errors.New(" must have exactly one of certificate and certificate_group")
	case !core.ValidName(r.Certificate + r.CertificateGroup):
		return fmt.Errorf(": %q cannot be a name; use letters, digits, '.', '_' and '-', at most 64", r.Certificate+r.CertificateGroup)
	case len(r.Users)+len(r.UserGroups) == 0:
		return errors.New(" must have users or user_groups; users: [\"*\"] stands for each user")
	}
	for _, n := range slices.Concat(r.Users, r.UserGroups) {
		if !core.ValidName(n) && (n != everyName || slices.Contains(r.UserGroups, n)) {
			return fmt.Errorf(": %q cannot be a user or group; use letters, digits, '.', '_' and '-', at most 64", n)
		}
	}
	return nil
}

// permits reports whether the rule lets a certificate speak for p. Both are of its tenant.
func (r *SpeakerRule) permits(certificate, p *core.Principal) bool {
	if certificate.ID != r.Certificate && !certificate.InGroup(r.CertificateGroup) {
		return false
	}
	return slices.Contains(r.Users, everyName) || slices.Contains(r.Users, p.ID) || slices.ContainsFunc(r.UserGroups, p.InGroup)
}

// Speakers refuses passwords and bearer tokens that come with a certificate which may not
// speak for their user. It never changes. Safe for concurrent use.
type Speakers struct{ rules map[string][]SpeakerRule } // by tenant

// NewSpeakers returns the Speakers of rules that were checked.
func NewSpeakers(rules []SpeakerRule) *Speakers {
	s := &Speakers{map[string][]SpeakerRule{}}
	for _, r := range rules {
		s.rules[r.Tenant] = append(s.rules[r.Tenant], r)
	}
	return s
}

// CheckPassword fails with AuthenticationNotSuccessful if the certificate beside a right
// password may not speak for its user p. Without a certificate nobody speaks in a tenant with
// rules. The client gets the sentence for a wrong password, the record the cause.
func (s *Speakers) CheckPassword(certificate, p *core.Principal) error {
	if s.mayAnyone(p) || certificate != nil && s.permits(certificate, p) {
		return nil
	}
	return core.Wrap(core.AuthenticationNotSuccessful, errMayNotSpeak, "the user name or the password is not right")
}

// CheckBearer is CheckPassword for a token. A token without a certificate speaks for itself.
func (s *Speakers) CheckBearer(certificate, p *core.Principal) error {
	if certificate == nil || s.mayAnyone(p) || s.permits(certificate, p) {
		return nil
	}
	return core.Wrap(core.AuthenticationNotSuccessful, errMayNotSpeak, "the access token is not right or no longer valid; get a new one")
}

var errMayNotSpeak = errors.New("the client certificate may not speak for this user; see authentication.speaks_for")

// mayAnyone reports whether each certificate of p's tenant may speak for each of its users.
func (s *Speakers) mayAnyone(p *core.Principal) bool { return len(s.rules[p.Tenant]) == 0 }

func (s *Speakers) permits(certificate, p *core.Principal) bool {
	return certificate.Tenant == p.Tenant && (certificate.ID == p.ID ||
		slices.ContainsFunc(s.rules[p.Tenant], func(r SpeakerRule) bool { return r.permits(certificate, p) }))
}

// OfCredentials returns an authenticator whose answers keep to the rules.
func (s *Speakers) OfCredentials(inner proof.CredentialAuthenticator) proof.CredentialAuthenticator {
	return limitedCredentials{s, inner}
}

type limitedCredentials struct {
	speakers *Speakers
	inner    proof.CredentialAuthenticator
}

// ForConnection implements [proof.CredentialAuthenticator].
func (l limitedCredentials) ForConnection(address string) proof.IdentifySender {
	identify := l.inner.ForConnection(address)
	return func(ctx context.Context, certificate *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
		p, err := identify(ctx, certificate, credentials)
		if err == nil && p != certificate {
			err = l.speakers.CheckPassword(certificate, p)
		}
		return unlessRefused(p, err)
	}
}

// OfBearers returns an authenticator whose answers keep to the rules.
func (s *Speakers) OfBearers(inner proof.BearerAuthenticator) proof.BearerAuthenticator {
	return limitedBearers{inner, s}
}

type limitedBearers struct {
	proof.BearerAuthenticator
	speakers *Speakers
}

// ForConnection implements [proof.BearerAuthenticator].
func (l limitedBearers) ForConnection(address string) proof.IdentifyBearer {
	identify := l.BearerAuthenticator.ForConnection(address)
	return func(ctx context.Context, certificate *core.Principal, token string) (*core.Principal, error) {
		p, err := identify(ctx, certificate, token)
		if err == nil {
			err = l.speakers.CheckBearer(certificate, p)
		}
		return unlessRefused(p, err)
	}
}

func unlessRefused(p *core.Principal, err error) (*core.Principal, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
