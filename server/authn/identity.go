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

// connectionIdentity is the identity of one connection. Safe for concurrent use.
type connectionIdentity struct {
	auth *Authenticator
	peer []*x509.Certificate // the chain as the client sent it
	last atomic.Pointer[verdict]
}

// verdict is the result of a check of a chain under one trust.
type verdict struct {
	trust      *trust
	principal  *core.Principal
	err        error
	validUntil time.Time // end of the verdict; zero: no end
	ofEnrolled bool      // it depends on the enrolled clients, of this revision:
	revision   uint64
}

func (s *connectionIdentity) principal() (*core.Principal, error) {
	t, now := s.auth.trust.Load(), time.Now()
	v := s.last.Load()
	if v == nil || v.isOutdated(t, now) {
		next := t.judgeChain(s.peer, now)
		if v != nil && reflect.DeepEqual(v.principal, next.principal) {
			next.principal = v.principal // so that caches keyed by it stay valid
		}
		v = next
		s.last.Store(v)
		s.noteInUse(v, now)
	}
	return v.principal, v.err
}

// noteInUse has the certificate of a good verdict remembered.
func (s *connectionIdentity) noteInUse(v *verdict, now time.Time) {
	if v.err != nil {
		return
	}
	if c, warn := s.auth.inUse.note(v.principal, s.peer[0], v.trust.ExpiryWarning, now); warn {
		s.auth.onExpiring(c)
	}
}

// judgeChain returns the verdict about a chain of certificates. A good one ends after
// noteEvery, so that the certificate of a long connection is noted again.
func (t *trust) judgeChain(peer []*x509.Certificate, now time.Time) *verdict {
	v := &verdict{trust: t, ofEnrolled: t.mayBeEnrolled(peer)}
	if v.ofEnrolled {
		v.revision = t.enrolledRevision() // first: a change meanwhile makes the verdict outdated
	}
	p, until, err := t.identifyChain(peer, now)
	if err != nil {
		v.err, v.validUntil = err, until
		return v
	}
	if again := now.Add(noteEvery); again.Before(until) {
		until = again
	}
	v.principal, v.validUntil = p, until
	return v
}

// identifyChain returns the principal of a chain and when its identity ends. With an error, the
// time says when to try again; zero: not until something has changed.
func (t *trust) identifyChain(peer []*x509.Certificate, now time.Time) (*core.Principal, time.Time, error) {
	if len(peer) == 0 {
		return nil, time.Time{}, refuse("no client certificate came with the connection")
	}
	leaf := peer[0]
	if t.RequireEKU && !hasClientAuth(leaf) {
		return nil, time.Time{}, refuse("the client certificate lacks the Extended Key Usage clientAuth")
	}
	chains, err := t.usableChains(peer, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	chain, who, err := t.findPrincipal(chains)
	if err != nil {
		return nil, time.Time{}, err
	}
	again, err := t.checkOCSP(chain, now)
	if err != nil {
		return nil, again, err
	}
	sum := sha256.Sum256(leaf.Raw)
	until := t.validUntil(chain, now)
	if !again.IsZero() && again.Before(until) {
		until = again
	}
	return &core.Principal{Tenant: who.tenant, ID: who.name, Groups: who.groups, Roles: who.roles, KeyGroup: who.keyGroup, Method: core.MethodCertificate, Strength: core.StrengthCertificate,
		Subject: identity.NameText(leaf.RawSubject), Serial: leaf.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]), Expires: lastsUntil(chain).Unix(), NamedBy: who.namedBy}, until, nil
}

