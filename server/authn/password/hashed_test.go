package password

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// hashedNow is the Hashed Password that a client sends, by the formulas of KMIP 2.1 §9.11.
func hashedNow(name, password string, a core.HashingAlgorithm, at time.Time) *proof.HashedPassword {
	sum := func(text string) string { return string(hashParts(hashings[a], []byte(text))) }
	stamp := string(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro())))
	return &proof.HashedPassword{Timestamp: at.UnixMicro(), Algorithm: a, Hash: []byte(sum(sum(name+password)+stamp) + sum(password+name))}
}

func hashedCredential(h *proof.HashedPassword) []proof.Credential {
	return []proof.Credential{{Type: core.CredentialTypeHashedPassword, Username: "alice", Hashed: h}}
}

// withHashed is world with alice taking Hashed Passwords. The process started a minute ago.
func withHashed() *Verifier {
	people, v := world()
	people.Put("acme", "alice", func(u *core.User) bool { u.Hashed = HashedVerifiers("alice", []byte(secret)); return true })
	people.Put("acme", "bob", func(u *core.User) bool { u.Password = hashed(); return true })
	v.stamps = newTimestamps(time.Now().Add(-time.Minute))
	return v
}

// What the server keeps of a password and what it answers follow the formulas of KMIP 2.1 §9.11 and
// §8.5, with the timestamp as eight bytes.
func TestHashedPasswordBytes(t *testing.T) {
	h := hashedNow("alice", secret, core.HashSHA256, time.UnixMicro(1_700_000_000_123_456))
	s1 := sha256.Sum256([]byte("alicecorrect horse"))
	if got := hex.EncodeToString(HashedVerifiers("alice", []byte(secret))[0].S1); got != hex.EncodeToString(s1[:]) {
		t.Errorf("S1 is %s, want %x", got, s1)
	}
	verifier := HashedVerifiers("alice", []byte(secret))[0]
	proof, matches := matchHashed(&verifier, sha256.New, h)
	s2 := sha256.Sum256([]byte("correct horsealice"))
	hashS2 := sha256.Sum256(s2[:])
	stamp, _ := hex.DecodeString("00060a2418202240") // 1,700,000,000,123,456
	want := sha256.Sum256([]byte(string(stamp) + string(s1[:]) + string(hashS2[:])))
	if !matches || string(proof) != string(want[:]) {
		t.Errorf("the Hashed Password matches: %v, and the answer is %x, want %x", matches, proof, want)
	}
}

// Each pinned algorithm logs in, SHA-256 also by default, with the hash for the answer. A new
// timestamp on the connection gives the same principal, and so does the same credential again.
func TestHashedPasswordLogsIn(t *testing.T) {
	v, certificate := withHashed(), array7()
	for i, a := range []core.HashingAlgorithm{0, core.HashSHA256, core.HashSHA384, core.HashSHA512} {
		identify := v.ForConnection("10.0.0.7")
		var first *core.Principal
		for j := range 3 {
			h := hashedNow("alice", secret, pinnedAlgorithm(a), time.Now().Add(time.Duration(100*i+j)*time.Millisecond))
			h.Algorithm = a
			for range 2 {
				h.ServerHash = nil
				p, err := identify(ctx, certificate, hashedCredential(h))
				if err != nil || p.ID != "alice" || p.Method != "hashed-password" || p.Strength != core.StrengthPassword || len(h.ServerHash) != hashings[pinnedAlgorithm(a)]().Size() {
					t.Fatalf("%v: %+v, %v, and the answer has %d bytes", a, p, err, len(h.ServerHash))
				}
				if first == nil {
					first = p
				}
				if p != first {
					t.Errorf("%v: another principal for the same user", a)
				}
			}
		}
	}
}

