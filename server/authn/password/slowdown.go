package password

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/proof"
)

// Bounds of the delays after failed logins.
const (
	freeFailures = 5 // after so many, each next try must wait
	firstDelay   = time.Second
	maxDelay     = time.Minute // the delay doubles with each failure up to this

	countedEntries  = 4096             // users, addresses, ... that are counted, of each kind
	failuresLast    = 15 * time.Minute // after the last one they are forgotten
	provenSources   = 16_384
	provenSourcesOf = 30 * 24 * time.Hour
)

// source is where a login comes from: a certificate and an address.
type source struct{ certificate, address string }

// login is one try to log in.
type login struct {
	tenant, name string // name is "" if no user can have it
	emptyTenant  bool   // the tenant has no users; it may be made up
	from         source
	code         []byte        // one-time code beside the password; nil: none
	device       *proof.Device // that sends the password; nil: none
	given        mark          // of the password and what is beside it, for the version of the user
}

// besidePassword returns what a mark covers beside the password: a one-time code, or the
// identifiers of a device.
func besidePassword(code []byte, d *proof.Device) []byte {
	if d == nil {
		return code
	}
	return fmt.Appendf(nil, "device %q", *d)
}

// slowdown delays guessing. Failures are counted by user and by address, for each tenant by
// itself.
//
// A storage array must not be locked out because someone else guesses its password, or
// because it sends its old password again and again. So a source from which a user has
// logged in before is counted by itself: failures elsewhere do not delay it. A certificate
// that has not failed for a user yet is not delayed by the failures of others for that user
// either: after a restart, no source is known. The same wrong password from the same source
// counts once, because it is no new guess.
//
// Memory is bounded, and a failure can cost a guesser very little. So each tenant has its share
// of it, tenants without users have one share together, and within a share the counts of few
// failures make room first: someone who fails for very many names does not end the delay of one.
// Safe for concurrent use.
type slowdown struct {
	mu           sync.Mutex
	users        *cache.Bounded[failures]
	addresses    *cache.Bounded[failures] // of a tenant; of none: failures that are not of a user
	certificates *cache.Bounded[failures] // of one certificate for one user
	sources      *cache.Bounded[failures] // of one proven source for one user
	wrong        *cache.Bounded[mark]     // the last wrong password of one source for one user
	proven       *cache.Bounded[struct{}] // sources from which a user has logged in
}

// failures are failed logins without a pause of failuresLast.
type failures struct {
	count int
	last  time.Time
}

func newSlowdown() *slowdown {
	counts := func() *cache.Bounded[failures] {
		return cache.NewRanked(countedEntries, failuresLast, func(f failures) int { return f.count })
	}
	return &slowdown{users: counts(), addresses: counts(), certificates: counts(), sources: counts(),
		wrong:  cache.New(countedEntries, failuresLast, func(mark) {}),
		proven: cache.New(provenSources, provenSourcesOf, func(struct{}) {})}
}

// share returns the tenant in whose share of the memory a login is counted; "": in that of all
// tenants without users.
func (l *login) share() string {
	if l.emptyTenant {
		return ""
	}
	return l.tenant
}

// Keys of the counts, below the share. A tenant, a name, a certificate and an address have no
// NUL.

func (l *login) byUser() string        { return l.tenant + "\x00" + l.name }
func (l *login) byCertificate() string { return l.byUser() + "\x00" + l.from.certificate }
func (l *login) bySource() string      { return l.byCertificate() + "\x00" + l.from.address }

// network returns what an address is counted as: itself, or the /64 of an IPv6 address, which
// one host can have to itself.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Unmap().Is4() {
		return address
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.String()
}

// provenLocked reports whether the user has logged in from there before. The caller holds
// s.mu.
func (s *slowdown) provenLocked(l *login) bool {
	_, ok := s.proven.Get(l.share(), l.bySource())
	return ok
}

// wasWrong reports whether the last password that was wrong from there is given again.
func (s *slowdown) wasWrong(l *login) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.wrong.Get(l.share(), l.bySource())
	return ok && last.equals(&l.given)
}

// refusal returns an error if a login must wait.
func (s *slowdown) refusal(l *login) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wait time.Duration
	now := time.Now()
	if s.provenLocked(l) {
		wait = delayOf(s.sources, l.share(), l.bySource(), now)
	} else {
		address := network(l.from.address)
		wait = max(delayOf(s.addresses, l.share(), address, now), delayOf(s.addresses, "", address, now))
		if _, failed := s.certificates.Get(l.share(), l.byCertificate()); failed {
			wait = max(wait, delayOf(s.users, l.share(), l.byUser(), now))
		}
	}
	if wait <= 0 {
		return nil
	}
	return core.Errorf(core.AuthenticationNotSuccessful, "too many failed logins, try again in %d s", (wait+time.Second-1)/time.Second)
}

// delayOf returns how long the next try must wait.
func delayOf(counts *cache.Bounded[failures], tenant, id string, now time.Time) time.Duration {
	f, _ := counts.Get(tenant, id)
	if f.count < freeFailures {
		return 0
	}
	delay := min(firstDelay<<min(f.count-freeFailures, 10), maxDelay)
	return f.last.Add(delay).Sub(now)
}

// noteFailure counts a failed login.
func (s *slowdown) noteFailure(l *login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.wrong.Put(l.share(), l.bySource(), l.given)
	if s.provenLocked(l) {
		countFailure(s.sources, l.share(), l.bySource(), now)
		return
	}
	countFailure(s.addresses, l.share(), network(l.from.address), now)
	countFailure(s.users, l.share(), l.byUser(), now)
	countFailure(s.certificates, l.share(), l.byCertificate(), now)
}

func countFailure(counts *cache.Bounded[failures], tenant, id string, now time.Time) {
	f, _ := counts.Get(tenant, id)
	counts.Put(tenant, id, failures{f.count + 1, now})
}

// noteAddress counts a failure that is not one of a user.
func (s *slowdown) noteAddress(l *login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	countFailure(s.addresses, "", network(l.from.address), time.Now())
}

// noteSuccess notes from where a user has logged in. It does not end the delays of others.
func (s *slowdown) noteSuccess(l *login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources.Drop(l.share(), l.bySource())
	s.proven.Put(l.share(), l.bySource(), struct{}{})
}
