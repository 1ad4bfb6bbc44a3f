package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/core"
)

// Authority says what the certificates of one authority of client_ca may name in their
// keyreeve URI. "*" stands for each name. An authority without an entry may name no
// principal, but tls.principals can still map its clients.
type Authority struct {
	File        string   `yaml:"file"`        // PEM file with its certificate
	Fingerprint string   `yaml:"fingerprint"` // or SHA-256 of the certificate, hex
	Tenants     []string `yaml:"tenants"`
	Groups      []string `yaml:"groups"`
	Roles       []string `yaml:"roles"`
}

// authority is one certificate of client_ca.
type authority struct {
	cert   *x509.Certificate
	name   string // its subject, for messages
	key    [sha256.Size]byte
	anchor bool // chains end here; otherwise another authority of client_ca issued it
	own    bool // it is the authority for enrolled clients
}

// authorities are the certificates of client_ca, with their grants.
type authorities struct {
	list                      []*authority
	all, roots, intermediates *x509.CertPool
	grants                    map[[sha256.Size]byte]*Authority // by public key, so that a renewed certificate keeps its grant
}

// authorityKey returns what identifies an authority: its subject and public key.
func authorityKey(c *x509.Certificate) [sha256.Size]byte {
	subject := sha256.Sum256(c.RawSubject)
	return sha256.Sum256(append(subject[:], c.RawSubjectPublicKeyInfo...))
}

// loadAuthorities reads the certificates of client_ca. The authority for enrolled clients is
// one of them, if there is one.
func loadAuthorities(file string, enrollment *x509.Certificate, entries []Authority) (*authorities, error) {
	certs, err := pemfile.Certificates(file)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca cannot be used: %w", err)
	}
	if enrollment != nil && !slices.ContainsFunc(certs, enrollment.Equal) {
		certs = append(certs, enrollment)
	}
	as := &authorities{all: x509.NewCertPool(), roots: x509.NewCertPool(), intermediates: x509.NewCertPool(), grants: map[[sha256.Size]byte]*Authority{}}
	for _, c := range certs {
		as.list = append(as.list, &authority{cert: c, name: identity.NameText(c.RawSubject), key: authorityKey(c), anchor: !issuedWithin(c, certs), own: enrollment != nil && c.Equal(enrollment)})
		as.all.AddCert(c)
	}
	if !slices.ContainsFunc(as.list, func(a *authority) bool { return a.anchor }) {
		return nil, fmt.Errorf("tls.client_ca: each certificate of %s was issued by another one of them; add the root", file)
	}
	for _, a := range as.list {
		if a.anchor {
			as.roots.AddCert(a.cert)
		} else {
			as.intermediates.AddCert(a.cert)
		}
	}
	return as, as.applyGrants(entries)
}

