package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
)

const secret = "correct horse"

var hashed = sync.OnceValue(func() core.PasswordHash { h, _ := Hash([]byte(secret)); return h })

// array7 is the principal of a certificate.
func array7() *core.Principal {
	return &core.Principal{Tenant: "acme", ID: "array7", Groups: []string{"arrays"}, Roles: []string{"admin"}, Method: core.MethodCertificate, Strength: core.StrengthCertificate,
		Subject: "CN=array7", Serial: "7", Fingerprint: "f7", Expires: 4102444800}
}

// world is a tenant with the user alice, and a verifier.
func world() (*passwordtest.People, *Verifier) {
	people := passwordtest.New()
	people.Put("acme", "alice", func(u *core.User) bool {
		u.Password, u.Groups, u.Roles, u.Attributes = hashed(), []string{"storage"}, []string{"operator"}, map[string]string{"site": "north"}
		return true
	})
	return people, NewVerifier(people)
}

// cheap makes the checks of users who cannot log in cheap.
func cheap(v *Verifier) *Verifier {
	v.decoy.memoryKiB, v.decoy.passes = 8, 1
	return v
}

func userAndPassword(name, password string) []proof.Credential {
	return []proof.Credential{{Type: core.CredentialTypeUsernameAndPassword, Username: name, Password: []byte(password)}}
}

func empty() proof.Credential { return userAndPassword("", "")[0] }

// checksNothing is a context under which every check of a password fails, because its time is over.
var checksNothing, _ = context.WithDeadline(context.Background(), time.Unix(1, 0))

var ctx = context.Background()

// refusedLogin fails unless an answer is a refusal, and nobody.
func refusedLogin(t *testing.T, what string, p *core.Principal, err error) {
	t.Helper()
	if p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful || strings.Contains(fmt.Sprint(err), "horse") {
		t.Errorf("%s: %+v, %v; want AuthenticationNotSuccessful", what, p, err)
	}
}

// The right password makes the user the sender, with the certificate beside it.
func TestUserLogsIn(t *testing.T) {
	people, v := world()
	certificate := array7()
	p, err := v.ForConnection("10.0.0.7")(ctx, certificate, append(userAndPassword("alice", secret), empty()))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tenant != "acme" || p.ID != "alice" || fmt.Sprint(p.Groups, p.Roles, p.Attributes) != "[storage] [operator] map[site:north]" || p.Method != "password" ||
		p.Strength != core.StrengthPassword || p.Certificate != certificate || p.Fingerprint != "f7" || p.Serial != "7" || p.Subject != "CN=array7" || p.Expires != certificate.Expires {
		t.Errorf("the principal is %+v", p)
	}
	for _, c := range []struct{ certificate, user, want int64 }{{0, 0, 0}, {0, 5000000000, 5000000000}, {4102444800, 5000000000, 4102444800}, {6000000000, 5000000000, 5000000000}} {
		certificate.Expires = c.certificate
		people.Put("acme", "alice", func(u *core.User) bool { u.Expires = c.user; return true })
		if p, err := v.ForConnection("10.0.0.7")(ctx, certificate, userAndPassword("alice", secret)); err != nil || p.Expires != c.want {
			t.Errorf("certificate until %d and user until %d: %+v, %v; want %d", c.certificate, c.user, p, err, c.want)
		}
	}
}

