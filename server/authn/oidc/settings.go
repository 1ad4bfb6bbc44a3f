package oidc

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyreeve/keyreeve/core"
)

// Issuer holds the settings of one issuer: which of its tokens are good, and what they may
// name. A claim is a top-level name, or a path with dots such as realm_access.roles.
type Issuer struct {
	URL        string   `yaml:"issuer"`     // as in the claim iss; https, or http on loopback
	CA         string   `yaml:"ca"`         // PEM file with the authorities of its TLS certificate; "": those of the system
	Audience   string   `yaml:"audience"`   // that the claim aud must have
	Algorithms []string `yaml:"algorithms"` // of signatures; empty: RS256, ES256, PS256, EdDSA

	Tenant      string   `yaml:"tenant"`       // of all its principals, or
	TenantClaim string   `yaml:"tenant_claim"` // the claim that names the tenant,
	Tenants     []string `yaml:"tenants"`      // and the only values that it may have

	NameClaim    string `yaml:"name_claim"`     // "": preferred_username
	NameFromSub  bool   `yaml:"name_from_sub"`  // the claim sub is the name if the claim above is missing
	NameSuffix   string `yaml:"name_suffix"`    // each name must end with it; it is cut off: "@example.com"
	NamePrefix   string `yaml:"name_prefix"`    // goes before each name
	MayNameUsers bool   `yaml:"may_name_users"` // its principals may have the names of users of the directory

	GroupsClaim string   `yaml:"groups_claim"`
	Groups      []string `yaml:"groups"` // the only groups that it may name; "*": each
	RolesClaim  string   `yaml:"roles_claim"`
	Roles       []string `yaml:"roles"` // the only roles that it may name

	Attributes []string          `yaml:"attributes"` // claims that become attributes of the principal
	Required   map[string]string `yaml:"required"`   // claim: the text that it must be or contain

	ClockSkew   time.Duration `yaml:"clock_skew"`   // that its clock may be ahead; 0: 30 s
	MaxLifetime time.Duration `yaml:"max_lifetime"` // of a token; 0: 12 h
	KeysFor     time.Duration `yaml:"keys_for"`     // its keys are used while they cannot be read again; 0: 24 h
}

// Bounds of the settings.
const (
	maxIssuers      = 16
	maxSettingBytes = 512
	maxSettingNames = 64
	maxClockSkew    = 5 * time.Minute
	maxTokenLife    = 24 * time.Hour
	maxKeysFor      = 7 * 24 * time.Hour
)

// everyGroup stands for each group in a list.
const everyGroup = "*"

var (
	// supportedAlgorithms are asymmetric: a server that verifies cannot sign.
	supportedAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}
	defaultAlgorithms   = []string{"RS256", "ES256", "PS256", "EdDSA"}
)

// CheckIssuers fails if anything is wrong with a list of issuers. The error begins with the
// index of the entry.
func CheckIssuers(all []Issuer) error {
	if len(all) > maxIssuers {
		return fmt.Errorf("has %d entries; at most %d", len(all), maxIssuers)
	}
	for i := range all {
		if err := all[i].Check(); err != nil {
			return fmt.Errorf("[%d].%w", i, err)
		}
		for j := range all[:i] {
			if err := checkApart(&all[i], &all[j]); err != nil {
				return fmt.Errorf("[%d].%w", i, err)
			}
		}
	}
	return nil
}

// checkApart fails if two issuers are the same, or if one could name the principals of the
// other.
func checkApart(a, b *Issuer) error {
	if a.URL == b.URL {
		return fmt.Errorf("issuer: %s has another entry", a.URL)
	}
	shorter, longer := a, b
	if len(shorter.NamePrefix) > len(longer.NamePrefix) {
		shorter, longer = b, a
	}
	shared := slices.ContainsFunc(a.allTenants(), func(t string) bool { return slices.Contains(b.allTenants(), t) })
	if shared && !shorter.MayNameUsers && strings.HasPrefix(longer.NamePrefix, shorter.NamePrefix) {
		return fmt.Errorf("name_prefix: %s could name the principals of %s; choose prefixes of which none begins with the other", shorter.URL, longer.URL)
	}
	return nil
}

// allTenants lists the tenants that an issuer may name.
func (s *Issuer) allTenants() []string {
	if s.Tenant != "" {
		return []string{s.Tenant}
	}
	return s.Tenants
}

