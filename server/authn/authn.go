// Package authn tells who asks: it turns a verified client certificate into a
// core.Principal, and knows which certificates have been revoked.
//
// It trusts the chain that TLS verified and nothing else: the common name alone
// names nobody. A certificate of keyreeve's own authority carries its principal
// in a URI; others are mapped by a table. Credentials in a KMIP header give no
// rights here: see docs/KMIP.md. Safe for concurrent use. Start at [New].
package authn

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Mapping names the principal of a certificate that has no keyreeve URI. All
// fields given under match must fit; Fingerprint alone is enough.
type Mapping struct {
	Fingerprint string   `yaml:"fingerprint"` // SHA-256 of the certificate, hex
	SAN         string   `yaml:"san"`         // a DNS name or URI of the certificate
	Issuer      string   `yaml:"issuer"`      // with Subject: the issuer's distinguished name
	Subject     string   `yaml:"subject"`     // the subject's distinguished name
	Tenant      string   `yaml:"tenant"`
	Name        string   `yaml:"name"`
	Groups      []string `yaml:"groups"`
	Roles       []string `yaml:"roles"`
}

// Authenticator turns certificates into principals.
type Authenticator struct {
	Options

	revoked atomic.Pointer[revocations]
	mu      sync.Mutex // one reload at a time
	looked  atomic.Int64
}

// revocations is what the file said, or what it said before it could not be read.
type revocations struct {
	serials map[string]bool // issuer's raw name + serial
	mtime   time.Time
	size    int64
	problem error
}

// Options configure an Authenticator.
type Options struct {
	Mappings   []Mapping
	CRLFile    string // PEM lists of the client authorities; "": none
	CRLMayLack bool   // the file need not be there; it counts when it comes
	RequireEKU bool   // demand Extended Key Usage clientAuth, which some arrays' certificates lack

	// Loaded is told when the file has changed: how many certificates it revokes,
	// or why it cannot be used. Nil: nobody is.
	Loaded func(revoked int, err error)
}

// New makes one. A revocation list must be readable, and be there: one that is
// looked for in the wrong place revokes nobody.
func New(o Options) (*Authenticator, error) {
	if o.Loaded == nil {
		o.Loaded = func(int, error) {}
	}
	a := &Authenticator{Options: o}
	a.revoked.Store(&revocations{serials: map[string]bool{}})
	if _, err := os.Stat(o.CRLFile); o.CRLFile != "" && !o.CRLMayLack && err != nil {
		return nil, err
	}
	return a, a.Reload()
}

// Reload reads the revocation list if it has changed. One that cannot be read
// leaves the old one in force and is an error.
func (a *Authenticator) Reload() error {
	if a.CRLFile == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := os.Stat(a.CRLFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now := a.revoked.Load()
	if now.mtime.Equal(info.ModTime()) && now.size == info.Size() {
		return now.problem
	}
	b, err := os.ReadFile(a.CRLFile)
	if err != nil {
		return err
	}
	serials, err := readLists(b)
	if err != nil {
		serials, err = now.serials, fmt.Errorf("%s: %w", a.CRLFile, err)
	}
	a.revoked.Store(&revocations{serials, info.ModTime(), info.Size(), err})
	a.Loaded(len(serials), err)
	return err
}

// readLists reads the revocation lists of a PEM file, one an authority. A list
// that says more than which serial numbers of its issuer are revoked, which a
// critical extension tells, must not be used (RFC 5280 §5.2, §5.3).
func readLists(b []byte) (map[string]bool, error) {
	var serials map[string]bool
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a PEM block is a %q, not an X509 CRL", block.Type)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		if critical(list.Extensions, distributionPoint) {
			return nil, errors.New("the revocation list has a critical extension that is not understood; a delta list is none to start from")
		}
		if serials == nil {
			serials = map[string]bool{}
		}
		for _, e := range list.RevokedCertificateEntries {
			if critical(e.Extensions, nil) {
				return nil, fmt.Errorf("the entry of serial number %x has a critical extension that is not understood", e.SerialNumber)
			}
			serials[string(list.RawIssuer)+e.SerialNumber.String()] = true
		}
	}
	if serials == nil {
		return nil, errors.New("it holds no PEM revocation list")
	}
	return serials, nil
}

// distributionPoint tells what part of the certificates a list speaks of; its
// entries are revoked all the same.
var distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

func critical(extensions []pkix.Extension, but asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(extensions, func(e pkix.Extension) bool { return e.Critical && !e.Id.Equal(but) })
}

// lookEvery is how often, in milliseconds, the list's file is looked at.
const lookEvery = 500

// Revoked reports whether a certificate has been revoked; the file is looked at
// again at most twice a second, so that a revocation counts within one.
func (a *Authenticator) Revoked(c *x509.Certificate) bool {
	now := time.Now().UnixMilli()
	if last := a.looked.Load(); now-last >= lookEvery && a.looked.CompareAndSwap(last, now) {
		_ = a.Reload() // the old list stays in force; Loaded was told why
	}
	r := a.revoked.Load()
	return len(r.serials) > 0 && r.serials[string(c.RawIssuer)+c.SerialNumber.String()]
}