// Whatever is wrong, the sentence is the same, and the cause is in the record alone.
func TestLoginsThatFail(t *testing.T) {
	people, v := world()
	for name, change := range map[string]func(*core.User){
		"disabled": func(u *core.User) { u.Disabled = true },
		"expired":  func(u *core.User) { u.Expires = time.Now().Unix() },
		"nohash":   func(u *core.User) { u.Password = "" },
		"badhash":  func(u *core.User) { u.Password = "$2b$12$x" },
	} {
		people.Put("acme", name, func(u *core.User) bool { u.Password = hashed(); change(u); return true })
	}
	people.Put("other", "bob", func(u *core.User) bool { u.Password = hashed(); return true })
	people.Put("acme", "removed", func(*core.User) bool { return false })
	const noUser, wrong, noHash = "there is no such user", "the password is wrong", "the user has no password"
	causes := map[string]bool{}
	for i, c := range []struct {
		name, password string
		cause          string
	}{
		{"alice", "correct horsf", wrong}, {"alice", "", wrong}, {"alice", strings.Repeat("x", MaxBytes+1), wrong}, {"alice", secret + "\x00", wrong},
		{"Alice", secret, noUser}, {"bob", secret, noUser}, {"removed", secret, noUser}, {"array7", secret, noUser}, {"", secret, noUser},
		{"alice ", secret, noUser}, {"../alice", secret, noUser}, {strings.Repeat("a", 60_000), secret, noUser},
		{"disabled", secret, "the user is disabled"}, {"expired", secret, "the user has expired"}, {"nohash", secret, noHash}, {"nohash", "", noHash}, {"badhash", secret, errHash.Error()},
	} {
		address := fmt.Sprint("10.0.0.", i) // so that nobody is slowed down
		certificate := array7()
		certificate.ID = fmt.Sprint("array", i)
		p, err := v.ForConnection(address)(ctx, certificate, userAndPassword(c.name, c.password))
		refusedLogin(t, fmt.Sprintf("%.20q", c.name), p, err)
		var e *core.Error
		if !errors.As(err, &e) || e.Detail != "the user name or the password is not right" || fmt.Sprint(e.Unwrap()) != c.cause {
			t.Errorf("%.20q: %v; want the one sentence, and the cause %q", c.name, err, c.cause)
		}
		causes[c.cause] = true
	}
	if len(causes) != 6 {
		t.Errorf("%d causes were met, want all 6", len(causes))
	}
}

// A credential that is not one Username and Password is refused in a tenant with users. It is never
// an answer for the certificate's principal.
func TestOtherCredentialsAreRefused(t *testing.T) {
	_, v := world()
	for typ := core.CredentialType(1); typ < 12; typ++ {
		given := []proof.Credential{{Type: typ, Value: []core.Field{{}}}}
		p, err := v.ForConnection("10.0.0.7")(ctx, array7(), given)
		refusedLogin(t, typ.String(), p, err)
		p, err = v.ForConnection("10.0.0.7")(ctx, array7(), append(given, userAndPassword("alice", secret)...))
		refusedLogin(t, typ.String()+" and a right password", p, err)
	}
	_, err := v.ForConnection("10.0.0.7")(ctx, array7(), []proof.Credential{{Type: core.CredentialTypeTicket, Value: []core.Field{{}}}})
	for _, kind := range []string{"Ticket yet", "Username and Password", "Device credential", "One Time Password", "Hashed Password"} {
		if !strings.Contains(fmt.Sprint(err), kind) {
			t.Errorf("a Ticket is refused with %q, which does not say %q", err, kind)
		}
	}
	p, err := v.ForConnection("10.0.0.7")(ctx, array7(), append(userAndPassword("alice", secret), userAndPassword("alice", secret)...))
	refusedLogin(t, "two", p, err)
}

// Without credentials, with empty ones, and in a tenant that never had users, the sender is the
// certificate's principal. In a tenant whose last user was removed, credentials still count.
func TestWhenTheCertificateDecides(t *testing.T) {
	people, v := world()
	certificate := array7()
	identify := v.ForConnection("10.0.0.7")
	for what, given := range map[string][]proof.Credential{"none": nil, "an empty one": {empty()}, "two empty ones": {empty(), {Type: core.CredentialTypeDevice}}} {
		if p, err := identify(ctx, certificate, given); p != certificate || err != nil {
			t.Errorf("%s: %+v, %v; want the certificate's principal", what, p, err)
		}
	}
	other := &core.Principal{Tenant: "other", ID: "array7", Method: core.MethodCertificate}
	for _, given := range [][]proof.Credential{userAndPassword("alice", secret), {{Type: core.CredentialTypeDevice, Value: []core.Field{{}}}}} {
		if p, err := identify(ctx, other, given); p != other || err != nil {
			t.Errorf("a tenant without users: %+v, %v; want the certificate's principal", p, err)
		}
	}
	people.Put("other", "bob", func(*core.User) bool { return true })
	people.Put("other", "bob", func(*core.User) bool { return false })
	p, err := identify(ctx, other, userAndPassword("bob", secret))
	refusedLogin(t, "a tenant whose last user was removed", p, err)
}

