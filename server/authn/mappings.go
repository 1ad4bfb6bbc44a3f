package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

// Mapping names the principal of a certificate that has no keyreeve URI. The certificate
// must match each criterion that is given. Fingerprint alone is enough.
type Mapping struct {
	Fingerprint string   `yaml:"fingerprint"` // SHA-256 of the certificate, hex
	SAN         string   `yaml:"san"`         // a DNS name, URI, IP or mail address of the certificate
	Issuer      string   `yaml:"issuer"`      // with Subject: the issuer's distinguished name (RFC 4514)
	Subject     string   `yaml:"subject"`     // the subject's distinguished name (RFC 4514)
	Authority   string   `yaml:"authority"`   // the authority of client_ca it must come from: a file or fingerprint; "": the only one
	Tenant      string   `yaml:"tenant"`
	Name        string   `yaml:"name"`
	Groups      []string `yaml:"groups"`
	Roles       []string `yaml:"roles"`
}

// principalNames is the principal that a certificate names.
type principalNames struct {
	tenant, name  string
	groups, roles []string
}

// mapping is a Mapping in a form that can be compared. Empty fields match everything.
type mapping struct {
	fingerprint     string // as raw bytes
	san             string
	issuer, subject string
	authority       string // key of an authority that must be in the chain, as raw bytes
	principal       principalNames
}

// compileMappings returns the mappings of entries. It refuses an entry that can never
// match.
func compileMappings(entries []Mapping, as *authorities) ([]mapping, error) {
	var out []mapping
	for i, e := range entries {
		m, err := e.resolve(as)
		if err != nil {
			return nil, fmt.Errorf("tls.principals[%d]: %w", i, err)
		}
		if j := slices.IndexFunc(out, func(earlier mapping) bool { return earlier.covers(&m) }); j >= 0 {
			return nil, fmt.Errorf("tls.principals[%d] can never match: each certificate that matches it matches tls.principals[%d] first", i, j)
		}
		out = append(out, m)
	}
	return out, nil
}

// Check fails if anything is wrong with an entry by itself, without the authorities.
func (e *Mapping) Check() error {
	_, err := e.criteria()
	return err
}

func (e *Mapping) criteria() (m mapping, err error) {
	if e.Fingerprint == "" && e.SAN == "" && (e.Issuer == "" || e.Subject == "") {
		return m, errors.New("it needs one of fingerprint, san, or issuer with subject")
	}
	if (e.Issuer == "") != (e.Subject == "") {
		return m, errors.New("issuer and subject must be given together")
	}
	for what, n := range map[string]string{"tenant": e.Tenant, "name": e.Name} {
		if !identity.ValidName(n) {
			return m, fmt.Errorf("it needs a %s of letters, digits, '.', '_' and '-', at most 64, not %q", what, n)
		}
	}
	if e.Tenant == core.SystemTenant {
		return m, fmt.Errorf("tenant %q is reserved for the server; choose another", e.Tenant)
	}
	for _, n := range slices.Concat(e.Groups, e.Roles) {
		if !identity.ValidName(n) {
			return m, fmt.Errorf("%q cannot be a group or role; use letters, digits, '.', '_' and '-', at most 64", n)
		}
	}
	m.principal = principalNames{tenant: e.Tenant, name: e.Name, groups: e.Groups, roles: e.Roles}
	if e.Fingerprint != "" {
		sum, err := parseFingerprint(e.Fingerprint)
		if err != nil {
			return m, err
		}
		m.fingerprint = string(sum[:])
	}
	if e.SAN != "" {
		if m.san, err = parseSAN(e.SAN); err != nil {
			return m, err
		}
	}
	if e.Issuer != "" {
		if m.issuer, err = parseName(e.Issuer); err != nil {
			return m, fmt.Errorf("issuer: %w", err)
		}
		if m.subject, err = parseName(e.Subject); err != nil {
			return m, fmt.Errorf("subject: %w", err)
		}
	}
	return m, nil
}

func (e *Mapping) resolve(as *authorities) (mapping, error) {
	m, err := e.criteria()
	if err != nil {
		return m, err
	}
	a, err := e.issuedUnder(as, m.issuer)
	if a != nil {
		m.authority = string(a.key[:])
	}
	return m, err
}

