package password

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// Timestamps may come out of order, each once. What is not remembered is refused, and memory is
// bounded for each user and in all.
func TestTimestampsAreBounded(t *testing.T) {
	now := time.Now()
	s := newTimestamps(now.Add(-time.Minute))
	at := func(i int) int64 { return now.UnixMicro() + int64(i) }
	for i := range 2 * stampsOfUser {
		if err := s.accept("t", "a", at(i^1), now); err != nil {
			t.Fatalf("timestamp %d, out of order by one: %v", i^1, err)
		}
	}
	for i := range 2 * stampsOfUser {
		if s.accept("t", "a", at(i), now) == nil {
			t.Errorf("timestamp %d is accepted twice", i)
		}
	}
	for i := range 2 * stampingUsers {
		s.accept("u", fmt.Sprint(i), at(i), now)
	}
	kept := 0
	for _, tenant := range s.tenants {
		if kept += len(tenant.users); tenant.order.Len() != len(tenant.users) {
			t.Errorf("a tenant has %d users in order, and %d by name", tenant.order.Len(), len(tenant.users))
		}
	}
	if kept > stampingUsers || kept != s.users || len(s.tenants["t"].users["a"].Value.(*userStamps).used) > stampsOfUser {
		t.Errorf("%d users are remembered and counted as %d, and %d timestamps of one", kept, s.users, len(s.tenants["t"].users["a"].Value.(*userStamps).used))
	}
	for i := range 2 * stampingUsers {
		if s.accept("u", fmt.Sprint(i), at(i), now) == nil {
			t.Fatalf("the timestamp of user %d is accepted twice, because it was forgotten", i)
		}
	}
}

// A tenant with more users than can be remembered raises its own floor alone. Users of another tenant
// log in with clocks that are behind, and none of their timestamps is good twice.
func TestFloorsAreOfTenants(t *testing.T) {
	now := time.Now()
	s := newTimestamps(now.Add(-3 * time.Minute))
	behind := now.Add(-time.Minute).UnixMicro()
	const honest = 1000
	for i := range honest {
		if err := s.accept("small", fmt.Sprint(i), behind, now); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * stampingUsers {
		if err := s.accept("large", fmt.Sprint(i), now.UnixMicro()+int64(i), now); err != nil {
			t.Fatalf("user %d of the large tenant: %v", i, err)
		}
	}
	for i := range honest + 1 { // the last one is new
		if err := s.accept("small", fmt.Sprint(i), behind+1, now); err != nil {
			t.Fatalf("user %d of the small tenant: %v", i, err)
		}
		if s.accept("small", fmt.Sprint(i), behind+1, now) == nil || i < honest && s.accept("small", fmt.Sprint(i), behind, now) == nil {
			t.Fatalf("a timestamp of user %d of the small tenant is good twice", i)
		}
	}
	if s.accept("large", "another", now.UnixMicro(), now) == nil {
		t.Error("the large tenant accepts a timestamp up to one that was forgotten")
	}
	if s.users > stampingUsers {
		t.Errorf("%d users are remembered, at most %d", s.users, stampingUsers)
	}
}

// Tenants that all have too many users get equal shares, in any order. Users whose timestamps
// are too old make room before others, and no floor that matters is raised for them.
func TestTenantsShareTheTimestamps(t *testing.T) {
	now := time.Now()
	s := newTimestamps(now.Add(-3 * time.Minute))
	for _, tenant := range []string{"first", "second"} {
		for i := range stampingUsers {
			s.accept(tenant, fmt.Sprint(i), now.UnixMicro()+int64(i), now)
		}
	}
	for _, tenant := range []string{"first", "second"} {
		if n := len(s.tenants[tenant].users); n != stampingUsers/2 {
			t.Errorf("of the %s tenant %d users are remembered, want %d", tenant, n, stampingUsers/2)
		}
	}
	later := now.Add(stampBehind + stampAhead)
	behind := later.Add(-stampBehind).UnixMicro()
	for i := range stampingUsers {
		if err := s.accept("third", fmt.Sprint(i), behind+1+int64(i), later); err != nil {
			t.Fatalf("user %d of the third tenant: %v", i, err)
		}
	}
	if n := len(s.tenants["third"].users); n != stampingUsers {
		t.Errorf("of the third tenant %d users are remembered, want all %d in place of those whose timestamps are too old", n, stampingUsers)
	}
	for _, tenant := range []string{"first", "second"} {
		if err := s.accept(tenant, "late", behind+1, later); err != nil {
			t.Errorf("a user of the %s tenant: %v; want no floor that was raised by old timestamps", tenant, err)
		}
	}
}

// After a start Hashed Passwords are refused, with a sentence that says for how long, until no
// timestamp of the process before can be good. Nobody is slowed down for it.
func TestNothingIsGoodAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people, before := world()
		people.Put("acme", "alice", func(u *core.User) bool { u.Hashed = HashedVerifiers("alice", []byte(secret)); return true })
		time.Sleep(time.Minute)
		var accepted []*proof.HashedPassword
		for _, ahead := range []time.Duration{0, stampAhead / 2, stampAhead} {
			h := hashedNow("alice", secret, core.HashSHA256, time.Now().Add(ahead))
			if _, err := before.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(h)); err != nil {
				t.Fatalf("a timestamp %v ahead: %v", ahead, err)
			}
			accepted = append(accepted, h)
		}
		v := NewVerifier(people)
		started := time.Now()
		for time.Since(started) <= stampBehind+2*stampAhead {
			p, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(hashedNow("alice", secret, core.HashSHA256, time.Now())))
			if early := time.Since(started) <= stampAhead; early != (core.CodeOf(err) == core.Busy) || early != (p == nil) {
				t.Errorf("%v after the start: %+v, %v; want Busy up to %v", time.Since(started), p, err, stampAhead)
			}
			for _, h := range accepted {
				if p, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(h)); p != nil || err == nil {
					t.Fatalf("%v after the start, a Hashed Password that the process before has accepted is good again", time.Since(started))
				}
			}
			time.Sleep(stampAhead / 10)
		}
		v = NewVerifier(people)
		time.Sleep(stampAhead - 1500*time.Millisecond)
		_, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(hashedNow("alice", secret, core.HashSHA256, time.Now())))
		if want := "the server has just started and accepts no Hashed Passwords yet; try again in 2 s"; fmt.Sprint(err) != want {
			t.Errorf("%v; want %q", err, want)
		}
	})
}
