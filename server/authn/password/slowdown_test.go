package password

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

func from(certificate, address string) source { return source{certificate, address} }

func loginOf(name string, s source) *login { return &login{tenant: "acme", name: name, from: s} }

func (s *slowdown) fail(l *login, times int) {
	for range times {
		s.noteFailure(l)
	}
}

// mustWait fails unless a login is refused with so many seconds to wait; 0: not refused.
func mustWait(t *testing.T, what string, s *slowdown, l *login, seconds int) {
	t.Helper()
	err := s.refusal(l)
	if seconds == 0 {
		if err != nil {
			t.Errorf("%s: %v; want no delay", what, err)
		}
		return
	}
	want := fmt.Sprintf("too many failed logins, try again in %d s", seconds)
	if err == nil || err.Error() != want || core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("%s: %v; want %q", what, err, want)
	}
}

// After five failures, each next try waits twice as long as the last, up to a minute. A pause of 15
// minutes ends it.
func TestDelaysGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, guess := newSlowdown(), loginOf("alice", from("eve", "10.0.0.1"))
		s.fail(guess, freeFailures-1)
		mustWait(t, "four failures", s, guess, 0)
		for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			s.fail(guess, 1)
			mustWait(t, "at once", s, guess, seconds)
			time.Sleep(time.Duration(seconds)*time.Second - time.Millisecond)
			mustWait(t, "just before", s, guess, 1)
			time.Sleep(time.Millisecond)
			mustWait(t, "after the delay", s, guess, 0)
		}
		s.fail(guess, 1000)
		mustWait(t, "a thousand failures", s, guess, 60)
		time.Sleep(failuresLast + time.Second)
		s.fail(guess, freeFailures-1)
		mustWait(t, "four failures after a pause", s, guess, 0)
	})
}

// Failures count for the user and for the address, and an IPv6 network is one address.
func TestFailuresCountByUserAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowdown()
		for i := range 6 { // one user, from many addresses
			s.fail(loginOf("alice", from("eve", fmt.Sprint("10.0.0.", i))), 1)
		}
		mustWait(t, "the user from another address", s, loginOf("alice", from("eve", "10.0.9.9")), 2)
		mustWait(t, "another user from there", s, loginOf("bob", from("eve", "10.0.9.9")), 0)
		for i := range 6 { // many users, from one network
			s.fail(loginOf(fmt.Sprint("user", i), from("mallory", fmt.Sprint("2001:db8::", i))), 1)
		}
		mustWait(t, "another user from the network", s, loginOf("carol", from("mallory", "2001:db8::ffff:1")), 2)
		mustWait(t, "another user from the next network", s, loginOf("carol", from("mallory", "2001:db8:0:1::1")), 0)
		s.fail(loginOf("dave", from("trent", "::ffff:10.1.1.1")), 5)
		mustWait(t, "an IPv4 address next to it", s, loginOf("erin", from("trent", "::ffff:10.1.1.2")), 0)
	})
}

// While somebody guesses a user's password, the user logs in where it did before, and after a
// restart with a certificate that did not guess.
func TestGuessingElsewhereLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowdown()
		array := loginOf("array", from("array7", "10.0.0.7"))
		s.fail(loginOf("array", from("eve", "10.0.0.66")), 100)
		mustWait(t, "the guesser", s, loginOf("array", from("eve", "10.0.0.66")), 60)
		mustWait(t, "the guesser from elsewhere", s, loginOf("array", from("eve", "10.0.0.67")), 60)
		mustWait(t, "the array, which is not known yet", s, array, 0)
		s.fail(array, 1)
		mustWait(t, "the array after a wrong try", s, array, 60)
		s.noteSuccess(array)
		s.fail(loginOf("array", from("eve", "10.0.0.66")), 100)
		mustWait(t, "the array, which is known", s, array, 0)
		mustWait(t, "the array's certificate elsewhere", s, loginOf("array", from("array7", "10.0.0.8")), 60)
		s.fail(array, 5)
		mustWait(t, "the array's own guesses", s, array, 1)
		s.noteSuccess(array)
		mustWait(t, "the array after it was right", s, array, 0)
		mustWait(t, "the guesser after the array was right", s, loginOf("array", from("eve", "10.0.0.66")), 60)
	})
}

// Counts are bounded, however many users, certificates and addresses fail. A user of another tenant
// keeps what is known of it.
func TestSlowdownIsBounded(t *testing.T) {
	s := newSlowdown()
	honest := &login{tenant: "small", name: "array", from: from("array7", "10.9.9.9")}
	s.noteSuccess(honest)
	for i := range 3 * countedEntries {
		l := loginOf(fmt.Sprint("u", i), from(fmt.Sprint("c", i), fmt.Sprint("a", i)))
		s.noteFailure(l)
		if i%3 == 0 {
			s.noteSuccess(l)
			s.noteFailure(l)
		}
	}
	for range 4 {
		for i := range provenSources {
			s.noteSuccess(loginOf(fmt.Sprint("v", i), from("c", "a")))
		}
	}
	for what, n := range map[string]int{"users": s.users.Len(), "addresses": s.addresses.Len(), "certificates": s.certificates.Len(), "sources": s.sources.Len(), "wrong passwords": s.wrong.Len()} {
		if n > countedEntries {
			t.Errorf("%d %s are counted, at most %d", n, what, countedEntries)
		}
	}
	if n := s.proven.Len(); n > provenSources {
		t.Errorf("%d proven sources, at most %d", n, provenSources)
	}
	if !s.provenLocked(honest) {
		t.Error("the logins of one tenant drove out the source of another")
	}
}

