package server_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// family is a key with several versions and the alias app, made over REST.
type family struct {
	*restPeople
	id, newest string // identifiers of the first and of the last version
}

// madeFamily makes a key and rotates it.
func madeFamily(p *restPeople, rotations int) family {
	p.t.Helper()
	f := family{restPeople: p, id: madeKey(p)}
	p.must(200, "PUT", "/v1/aliases/app", fmt.Sprintf(`{"keyId":%q}`, f.id))
	for range rotations {
		f.newest = p.must(200, "POST", "/v1/keys/"+f.id+"/rotate", `{}`).member(p, "keyId")
	}
	return f
}

// path returns the path of a key that is named by a reference.
func path(reference, rest string) string { return "/v1/keys/" + url.PathEscape(reference) + rest }

// adminOf returns a client with the role admin.
func adminOf(t *testing.T, s *servertest.Server) *restPeople {
	t.Helper()
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	return restAs(t, s, "anna")
}

// What is told and done about policies and rights names keys as every other route does.
func TestPoliciesNameFamilies(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	f := madeFamily(p, 1)
	anna := adminOf(t, s)
	anna.must(201, "POST", "/v1/policies", `{"name":"closed","document":{"statements":[{"principal":"*","actions":["encrypt"],"effect":"deny"}]}}`)
	for _, reference := range []string{"alias/app", f.id, f.id + "@1", f.newest, "alias/app@2"} {
		anna.must(200, "POST", path(reference, "/policy"), `{"policyId":"closed"}`, `"attached":["closed"]`)
		anna.must(200, "GET", path(reference, "/policy"), "", `"attached":["closed"]`)
		anna.must(200, "GET", path(f.newest, "/policy"), "", `"attached":["closed"]`)
		anna.must(200, "GET", path(reference, "/access")+"?principal=dev", "", `"action":"Encrypt","decision":"deny"`)
		anna.must(200, "DELETE", path(reference, "/policy/closed"), "", `"attached":[]`)
	}
	anna.must(404, "GET", path("alias/none", "/policy"), "")
	anna.must(400, "GET", path("alias/a b", "/policy"), "")
	anna.must(404, "GET", path(f.id+"@3", "/access"), "")
}

// A token that is narrowed to a key goes on with its later versions; one that is narrowed to a version
// does not.
func TestTokensNameFamilies(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	f := madeFamily(p, 1)
	dev, alone := withToken(t, s, "dev"), withToken(t, s, "")
	buy := func(key string) string {
		return dev.buy(body{"grantType": "certificate", "keys": []string{key}}).AccessToken
	}
	byAlias, byID, first, later := buy("alias/app"), buy(f.id), buy(f.id+"@1"), buy(f.newest)
	third := p.must(200, "POST", "/v1/keys/"+f.id+"/rotate", `{}`).member(p, "keyId")
	other := madeKey(p)
	p.must(200, "PUT", "/v1/aliases/app", fmt.Sprintf(`{"keyId":%q}`, other)) // the token does not follow
	for what, c := range map[string]struct {
		token, key string
		want       int
	}{
		"the key by its identifier": {byID, f.id, 200}, "its newest version": {byID, third, 200}, "its version 2": {byID, f.id + "@2", 200}, "another key": {byID, other, 403},
		"the key that had the alias": {byAlias, f.id, 200}, "its newest version, by the alias": {byAlias, third, 200}, "the key that has it now": {byAlias, other, 403},
		"version 1": {first, f.id + "@1", 200}, "the newest, with a token for version 1": {first, f.id, 403}, "version 2": {later, f.newest, 200}, "version 3": {later, f.id, 403},
	} {
		wantStatus(t, "encrypt with "+what, alone.encrypt(c.token, c.key), c.want)
	}
	for key, want := range map[string]int{"alias/none": 404, "alias/": 400, f.id + "@0": 400} {
		wantStatus(t, "a token for "+key, dev.ask("POST", "/v1/auth/token", "", body{"grantType": "certificate", "keys": []string{key}}).status, want)
	}
	anna := adminOf(t, s)
	for token, allowed := range map[string]bool{byID: true, first: false} {
		got := anna.must(200, "POST", "/v1/auth/verify", fmt.Sprintf(`{"token":%q,"action":"encrypt","keyId":%q}`, token, f.id))
		if !strings.Contains(got.text, fmt.Sprintf(`"allowed":%v`, allowed)) {
			t.Errorf("the newest version, which encrypts: %s; want %v", got.text, allowed)
		}
	}
}
