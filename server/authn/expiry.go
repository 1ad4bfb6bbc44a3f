package authn

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of what is remembered about client certificates.
const (
	seenFor       = 24 * time.Hour // after that a certificate is not in use any more
	noteEvery     = time.Hour      // an open connection is noted this often
	warnEvery     = 24 * time.Hour // about one certificate
	maxSeen       = 10_000         // certificates
	maxExpiryNote = 8              // certificates that health names
)

// ExpiringCertificate is a client certificate that is in use and expires soon, or under an
// authority that does.
type ExpiringCertificate struct {
	Tenant, Name string
	Fingerprint  string // SHA-256, hex
	Expires      time.Time
}

// seenCertificate is a client certificate that was in use lately.
type seenCertificate struct {
	ExpiringCertificate
	warnFrom time.Time
	lastSeen time.Time
	lastWarn time.Time
}

// isExpiring reports whether it is time to warn.
func (c *seenCertificate) isExpiring(now time.Time) bool {
	return now.After(c.warnFrom) && now.Before(c.Expires)
}

// certificatesInUse remembers when the certificates of clients expire. Safe for concurrent
// use.
type certificatesInUse struct {
	mu   sync.Mutex
	seen map[string]*seenCertificate // by fingerprint
}

// note remembers that the certificate of p is in use. It returns the certificate if it
// expires soon and no warning about it was given for a day.
func (u *certificatesInUse) note(p *core.Principal, leaf *x509.Certificate, warning time.Duration, now time.Time) (ExpiringCertificate, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.seen[p.Fingerprint]
	if c == nil {
		u.makeRoom(now)
		c = &seenCertificate{}
		u.seen[p.Fingerprint] = c
	}
	expires := time.Unix(p.Expires, 0)
	c.ExpiringCertificate = ExpiringCertificate{Tenant: p.Tenant, Name: p.ID, Fingerprint: p.Fingerprint, Expires: expires}
	c.lastSeen, c.warnFrom = now, expires.Add(-warningFor(leaf, warning))
	if !c.isExpiring(now) || now.Sub(c.lastWarn) < warnEvery {
		return ExpiringCertificate{}, false
	}
	c.lastWarn = now
	return c.ExpiringCertificate, true
}

// warningFor returns how long before its end a warning about a certificate is due: a quarter
// of its lifetime if that is shorter. Without this rule, a certificate that is renewed each
// day would always be warned about.
func warningFor(leaf *x509.Certificate, warning time.Duration) time.Duration {
	return min(warning, leaf.NotAfter.Sub(leaf.NotBefore)/4)
}

// makeRoom forgets certificates that are not in use any more and, if that is not enough, the
// one that expires last.
func (u *certificatesInUse) makeRoom(now time.Time) {
	if len(u.seen) < maxSeen {
		return
	}
	maps.DeleteFunc(u.seen, func(_ string, c *seenCertificate) bool { return now.Sub(c.lastSeen) > seenFor })
	if len(u.seen) < maxSeen {
		return
	}
	last := ""
	for fingerprint, c := range u.seen {
		if last == "" || c.Expires.After(u.seen[last].Expires) {
			last = fingerprint
		}
	}
	delete(u.seen, last)
}

// current returns the certificates that are in use and have not expired, first the one that
// expires first.
func (u *certificatesInUse) current(now time.Time) (out []seenCertificate) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.seen {
		if now.Sub(c.lastSeen) <= seenFor && now.Before(c.Expires) {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b seenCertificate) int {
		return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}

// ClientExpiry returns when the first client certificate expires that is in use, and how
// many of them expire soon. The time is zero if none is in use.
func (a *Authenticator) ClientExpiry(now time.Time) (earliest time.Time, expiring int) {
	all := a.inUse.current(now)
	if len(all) > 0 {
		earliest = all[0].Expires
	}
	for _, c := range all {
		if c.isExpiring(now) {
			expiring++
		}
	}
	return earliest, expiring
}

// ClientNotes returns what health says to a tenant about its client certificates that are in use
// and expire soon, and to the system's tenant about those of all tenants. Their number is bounded.
func (a *Authenticator) ClientNotes(tenant string, now time.Time) (notes []string) {
	more := 0
	for _, c := range a.inUse.current(now) {
		switch {
		case !c.isExpiring(now), tenant != core.SystemTenant && c.Tenant != tenant:
		case len(notes) == maxExpiryNote:
			more++
		default:
			notes = append(notes, fmt.Sprintf("the client certificate of %s/%s (sha256 %.16s...) expires on %s; renew it", c.Tenant, c.Name, c.Fingerprint, c.Expires.UTC().Format(time.DateOnly)))
		}
	}
	if more > 0 {
		notes = append(notes, fmt.Sprintf("%d more client certificates expire soon; see tls.expiry_warning", more))
	}
	return notes
}
