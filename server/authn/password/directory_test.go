package password

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
)

// directoryWorld is a tenant with the local user alice, and a directory with carol.
func directoryWorld() (*passwordtest.People, *passwordtest.Directory, *Verifier) {
	people, _ := world()
	d := passwordtest.NewDirectory(secret)
	return people, d, cheap(NewVerifier(people, d))
}

// mustBe fails unless a name and a password log in as a principal.
func mustBe(t *testing.T, what string, identify proof.IdentifySender, certificate *core.Principal, name, password, want string) *core.Principal {
	t.Helper()
	p, err := identify(ctx, certificate, userAndPassword(name, password))
	if err != nil {
		t.Errorf("%s: %v; want %s", what, err, want)
		return nil
	}
	if got := p.ID + " by " + p.Method; got != want {
		t.Errorf("%s: %s; want %s", what, got, want)
	}
	return p
}

// Somebody who is no user of the server is asked about in the directory, also in a tenant that never had
// a user. The principal is what the directory says, by a method of its own.
func TestDirectoryNamesThePrincipal(t *testing.T) {
	for what, people := range map[string]*passwordtest.People{"with users": func() *passwordtest.People { p, _ := world(); return p }(), "without users": passwordtest.New()} {
		v, certificate := NewVerifier(people, passwordtest.NewDirectory(secret)), array7()
		p := mustBe(t, "carol in a tenant "+what, v.ForConnection("10.0.0.7"), certificate, "carol", secret, "ldap.carol by ldap")
		if p == nil || p.Tenant != "acme" || fmt.Sprint(p.Groups, p.Roles) != "[storage] [operator]" || p.Strength != core.StrengthPassword || p.Certificate != certificate || p.Fingerprint != "f7" || p.NamedBy != "authentication.ldap" {
			t.Errorf("in a tenant %s the principal is %+v", what, p)
		}
		other := array7()
		other.Tenant = "other"
		if p, err := v.ForConnection("10.0.0.7")(ctx, other, userAndPassword("carol", secret)); p != other || err != nil {
			t.Errorf("a tenant without directory and users: %+v, %v; want the certificate's principal", p, err)
		}
		u, p, err := v.LogIn(ctx, Login{Tenant: "acme", Name: "carol", Password: []byte(secret), Address: "10.0.0.7"})
		if err != nil || u.Name != "ldap.carol" || p.ID != "ldap.carol" || p.Method != core.MethodLDAP {
			t.Errorf("over REST: %+v, %+v, %v", u, p, err)
		}
	}
}

// A user of the server is never asked about in the directory, even if the password is wrong or the user is
// disabled. Nobody of the directory is a principal whose name a user has.
func TestDirectoryShadowsNoUser(t *testing.T) {
	people, d, v := directoryWorld()
	d.Person.Name, d.Secret = "alice", "the directory's"
	identify, certificate := v.ForConnection("10.0.0.7"), array7()
	mustBe(t, "alice", identify, certificate, "alice", secret, "alice by password")
	p, err := identify(ctx, certificate, userAndPassword("alice", d.Secret))
	refusedLogin(t, "a user with the password of the directory", p, err)
	p, err = identify(ctx, certificate, userAndPassword("carol", d.Secret))
	refusedLogin(t, "a person whose principal would be a user", p, err)
	if n := d.Asked(); n != 1 {
		t.Errorf("the directory was asked about %v; want carol alone", d.Names)
	}
	people.Put("acme", "alice", func(*core.User) bool { return false })
	carol := mustBe(t, "carol after the user was removed", identify, certificate, "carol", d.Secret, "alice by ldap")
	if again := mustBe(t, "carol again", identify, certificate, "carol", d.Secret, "alice by ldap"); again != carol {
		t.Error("the principal is another pointer although nothing has changed")
	}
	people.Put("acme", "alice", func(u *core.User) bool { u.Password = hashed(); return true })
	p, err = identify(ctx, certificate, userAndPassword("carol", d.Secret))
	refusedLogin(t, "carol on an open connection, once a user has the name of her principal", p, err)
}

// What the directory said counts for the time that it says itself, on open and new connections, and for
// the wrong password too. Then it is asked again.
func TestDirectoryIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d, v := directoryWorld()
		identify, certificate := v.ForConnection("10.0.0.7"), array7()
		mustBe(t, "carol", identify, certificate, "carol", secret, "ldap.carol by ldap")
		p, err := v.ForConnection("10.0.0.8")(ctx, certificate, userAndPassword("carol", "an old password"))
		refusedLogin(t, "a wrong password", p, err)
		before := d.Asked()
		for range 3 {
			mustBe(t, "carol on an open connection", identify, certificate, "carol", secret, "ldap.carol by ldap")
			mustBe(t, "CAROL on a new connection", v.ForConnection("10.0.0.7"), certificate, "CAROL", secret, "ldap.carol by ldap")
			p, err := v.ForConnection("10.0.0.8")(ctx, certificate, userAndPassword("carol", "an old password"))
			refusedLogin(t, "the same wrong password", p, err)
		}
		if n := d.Asked(); n != before {
			t.Errorf("the directory was asked %d more times about what it has answered", n-before)
		}
		d.Change(func(d *passwordtest.Directory) { d.Secret = "an old password" })
		time.Sleep(time.Minute)
		p, err = identify(ctx, certificate, userAndPassword("carol", secret))
		refusedLogin(t, "a changed password after a minute, on an open connection", p, err)
		mustBe(t, "the password that was wrong", v.ForConnection("10.0.0.8"), certificate, "carol", "an old password", "ldap.carol by ldap")
		d.Change(func(d *passwordtest.Directory) { d.Person.Roles = nil })
		time.Sleep(time.Minute)
		if p := mustBe(t, "carol without her role", identify, certificate, "carol", "an old password", "ldap.carol by ldap"); p != nil && len(p.Roles) != 0 {
			t.Errorf("carol still has the roles %v after a minute", p.Roles)
		}
	})
}