// unrevoked reports whether one of the chains has no revoked certificate.
func (a *Authenticator) unrevoked(chains [][]*x509.Certificate) bool {
	return slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return !slices.ContainsFunc(chain, a.Revoked) })
}

// Principal names who a verified connection is.
func (a *Authenticator) Principal(state *tls.ConnectionState) (*core.Principal, error) {
	if len(state.PeerCertificates) == 0 || len(state.VerifiedChains) == 0 {
		return nil, refuse("no verified client certificate came with the connection")
	}
	c := state.PeerCertificates[0]
	now := time.Now()
	switch {
	case now.After(c.NotAfter), now.Before(c.NotBefore):
		return nil, refuse("the client certificate has expired or is not valid yet")
	case !a.unrevoked(state.VerifiedChains):
		return nil, refuse("the client certificate, or one that it was issued under, has been revoked")
	case weak(c):
		return nil, refuse(fmt.Sprintf("the client certificate's RSA key has fewer than %d bits; issue one with a longer key", minRSABits))
	case a.RequireEKU && !hasClientAuth(c):
		return nil, refuse("the client certificate lacks the Extended Key Usage clientAuth")
	}
	sum := sha256.Sum256(c.Raw)
	p := &core.Principal{Method: "mtls", Subject: c.Subject.String(), Serial: c.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]), Expires: c.NotAfter.Unix()}
	if a.mapped(c, p) || fromURI(c, p) {
		return p, nil
	}
	return nil, refuse("the client certificate names no principal: it has no keyreeve URI and no entry of tls.principals fits it")
}

func refuse(why string) error { return core.Errorf(core.AuthenticationNotSuccessful, "%s", why) }

// minRSABits is the least modulus of a client's RSA key (NIST SP 800-131A rev. 2
// §3); crypto/tls itself takes 1,024.
const minRSABits = 2048

func weak(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && k.N.BitLen() < minRSABits
}

func hasClientAuth(c *x509.Certificate) bool {
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

func (a *Authenticator) mapped(c *x509.Certificate, p *core.Principal) bool {
	for i := range a.Mappings {
		if m := &a.Mappings[i]; m.fits(c, p.Fingerprint) {
			p.Tenant, p.ID, p.Groups, p.Roles = m.Tenant, m.Name, m.Groups, m.Roles
			return true
		}
	}
	return false
}

func (m *Mapping) fits(c *x509.Certificate, fingerprint string) bool {
	matched := false
	for _, f := range []struct {
		given string
		ok    func() bool
	}{
		{m.Fingerprint, func() bool { return strings.EqualFold(m.Fingerprint, fingerprint) }},
		{m.SAN, func() bool { return hasSAN(c, m.SAN) }},
		{m.Issuer, func() bool { return m.Issuer == c.Issuer.String() && plain(c.Issuer) }},
		{m.Subject, func() bool { return m.Subject == c.Subject.String() && m.Issuer != "" && plain(c.Subject) }},
	} {
		if f.given == "" {
			continue
		}
		if !f.ok() {
			return false
		}
		matched = true
	}
	return matched && (m.Issuer == "" || m.Subject != "")
}

// plain reports whether a distinguished name's text is all of it: of several
// common names or serial numbers only the last is in it.
func plain(n pkix.Name) bool {
	for _, single := range []asn1.ObjectIdentifier{{2, 5, 4, 3}, {2, 5, 4, 5}} {
		times := 0
		for _, a := range n.Names {
			if a.Type.Equal(single) {
				times++
			}
		}
		if times > 1 {
			return false
		}
	}
	return true
}

func hasSAN(c *x509.Certificate, san string) bool {
	for _, d := range c.DNSNames {
		if strings.EqualFold(d, san) {
			return true
		}
	}
	for _, u := range c.URIs {
		if u.String() == san {
			return true
		}
	}
	return false
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// fromURI reads the one URI keyreeve://TENANT/NAME?group=G&role=R. Two of them,
// or anything else in one, name nobody.
func fromURI(c *x509.Certificate, p *core.Principal) bool {
	var found *url.URL
	for _, u := range c.URIs {
		if u.Scheme == "keyreeve" {
			if found != nil {
				return false
			}
			found = u
		}
	}
	if found == nil || found.User != nil || found.Fragment != "" || !nameForm.MatchString(found.Host) {
		return false
	}
	name := strings.TrimPrefix(found.Path, "/")
	q, err := url.ParseQuery(found.RawQuery)
	if err != nil || !nameForm.MatchString(name) {
		return false
	}
	for key, values := range q {
		for _, v := range values {
			if (key != "group" && key != "role") || !nameForm.MatchString(v) {
				return false
			}
		}
	}
	p.Tenant, p.ID, p.Groups, p.Roles = found.Host, name, q["group"], q["role"]
	return true
}