// While users cannot be read, credentials are refused, also those that were right a moment ago.
func TestOutageRefuses(t *testing.T) {
	people, v := world()
	identify := v.ForConnection("10.0.0.7")
	if _, err := identify(ctx, array7(), userAndPassword("alice", secret)); err != nil {
		t.Fatal(err)
	}
	people.Outage.Store(core.Errorf(core.StoreUnavailable, "down"))
	for tenant := range map[string]bool{"acme": true, "other": true} {
		certificate := array7()
		certificate.Tenant = tenant
		if p, err := identify(ctx, certificate, userAndPassword("alice", secret)); p != nil || core.CodeOf(err) != core.StoreUnavailable {
			t.Errorf("tenant %s: %+v, %v; want StoreUnavailable", tenant, p, err)
		}
	}
}

// While nothing changes, a login is neither checked again nor allocates, and the principal is the
// same pointer, also after changes of others.
func TestSteadyLoginIsFree(t *testing.T) {
	people, v := world()
	identify, certificate, given := v.ForConnection("10.0.0.7"), array7(), userAndPassword("alice", secret)
	first, err := identify(ctx, certificate, given)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if p, err := identify(checksNothing, certificate, given); p != first || err != nil {
			t.Fatalf("the same login: %+v, %v", p, err)
		}
	}); n > 0 && !core.Poison { // with the race detector, pools forget
		t.Errorf("a login that was verified costs %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { identify(checksNothing, certificate, nil) }); n > 0 {
		t.Errorf("a message without credentials costs %v allocations, want 0", n)
	}
	people.Put("acme", "bob", func(*core.User) bool { return true })
	renewed := array7()
	for what, c := range map[string]*core.Principal{"another user has changed": certificate, "the certificate's principal was made again": renewed} {
		if p, err := identify(checksNothing, c, given); p != first || err != nil {
			t.Errorf("%s: %+v, %v; want the same pointer without a check", what, p, err)
		}
	}
	elsewhere := v.ForConnection("10.0.0.7")
	if p, err := elsewhere(checksNothing, certificate, given); err != nil || p.ID != "alice" {
		t.Errorf("another connection: %+v, %v; the password was verified already", p, err)
	}
}

// A change of the user ends what was remembered, on open connections too.
func TestChangedUserIsAskedAgain(t *testing.T) {
	other, _ := Hash([]byte("another secret"))
	for what, c := range map[string]struct {
		change func(*core.User) bool
		right  string // the password that is right afterwards; "": none
	}{
		"disabled":       {func(u *core.User) bool { u.Disabled = true; return true }, ""},
		"removed":        {func(u *core.User) bool { return false }, ""},
		"expired":        {func(u *core.User) bool { u.Expires = 1; return true }, ""},
		"no password":    {func(u *core.User) bool { u.Password = ""; return true }, ""},
		"a new password": {func(u *core.User) bool { u.Password = other; return true }, "another secret"},
		"a role less":    {func(u *core.User) bool { u.Roles = nil; return true }, secret},
	} {
		people, v := world()
		identify, certificate := v.ForConnection("10.0.0.7"), array7()
		if _, err := identify(ctx, certificate, userAndPassword("alice", secret)); err != nil {
			t.Fatal(err)
		}
		people.Put("acme", "alice", c.change)
		if p, err := identify(checksNothing, certificate, userAndPassword("alice", secret)); p != nil || core.CodeOf(err) != core.Busy {
			t.Errorf("%s: %+v, %v; want a new check", what, p, err)
		}
		p, err := identify(ctx, certificate, userAndPassword("alice", secret))
		if c.right == secret {
			if err != nil || len(p.Roles) > 0 {
				t.Errorf("%s: %+v, %v; want the user without roles", what, p, err)
			}
			continue
		}
		refusedLogin(t, what, p, err)
		if p, err := identify(ctx, certificate, userAndPassword("alice", c.right)); c.right != "" && (err != nil || p.ID != "alice") {
			t.Errorf("%s: %+v, %v; want the new password to be right", what, p, err)
		}
	}
}