// issuedWithin reports whether another certificate of the bundle issued c.
func issuedWithin(c *x509.Certificate, bundle []*x509.Certificate) bool {
	return slices.ContainsFunc(bundle, func(by *x509.Certificate) bool {
		return authorityKey(by) != authorityKey(c) && by.IsCA && string(by.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(by) == nil
	})
}

func (as *authorities) applyGrants(entries []Authority) error {
	for i := range entries {
		e := entries[i]
		what := fmt.Sprintf("tls.authorities[%d]", i)
		if err := e.Check(); err != nil {
			return fmt.Errorf("%s%w", what, err)
		}
		a, err := as.findAuthority(e.File, e.Fingerprint)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if as.grants[a.key] != nil {
			return fmt.Errorf("%s: %s has another entry; combine them", what, a.name)
		}
		as.grants[a.key] = &e
	}
	return nil
}

// Check fails if anything is wrong with an entry by itself, without the authorities.
func (e *Authority) Check() error {
	if (e.File == "") == (e.Fingerprint == "") {
		return errors.New(" must have exactly one of file and fingerprint")
	}
	if _, err := parseFingerprint(e.Fingerprint); e.Fingerprint != "" && err != nil {
		return fmt.Errorf(".fingerprint: %w", err)
	}
	for _, list := range []struct {
		kind  string
		names []string
	}{{"tenants", e.Tenants}, {"groups", e.Groups}, {"roles", e.Roles}} {
		for _, n := range list.names {
			if n != everyName && !identity.ValidName(n) {
				return fmt.Errorf(".%s: %q cannot be a name; use letters, digits, '.', '_' and '-', at most 64, or \"*\" for each name", list.kind, n)
			}
		}
	}
	return nil
}

// everyName stands for each name in a grant.
const everyName = "*"

// findNamed returns the authority that a text identifies: a fingerprint or a file.
func (as *authorities) findNamed(text string) (*authority, error) {
	if _, err := parseFingerprint(text); err == nil {
		return as.findAuthority("", text)
	}
	return as.findAuthority(text, "")
}

// findAuthority returns the authority that a file or a fingerprint identifies.
func (as *authorities) findAuthority(file, fingerprint string) (*authority, error) {
	if file != "" {
		all, err := pemfile.Certificates(file)
		if err != nil {
			return nil, err
		}
		if len(all) > 1 {
			return nil, fmt.Errorf("%s has %d certificates; use a file with only the one of the authority", file, len(all))
		}
		for _, a := range as.list {
			if a.key == authorityKey(all[0]) {
				return a, nil
			}
		}
		return nil, fmt.Errorf("the authority of %s is not in tls.client_ca", file)
	}
	sum, err := parseFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	for _, a := range as.list {
		if sha256.Sum256(a.cert.Raw) == sum {
			return a, nil
		}
	}
	return nil, fmt.Errorf("no certificate of tls.client_ca has the fingerprint %s", fingerprint)
}

// parseFingerprint reads a SHA-256 fingerprint: 64 hex digits in either case, with or
// without a colon between pairs, as openssl prints them.
func parseFingerprint(s string) (sum [sha256.Size]byte, err error) {
	digits := s
	if strings.Contains(s, ":") {
		pairs := strings.Split(s, ":")
		if slices.ContainsFunc(pairs, func(p string) bool { return len(p) != 2 }) {
			return sum, fmt.Errorf("%q is not a SHA-256 fingerprint of 64 hex digits", s)
		}
		digits = strings.Join(pairs, "")
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is not a SHA-256 fingerprint of 64 hex digits", s)
	}
	return [sha256.Size]byte(b), nil
}

// anchors returns the authorities at which chains end, but not that for enrolled clients.
func (as *authorities) anchors() (out []*authority) {
	for _, a := range as.list {
		if a.anchor && !a.own {
			out = append(out, a)
		}
	}
	return out
}

// missingFrom returns the certificates of as that others lacks.
func (as *authorities) missingFrom(others *authorities) (out []*x509.Certificate) {
	for _, a := range as.list {
		if !slices.ContainsFunc(others.list, func(o *authority) bool { return o.cert.Equal(a.cert) }) {
			out = append(out, a.cert)
		}
	}
	return out
}

// grantRefusal returns why the authorities of a chain may not name n, or "" if they may.
// The anchor must have a grant. The grants of authorities below it only limit it.
func (as *authorities) grantRefusal(chain []*x509.Certificate, n *principalNames) string {
	anchor := chain[len(chain)-1]
	if as.grants[authorityKey(anchor)] == nil {
		return fmt.Sprintf("the authority %s may name nobody; give it an entry in tls.authorities, or map the certificate in tls.principals", identity.NameText(anchor.RawSubject))
	}
	return as.refusalBy(chain, n)
}

// limitRefusal returns why an authority below the anchor may not name n, or "" if all
// may. It is for a principal of tls.principals: the entry there replaces the grant of the
// anchor, but not the limits of the authorities below it.
func (as *authorities) limitRefusal(chain []*x509.Certificate, n *principalNames) string {
	return as.refusalBy(chain[:len(chain)-1], n)
}

// refusalBy returns why the grant of one of the authorities forbids n, or "". The role of the
// administrators of the server must be named: it reaches every tenant.
func (as *authorities) refusalBy(chain []*x509.Certificate, n *principalNames) string {
	for _, c := range chain {
		g := as.grants[authorityKey(c)]
		if g == nil {
			continue
		}
		for _, asked := range []struct {
			kind           string
			names, allowed []string
		}{{"tenant", []string{n.tenant}, g.Tenants}, {"group", n.groups, g.Groups}, {"role", n.roles, g.Roles}} {
			for _, name := range asked.names {
				everything := slices.Contains(asked.allowed, everyName) && (asked.kind != "role" || name != core.SystemRole)
				if !everything && !slices.Contains(asked.allowed, name) {
					return fmt.Sprintf("the authority %s may not name %s %q; see tls.authorities", identity.NameText(c.RawSubject), asked.kind, name)
				}
			}
		}
	}
	return ""
}