// issuedUnder returns the authority that must have issued the certificates of an entry.
// Other authorities of client_ca could issue a certificate with the same names. So an
// entry without a fingerprint needs one: the one that it gives, the one whose subject is
// its issuer, or the only one of client_ca.
func (e *Mapping) issuedUnder(as *authorities, issuer string) (*authority, error) {
	if e.Authority != "" {
		if _, err := parseFingerprint(e.Authority); err == nil {
			return as.findAuthority("", e.Authority)
		}
		return as.findAuthority(e.Authority, "")
	}
	if anchors := as.anchors(); len(anchors) == 1 {
		return anchors[0], nil
	}
	if e.Fingerprint != "" {
		return nil, nil
	}
	var found []*authority
	for _, a := range as.list {
		if name, err := canonicalName(a.cert.RawSubject); err == nil && name == issuer && issuer != "" {
			found = append(found, a)
		}
	}
	if len(found) != 1 {
		return nil, errors.New("tls.client_ca has several authorities, and each could issue a certificate with these names; set authority to the file or fingerprint of the right one")
	}
	return found[0], nil
}

// covers reports whether m matches every certificate that o matches.
func (m *mapping) covers(o *mapping) bool {
	for _, f := range [][2]string{{m.fingerprint, o.fingerprint}, {m.san, o.san}, {m.issuer, o.issuer}, {m.subject, o.subject}, {m.authority, o.authority}} {
		if f[0] != "" && f[0] != f[1] {
			return false
		}
	}
	return true
}

// matches reports whether a verified chain meets all criteria.
func (m *mapping) matches(chain []*x509.Certificate) bool {
	leaf := chain[0]
	if sum := sha256.Sum256(leaf.Raw); m.fingerprint != "" && m.fingerprint != string(sum[:]) {
		return false
	}
	if m.san != "" && !slices.Contains(sansOf(leaf), m.san) {
		return false
	}
	if m.issuer != "" && (!isName(leaf.RawIssuer, m.issuer) || !isName(leaf.RawSubject, m.subject)) {
		return false
	}
	return m.authority == "" || slices.ContainsFunc(chain[min(1, len(chain)-1):], func(c *x509.Certificate) bool {
		key := authorityKey(c)
		return string(key[:]) == m.authority
	})
}

func isName(raw []byte, canonical string) bool {
	name, err := canonicalName(raw)
	return err == nil && name == canonical
}

var dnsForm = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// parseSAN reads a Subject Alternative Name: a DNS name, URI, IP or mail address.
func parseSAN(s string) (string, error) {
	if kind, _, ok := strings.Cut(strings.ToLower(s), ":"); ok && slices.Contains([]string{"dns", "uri", "ip", "ip address", "email"}, kind) {
		return "", fmt.Errorf("san: write %q without %q", s, s[:len(kind)+1])
	}
	if ip := net.ParseIP(s); ip != nil {
		return "ip " + ip.String(), nil
	}
	if u, err := url.Parse(s); err == nil && u.Scheme != "" {
		return "uri " + uriText(u), nil
	}
	if user, host, ok := strings.Cut(s, "@"); ok && user != "" && dnsForm.MatchString(strings.ToLower(host)) && !strings.ContainsAny(user, " @") {
		return "mail " + user + "@" + strings.ToLower(host), nil
	}
	if lower := strings.ToLower(s); len(s) < 254 && dnsForm.MatchString(lower) {
		return "dns " + lower, nil
	}
	return "", fmt.Errorf("san: %q can be neither a DNS name nor a URI, IP or mail address of a certificate", s)
}

// sansOf returns the Subject Alternative Names of a certificate, as parseSAN does.
func sansOf(c *x509.Certificate) (out []string) {
	for _, d := range c.DNSNames {
		out = append(out, "dns "+strings.ToLower(d))
	}
	for _, u := range c.URIs {
		out = append(out, "uri "+uriText(u))
	}
	for _, ip := range c.IPAddresses {
		out = append(out, "ip "+ip.String())
	}
	for _, m := range c.EmailAddresses {
		if at := strings.LastIndex(m, "@"); at > 0 {
			m = m[:at] + strings.ToLower(m[at:])
		}
		out = append(out, "mail "+m)
	}
	return out
}

// uriText returns a URI with its scheme and host in lower case (RFC 3986 §6.2.2.1).
func uriText(u *url.URL) string {
	lower := *u
	lower.Scheme, lower.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return lower.String()
}