// A user who expires while a connection is open is refused from that second on.
func TestUserExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people, v := world()
		people.Put("acme", "alice", func(u *core.User) bool { u.Expires = time.Now().Unix() + 10; return true })
		identify, certificate := v.ForConnection("10.0.0.7"), array7()
		for range 2 {
			if _, err := identify(ctx, certificate, userAndPassword("alice", secret)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
		}
		time.Sleep(2 * time.Second)
		p, err := identify(ctx, certificate, userAndPassword("alice", secret))
		refusedLogin(t, "after the time", p, err)
	})
}

// On a connection with several users, each message is its own user's, and a wrong password does not
// become that of the message before.
func TestUsersShareAConnection(t *testing.T) {
	people, v := world()
	other, _ := Hash([]byte("another secret"))
	people.Put("acme", "bob", func(u *core.User) bool { u.Password = other; return true })
	identify, certificate := v.ForConnection("10.0.0.7"), array7()
	for range 2 {
		for name, password := range map[string]string{"alice": secret, "bob": "another secret"} {
			if p, err := identify(ctx, certificate, userAndPassword(name, password)); err != nil || p.ID != name {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
			p, err := identify(ctx, certificate, userAndPassword(name, "wrong"))
			refusedLogin(t, name+" with a wrong password", p, err)
			if p, err := identify(ctx, certificate, nil); p != certificate || err != nil {
				t.Errorf("without credentials: %+v, %v", p, err)
			}
		}
	}
	p, err := identify(ctx, certificate, userAndPassword("alice", "another secret"))
	refusedLogin(t, "alice with bob's password", p, err)
	stranger := array7()
	stranger.Tenant, stranger.ID = "other", "array7"
	people.Put("other", "carol", func(*core.User) bool { return true })
	p, err = identify(ctx, stranger, userAndPassword("alice", secret))
	refusedLogin(t, "a certificate of another tenant", p, err)
}

// Checks wait for their turn, a few at a time. Meanwhile logins that are remembered and messages
// without credentials go on, and a login of another certificate comes soon. Only so many logins of
// one certificate may wait.
func TestChecksDoNotStarveOthers(t *testing.T) {
	people, v := world()
	people.Put("acme", "bob", func(u *core.User) bool { u.Password = hashed(); return true })
	certificate := array7()
	steady := v.ForConnection("10.0.0.7")
	if _, err := steady(ctx, certificate, userAndPassword("alice", secret)); err != nil {
		t.Fatal(err)
	}
	var held []func()
	for range checkSlots() {
		l, err := v.slots.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l.Release)
	}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2*maxWaiting)
	for i := range 2 * maxWaiting {
		go func() {
			_, err := v.ForConnection(fmt.Sprint("10.1.0.", i))(flooding, certificate, userAndPassword("nobody", secret))
			ended <- err
		}()
	}
	for range maxWaiting {
		if err := <-ended; core.CodeOf(err) != core.Busy {
			t.Errorf("a login too many: %v; want Busy", err)
		}
	}
	if u := v.slots.Usage(); u.InUse != checkSlots() || u.Waiting != maxWaiting {
		t.Errorf("%d checks run and %d wait; want %d and %d", u.InUse, u.Waiting, checkSlots(), maxWaiting)
	}
	if p, err := steady(ctx, certificate, userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
		t.Errorf("a login that is remembered: %+v, %v", p, err)
	}
	if p, err := v.ForConnection("10.0.0.7")(ctx, certificate, nil); p != certificate || err != nil {
		t.Errorf("without credentials: %+v, %v", p, err)
	}
	waited, cancel := context.WithTimeout(core.OnBehalfOf(ctx, certificate), 50*time.Millisecond)
	defer cancel()
	if hash, err := v.HashNew(waited, []byte(secret)); err == nil || hash != "" {
		t.Errorf("a new password is hashed beside %d checks, which is as many as may be", checkSlots())
	}
	other := array7()
	other.ID = "array8"
	held[0]() // one check at a time now
	if hash, err := v.HashNew(core.OnBehalfOf(ctx, other), []byte(secret)); err != nil || hash == "" {
		t.Errorf("a new password in a place that is free: %v", err)
	}
	if _, err := v.ForConnection("10.0.0.8")(ctx, other, userAndPassword("bob", secret)); err != nil {
		t.Errorf("the login of another certificate: %v", err)
	}
	if left := v.slots.Usage().Waiting; left < maxWaiting/2 {
		t.Errorf("the other certificate's login came after %d of the %d that waited before it", maxWaiting-left, maxWaiting)
	}
	stop()
	for range maxWaiting {
		<-ended
	}
	for _, release := range held[1:] {
		release()
	}
}

