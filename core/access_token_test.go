package core_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/tokentext"
)

// A token is read back as it was made, and no other spelling of it is a token.
func TestAccessTokensAreReadAsTheyWereMade(t *testing.T) {
	token, id, hash := tokentext.New()
	text := string(token)
	gotID, gotHash, ok := tokentext.Parse(text)
	if !ok || gotID != id || !bytes.Equal(gotHash[:], hash) || !true {
		t.Fatalf("%s is read as %s, %v", text, gotID, ok)
	}
	if again, otherID, _ := tokentext.New(); string(again) == text || otherID == id {
		t.Errorf("two tokens are alike: %s", again)
	}
	for what, other := range map[string]string{
		"nothing": "", "no secret": text[:31], "one character less": text[:len(text)-1], "one more": text + "a", "a space behind": text + " ", "upper case": strings.ToUpper(text),
		"another prefix": "kr2" + text[3:], "another separator": text[:30] + "-" + text[31:], "padding": text[:len(text)-1] + "=", "a character that base32 lacks": text[:len(text)-1] + "1",
		"a line break": text[:40] + "\n" + text[41:], "a line break in the ID": text[:10] + "\n" + text[11:],
		"bits that mean nothing": text[:len(text)-1] + string("bcdefgh"[strings.IndexByte("abcdefghijklmnopqrstuvwxyz234567", text[len(text)-1])%2]),
	} {
		if other == text {
			continue
		}
		if _, h, ok := tokentext.Parse(other); ok && bytes.Equal(h[:], hash) {
			t.Errorf("%s: %q is the token too", what, other)
		}
	}
}

func soundToken() *core.AccessToken {
	_, _, hash := tokentext.New()
	return &core.AccessToken{SecretHash: hash, Principal: "alice", Issued: 1000, Expires: 1900}
}

// A token is written and read within its bounds, and refused with a sentence beyond them.
func TestBoundsOfAccessTokens(t *testing.T) {
	many := make([]string, core.MaxTokenNames+1)
	for i := range many {
		many[i] = "encrypt"
	}
	sum := strings.Repeat("ab", sha256.Size)
	for what, c := range map[string]struct {
		change func(*core.AccessToken)
		good   bool
	}{
		"a plain one": {func(*core.AccessToken) {}, true},
		"narrowed and bound": {func(a *core.AccessToken) {
			a.Actions, a.Keys, a.BoundTo = []string{"encrypt", "Get"}, []string{"k"}, sum
		}, true},
		"by certificates":     {func(a *core.AccessToken) { a.Certificates = [][]byte{make([]byte, 9000)} }, true},
		"by a password":       {func(a *core.AccessToken) { a.PasswordHash = make([]byte, 32) }, true},
		"without a secret":    {func(a *core.AccessToken) { a.SecretHash = nil }, false},
		"without a principal": {func(a *core.AccessToken) { a.Principal = "" }, false},
		"by a person of LDAP": {func(a *core.AccessToken) {
			a.Person = &core.DirectoryPerson{Groups: []string{"g"}, Roles: []string{"r"}, Attributes: map[string]string{"directory": "ldaps://d"}}
		}, true},
		"by a person and a password":              {func(a *core.AccessToken) { a.Person, a.PasswordHash = &core.DirectoryPerson{}, make([]byte, 32) }, false},
		"by a person and a certificate":           {func(a *core.AccessToken) { a.Person, a.Certificates = &core.DirectoryPerson{}, [][]byte{{1}} }, false},
		"by a person with a group twice":          {func(a *core.AccessToken) { a.Person = &core.DirectoryPerson{Groups: []string{"g", "g"}} }, false},
		"by a person with a role that is no name": {func(a *core.AccessToken) { a.Person = &core.DirectoryPerson{Roles: []string{"a b"}} }, false},
		"by a person with an empty attribute":     {func(a *core.AccessToken) { a.Person = &core.DirectoryPerson{Attributes: map[string]string{"a": ""}} }, false},
		"by both":                                 {func(a *core.AccessToken) { a.Certificates, a.PasswordHash = [][]byte{{1}}, make([]byte, 32) }, false},
		"by a long chain":                         {func(a *core.AccessToken) { a.Certificates = [][]byte{make([]byte, 9000), make([]byte, 9000)} }, false},
		"that has ended":                          {func(a *core.AccessToken) { a.Expires = 900 }, false},
		"for a second":                            {func(a *core.AccessToken) { a.Expires = 1001 }, false},
		"for a day":                               {func(a *core.AccessToken) { a.Expires = 1000 + 86400 }, false},
		"for an unknown action":                   {func(a *core.AccessToken) { a.Actions = []string{"nonsense"} }, false},
		"for too many actions":                    {func(a *core.AccessToken) { a.Actions = many }, false},
		"for too many keys":                       {func(a *core.AccessToken) { a.Keys = many }, false},
		"for a key without a name":                {func(a *core.AccessToken) { a.Keys = []string{""} }, false},
		"bound to nonsense":                       {func(a *core.AccessToken) { a.BoundTo = "ab" }, false},
		"bound in upper case":                     {func(a *core.AccessToken) { a.BoundTo = strings.ToUpper(sum) }, false},
	} {
		a := soundToken()
		c.change(a)
		body, err := core.EncodeBody(a)
		if (err == nil) != c.good {
			t.Errorf("a token %s: %v; want it taken %v", what, err, c.good)
			continue
		}
		if err == nil {
			if err := core.DecodeBody(body, new(core.AccessToken)); err != nil {
				t.Errorf("a token %s cannot be read again: %v", what, err)
			}
		}
	}
}
