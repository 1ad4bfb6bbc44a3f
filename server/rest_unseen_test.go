package server_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// bodiesAboutKeys are good bodies of routes that name a key by %s, and of those that need a body
// beside the key in their path.
var bodiesAboutKeys = map[string]string{
	"POST /v1/encrypt":              `{"keyId":%q,"plaintext":"YQ=="}`,
	"POST /v1/decrypt":              `{"keyId":%q,"ciphertext":"YQ==","iv":"AAAAAAAAAAAAAAAA","tag":"AAAAAAAAAAAAAAAAAAAAAA==","format":"raw"}`,
	"POST /v1/data-keys":            `{"keyId":%q}`,
	"POST /v1/sign":                 `{"keyId":%q,"message":"YQ=="}`,
	"POST /v1/verify":               `{"keyId":%q,"message":"YQ==","signature":"YQ=="}`,
	"POST /v1/mac":                  `{"keyId":%q,"data":"YQ=="}`,
	"POST /v1/mac/verify":           `{"keyId":%q,"data":"YQ==","mac":"YQ=="}`,
	"PUT /v1/aliases/{name}":        `{"keyId":%q}`,
	"POST /v1/keys/{keyId}/revoke":  `{"reason":"unspecified"}`,
	"POST /v1/keys/{keyId}/policy":  `{"policyId":"p"}`,
	"POST /v1/keys/{keyId}/restore": `{}`,
}

// A key of another tenant is answered as one that does not exist: the same status, the same names
// of headers and the same bytes, but for what names the request and the key.
func TestUnseenKeysAreAnsweredAsAbsentOnes(t *testing.T) {
	s := servertest.Start(t)
	owner := restAs(t, s, "dev")
	theirs := owner.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt","decrypt"]}`).member(owner, "keyId")
	owner.must(200, "PUT", "/v1/aliases/unseen", fmt.Sprintf(`{"keyId":%q}`, theirs))
	sealed := owner.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"YQ=="}`, theirs)).member(owner, "ciphertext")
	last := theirs[len(theirs)-1:]
	absent := theirs[:len(theirs)-1] + map[bool]string{true: "1", false: "0"}[last == "0"]

	s.Certify(certs.Request{Name: "eve", Tenant: "other"})
	s.Certify(certs.Request{Name: "adam", Tenant: "other", Roles: []string{"admin"}})
	s.DeclareTenant("other")
	for _, name := range []string{"eve", "adam"} {
		p := restAs(t, s, name)
		answer := func(method, path, body, key string) (told string, status int) {
			got := p.ask(method, path, body)
			told = strings.NewReplacer(key, "KEY", got.header.Get("Request-Id"), "REQUEST").Replace(got.text)
			return fmt.Sprint(got.status, slices.Sorted(maps.Keys(got.header)), told), got.status
		}
		absents := 0
		for _, o := range api.Operations {
			format, about := bodiesAboutKeys[o.Pattern()]
			if !about && !strings.Contains(o.Path, "{keyId}") {
				continue
			}
			ask := func(key string) (string, int) {
				body := format
				if strings.Contains(format, "%q") {
					body = fmt.Sprintf(format, key)
				} else if body == "" && o.Body != nil {
					body = "{}"
				}
				return answer(o.Method, strings.NewReplacer("{keyId}", key, "{name}", "mine", "{policyId}", "p").Replace(o.Path), body, key)
			}
			for _, keys := range [][2]string{{theirs, absent}, {theirs + "@1", absent + "@1"}, {"alias/unseen", "alias/absent"}} {
				if strings.Contains(o.Path, "{keyId}") {
					keys[0], keys[1] = strings.Replace(keys[0], "/", "%2F", 1), strings.Replace(keys[1], "/", "%2F", 1)
				}
				seen, status := ask(keys[0])
				none, _ := ask(keys[1])
				if status == 404 {
					absents++
				}
				alias := strings.NewReplacer("alias/unseen", "KEY", "alias/absent", "KEY")
				if alias.Replace(seen) != alias.Replace(none) || status < 400 {
					t.Errorf("%s as %s of %s is answered\n%s\nand of one that does not exist\n%s", o.Pattern(), name, keys[0], seen, none)
				}
			}
		}
		if absents < 40 {
			t.Errorf("only %d requests as %s were answered 404", absents, name)
		}
		named := fmt.Sprintf(`{"keyId":%q,"ciphertext":%q}`, theirs, sealed)
		unnamed := fmt.Sprintf(`{"keyId":%q,"ciphertext":%q}`, absent, sealed)
		if seen, none := first(answer("POST", "/v1/decrypt", named, theirs)), first(answer("POST", "/v1/decrypt", unnamed, absent)); seen != none {
			t.Errorf("an envelope of a key of another tenant is answered\n%s\nand of one that does not exist\n%s", seen, none)
		}
	}
}

func first[A, B any](a A, _ B) A { return a }
