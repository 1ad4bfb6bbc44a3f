package authn

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// sender answers each credential and each token with one principal.
type sender struct{ principal *core.Principal }

func (s sender) ForConnection(string) proof.IdentifySender {
	return func(_ context.Context, certificate *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
		if len(credentials) == 0 {
			return certificate, nil
		}
		return s.principal, nil
	}
}

type bearers struct{ principal *core.Principal }

func (bearers) Recognizes(string) bool { return true }

func (b bearers) ForConnection(string) proof.IdentifyBearer {
	return func(context.Context, *core.Principal, string) (*core.Principal, error) { return b.principal, nil }
}

// In a tenant with rules a certificate speaks only for whom a rule names, and for its own
// name. Other tenants keep the default.
func TestSpeakers(t *testing.T) {
	s := NewSpeakers([]SpeakerRule{
		{Tenant: "acme", Certificate: "portal", Users: []string{"*"}},
		{Tenant: "acme", Certificate: "gate", Users: []string{"alice"}},
		{Tenant: "acme", CertificateGroup: "storage", UserGroups: []string{"arrays"}},
	})
	of := func(tenant, name string, groups ...string) *core.Principal {
		return &core.Principal{Tenant: tenant, ID: name, Groups: groups}
	}
	for what, w := range map[string]struct {
		certificate, user  *core.Principal
		password, asBearer bool
	}{
		"each user":                     {of("acme", "portal"), of("acme", "bob"), true, true},
		"the user that is named":        {of("acme", "gate"), of("acme", "alice"), true, true},
		"another user":                  {of("acme", "gate"), of("acme", "bob"), false, false},
		"another case":                  {of("acme", "gate"), of("acme", "Alice"), false, false},
		"a group for a group":           {of("acme", "array7", "storage"), of("acme", "bob", "arrays"), true, true},
		"a group for another group":     {of("acme", "array7", "storage"), of("acme", "bob", "people"), false, false},
		"another group for the group":   {of("acme", "array7", "people"), of("acme", "bob", "arrays"), false, false},
		"a group with the name of one":  {of("acme", "storage"), of("acme", "bob", "arrays"), false, false},
		"a name like the group's":       {of("acme", "array7", "portal"), of("acme", "bob"), false, false},
		"its own name":                  {of("acme", "array7"), of("acme", "array7"), true, true},
		"a certificate without a rule":  {of("acme", "other"), of("acme", "alice"), false, false},
		"a certificate of elsewhere":    {of("hr", "portal"), of("acme", "alice"), false, false},
		"no certificate":                {nil, of("acme", "alice"), false, true},
		"a tenant without rules":        {of("hr", "x"), of("hr", "y"), true, true},
		"no certificate, without rules": {nil, of("hr", "y"), true, true},
	} {
		byPassword, byToken := s.OfCredentials(sender{w.user}).ForConnection(""), s.OfBearers(bearers{w.user}).ForConnection("")
		p, err := byPassword(t.Context(), w.certificate, []proof.Credential{{Username: "u"}})
		checkSpoken(t, what+", password", p, err, w.user, w.password)
		p, err = byToken(t.Context(), w.certificate, "token")
		checkSpoken(t, what+", token", p, err, w.user, w.asBearer)
	}
	gate := of("acme", "gate")
	if p, err := s.OfCredentials(sender{of("acme", "bob")}).ForConnection("")(t.Context(), gate, nil); p != gate || err != nil {
		t.Errorf("a message without credentials: %+v, %v", p, err)
	}
}

func checkSpoken(t *testing.T, what string, p *core.Principal, err error, user *core.Principal, allowed bool) {
	t.Helper()
	switch {
	case allowed && (p != user || err != nil):
		t.Errorf("%s: %+v, %v; want the user", what, p, err)
	case !allowed && (p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful || !errors.Is(err, errMayNotSpeak)):
		t.Errorf("%s: %+v, %v; want a refusal", what, p, err)
	}
}

// A rule that says too little, or names what nobody can have, is refused.
func TestSpeakerRulesThatAreRefused(t *testing.T) {
	good := SpeakerRule{Tenant: "acme", Certificate: "gate", Users: []string{"*"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*SpeakerRule){
		"no tenant":             func(r *SpeakerRule) { r.Tenant = "" },
		"the server's tenant":   func(r *SpeakerRule) { r.Tenant = "system" },
		"no certificate":        func(r *SpeakerRule) { r.Certificate = "" },
		"both":                  func(r *SpeakerRule) { r.CertificateGroup = "storage" },
		"each certificate":      func(r *SpeakerRule) { r.Certificate = "*" },
		"nobody":                func(r *SpeakerRule) { r.Users = nil },
		"an empty name":         func(r *SpeakerRule) { r.Users = []string{""} },
		"each group":            func(r *SpeakerRule) { r.UserGroups = []string{"*"} },
		"a name with a pattern": func(r *SpeakerRule) { r.Users = []string{"a*"} },
	} {
		r := good
		change(&r)
		if err := r.Check(); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
