package password

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
)

var codeKey = core.SecretBytes("12345678901234567890")

// The codes are the last six digits of those in RFC 6238, Appendix B.
func TestCodesOfTheStandard(t *testing.T) {
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := string(codeOfStep(codeKey, at/stepSeconds)); got != want {
			t.Errorf("the code at %d is %s, want %s", at, got, want)
		}
		for ahead, right := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
			if step, err := stepOfCode(codeKey, codeOfStep(codeKey, at/stepSeconds+ahead), time.Unix(at, 0)); (err == nil) != right || right && step != at/stepSeconds+ahead {
				t.Errorf("the code that is %d steps ahead at %d: step %d, %v; want it to be right: %v", ahead, at, step, err, right)
			}
		}
	}
	for _, given := range []string{"", "28708", "2870820", "287083", "94287082", "287082 "} {
		if _, err := stepOfCode(codeKey, []byte(given), time.Unix(59, 0)); err == nil {
			t.Errorf("%q is taken for 287082", given)
		}
	}
}

// usedInMemory notes used codes in memory.
type usedInMemory struct {
	used   sync.Map
	outage error
	asked  int
}

func (u *usedInMemory) UseCode(_ context.Context, tenant, user string, step int64) (bool, error) {
	u.asked++
	if u.outage != nil {
		return false, u.outage
	}
	_, before := u.used.LoadOrStore(fmt.Sprint(tenant, "/", user, "/", step), true)
	return !before, nil
}

// withCodes is world with alice needing one-time codes, and bob needing none.
func withCodes() (*usedInMemory, *Verifier) {
	people, v := world()
	people.Put("acme", "alice", func(u *core.User) bool { u.CodeKey = codeKey; return true })
	people.Put("acme", "bob", func(u *core.User) bool { u.Password = hashed(); return true })
	used := new(usedInMemory)
	v.UseCodes(used)
	v.stamps = newTimestamps(time.Now().Add(-time.Minute))
	return used, v
}

func codeNow() []byte { return codeOfStep(codeKey, time.Now().Unix()/stepSeconds) }

func withCode(name, password string, code []byte) []proof.Credential {
	return []proof.Credential{{Type: core.CredentialTypeOneTimePassword, Username: name, Password: []byte(password), OneTimePassword: code}}
}

// A code is good for one connection, on which the same credential may come again for twelve hours.
// On any other one it is refused.
func TestCodeIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		used, v := withCodes()
		identify, certificate, given := v.ForConnection("10.0.0.7"), array7(), withCode("alice", secret, codeNow())
		first, err := identify(ctx, certificate, given)
		if err != nil || first.ID != "alice" || first.Method != "code" || first.Strength != core.StrengthCode || first.Expires != time.Now().Add(codeSession).Unix() {
			t.Fatalf("alice with a code: %+v, %v", first, err)
		}
		time.Sleep(codeSession - time.Second)
		if p, err := identify(checksNothing, certificate, given); p != first || err != nil || used.asked != 1 {
			t.Errorf("the same credential on the connection: %+v, %v, and %d codes were used; want the same principal, and one", p, err, used.asked)
		}
		time.Sleep(time.Second)
		p, err := identify(ctx, certificate, given)
		refusedLogin(t, "the same credential after twelve hours", p, err)
		if p, err := identify(ctx, certificate, withCode("alice", secret, codeNow())); err != nil || p.ID != "alice" {
			t.Errorf("a new code on the connection: %+v, %v", p, err)
		}
		p, err = v.ForConnection("10.0.0.8")(ctx, certificate, withCode("alice", secret, codeNow()))
		refusedLogin(t, "a code that another connection has used", p, err)
		_, p, err = v.LogIn(ctx, Login{Tenant: "acme", Name: "alice", Password: []byte(secret), Code: codeNow(), Address: "10.0.0.9"})
		refusedLogin(t, "a code that a connection has used, over REST", p, err)
	})
}