// A login that waits for its check lets other requests of its tenant compute.
func TestWaitingLoginHoldsNoTurn(t *testing.T) {
	_, v := world()
	for range checkSlots() {
		l, err := v.slots.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
	}
	processors := fair.NewProcessors(1)
	var login, request, rival fair.Turn
	processors.Open(&login, "acme", "array7")
	processors.Open(&request, "acme", "array8")
	processors.Open(&rival, "other", "array9")
	for _, turn := range []*fair.Turn{&login, &rival} { // two tenants are served, so each has its share
		if err := turn.Begin(ctx); err != nil {
			t.Fatal(err)
		}
	}
	waiting, stop := context.WithCancel(fair.WithTurn(ctx, &login))
	ended := make(chan error)
	go func() {
		_, err := v.ForConnection("10.0.0.7")(waiting, array7(), userAndPassword("alice", secret))
		ended <- err
	}()
	if err := request.Begin(ctx); err != nil {
		t.Errorf("another request of the tenant: %v; want it to begin while the login waits", err)
	}
	request.End()
	stop()
	if err := <-ended; core.CodeOf(err) != core.Busy {
		t.Errorf("a login whose client left: %v; want Busy", err)
	}
}

// Nothing refers to the password that a message had, whether it was right or wrong: it is remembered
// although its bytes are retired.
func TestLentPasswordIsNotKept(t *testing.T) {
	_, v := world()
	identify := v.ForConnection("10.0.0.7")
	certificate := array7()
	lent := userAndPassword("alice", secret)
	if _, err := identify(ctx, certificate, lent); err != nil {
		t.Fatal(err)
	}
	core.Retire(lent[0].Password)
	for what, same := range map[string]proof.IdentifySender{"the same connection": identify, "another": v.ForConnection("10.0.0.7")} {
		if p, err := same(checksNothing, certificate, userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
			t.Errorf("%s, the right password: %+v, %v", what, p, err)
		}
		if p, err := same(checksNothing, certificate, lent); p != nil || core.CodeOf(err) != core.Busy {
			t.Errorf("%s, what is left of the password: %+v, %v; want a check", what, p, err)
		}
	}
	wrong := userAndPassword("alice", "guess")
	_, err := identify(ctx, certificate, wrong)
	core.Retire(wrong[0].Password)
	_, again := identify(checksNothing, certificate, userAndPassword("alice", "guess"))
	if !errors.Is(err, errWrong) || !errors.Is(again, errWrong) {
		t.Errorf("a wrong password, and the same again: %v, %v", err, again)
	}
}