// Names that join to the same text are different.
func TestLoginsAreNotConfused(t *testing.T) {
	s := newSlowdown()
	s.noteSuccess(loginOf("ab", from("c", "d")))
	for _, l := range []*login{loginOf("a", from("bc", "d")), loginOf("ab", from("cd", "")), loginOf("", from("abc", "d")), {tenant: "acmea", name: "b", from: from("c", "d")}, loginOf("ab", from("c", "e"))} {
		if s.provenLocked(l) {
			t.Errorf("%s counts as a login from c at d", strings.ReplaceAll(l.bySource(), "\x00", "|"))
		}
	}
}

// guessed returns logins of users of a tenant, each from a certificate and an address of its own,
// after so many failures.
func (s *slowdown) guessed(tenant string, failures int) (all []*login) {
	for i := range 20 {
		l := &login{tenant: tenant, name: fmt.Sprint("guessed", i), from: from(fmt.Sprint("eve", i), fmt.Sprint("10.6.6.", i))}
		s.fail(l, failures)
		all = append(all, l)
	}
	return all
}

// flood counts a failure of each of very many users, certificates and addresses.
func (s *slowdown) flood(tenant func(i int) (name string, empty bool)) {
	for i := range 4 * countedEntries {
		l := &login{name: fmt.Sprint("u", i), from: from(fmt.Sprint("c", i), fmt.Sprint("a", i))}
		l.tenant, l.emptyTenant = tenant(i)
		s.noteFailure(l)
	}
}

// Failures of very many names, from as many addresses, end no delay: neither in the tenant of the
// guesser, who may mean to end its own, nor in another one. Made-up tenants have one share together.
func TestFloodEndsNoDelay(t *testing.T) {
	for what, tenant := range map[string]func(i int) (string, bool){
		"the same tenant":     func(int) (string, bool) { return "acme", false },
		"another tenant":      func(int) (string, bool) { return "other", false },
		"tenants without use": func(i int) (string, bool) { return fmt.Sprint("made", i), true },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSlowdown()
			guessed := s.guessed("acme", freeFailures+4)
			few := 1 // failures that do not delay yet
			if what == "the same tenant" {
				few = 0 // they make room first
			}
			tried := s.guessed("small", few)
			s.flood(tenant)
			for _, l := range guessed {
				mustWait(t, what+", the guesser", s, l, 16)
				mustWait(t, what+", the user at another address", s, &login{tenant: l.tenant, name: l.name, from: from(l.from.certificate, "10.7.7.7")}, 16)
				mustWait(t, what+", the address and another user", s, &login{tenant: l.tenant, name: "other", from: from("other", l.from.address)}, 16)
			}
			for _, l := range tried {
				if f, ok := s.users.Get(l.share(), l.byUser()); few > 0 && (!ok || f.count != few) {
					t.Errorf("%s: the count of a user of a small tenant is gone", what)
				}
			}
		})
	}
}

// An address is counted for each tenant by itself, so failures in one tenant delay nobody of another
// one behind the same address. Failures that are of no user delay all.
func TestAddressesAreCountedByTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowdown()
		s.fail(loginOf("alice", from("eve", "10.0.0.1")), freeFailures)
		mustWait(t, "another user of the tenant", s, loginOf("bob", from("eve", "10.0.0.1")), 1)
		other := &login{tenant: "other", name: "carol", from: from("array9", "10.0.0.1")}
		mustWait(t, "a user of another tenant", s, other, 0)
		for i := range freeFailures {
			s.noteFailure(&login{tenant: fmt.Sprint("made", i), emptyTenant: true, name: "alice", from: from("", "10.0.0.1")})
		}
		mustWait(t, "a user of another tenant after failures in made-up tenants", s, other, 1)
		for range freeFailures {
			s.noteAddress(&login{from: from("", "10.0.0.2")})
		}
		mustWait(t, "a user after wrong tokens from the address", s, loginOf("bob", from("eve", "10.0.0.2")), 1)
	})
}

// A login over REST to a tenant that has no users, which may be made up, counts beside wrong tokens
// and takes nothing of the share of a tenant. It waits like any other one.
func TestMadeUpTenantsHaveOneShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := world()
		cheap(v)
		logIn := func(tenant, address string) {
			_, p, err := v.LogIn(ctx, Login{Tenant: tenant, Name: "alice", Password: []byte("guess"), Address: address})
			refusedLogin(t, tenant, p, err)
		}
		for i := range freeFailures {
			logIn(fmt.Sprint("made", i), "10.0.0.66")
			logIn("acme", "10.0.0.77")
		}
		if err := v.NoteFailureFrom("10.0.0.66"); fmt.Sprint(err) != "too many failed logins, try again in 1 s" {
			t.Errorf("a wrong token from the address of failures in made-up tenants: %v", err)
		}
		if err := v.NoteFailureFrom("10.0.0.77"); err != nil {
			t.Errorf("a wrong token from the address of failures in a tenant: %v", err)
		}
	})
}