// A Hashed Password is refused elsewhere, at another time, and for anything that is wrong with it. The
// record has the cause.
func TestHashedPasswordsThatFail(t *testing.T) {
	v := withHashed()
	now := time.Now()
	sent := hashedNow("alice", secret, core.HashSHA256, now)
	if _, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(sent)); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*proof.HashedPassword)) *proof.HashedPassword {
		h := hashedNow("alice", secret, core.HashSHA256, now.Add(time.Second))
		f(h)
		return h
	}
	bob := hashedCredential(hashedNow("bob", secret, core.HashSHA256, now))
	bob[0].Username = "bob"
	const late = "the timestamp of the Hashed Password is more than 2 minutes behind the server's clock, or more than 5 seconds ahead of it"
	for what, c := range map[string]struct {
		given []proof.Credential
		cause string
	}{
		"the same on another connection": {hashedCredential(sent), "the Hashed Password was used before"},
		"too early":                      {hashedCredential(hashedNow("alice", secret, core.HashSHA256, now.Add(-stampBehind-time.Second))), late},
		"too late":                       {hashedCredential(hashedNow("alice", secret, core.HashSHA256, now.Add(stampAhead+time.Minute))), late},
		"before the start":               {hashedCredential(hashedNow("alice", secret, core.HashSHA256, now.Add(-90*time.Second))), "the timestamp of the Hashed Password is from before the server accepted any, or older than too many others"},
		"another timestamp":              {hashedCredential(change(func(h *proof.HashedPassword) { h.Timestamp++ })), errWrong.Error()},
		"another S2":                     {hashedCredential(change(func(h *proof.HashedPassword) { h.Hash[63] ^= 1 })), errWrong.Error()},
		"a hash too short":               {hashedCredential(change(func(h *proof.HashedPassword) { h.Hash = h.Hash[:63] })), errWrong.Error()},
		"no hash":                        {hashedCredential(change(func(h *proof.HashedPassword) { h.Hash = nil })), errWrong.Error()},
		"another algorithm than named":   {hashedCredential(change(func(h *proof.HashedPassword) { h.Algorithm = core.HashSHA384 })), errWrong.Error()},
		"a wrong password":               {hashedCredential(hashedNow("alice", "guess", core.HashSHA256, now.Add(time.Second))), errWrong.Error()},
		"a user who may not":             {bob, "the user may not log in with a Hashed Password"},
	} {
		certificate := array7()
		certificate.ID = what // so that nobody is slowed down
		p, err := v.ForConnection("10.0.0."+what)(ctx, certificate, c.given)
		refusedLogin(t, what, p, err)
		if fmt.Sprint(errors.Unwrap(err)) != c.cause {
			t.Errorf("%s: refused because %v, want %s", what, errors.Unwrap(err), c.cause)
		}
	}
	for _, a := range []core.HashingAlgorithm{1, 2, 3, 4, 5, 9, 99} {
		p, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(change(func(h *proof.HashedPassword) { h.Algorithm = a })))
		refusedLogin(t, fmt.Sprintf("the algorithm %v", a), p, err)
	}
}

// Guesses by Hashed Password are slowed down. A replay is no guess, so it delays nobody.
func TestGuessedHashesAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := withHashed()
		sent := hashedNow("alice", secret, core.HashSHA256, time.Now())
		for range 3 * freeFailures {
			v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(sent))
		}
		if _, err := v.ForConnection("10.0.0.7")(ctx, array7(), hashedCredential(hashedNow("alice", secret, core.HashSHA256, time.Now().Add(time.Second)))); err != nil {
			t.Errorf("a new one after replays: %v", err)
		}
		tried := 0
		for i := range 50 {
			_, err := v.ForConnection("10.0.0.66")(ctx, array7(), hashedCredential(hashedNow("alice", fmt.Sprint("guess", i), core.HashSHA256, time.Now())))
			if errors.Is(err, errWrong) {
				tried++
			}
		}
		if tried > freeFailures {
			t.Errorf("%d guesses were checked at once, at most %d", tried, freeFailures)
		}
	})
}

// Guesses by Hashed Password that arrive together are checked one after the other, so no more are
// checked than are free.
func TestParallelGuessedHashes(t *testing.T) {
	for range 50 {
		v := withHashed()
		start, results := make(chan bool), make(chan error, 200)
		for i := range cap(results) {
			guess := hashedCredential(hashedNow("alice", fmt.Sprint("guess", i), core.HashSHA512, time.Now()))
			identify := v.ForConnection("10.0.0.66")
			go func() {
				<-start
				_, err := identify(ctx, array7(), guess)
				results <- err
			}()
		}
		close(start)
		checked := 0
		for range cap(results) {
			if errors.Is(<-results, errWrong) {
				checked++
			}
		}
		if checked > freeFailures {
			t.Fatalf("%d guesses were checked, at most %d", checked, freeFailures)
		}
	}
}