// Guesses at one user from many connections at once are slowed down too: the count is looked at
// again when a check begins.
func TestParallelGuessesAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := world()
		results := make(chan error, 100)
		for i := range cap(results) {
			go func() {
				_, err := v.ForConnection("10.0.0.66")(ctx, array7(), userAndPassword("alice", fmt.Sprint("guess", i)))
				results <- err
			}()
		}
		checked := 0
		for range cap(results) {
			if errors.Is(<-results, errWrong) {
				checked++
			}
		}
		if most := freeFailures + checkSlots(); checked > most {
			t.Errorf("%d guesses were checked, at most %d", checked, most)
		}
	})
}

// The same wrong password from the same place is refused again without a check, and counts once,
// whether the user exists or not: a client with an old password is not delayed when it gets the new
// one.
func TestOldPasswordIsNoGuess(t *testing.T) {
	_, v := world()
	for _, name := range []string{"alice", "nobody"} {
		for i := range 3 * freeFailures {
			under := checksNothing
			if i == 0 {
				under = ctx
			}
			p, err := v.ForConnection("10.0.0.7")(under, array7(), userAndPassword(name, "an old password"))
			refusedLogin(t, name, p, err)
			if strings.Contains(fmt.Sprint(err), "too many") {
				t.Fatalf("%s, time %d: %v; want no delay", name, i, err)
			}
		}
	}
	if p, err := v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
		t.Errorf("the right password after the old one: %+v, %v", p, err)
	}
	p, err := v.ForConnection("10.0.0.8")(checksNothing, array7(), userAndPassword("nobody", "an old password"))
	if p != nil || core.CodeOf(err) != core.Busy {
		t.Errorf("the old password from elsewhere: %+v, %v; want a check", p, err)
	}
}

// A source that guesses is delayed although the user has logged in from there, and a connection that
// is logged in goes on.
func TestProvenSourceMayNotGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := world()
		loggedIn := v.ForConnection("10.0.0.7")
		if _, err := loggedIn(ctx, array7(), userAndPassword("alice", secret)); err != nil {
			t.Fatal(err)
		}
		for i := range freeFailures {
			v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", fmt.Sprint("guess", i)))
		}
		p, err := v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", secret))
		refusedLogin(t, "the right password among guesses", p, err)
		if p, err := loggedIn(ctx, array7(), userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
			t.Errorf("the connection that is logged in: %+v, %v", p, err)
		}
		time.Sleep(time.Second)
		if p, err := v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
			t.Errorf("after the delay: %+v, %v", p, err)
		}
	})
}

// While a guesser must wait, even the right password is refused from there, so that waiting cannot
// be skipped. Where the user has logged in before, the right password is taken.
func TestDelayedGuessIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := world()
		eve := array7()
		eve.ID = "eve"
		if _, err := v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", secret)); err != nil {
			t.Fatal(err)
		}
		guess := v.ForConnection("10.0.0.66")
		for i := range freeFailures {
			guess(ctx, eve, userAndPassword("alice", fmt.Sprint("guess", i)))
		}
		for _, password := range []string{"guess", secret} {
			p, err := guess(ctx, eve, userAndPassword("alice", password))
			refusedLogin(t, "a guess in time", p, err)
			if want := "too many failed logins, try again in 1 s"; fmt.Sprint(err) != want {
				t.Errorf("%v; want %q for each password", err, want)
			}
		}
		if p, err := v.ForConnection("10.0.0.7")(ctx, array7(), userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
			t.Errorf("where the user logged in before: %+v, %v", p, err)
		}
		time.Sleep(time.Second)
		if p, err := guess(ctx, eve, userAndPassword("alice", secret)); err != nil || p.ID != "alice" {
			t.Errorf("the right password after the delay: %+v, %v", p, err)
		}
	})
}

