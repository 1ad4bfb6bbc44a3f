package core_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

func alice() *core.User {
	return &core.User{Tenant: "acme", Name: "alice", Version: 3, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Groups: []string{"storage"},
		Roles: []string{"operator"}, Attributes: map[string]string{"department": "R&D <\"north\">", "site": "Zürich"}, Disabled: true, Expires: 1893456000}
}

// A user is read as it was written, and its row has one form.
func TestUserIsReadAsWritten(t *testing.T) {
	for _, u := range []*core.User{alice(), {Tenant: "acme", Name: "bob", Version: 1}} {
		body, err := u.EncodeBody()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := core.DecodeUser(u.Tenant, u.Name, u.Version, body); err != nil || !reflect.DeepEqual(again, u) {
			t.Errorf("%s is read as %+v, %v", body, again, err)
		}
	}
	const want = `{"password":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA","groups":["storage"],"roles":["operator"],"attributes":{"department":"R&D <\"north\">","site":"Zürich"},"disabled":true,"expires":1893456000}`
	if body, err := alice().EncodeBody(); string(body) != want {
		t.Errorf("the row is\n%s, %v; rows that are stored have\n%s", body, err, want)
	}
}

// A text that the server does not write is refused, and the refusal does not quote it.
func TestOtherUserRowsAreRefused(t *testing.T) {
	for _, body := range []string{
		``, `null`, `[]`, `{`, `{} `, ` {}`, `{}{}`, `{"groups":[]}`, `{"disabled":false}`, `{"expires":0}`, `{"expires":-1}`, `{"expires":1.5}`,
		`{"Disabled":true}`, `{"disabled":true,"disabled":true}`, `{"disabled":"true"}`, `{"unknown":1}`, `{"groups":"storage"}`, `{"groups":["a","a"]}`,
		`{"groups":[""]}`, `{"groups":["a b"]}`, `{"roles":["../x"]}`, `{"roles":["a"],"groups":["b"]}`, `{"attributes":{"b":"1","a":"2"}}`,
		`{"attributes":{"a":""}}`, `{"attributes":{"a":"\u0000"}}`, `{"attributes":{"a":"\ud800"}}`, `{"attributes":{"a b":"1"}}`, `{"attributes":{"a":1}}`,
		`{"groups":["\u0061"]}`, `{"Tenant":"other"}`, `{"password":"se\ncret"}`, `{"password":["secret"]}`, `{"password":1,"groups":"secret"}`,
		`{"groups":[` + strings.Repeat(`"g",`, 65) + `"g"]}`,
	} {
		u, err := core.DecodeUser("acme", "alice", 1, []byte(body))
		if u != nil || core.CodeOf(err) != core.InvalidField {
			t.Errorf("%.80q: %+v, %v; want InvalidField", body, u, err)
		}
		if strings.Contains(fmt.Sprint(err), "cret") {
			t.Errorf("the refusal of %q quotes it: %v", body, err)
		}
	}
}

func TestUserFieldsHaveBounds(t *testing.T) {
	many := make([]string, core.MaxUserNames+1)
	attributes := map[string]string{}
	for i := range many {
		many[i] = fmt.Sprint("n", i)
		attributes[many[i]] = "v"
	}
	for what, change := range map[string]func(*core.User){
		"no tenant":         func(u *core.User) { u.Tenant = "" },
		"the server's own":  func(u *core.User) { u.Tenant = core.SystemTenant },
		"no name":           func(u *core.User) { u.Name = "" },
		"a long name":       func(u *core.User) { u.Name = strings.Repeat("a", 100_000) },
		"a path":            func(u *core.User) { u.Name = "a/b" },
		"version 0":         func(u *core.User) { u.Version = 0 },
		"a long hash":       func(u *core.User) { u.Password = core.PasswordHash(strings.Repeat("a", 257)) },
		"many groups":       func(u *core.User) { u.Groups = many },
		"many roles":        func(u *core.User) { u.Roles = many },
		"many attributes":   func(u *core.User) { u.Attributes = attributes },
		"a long value":      func(u *core.User) { u.Attributes = map[string]string{"a": strings.Repeat("v", 257)} },
		"a line break":      func(u *core.User) { u.Attributes = map[string]string{"a": "x\u2028y"} },
		"not UTF-8":         func(u *core.User) { u.Attributes = map[string]string{"a": "\xff"} },
		"a name with space": func(u *core.User) { u.Attributes = map[string]string{"a b": "v"} },
		"a huge group":      func(u *core.User) { u.Groups = []string{strings.Repeat("g", 100_000)} },
		"a huge attribute":  func(u *core.User) { u.Attributes = map[string]string{strings.Repeat("a", 100_000): "v"} },
		"a group twice":     func(u *core.User) { u.Groups = []string{"g", "g"} },
	} {
		u := alice()
		change(u)
		if _, err := u.EncodeBody(); core.CodeOf(err) != core.InvalidField || len(err.Error()) > 250 {
			t.Errorf("%s: %.300v; want InvalidField and a short text", what, err)
		}
	}
	full := alice()
	full.Groups, full.Roles, full.Attributes = many[:core.MaxUserNames], many[:core.MaxUserNames], maps.Clone(attributes)
	delete(full.Attributes, many[0])
	if _, err := full.EncodeBody(); err != nil {
		t.Errorf("a user with as many names as it may have: %v", err)
	}
}

// A user that is printed or logged does not show the hash.
func TestUserPrintsNoHash(t *testing.T) {
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(form, *alice()); strings.Contains(s, "argon2id") || !strings.Contains(s, "redacted") {
			t.Errorf("%s prints %s", form, s)
		}
	}
}

// Users and certificates have the same rule of names.
func TestNamesAreThoseOfCertificates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "abzAZ09._- /:@\x00\nä"
	valid := 0
	for range 50_000 {
		name := make([]byte, r.IntN(8))
		for i := range name {
			name[i] = letters[r.IntN(len(letters))]
		}
		s := strings.Repeat(string(name), 1+r.IntN(12))
		if core.ValidName(s) != identity.ValidName(s) {
			t.Fatalf("%q: a user %v, a certificate %v", s, core.ValidName(s), identity.ValidName(s))
		}
		if core.ValidName(s) {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d of the names were valid", valid)
	}
}

// Each strength has a name of its own; a number without a name is the weakest.
func TestStrengthsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for i, s := range core.Strengths() {
		if int(s) != i || seen[s.String()] || s.String() == "" {
			t.Errorf("strength %d has place %d and the name %q", s, i, s)
		}
		seen[s.String()] = true
	}
	if got := core.Strength(200).String(); got != "none" {
		t.Errorf("strength 200 is %q", got)
	}
}