// A user who needs codes gives one at every door, and a user without codes gives none. What is wrong
// is refused with the one sentence, and uses no code.
func TestPasswordAloneIsRefused(t *testing.T) {
	used, v := withCodes()
	rest := func(password string, code []byte) func() (*core.Principal, error) {
		return func() (*core.Principal, error) {
			certificate := array7()
			certificate.ID = "rest" + string(code)
			_, p, err := v.LogIn(ctx, Login{Tenant: "acme", Name: "alice", Password: []byte(password), Code: code, Certificate: certificate, Address: certificate.ID})
			return p, err
		}
	}
	kmip := func(address string, given []proof.Credential) func() (*core.Principal, error) {
		return func() (*core.Principal, error) {
			certificate := array7()
			certificate.ID = address // so that nobody is slowed down
			return v.ForConnection(address)(ctx, certificate, given)
		}
	}
	for what, c := range map[string]struct {
		login func() (*core.Principal, error)
		cause string
	}{
		"a password alone":              {kmip("10.0.0.1", userAndPassword("alice", secret)), errNeedsCode.Error()},
		"a password alone over REST":    {rest(secret, nil), errNeedsCode.Error()},
		"a hashed password":             {kmip("10.0.0.2", []proof.Credential{{Type: core.CredentialTypeHashedPassword, Username: "alice", Hashed: hashedNow("alice", secret, core.HashSHA256, time.Now())}}), errNeedsCode.Error()},
		"a wrong code":                  {kmip("10.0.0.3", withCode("alice", secret, []byte("x00000"))), errWrongCode.Error()},
		"a wrong password":              {kmip("10.0.0.4", withCode("alice", "guess", codeNow())), errWrong.Error()},
		"no password":                   {kmip("10.0.0.5", withCode("alice", "", codeNow())), errWrong.Error()},
		"a code of a user without":      {kmip("10.0.0.6", withCode("bob", secret, codeNow())), "the user has no one-time codes"},
		"a code of nobody":              {kmip("10.0.0.7", withCode("nobody", secret, codeNow())), "there is no such user"},
		"a wrong code over REST":        {rest(secret, []byte("x11111")), errWrongCode.Error()},
		"a code of a person in a realm": {kmip("10.0.0.8", withCode("carol", secret, codeNow())), "there is no such user"},
	} {
		p, err := c.login()
		refusedLogin(t, what, p, err)
		var e *core.Error
		if !errors.As(err, &e) || e.Detail != "the user name or the password is not right" || fmt.Sprint(e.Unwrap()) != c.cause {
			t.Errorf("%s: %v, because %v; want the one sentence, because %s", what, err, errors.Unwrap(err), c.cause)
		}
	}
	if used.asked != 0 {
		t.Errorf("%d codes were used by refused logins", used.asked)
	}
	p, err := v.ForConnection("10.0.0.9")(ctx, array7(), withCode("alice", secret, []byte{}))
	refusedLogin(t, "an empty code", p, err)
}

// If it cannot be stored that a code was used, the code is not accepted.
func TestCodeIsRefusedWithoutStore(t *testing.T) {
	used, v := withCodes()
	used.outage = core.Errorf(core.StoreUnavailable, "down")
	if p, err := v.ForConnection("10.0.0.7")(ctx, array7(), withCode("alice", secret, codeNow())); p != nil || core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("during an outage: %+v, %v; want StoreUnavailable", p, err)
	}
	v.codes = nil
	p, err := v.ForConnection("10.0.0.7")(ctx, array7(), withCode("alice", secret, codeNow()))
	refusedLogin(t, "a server without used codes", p, err)
}

// Guesses at a code with the right password are slowed down as guesses at a password are.
func TestGuessedCodesAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := withCodes()
		tried := 0
		for i := range 50 {
			_, err := v.ForConnection("10.0.0.66")(ctx, array7(), withCode("alice", secret, fmt.Appendf(nil, "x%05d", i)))
			if errors.Is(err, errWrongCode) {
				tried++
			}
		}
		if tried > freeFailures {
			t.Errorf("%d codes were tried at once, at most %d", tried, freeFailures)
		}
	})
}

// Guesses at a code that arrive together are checked one after the other: as many as are free at
// first, and one whenever a delay ends. What is refused meanwhile is Busy, and no failure. Logins of
// other users go on.
func TestParallelGuessesAtCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := withCodes()
		v.slots = fair.New(fair.Config{Name: "checks", Slots: maxChecks, Waiting: maxWaiting, Wait: maxWait})
		guess, checked := 0, 0
		guessAtOnce := func() (now int) {
			results := make(chan error, 40)
			for range cap(results) {
				guess++
				code := fmt.Appendf(nil, "x%05d", guess)
				go func() {
					_, err := v.ForConnection("10.0.0.66")(ctx, array7(), withCode("alice", secret, code))
					results <- err
				}()
			}
			for range cap(results) {
				err := <-results
				switch {
				case errors.Is(err, errWrongCode):
					now++
				case core.CodeOf(err) != core.Busy && core.CodeOf(err) != core.AuthenticationNotSuccessful:
					t.Errorf("a guess: %v", err)
				}
			}
			return now
		}
		for checked < freeFailures {
			checked += guessAtOnce()
		}
		if checked != freeFailures {
			t.Errorf("%d guesses were checked at first, want %d", checked, freeFailures)
		}
		for delay := firstDelay; delay <= 4*firstDelay; delay *= 2 {
			time.Sleep(delay)
			if now := guessAtOnce(); now != 1 {
				t.Errorf("after a delay of %v %d guesses were checked, want 1", delay, now)
			}
		}
		elsewhere := array7()
		elsewhere.ID = "array8"
		end, err := v.codeChecks.begin(&login{tenant: "acme", name: "alice", code: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := v.ForConnection("10.0.0.8")(ctx, elsewhere, withCode("alice", secret, codeNow())); p != nil || core.CodeOf(err) != core.Busy {
			t.Errorf("alice while a code of hers is checked: %+v, %v; want Busy", p, err)
		}
		if p, err := v.ForConnection("10.0.0.8")(ctx, elsewhere, userAndPassword("bob", secret)); err != nil {
			t.Errorf("bob while a code of alice is checked: %+v, %v", p, err)
		}
		end()
		if p, err := v.ForConnection("10.0.0.8")(ctx, elsewhere, withCode("alice", secret, codeNow())); err != nil || p.ID != "alice" {
			t.Errorf("alice after it: %+v, %v; want that the code was not used up", p, err)
		}
		if n := len(v.codeChecks.running); n != 0 {
			t.Errorf("%d checks have not ended", n)
		}
	})
}
