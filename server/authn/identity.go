package authn

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

// session is one connection's identity. Safe for concurrent use.
type session struct {
	auth *Authenticator
	peer []*x509.Certificate // as the client sent them
	last atomic.Pointer[verdict]
}

// verdict is what a chain was worth under one trust.
type verdict struct {
	trust     *trust
	principal *core.Principal
	err       error
	until     time.Time // the verdict is void afterwards; zero: never
}

func (s *session) principal() (*core.Principal, error) {
	t, now := s.auth.trust.Load(), time.Now()
	v := s.last.Load()
	if v == nil || v.trust != t || (!v.until.IsZero() && now.After(v.until)) {
		next := t.judge(s.peer, now)
		if v != nil && reflect.DeepEqual(v.principal, next.principal) {
			next.principal = v.principal // what is remembered by it stays good
		}
		v = next
		s.last.Store(v)
	}
	return v.principal, v.err
}

// judge decides who sent a chain of certificates.
func (t *trust) judge(peer []*x509.Certificate, now time.Time) *verdict {
	p, until, err := t.identify(peer, now)
	if err != nil {
		return &verdict{trust: t, err: err}
	}
	return &verdict{trust: t, principal: p, until: until}
}

func (t *trust) identify(peer []*x509.Certificate, now time.Time) (*core.Principal, time.Time, error) {
	if len(peer) == 0 {
		return nil, now, refuse("no client certificate came with the connection")
	}
	leaf := peer[0]
	if t.RequireEKU && !hasClientAuth(leaf) {
		return nil, now, refuse("the client certificate lacks the Extended Key Usage clientAuth")
	}
	chains, err := t.chains(peer, now)
	if err != nil {
		return nil, now, err
	}
	chain, who, err := t.who(chains)
	if err != nil {
		return nil, now, err
	}
	sum := sha256.Sum256(leaf.Raw)
	until := t.until(chain, now)
	return &core.Principal{Tenant: who.tenant, ID: who.name, Groups: who.groups, Roles: who.roles, Method: "mtls", Strength: core.StrengthCertificate,
		Subject: NameText(leaf.RawSubject), Serial: leaf.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]), Expires: lastsUntil(chain).Unix()}, until, nil
}

// chains returns the chains that verify and of which nothing is revoked.
func (t *trust) chains(peer []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	between := t.authorities.between.Clone()
	for _, c := range peer[1:] {
		between.AddCert(c)
	}
	all, err := peer[0].Verify(x509.VerifyOptions{Roots: t.authorities.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, core.Wrap(core.AuthenticationNotSuccessful, err, "the client certificate does not verify under tls.client_ca: %v", err)
	}
	var good [][]*x509.Certificate
	why := ""
	for _, chain := range all {
		if flaw := t.flaw(chain, now); flaw != "" {
			why = flaw
			continue
		}
		good = append(good, chain)
	}
	if len(good) == 0 {
		return nil, refuse("%s", why)
	}
	return good, nil
}

// flaw says why a chain that verifies must not be used; "" if it may.
func (t *trust) flaw(chain []*x509.Certificate, now time.Time) string {
	for i, c := range chain {
		switch {
		case t.lists.has(c) && i == 0:
			return "the client certificate has been revoked"
		case t.lists.has(c):
			return fmt.Sprintf("the client certificate was issued under %s, which has been revoked", NameText(c.RawSubject))
		case weak(c) && (i == 0 || i < len(chain)-1):
			return fmt.Sprintf("the RSA key of %s has fewer than %d bits; issue a certificate with a longer key", NameText(c.RawSubject), minRSABits)
		}
	}
	for _, l := range t.listsOf(chain) {
		if t.RefuseStale && l.stale(now) {
			return fmt.Sprintf("the revocation list of %s is past its Next Update, and tls.crl_stale says refuse", l.issuer.name)
		}
	}
	return ""
}

// listsOf returns the lists of the authorities of a chain.
func (t *trust) listsOf(chain []*x509.Certificate) (out []*revocationList) {
	for _, l := range t.lists.lists {
		if slices.ContainsFunc(chain[min(1, len(chain)-1):], func(c *x509.Certificate) bool { return keyOf(c) == l.issuer.key }) {
			out = append(out, l)
		}
	}
	return out
}

// lastsUntil is when the first certificate of a chain expires.
func lastsUntil(chain []*x509.Certificate) time.Time {
	return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

// until is when a good verdict about a chain is void.
func (t *trust) until(chain []*x509.Certificate, now time.Time) time.Time {
	until := lastsUntil(chain)
	for _, l := range t.listsOf(chain) {
		if t.RefuseStale && l.next.Before(until) {
			until = l.next
		}
	}
	return until
}

// who finds the principal that a chain names: by tls.principals first, then by
// the certificate's URI, as far as its authorities may name it. The first entry
// of tls.principals that fits decides: if an authority below the anchor is not
// allowed to name it, the certificate is refused, unless the entry gives its
// fingerprint, which no authority can issue again. Of several
// chains the first that names somebody counts, the one that lasts longest first.
func (t *trust) who(chains [][]*x509.Certificate) ([]*x509.Certificate, *named, error) {
	slices.SortStableFunc(chains, func(a, b []*x509.Certificate) int { return lastsUntil(b).Compare(lastsUntil(a)) })
	for i := range t.mappings {
		m, why := &t.mappings[i], ""
		for _, chain := range chains {
			if !m.fits(chain) {
				continue
			}
			if why = t.authorities.narrows(chain, &m.who); why == "" || m.fingerprint != "" {
				return chain, &m.who, nil
			}
		}
		if why != "" {
			return nil, nil, refuse("tls.principals[%d] names %s/%s, and %s", i, m.who.tenant, m.who.name, why)
		}
	}
	who := fromURI(chains[0][0])
	if who == nil {
		return nil, nil, refuse("the client certificate names no principal: it has no keyreeve URI and no entry of tls.principals fits it")
	}
	if who.tenant == core.SystemTenant {
		return nil, nil, refuse("the client certificate names tenant %q, which is the server's own; issue one for another tenant", who.tenant)
	}
	why := ""
	for _, chain := range chains {
		if why = t.authorities.allows(chain, who); why == "" {
			return chain, who, nil
		}
	}
	return nil, nil, refuse("the client certificate names %s/%s, and %s", who.tenant, who.name, why)
}

// minRSABits is the least modulus of an RSA key (NIST SP 800-131A rev. 2 §3);
// crypto/tls itself takes 1,024.
const minRSABits = 2048

func weak(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && k.N.BitLen() < minRSABits
}

func hasClientAuth(c *x509.Certificate) bool {
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// fromURI returns who the URI of a certificate names, or nil.
func fromURI(c *x509.Certificate) *named {
	r, ok := identity.Of(c)
	if !ok {
		return nil
	}
	return &named{tenant: r.Tenant, name: r.Name, groups: r.Groups, roles: r.Roles}
}
