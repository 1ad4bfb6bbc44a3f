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
