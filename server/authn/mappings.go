package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Mapping names the principal of a certificate that has no keyreeve URI. The certificate
// must match each criterion that is given. Fingerprint alone is enough. Tenant, Name,
// Groups and Roles may each have one field of the certificate in them, such as "{CN}".
type Mapping struct {
	Fingerprint string            `yaml:"fingerprint"` // SHA-256 of the certificate, hex
	PublicKey   string            `yaml:"public_key"`  // SHA-256 of its SubjectPublicKeyInfo: hex, or sha256//BASE64 as curl writes it
	SAN         string            `yaml:"san"`         // a DNS name, URI, IP or mail address of the certificate
	SANPattern  string            `yaml:"san_pattern"` // the same with a '*' for one part; not an IP address
	Where       map[string]string `yaml:"where"`       // values that CN, O, OU, UID or serialNumber must have
	Issuer      string            `yaml:"issuer"`      // with Subject: the issuer's distinguished name (RFC 4514)
	Subject     string            `yaml:"subject"`     // the subject's distinguished name (RFC 4514)
	Authority   string            `yaml:"authority"`   // the authority of client_ca it must come from: a file or fingerprint; "": the only one
	Tenant      string            `yaml:"tenant"`
	Name        string            `yaml:"name"`
	Groups      []string          `yaml:"groups"`
	Roles       []string          `yaml:"roles"`
	KeyGroup    string            `yaml:"key_group"` // the one of Groups that owns new keys too; "": none
}

// principalNames is the principal that a certificate names.
type principalNames struct {
	tenant, name  string
	groups, roles []string
	keyGroup      string // one of groups, "": none
	namedBy       string // the entry of tls.principals; "": the certificate's URI
}

// mapping is a Mapping in a form that can be compared. Empty fields match everything.
type mapping struct {
	fingerprint     string // as raw bytes
	publicKey       string // SHA-256, as raw bytes
	san             string
	sanPattern      sanPattern
	where           map[string]string
	issuer, subject string
	authority       string // key of an authority that must be in the chain, as raw bytes
	principal       principalTemplate
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
	if (e.Issuer == "") != (e.Subject == "") {
		return m, errors.New("issuer and subject must be given together")
	}
	if m.principal, err = e.parseTemplates(); err != nil {
		return m, err
	}
	if e.Tenant == core.SystemTenant {
		return m, fmt.Errorf("tenant %q is reserved for the server; choose another", e.Tenant)
	}
	if err := e.checkRule(&m); err != nil {
		return m, err
	}
	m.where = e.Where
	return m, e.readCriteria(&m)
}

// readCriteria reads what a certificate must have.
func (e *Mapping) readCriteria(m *mapping) (err error) {
	if e.Fingerprint != "" {
		sum, err := parseFingerprint(e.Fingerprint)
		if err != nil {
			return err
		}
		m.fingerprint = string(sum[:])
	}
	if e.PublicKey != "" {
		sum, err := parsePin(e.PublicKey)
		if err != nil {
			return err
		}
		m.publicKey = string(sum[:])
	}
	if e.SAN != "" {
		if m.san, err = parseSAN(e.SAN); err != nil {
			return err
		}
	}
	if e.SANPattern != "" {
		if m.sanPattern, err = parsePattern(e.SANPattern); err != nil {
			return err
		}
	}
	if e.Issuer != "" {
		if m.issuer, err = parseName(e.Issuer); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
		if m.subject, err = parseName(e.Subject); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	return nil
}

// parsePin reads the SHA-256 of a public key: hex as a fingerprint, or sha256// and base64,
// as curl --pinnedpubkey does.
func parsePin(s string) (sum [sha256.Size]byte, err error) {
	text, isBase64 := strings.CutPrefix(s, "sha256//")
	if !isBase64 {
		sum, err = parseFingerprint(s)
		if err != nil {
			err = fmt.Errorf("public_key: %w", err)
		}
		return sum, err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("public_key: %q is not sha256// with the base64 of 32 bytes", s)
	}
	return [sha256.Size]byte(raw), nil
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
		return as.findNamed(e.Authority)
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
	if !m.coversRule(o) {
		return false
	}
	for _, f := range [][2]string{{m.fingerprint, o.fingerprint}, {m.publicKey, o.publicKey}, {m.san, o.san}, {m.issuer, o.issuer}, {m.subject, o.subject}, {m.authority, o.authority}} {
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
	if sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo); m.publicKey != "" && m.publicKey != string(sum[:]) {
		return false
	}
	if m.san != "" && !slices.Contains(sansOf(leaf), m.san) {
		return false
	}
	if m.issuer != "" && (!isName(leaf.RawIssuer, m.issuer) || !isName(leaf.RawSubject, m.subject)) {
		return false
	}
	if !m.matchesRule(leaf) {
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