// usableChains returns the chains that verify and that have no flaw.
func (t *trust) usableChains(peer []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	between := t.authorities.intermediates.Clone()
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
		if flaw := t.chainFlaw(chain, now); flaw != "" {
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

// chainFlaw returns why a chain that verifies must not be used, or "" if it may.
func (t *trust) chainFlaw(chain []*x509.Certificate, now time.Time) string {
	for i, c := range chain {
		switch {
		case t.revocations.revokes(c) && i == 0:
			return "the client certificate has been revoked"
		case t.revocations.revokes(c):
			return fmt.Sprintf("the client certificate was issued under %s, which has been revoked", identity.NameText(c.RawSubject))
		case hasWeakKey(c) && (i == 0 || i < len(chain)-1):
			return fmt.Sprintf("the RSA key of %s has fewer than %d bits; issue a certificate with a longer key", identity.NameText(c.RawSubject), minRSABits)
		}
	}
	for _, l := range t.listsOf(chain) {
		if t.RefuseStale && l.isStale(now) {
			return fmt.Sprintf("the revocation list of %s is past its Next Update, and tls.crl_stale says refuse", l.issuer.name)
		}
	}
	return ""
}

// listsOf returns the lists of the authorities of a chain.
func (t *trust) listsOf(chain []*x509.Certificate) (out []*revocationList) {
	for _, l := range t.revocations.lists {
		if slices.ContainsFunc(chain[min(1, len(chain)-1):], func(c *x509.Certificate) bool { return authorityKey(c) == l.issuer.key }) {
			out = append(out, l)
		}
	}
	return out
}

// lastsUntil returns when the first certificate of a chain expires.
func lastsUntil(chain []*x509.Certificate) time.Time {
	return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
}

// validUntil returns when a good verdict about a chain ends.
func (t *trust) validUntil(chain []*x509.Certificate, now time.Time) time.Time {
	until := lastsUntil(chain)
	for _, l := range t.listsOf(chain) {
		if t.RefuseStale && l.next.Before(until) {
			until = l.next
		}
	}
	return until
}

// findPrincipal returns the principal that a certificate names, with the chain that
// allows it. The directory decides about enrolled clients. Otherwise the first entry of tls.principals that matches decides. If an authority
// below the anchor may not name its principal, the certificate is refused, unless the
// entry has its fingerprint, because no authority can issue that again. If the tenant, a
// group or a role comes from the certificate, the anchor must be permitted to name it too.
// If no entry
// matches, the URI of the certificate decides, as far as the authorities may name it.
// Chains that last longer are tried first.
func (t *trust) findPrincipal(chains [][]*x509.Certificate) ([]*x509.Certificate, *principalNames, error) {
	if chain := t.enrolledChain(chains); chain != nil {
		who, err := t.findEnrolled(chain)
		return chain, who, err
	}
	slices.SortStableFunc(chains, func(a, b []*x509.Certificate) int { return lastsUntil(b).Compare(lastsUntil(a)) })
	for i := range t.mappings {
		if m := &t.mappings[i]; slices.ContainsFunc(chains, m.matches) {
			chain, who, err := t.applyMapping(m, chains)
			if err != nil {
				return nil, nil, refuse("tls.principals[%d]: %v", i, err)
			}
			who.namedBy = fmt.Sprintf("tls.principals[%d]", i)
			return chain, who, nil
		}
	}
	who := fromURI(chains[0][0])
	if who == nil {
		return nil, nil, refuse("the client certificate names no principal: it has no keyreeve URI, and no entry of tls.principals matches it")
	}
	if who.tenant == core.SystemTenant {
		return nil, nil, refuse("the client certificate names tenant %q, which is reserved for the server; issue one for another tenant", who.tenant)
	}
	why := ""
	for _, chain := range chains {
		if why = t.authorities.grantRefusal(chain, who); why == "" {
			return chain, who, nil
		}
	}
	return nil, nil, refuse("the client certificate names %s/%s, and %s", who.tenant, who.name, why)
}

// applyMapping returns the principal that a matching entry names, with the chain that
// allows it.
func (t *trust) applyMapping(m *mapping, chains [][]*x509.Certificate) ([]*x509.Certificate, *principalNames, error) {
	who, err := m.principalOf(chains[0][0])
	if err != nil {
		return nil, nil, fmt.Errorf("the entry matches the client certificate, and %w", err)
	}
	why := ""
	for _, chain := range chains {
		if !m.matches(chain) {
			continue
		}
		if why = t.mappingRefusal(m, chain, who); why == "" {
			return chain, who, nil
		}
	}
	return nil, nil, fmt.Errorf("the entry names %s/%s, and %s", who.tenant, who.name, why)
}

// mappingRefusal returns why the authorities of a chain may not name the principal of an
// entry, or "".
func (t *trust) mappingRefusal(m *mapping, chain []*x509.Certificate, who *principalNames) string {
	switch {
	case m.principal.givesRights():
		return t.authorities.grantRefusal(chain, who)
	case m.fingerprint != "":
		return ""
	}
	return t.authorities.limitRefusal(chain, who)
}

// minRSABits is the shortest modulus of an RSA key (NIST SP 800-131A rev. 2 §3).
// crypto/tls accepts 1,024 bits.
const minRSABits = 2048

func hasWeakKey(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && k.N.BitLen() < minRSABits
}

func hasClientAuth(c *x509.Certificate) bool {
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// fromURI returns the principal that the URI of a certificate names, or nil.
func fromURI(c *x509.Certificate) *principalNames {
	r, ok := identity.Of(c)
	if !ok {
		return nil
	}
	return &principalNames{tenant: r.Tenant, name: r.Name, groups: r.Groups, roles: r.Roles}
}
