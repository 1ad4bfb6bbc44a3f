package ldap_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/ldap/ldaptest"
)

var ctx = context.Background()

// settingsOf returns settings for a directory that names the groups storage and databases.
func settingsOf(s *ldaptest.Server) ldap.Settings {
	return ldap.Settings{URL: s.LDAPS, CA: s.CA, BindDN: ldaptest.ServiceDN, BindPasswordFile: s.PasswordFile, UserBase: ldaptest.People, UserFilter: "(&(uid=%s)(!(employeeType=disabled)))",
		GroupBase: ldaptest.Groups, Tenant: "acme", NamePrefix: "ldap.", Groups: []string{"storage", "databases"}, Roles: map[string]string{"kms operators": "operator"}}
}

// open returns a directory with these settings, which must be allowed.
func open(t *testing.T, s ldap.Settings) *ldap.Directory {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	d, err := ldap.New(s, ldap.Ports{RequireTenant: func(context.Context, string) error { return nil }, Report: func(string, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // closes the sessions
		over, cancel := context.WithCancel(ctx)
		cancel()
		d.Watch(over)
	})
	return d
}

// causes returns an error with what it keeps from the client.
func causes(err error) string { return fmt.Sprint(err, errors.Unwrap(err)) }

// refused fails unless a login is refused for a cause.
func refused(t *testing.T, what string, u *core.User, err error, cause string) {
	t.Helper()
	if u != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(causes(err), cause) {
		t.Errorf("%s: %+v, %v; want AuthenticationNotSuccessful with the cause %q", what, u, err, cause)
	}
}

// unavailable fails unless the directory could not be asked.
func unavailable(t *testing.T, what string, u *core.User, err error, cause string) {
	t.Helper()
	if u != nil || core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(fmt.Sprint(err), cause) {
		t.Errorf("%s: %+v, %v; want StoreUnavailable because of %q", what, u, err, cause)
	}
}

// mustLogIn fails unless a name and the right password log in with these groups and roles.
func mustLogIn(t *testing.T, what string, d *ldap.Directory, name, want string) {
	t.Helper()
	u, err := d.Verify(ctx, name, []byte(ldaptest.Password))
	if err != nil {
		t.Errorf("%s: %v, %v", what, err, errors.Unwrap(err))
		return
	}
	if got := fmt.Sprintln(u.Name, u.Groups, u.Roles); got != want+"\n" {
		t.Errorf("%s: %swant %s", what, got, want)
	}
}

// The right password makes a user of the tenant, with the name as the directory spells it and the
// groups and roles that the settings allow, over LDAPS and over StartTLS.
func TestPersonLogsIn(t *testing.T) {
	s := ldaptest.Start(t)
	alice := s.AddPerson("alice")
	s.AddGroup("Storage", ldaptest.Groups, alice)
	s.AddGroup("kms operators", ldaptest.Groups, alice)
	s.AddGroup("admin", ldaptest.Groups, alice)
	s.AddGroup("databases", ldaptest.People, alice) // outside of group_base
	startTLS := settingsOf(s)
	startTLS.URL, startTLS.StartTLS = s.LDAP, true
	for what, settings := range map[string]ldap.Settings{"LDAPS": settingsOf(s), "StartTLS": startTLS} {
		d := open(t, settings)
		for _, name := range []string{"alice", "ALICE", "alice"} { // the last over a session that was used before
			mustLogIn(t, what+" as "+name, d, name, "ldap.alice [storage] [operator]")
		}
		u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
		if err != nil || u.Tenant != "acme" || !reflect.DeepEqual(u.Attributes, map[string]string{"directory": settings.URL}) {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
		if left := time.Until(time.Unix(u.Expires, 0)); left < 14*time.Minute || left > 15*time.Minute {
			t.Errorf("%s: the user expires in %v; want 15 min, the default of token_lifetime", what, left)
		}
	}
}

// Whatever is wrong with a name or a password, the login is refused, and the directory is not asked
// about what could not be right.
func TestLoginsThatFail(t *testing.T) {
	s := ldaptest.Start(t)
	s.AddPerson("alice")
	s.Replace(s.AddPerson("disabled"), "employeeType", "disabled")
	s.Replace(s.AddPerson("twin"), "uid", "twin", "twin2")
	s.AddPerson("two words")
	d := open(t, settingsOf(s))
	const right, noUser, wrong, noName = ldaptest.Password, "there is no such user", "refuses the password", "the name cannot be that of a user"
	for _, c := range []struct{ name, password, cause string }{
		{"alice", "correct horsf", wrong}, {"alice", right + "\x00", wrong}, {"alice", "", "empty or too long"}, {"alice", strings.Repeat("x", 1025), "empty or too long"},
		{"bob", right, noUser}, {"disabled", right, noUser}, {"keyreeve", ldaptest.ServicePassword, noUser}, {"twin", right, "exactly one name"},
		{"", right, noName}, {"*", right, noName}, {"alice)(uid=*", right, noName}, {"al*", right, noName}, {"alice\x00", right, noName}, {"two words", right, noName},
		{`alice\2a`, right, noName}, {"alic\u00e9", right, noName}, {strings.Repeat("a", 65), right, noName}, {"uid=alice," + ldaptest.People, right, noName},
	} {
		u, err := d.Verify(ctx, c.name, []byte(c.password))
		refused(t, fmt.Sprintf("%q with %q", c.name, c.password), u, err, c.cause)
	}
	mustLogIn(t, "alice after all of them", d, "alice", "ldap.alice [] []")

	several := settingsOf(s)
	several.UserFilter = "(|(uid=%s)(uid=alice)(uid=twin))"
	u, err := open(t, several).Verify(ctx, "alice", []byte(right))
	refused(t, "a filter that finds two entries", u, err, "several entries")
	anonymous := settingsOf(s)
	anonymous.NamePrefix = strings.Repeat("p", 32)
	s.AddPerson(strings.Repeat("n", 40))
	u, err = open(t, anonymous).Verify(ctx, strings.Repeat("n", 40), []byte(right))
	refused(t, "a name that is too long behind the prefix", u, err, "exactly one name")
}

// A changed password, and an entry that was disabled or removed, count at the next check.
func TestChangesInTheDirectoryCount(t *testing.T) {
	s := ldaptest.Start(t)
	d := open(t, settingsOf(s))
	alice := s.AddPerson("alice")
	group := s.AddGroup("storage", ldaptest.Groups, alice)
	mustLogIn(t, "alice", d, "alice", "ldap.alice [storage] []")
	s.Remove(group)
	mustLogIn(t, "alice without her group", d, "alice", "ldap.alice [] []")
	s.Replace(alice, "userPassword", "another")
	u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
	refused(t, "the old password", u, err, "refuses the password")
	s.Replace(alice, "userPassword", ldaptest.Password)
	s.Replace(alice, "employeeType", "disabled")
	u, err = d.Verify(ctx, "alice", []byte(ldaptest.Password))
	refused(t, "a disabled entry", u, err, "there is no such user")
	s.Replace(alice, "employeeType")
	mustLogIn(t, "alice again", d, "alice", "ldap.alice [] []")
	s.Remove(alice)
	u, err = d.Verify(ctx, "alice", []byte(ldaptest.Password))
	refused(t, "a removed entry", u, err, "there is no such user")
}

// Groups of groups count if the settings say so, whichever way groups are found. Loops end. Too many
// groups or levels refuse the login, because a group that is not seen could escape a denial.
func TestNestedGroups(t *testing.T) {
	s := ldaptest.Start(t)
	alice, bob := s.AddPerson("alice"), s.AddPerson("bob")
	inner := s.AddGroup("inner", ldaptest.Groups, alice)
	middle := s.AddGroup("middle", ldaptest.Groups, inner)
	outer := s.AddGroup("databases", ldaptest.Groups, middle)
	s.Replace(inner, "member", alice, outer) // a loop
	s.AddGroup("storage", ldaptest.Groups, bob)
	for _, by := range []struct{ filter, memberOf string }{{"", ""}, {"(&(objectClass=groupOfNames)(member=%s))", ""}, {"", "memberOf"}} {
		settings := settingsOf(s)
		settings.GroupFilter, settings.MemberOf = by.filter, by.memberOf
		mustLogIn(t, fmt.Sprint("not nested ", by), open(t, settings), "alice", "ldap.alice [] []")
		settings.NestedGroups = true
		mustLogIn(t, fmt.Sprint("nested ", by), open(t, settings), "alice", "ldap.alice [databases] []")
		mustLogIn(t, fmt.Sprint("another person, nested ", by), open(t, settings), "bob", "ldap.bob [storage] []")
	}
	nested, flat := settingsOf(s), settingsOf(s)
	nested.NestedGroups = true
	last := s.AddGroup("d0", ldaptest.Groups, s.AddPerson("deep"))
	for i := range 10 {
		last = s.AddGroup(fmt.Sprint("d", i+1), ldaptest.Groups, last)
	}
	u, err := open(t, nested).Verify(ctx, "deep", []byte(ldaptest.Password))
	refused(t, "eleven levels", u, err, "nested deeper than 8")
	mustLogIn(t, "eleven levels that are not followed", open(t, flat), "deep", "ldap.deep [] []")
	many := s.AddPerson("many")
	for i := range 257 {
		s.AddGroup(fmt.Sprint("m", i), ldaptest.Groups, many)
	}
	u, err = open(t, flat).Verify(ctx, "many", []byte(ldaptest.Password))
	refused(t, "257 groups", u, err, "more than 256 groups")
	flat.MemberOf = "memberOf"
	u, err = open(t, flat).Verify(ctx, "many", []byte(ldaptest.Password))
	refused(t, "257 groups of the attribute", u, err, "more than 256 groups")
}

// The certificate of the directory must be valid, of the authority and for the host of the URL.
func TestCertificateOfTheDirectory(t *testing.T) {
	good := ldaptest.Start(t)
	good.AddPerson("alice")
	expired := ldaptest.Start(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	expired.AddPerson("alice")
	otherCA, otherName, system := settingsOf(good), settingsOf(good), settingsOf(good)
	otherCA.CA = expired.CA
	otherName.URL = strings.Replace(good.LDAPS, "127.0.0.1", "localhost", 1)
	system.CA = ""
	startTLS := otherCA
	startTLS.URL, startTLS.StartTLS = good.LDAP, true
	for what, settings := range map[string]ldap.Settings{"expired": settingsOf(expired), "of another authority": otherCA, "of another authority, by StartTLS": startTLS, "for another name": otherName, "not of the system's authorities": system} {
		d := open(t, settings)
		u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
		unavailable(t, "a certificate that is "+what, u, err, "x509")
		if h := d.Health(); !strings.Contains(h.Problem, "x509") || h.Tenant != "acme" {
			t.Errorf("a certificate that is %s: health is %+v", what, h)
		}
	}
}

// The example for OpenLDAP in the documents logs in, with nested groups and a role.
func TestDocumentedOpenLDAP(t *testing.T) {
	text, err := os.ReadFile("../../../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "### Example: OpenLDAP")
	after = after[strings.Index(after, "    authentication:"):]
	example, _, _ := strings.Cut(after, "\n\n")
	var file struct {
		Authentication struct{ LDAP []ldap.Settings }
	}
	if err := yaml.Load([]byte(example), &file, yaml.WithKnownFields()); err != nil || len(file.Authentication.LDAP) != 1 {
		t.Fatalf("%v\n%s", err, example)
	}
	s := ldaptest.Start(t)
	settings := file.Authentication.LDAP[0]
	settings.URL, settings.CA, settings.BindPasswordFile = s.LDAPS, s.CA, s.PasswordFile
	team := s.AddGroup("team", ldaptest.Groups, s.AddPerson("fortigate7"))
	s.AddGroup("storage", ldaptest.Groups, team)
	s.AddGroup("kms-operators", ldaptest.Groups, team)
	mustLogIn(t, "the example", open(t, settings), "fortigate7", "ldap.fortigate7 [storage] [operator]")
}

// During an outage, logins are refused at once, without asking. A probe ends it. A session that the
// directory has closed is opened again within the same login.
func TestOutage(t *testing.T) {
	s := ldaptest.Start(t)
	s.AddPerson("alice")
	settings := settingsOf(s)
	settings.Timeout = 500 * time.Millisecond
	d := open(t, settings)
	mustLogIn(t, "before", d, "alice", "ldap.alice [] []")
	s.Stop()
	s.Run()
	mustLogIn(t, "after a restart of the directory", d, "alice", "ldap.alice [] []")
	s.Pause()
	u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
	unavailable(t, "a directory that hangs", u, err, "cannot verify the password now")
	began := time.Now()
	for range 20 {
		u, err = d.Verify(ctx, "alice", []byte(ldaptest.Password))
		unavailable(t, "the next login", u, err, "at present")
	}
	if took := time.Since(began); took >= settings.Timeout {
		t.Errorf("20 logins during an outage took %v; want none to wait for the directory", took)
	}
	if d.Health().Problem == "" {
		t.Error("health says nothing of the outage")
	}
	s.Resume()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go d.Watch(watching)
	for end := time.Now().Add(10 * time.Second); d.Health().Problem != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the outage has not ended 10 s after the directory has answered again")
		}
	}
	mustLogIn(t, "after the outage", d, "alice", "ldap.alice [] []")
}

// A service account that is refused, or does not see the bases, is an outage with a sentence for the
// operator. A new password in the file needs no restart.
func TestServiceAccount(t *testing.T) {
	s := ldaptest.Start(t)
	s.AddPerson("alice")
	wrong := settingsOf(s)
	wrong.BindPasswordFile = t.TempDir() + "/password"
	d := open(t, wrong)
	for content, cause := range map[string]string{"not it\n": "refuses bind_dn", "": "is empty", "two\nlines\n": "more than one line"} {
		if err := os.WriteFile(wrong.BindPasswordFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fresh := open(t, wrong)
		u, err := fresh.Verify(ctx, "alice", []byte(ldaptest.Password))
		unavailable(t, fmt.Sprintf("a file with %q", content), u, err, cause)
		if p := fresh.Health().Problem; !strings.Contains(p, cause) || strings.Contains(p, "not it") {
			t.Errorf("a file with %q: health says %q; want %q", content, p, cause)
		}
	}
	if err := os.WriteFile(wrong.BindPasswordFile, []byte(ldaptest.ServicePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	mustLogIn(t, "with the right file", d, "alice", "ldap.alice [] []")
	hidden := settingsOf(s)
	hidden.GroupBase = "ou=nothing," + ldaptest.Base
	d = open(t, hidden)
	over, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	d.Watch(over)
	if p := d.Health().Problem; !strings.Contains(p, "does not show ou=nothing") {
		t.Errorf("a group_base that is not there: health says %q", p)
	}
}

// A tenant that is not declared has no logins, and the directory is not asked.
func TestUndeclaredTenant(t *testing.T) {
	s := ldap.Settings{URL: "ldaps://127.0.0.1:1", BindDN: "cn=a", BindPasswordFile: "none", UserBase: "dc=b", Tenant: "acme", NamePrefix: "ldap."}
	undeclared := core.Errorf(core.AuthenticationNotSuccessful, "no such tenant")
	d, err := ldap.New(s, ldap.Ports{RequireTenant: func(context.Context, string) error { return undeclared }, Report: func(string, error) { t.Error("the directory was asked") }})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := d.Verify(ctx, "alice", []byte("p")); u != nil || err != error(undeclared) {
		t.Errorf("%+v, %v; want the refusal of the tenant", u, err)
	}
}
