package ldap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// goodSettings are the fewest settings that are allowed.
func goodSettings() Settings {
	return Settings{URL: "ldaps://ldap.example", BindDN: "cn=service,dc=example", BindPasswordFile: "password", UserBase: "ou=people,dc=example", Tenant: "acme", NamePrefix: "ldap."}
}

// What could send a password in clear, find something else than one person, or name more than was meant is
// refused by the name of the setting.
func TestRefusedSettings(t *testing.T) {
	grouped := func(s *Settings) { s.GroupBase, s.Groups = "ou=groups,dc=example", []string{"storage"} }
	for what, c := range map[string]struct {
		change  func(*Settings)
		setting string // "": allowed
	}{
		"nothing more":                  {func(*Settings) {}, ""},
		"a port":                        {func(s *Settings) { s.URL += ":1636" }, ""},
		"StartTLS":                      {func(s *Settings) { s.URL, s.StartTLS = "ldap://ldap.example", true }, ""},
		"groups":                        {grouped, ""},
		"roles alone":                   {func(s *Settings) { s.GroupBase, s.Roles = "dc=example", map[string]string{"key admins": "admin"} }, ""},
		"names as they are":             {func(s *Settings) { s.NamePrefix, s.MayNameCertificates = "", true }, ""},
		"the rule for members in chain": {func(s *Settings) { grouped(s); s.GroupFilter = "(member:1.2.840.113556.1.4.1941:=%s)" }, ""},

		"no URL":                         {func(s *Settings) { s.URL = "" }, "url"},
		"no TLS":                         {func(s *Settings) { s.URL = "ldap://ldap.example" }, "url"},
		"no TLS on loopback":             {func(s *Settings) { s.URL = "ldap://127.0.0.1" }, "url"},
		"TLS twice":                      {func(s *Settings) { s.StartTLS = true }, "start_tls"},
		"a socket":                       {func(s *Settings) { s.URL = "ldapi:///" }, "url"},
		"UDP":                            {func(s *Settings) { s.URL, s.StartTLS = "cldap://ldap.example", true }, "url"},
		"a user in the URL":              {func(s *Settings) { s.URL = "ldaps://a:b@ldap.example" }, "url"},
		"a base in the URL":              {func(s *Settings) { s.URL += "/dc=example" }, "url"},
		"a query in the URL":             {func(s *Settings) { s.URL += "?uid" }, "url"},
		"a long URL":                     {func(s *Settings) { s.URL += strings.Repeat("x", 300) }, "url"},
		"no service account":             {func(s *Settings) { s.BindDN = "" }, "bind_dn"},
		"no password of it":              {func(s *Settings) { s.BindPasswordFile = "" }, "bind_password_file"},
		"an account that is no DN":       {func(s *Settings) { s.BindDN = "service" }, "bind_dn"},
		"no base":                        {func(s *Settings) { s.UserBase = "" }, "user_base"},
		"a base that is no DN":           {func(s *Settings) { s.UserBase = "people" }, "user_base"},
		"a filter without a name":        {func(s *Settings) { s.UserFilter = "(uid=alice)" }, "user_filter"},
		"a filter with two names":        {func(s *Settings) { s.UserFilter = "(|(uid=%s)(cn=%s))" }, "user_filter"},
		"a filter with another verb":     {func(s *Settings) { s.UserFilter = "(&(uid=%s)(cn=%d))" }, "user_filter"},
		"a filter that is none":          {func(s *Settings) { s.UserFilter = "uid=%s)" }, "user_filter"},
		"a group filter that is none":    {func(s *Settings) { grouped(s); s.GroupFilter = "(member=%s" }, "group_filter"},
		"two ways to groups":             {func(s *Settings) { grouped(s); s.GroupFilter, s.MemberOf = "(member=%s)", "memberOf" }, "group_filter"},
		"groups without a base":          {func(s *Settings) { s.Groups = []string{"storage"} }, "group_base"},
		"a base that finds nothing":      {func(s *Settings) { s.GroupBase = "dc=example" }, "groups"},
		"nesting that finds nothing":     {func(s *Settings) { s.NestedGroups = true }, "groups"},
		"a group that is no name":        {func(s *Settings) { grouped(s); s.Groups = []string{"*"} }, "groups"},
		"a role that is no name":         {func(s *Settings) { grouped(s); s.Roles = map[string]string{"a": "b c"} }, "roles"},
		"a role of no group":             {func(s *Settings) { grouped(s); s.Roles = map[string]string{"": "b"} }, "roles"},
		"an attribute that is none":      {func(s *Settings) { s.NameAttribute = "u=d" }, "name_attribute"},
		"no tenant":                      {func(s *Settings) { s.Tenant = "" }, "tenant"},
		"the tenant of the server":       {func(s *Settings) { s.Tenant = core.SystemTenant }, "tenant"},
		"no prefix":                      {func(s *Settings) { s.NamePrefix = "" }, "name_prefix"},
		"a prefix that begins no name":   {func(s *Settings) { s.NamePrefix = "/" }, "name_prefix"},
		"a prefix that fills the name":   {func(s *Settings) { s.NamePrefix = strings.Repeat("p", 33) }, "name_prefix"},
		"a NUL":                          {func(s *Settings) { s.CA = "a\x00" }, "ca"},
		"a timeout of a minute":          {func(s *Settings) { s.Timeout = time.Minute }, "timeout"},
		"a timeout before the start":     {func(s *Settings) { s.Timeout = -1 }, "timeout"},
		"an hour of memory":              {func(s *Settings) { s.RememberFor = time.Hour }, "remember_for"},
		"tokens for a day":               {func(s *Settings) { s.TokenLifetime = 24 * time.Hour }, "token_lifetime"},
		"tokens shorter than memory":     {func(s *Settings) { s.TokenLifetime = 5 * time.Minute }, "token_lifetime"},
		"as many connections as a flood": {func(s *Settings) { s.Connections = 65 }, "connections"},
	} {
		s := goodSettings()
		c.change(&s)
		err := CheckSettings([]Settings{s})
		if (err == nil) != (c.setting == "") || err != nil && !strings.HasPrefix(err.Error(), "[0]."+c.setting) {
			t.Errorf("%s: %v; want an error of %q", what, err, c.setting)
		}
	}
	if err := CheckSettings([]Settings{goodSettings(), goodSettings()}); err == nil || !strings.HasPrefix(err.Error(), "[1].tenant") {
		t.Errorf("two directories of a tenant: %v; want an error of the second", err)
	}
}