// Check fails if anything is wrong with an entry by itself. The error begins with the name of
// the setting.
func (s *Issuer) Check() error {
	for _, check := range []func() error{s.checkSource, s.checkTenants, s.checkNames, s.checkClaims, s.checkTimes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Issuer) checkSource() error {
	if _, err := secureURL(s.URL, true); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if s.Audience == "" || !plainText(s.Audience) {
		return errors.New("audience must be set: the text that the claim aud must have")
	}
	if s.CA != "" && !plainText(s.CA) {
		return errors.New("ca: it is no file name")
	}
	for _, a := range s.Algorithms {
		if !slices.Contains(supportedAlgorithms, jose.SignatureAlgorithm(a)) {
			return fmt.Errorf("algorithms: %q is not allowed; use some of %v", a, supportedAlgorithms)
		}
	}
	return nil
}

func (s *Issuer) checkTenants() error {
	if (s.Tenant == "") == (s.TenantClaim == "") {
		return errors.New("tenant: exactly one of tenant and tenant_claim must be set")
	}
	if (s.TenantClaim == "") != (len(s.Tenants) == 0) {
		return errors.New("tenants: it lists the tenants that tenant_claim may name; set both or none")
	}
	for _, t := range s.allTenants() {
		if !core.ValidName(t) || t == core.SystemTenant {
			return fmt.Errorf("tenant: %q cannot be the tenant of clients", t)
		}
	}
	return nil
}

func (s *Issuer) checkNames() error {
	if s.NamePrefix == "" && !s.MayNameUsers {
		return errors.New("name_prefix must be set, such as \"sso.\", or else may_name_users: true; without a prefix an issuer can name every user and certificate of the tenant")
	}
	if !core.ValidName(s.NamePrefix+"a") || len(s.NamePrefix) > core.MaxNameBytes/2 {
		return fmt.Errorf("name_prefix: %q cannot begin a name", s.NamePrefix)
	}
	for _, list := range []struct {
		setting, claim string
		names          []string
	}{{"groups", s.GroupsClaim, s.Groups}, {"roles", s.RolesClaim, s.Roles}} {
		if (list.claim == "") != (len(list.names) == 0) {
			return fmt.Errorf("%s: it lists the names that %s_claim may give; set both or none", list.setting, list.setting)
		}
		if len(list.names) > maxSettingNames {
			return fmt.Errorf("%s has %d names; at most %d", list.setting, len(list.names), maxSettingNames)
		}
		for _, n := range list.names {
			if !core.ValidName(n) && (list.setting != "groups" || n != everyGroup) {
				return fmt.Errorf("%s: %q cannot be a name", list.setting, n)
			}
		}
	}
	return nil
}

func (s *Issuer) checkClaims() error {
	claims := slices.Concat([]string{s.TenantClaim, s.NameClaim, s.NameSuffix, s.GroupsClaim, s.RolesClaim}, s.Attributes)
	for claim, value := range s.Required {
		if claim == "" || value == "" {
			return errors.New("required: a claim and its text may not be empty")
		}
		claims = append(claims, claim, value)
	}
	if len(claims) > maxSettingNames {
		return fmt.Errorf("required and attributes have more than %d claims", maxSettingNames)
	}
	for _, c := range claims {
		if !plainText(c) {
			return fmt.Errorf("%q cannot be a claim or its text", core.ClientText(c))
		}
	}
	for _, a := range s.Attributes {
		if !core.ValidName(a) || a == issuerAttribute {
			return fmt.Errorf("attributes: %q cannot be an attribute; use letters, digits, '.', '_' and '-', and not %q", a, issuerAttribute)
		}
	}
	return nil
}

func (s *Issuer) checkTimes() error {
	for _, t := range []struct {
		setting    string
		value, max time.Duration
	}{{"clock_skew", s.ClockSkew, maxClockSkew}, {"max_lifetime", s.MaxLifetime, maxTokenLife}, {"keys_for", s.KeysFor, maxKeysFor}} {
		if t.value < 0 || t.value > t.max {
			return fmt.Errorf("%s must be from 0s to %v, not %v", t.setting, t.max, t.value)
		}
	}
	return nil
}

// withDefaults returns the settings with a value for each that has a default.
func (s Issuer) withDefaults() Issuer {
	if len(s.Algorithms) == 0 {
		s.Algorithms = defaultAlgorithms
	}
	if s.NameClaim == "" {
		s.NameClaim = "preferred_username"
	}
	for _, t := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&s.ClockSkew, 30 * time.Second}, {&s.MaxLifetime, 12 * time.Hour}, {&s.KeysFor, 24 * time.Hour}} {
		if *t.value == 0 {
			*t.value = t.fallback
		}
	}
	return s
}

// secureURL reads a URL of an issuer. Only https keeps its keys true on the way; http is
// allowed to this machine alone, and only if loopback is set.
func secureURL(text string, loopback bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxSettingBytes || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("it must be a URL such as https://id.example.com/realms/one, without user, query and fragment")
	case u.Scheme == "https":
		return u, nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && loopback && ip != nil && ip.IsLoopback() {
		return u, nil
	}
	return nil, errors.New("it must be an https URL; http is for a loopback address such as 127.0.0.1 only")
}

// plainText reports whether a text of the settings has a bounded size and no control
// characters.
func plainText(s string) bool {
	return len(s) <= maxSettingBytes && core.Printable(s, maxSettingBytes) == s
}