// While nothing changes, a message of a person of the directory asks nobody and allocates nothing.
func TestSteadyPersonIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d, v := directoryWorld()
		identify, certificate, given := v.ForConnection("10.0.0.7"), array7(), userAndPassword("carol", secret)
		first := mustBe(t, "carol", identify, certificate, "carol", secret, "ldap.carol by ldap")
		allocations := testing.AllocsPerRun(100, func() {
			if p, err := identify(ctx, certificate, given); p != first || err != nil {
				t.Fatalf("the next message: %+v, %v; want the same principal", p, err)
			}
		})
		if allocations != 0 && !core.Poison { // with the race detector, pools forget
			t.Errorf("a message costs %v allocations; want 0", allocations)
		}
		if n := d.Asked(); n != 1 {
			t.Errorf("the directory was asked %d times; want once", n)
		}
	})
}

// Guesses are slowed down as those at users are. The directory is not asked meanwhile. Another spelling of
// the name is no other name.
func TestGuessesAtTheDirectoryAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d, v := directoryWorld()
		certificate := array7()
		for i := range freeFailures {
			name := []string{"carol", "Carol", "CAROL"}[i%3]
			p, err := v.ForConnection(fmt.Sprint("10.0.1.", i))(ctx, certificate, userAndPassword(name, fmt.Sprint("guess ", i)))
			refusedLogin(t, "a guess", p, err)
		}
		p, err := v.ForConnection("10.0.1.99")(ctx, certificate, userAndPassword("cArol", "guess 99"))
		refusedLogin(t, "one guess more", p, err)
		if n := d.Asked(); n != freeFailures {
			t.Errorf("the directory was asked %d times; want %d, and then no more without a delay", n, freeFailures)
		}
	})
}

// While the directory cannot be asked, its people get that error, which is no failed login and is not
// remembered. Users of the server log in, also while all checks of the directory hang.
func TestOutageOfTheDirectory(t *testing.T) {
	_, d, v := directoryWorld()
	certificate := array7()
	d.Outage = core.Errorf(core.StoreUnavailable, "no answer")
	for range 3 * freeFailures {
		if p, err := v.ForConnection("10.0.0.7")(ctx, certificate, userAndPassword("carol", secret)); p != nil || core.CodeOf(err) != core.StoreUnavailable {
			t.Fatalf("carol during an outage: %+v, %v; want StoreUnavailable", p, err)
		}
	}
	d.Change(func(d *passwordtest.Directory) { d.Outage, d.Hang = nil, make(chan struct{}) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		coretest.AtOnce(8, func(i int) {
			mustBe(t, "carol after a hang", v.ForConnection(fmt.Sprint("10.0.1.", i)), certificate, "carol", secret, "ldap.carol by ldap")
		})
	}()
	for d.Asked() < 3*freeFailures+d.AtOnce() {
		time.Sleep(time.Millisecond)
	}
	mustBe(t, "alice while the directory hangs", v.ForConnection("10.0.0.9"), certificate, "alice", secret, "alice by password")
	close(d.Hang)
	<-done
	if n := d.Asked(); n > 3*freeFailures+d.AtOnce() {
		t.Errorf("eight logins with the same password asked the directory %d times; want one for each place", n-3*freeFailures)
	}
}

// While the directory hangs, a login holds up no other request of its tenant, of which only one
// may compute at once beside another tenant.
func TestLoginAtTheDirectoryTakesNoProcessor(t *testing.T) {
	_, d, v := directoryWorld()
	d.Hang = make(chan struct{})
	processors := fair.NewProcessors(1)
	var rival, login, other fair.Turn
	for tenant, turns := range map[string][]*fair.Turn{"rival": {&rival}, "acme": {&login, &other}} {
		for _, turn := range turns {
			processors.Open(turn, tenant, tenant)
			defer turn.Close()
		}
	}
	for _, turn := range []*fair.Turn{&rival, &login} {
		if err := turn.Begin(ctx); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := v.ForConnection("10.0.0.7")(fair.WithTurn(ctx, &login), array7(), userAndPassword("carol", secret))
		if err != nil {
			t.Errorf("carol after a hang: %v", err)
		}
	}()
	for d.Asked() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := other.Begin(ctx); err != nil {
		t.Errorf("another request of the tenant while the directory hangs: %v; want that it computes", err)
	}
	close(d.Hang)
	<-done
}

// Ten thousand wrong logins of people of the directory leave bounded memory.
func TestWrongLoginsAtTheDirectoryLeaveMemoryFlat(t *testing.T) {
	_, d, v := directoryWorld()
	certificate := array7()
	wrong := func(from, to int) {
		for i := from; i < to; i++ {
			v.ForConnection(fmt.Sprintf("10.%d.%d.1", i/250, i%250))(ctx, certificate, userAndPassword(fmt.Sprint("person", i), fmt.Sprint("guess ", i)))
		}
		d.Change(func(d *passwordtest.Directory) { d.Names = nil })
	}
	wrong(0, 5000)
	before := coretest.HeapBytes()
	wrong(5000, 10_000)
	const most = 1 << 20
	if grown := coretest.HeapBytes() - before; grown > most {
		t.Errorf("5,000 more wrong logins left %d bytes, at most %d", grown, most)
	}
	mustBe(t, "carol after them", v.ForConnection("10.0.0.7"), certificate, "carol", secret, "ldap.carol by ldap")
}