// Ten thousand wrong logins, of many users from many places, leave bounded memory, and honest
// clients are served.
func TestWrongLoginsLeaveMemoryFlat(t *testing.T) {
	people, v := world()
	cheap(v)
	honest, certificate := v.ForConnection("10.0.0.7"), array7()
	if _, err := honest(ctx, certificate, userAndPassword("alice", secret)); err != nil {
		t.Fatal(err)
	}
	wrong := func(from, to int) {
		for i := from; i < to; i++ {
			eve := array7()
			eve.ID = fmt.Sprint("eve", i)
			p, err := v.ForConnection(fmt.Sprint("10.1.", i/256, ".", i%256))(ctx, eve, userAndPassword(fmt.Sprint("user", i), "guess"))
			if p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
				t.Fatalf("login %d: %+v, %v", i, p, err)
			}
			if i%100 == 0 {
				if _, err := honest(ctx, certificate, userAndPassword("alice", secret)); err != nil {
					t.Fatalf("the honest client after %d wrong logins: %v", i, err)
				}
			}
		}
	}
	wrong(0, 5000)
	before := coretest.HeapBytes()
	wrong(5000, 10_000)
	const most = 1 << 20 // of bytes; each login that was kept would be some 1,000
	if grown := coretest.HeapBytes() - before; grown > most {
		t.Errorf("5,000 more wrong logins left %d bytes, at most %d", grown, most)
	}
	if n := v.memory.verified.Len(); n != 1 {
		t.Errorf("%d passwords are remembered, want alice's", n)
	}
	people.Put("acme", "bob", func(u *core.User) bool { u.Password = hashed(); return true })
	if p, err := v.ForConnection("10.0.0.8")(ctx, certificate, userAndPassword("bob", secret)); err != nil || p.ID != "bob" {
		t.Errorf("a first login after them: %+v, %v", p, err)
	}
}

// A mark is of the tenant, the name, the version and the password, and each process has a key of
// its own.
func TestMarksDiffer(t *testing.T) {
	m := newMemory()
	seen := map[mark]string{}
	for what, got := range map[string]mark{
		"a": m.markOf("t", "u", 1, []byte("p"), nil), "tenant": m.markOf("s", "u", 1, []byte("p"), nil), "name": m.markOf("t", "v", 1, []byte("p"), nil),
		"version": m.markOf("t", "u", 2, []byte("p"), nil), "password": m.markOf("t", "u", 1, []byte("q"), nil), "joined": m.markOf("tu", "", 1, []byte("p"), nil),
		"moved": m.markOf("t", "", 1, []byte("up"), nil), "code": m.markOf("t", "u", 1, []byte("p"), []byte("1")), "moved code": m.markOf("t", "u", 1, []byte("1p"), nil), "process": newMemory().markOf("t", "u", 1, []byte("p"), nil),
	} {
		if other, ok := seen[got]; ok {
			t.Errorf("the marks of %s and %s are the same", what, other)
		}
		seen[got] = what
	}
	again := m.markOf("t", "u", 1, []byte("p"), nil)
	if first := m.markOf("t", "u", 1, []byte("p"), nil); !first.equals(&again) {
		t.Error("two marks of the same differ")
	}
}

// A login costs about the same whether the user exists or not: the decoy has the parameters of new
// hashes.
func TestDecoyCostsTheSame(t *testing.T) {
	_, v := world()
	h, err := parseHash(hashed())
	if err != nil || h.memoryKiB != v.decoy.memoryKiB || h.passes != v.decoy.passes || len(h.salt) != len(v.decoy.salt) || len(h.sum) != len(v.decoy.sum) {
		t.Errorf("a new hash and the decoy differ in cost: %+v and %+v (%v)", h, v.decoy, err)
	}
}

func BenchmarkSteadyLogin(b *testing.B) {
	_, v := world()
	identify, certificate, given := v.ForConnection("10.0.0.7"), array7(), userAndPassword("alice", secret)
	if _, err := identify(ctx, certificate, given); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		identify(ctx, certificate, given)
	}
}

func BenchmarkCheck(b *testing.B) {
	_, v := world()
	b.ReportAllocs()
	for b.Loop() {
		v.decoy.matches([]byte(secret))
	}
}