// A value stays a value in a filter, whatever characters it has (RFC 4515 §3).
func TestFilterValuesAreEscaped(t *testing.T) {
	for value, want := range map[string]string{"alice": "(uid=alice)", "*": `(uid=\2a)`, "a)(uid=*": `(uid=a\29\28uid=\2a)`, `a\2a`: `(uid=a\5c2a)`, "a\x00": `(uid=a\00)`, "%s": "(uid=%s)"} {
		if got := fillFilter("(uid=%s)", value); got != want {
			t.Errorf("%q in a filter: %s; want %s", value, got, want)
		}
	}
}

// During an outage the directory is probed every 5 s, while it answers every minute, and while it refuses the
// service account every 5 minutes. The beginning and the end of an outage are changes.
func TestProbesAreDue(t *testing.T) {
	o := &outage{}
	for i, c := range []struct {
		problem error
		changed bool
		wait    time.Duration
	}{{nil, false, quietInterval}, {fmt.Errorf("no answer"), true, probeInterval}, {fmt.Errorf("still none"), false, probeInterval},
		{&serviceRefusedError{fmt.Errorf("no")}, false, refusedInterval}, {nil, true, quietInterval}} {
		if changed := o.note(c.problem); changed != c.changed {
			t.Errorf("note %d: changed is %v; want %v", i, changed, c.changed)
		}
		if early, late := o.probeDue(o.asked.Add(c.wait-2*time.Second)), o.probeDue(o.asked.Add(c.wait)); early || !late {
			t.Errorf("note %d: a probe is due 2 s before %v: %v, and then: %v; want false and true", i, c.wait, early, late)
		}
		if err := o.refusal(); (err != nil) != (c.problem != nil) || err != nil && core.CodeOf(err) != core.StoreUnavailable {
			t.Errorf("note %d: logins are refused with %v", i, err)
		}
	}
}
