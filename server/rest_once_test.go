package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A request with an Idempotency-Key makes something once. A repeat shows what was made, if the
// policy permits it, or names it if the answer held a secret.
func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	s.Certify(certs.Request{Name: "root", Tenant: "default", Roles: []string{"system"}})
	dev, anna, root := restAs(t, s, "dev"), restAs(t, s, "anna"), restAs(t, s, "root")
	id := madeKey(dev)
	pair := `{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"]}`
	for i, c := range []struct {
		p          *restPeople
		path, body string
		names      []string // members that a repeat must have as the first answer has them; none: it is 409
	}{
		{dev, "/v1/keys", aesForEncrypt, []string{"keyId", "version", "state", "owner", "class"}},
		{dev, "/v1/keys", pair, []string{"keyId", "publicKeyId", "curve"}},
		{dev, "/v1/keys/" + id + "/rotate", `{}`, []string{"keyId", "version"}},
		{dev, "/v1/data-keys", fmt.Sprintf(`{"keyId":%q,"plaintext":true}`, id), nil},
		{dev, "/v1/auth/token", `{"grantType":"certificate"}`, nil},
		{anna, "/v1/users", `{"name":"ursula","password":"correct horse battery","roles":["nothing"]}`, []string{"name", "version", "roles", "warnings"}},
		{anna, "/v1/users", `{"name":"carla","codes":true}`, nil},
		{anna, "/v1/roles", `{"name":"signer","actions":["sign"]}`, []string{"name", "version", "actions"}},
		{anna, "/v1/policies", `{"name":"p","document":` + openPolicy + `}`, nil},
		{anna, "/v1/clients", `{"name":"array7"}`, nil},
		{root, "/v1/tenants", `{"name":"new-tenant"}`, []string{"tenantId", "state"}},
	} {
		key := fmt.Sprintf("Idempotency-Key: request %d", i)
		first := c.p.ask("POST", c.path, c.body, key)
		if first.status != 201 && first.status != 200 {
			t.Errorf("%s %s: %d %s", c.path, c.body, first.status, first.text)
			continue
		}
		for range 2 {
			again := c.p.ask("POST", c.path, c.body, key)
			if again.header.Get("Audit-Id") == "" {
				t.Errorf("%s: a repeat leaves no record", c.path)
			}
			if c.names == nil {
				again.demand(c.p, 409, "a repeat of "+c.path, `"made":`, "ObjectAlreadyExists")
				if got := again.header.Get("Retry-After"); got != "" {
					t.Errorf("%s: the repeat has Retry-After %q", c.path, got)
				}
				continue
			}
			again.demand(c.p, first.status, "a repeat of "+c.path)
			for _, name := range c.names {
				if first.body[name] == nil || fmt.Sprint(first.body[name]) != fmt.Sprint(again.body[name]) {
					t.Errorf("%s: %q is %v in a repeat, was %v", c.path, name, again.body[name], first.body[name])
				}
			}
			if first.header.Get("Location") != again.header.Get("Location") {
				t.Errorf("%s: the Location of a repeat is %q, was %q", c.path, again.header.Get("Location"), first.header.Get("Location"))
			}
		}
		other := strings.Replace(c.body, "}", " }", 1)
		c.p.ask("POST", c.path, other, key).demand(c.p, 422, "another body at "+c.path, "another request")
	}

	// The key counts for one principal and one route.
	key := "Idempotency-Key: request 0"
	one := dev.ask("POST", "/v1/keys", aesForEncrypt, key)
	two := anna.ask("POST", "/v1/keys", aesForEncrypt, key)
	if one.status != 201 || two.status != 201 || one.body["keyId"] == two.body["keyId"] {
		t.Errorf("two principals with one key: %s and %s", one.text, two.text)
	}
	dev.ask("POST", "/v1/keys/"+id+"/rotate", `{}`, key).demand(dev, 200, "the key of another route")
	dev.ask("POST", "/v1/keys/"+one.member(dev, "keyId")+"/rotate", `{}`, key).demand(dev, 422, "another path of one route")
	dev.ask("POST", "/v1/keys", `{"type":"x"}`, "Idempotency-Key: bad").demand(dev, 400, "a refused request")
	dev.ask("POST", "/v1/keys", aesForEncrypt, "Idempotency-Key: bad").demand(dev, 201, "a key whose request was refused before")

	// A repeat is decided again, and shows the key as it is now.
	dev.must(200, "POST", "/v1/keys/"+one.member(dev, "keyId")+"/revoke", `{"reason":"keyCompromise"}`)
	dev.ask("POST", "/v1/keys", aesForEncrypt, key).demand(dev, 201, "a repeat for a revoked key", `"Compromised"`)

	s.Stop()
	s.Run()
	dev = restAs(t, s, "dev")
	dev.ask("POST", "/v1/keys", aesForEncrypt, key).demand(dev, 201, "a repeat after a restart", one.member(dev, "keyId"))
}

// Of repeats that run at once, one makes something. The others get its answer, or are told to wait.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	var all sync.WaitGroup
	answers := make([]restAnswer, 12)
	for i := range answers {
		all.Go(func() { answers[i] = p.ask("POST", "/v1/keys", aesForEncrypt, "Idempotency-Key: one") })
	}
	all.Wait()
	ids := map[any]bool{}
	for _, a := range answers {
		switch {
		case a.status == 201:
			ids[a.body["keyId"]] = true
		case a.status != 409 || a.header.Get("Retry-After") != "1":
			t.Errorf("%d %v %s; want 201, or 409 with Retry-After", a.status, a.header, a.text)
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d keys were made, want 1", len(ids))
	}
}

// A server that is killed in the middle of requests has made for each one key or none. The repeat
// then makes it, or shows it.
func TestIdempotencyKeysAndKills(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const requests, kills = 24, 4
	body := strings.Replace(aesForEncrypt, "{", `{"tags":{"batch":"of-kills"},`, 1)
	seen := make([]any, requests)
	send := func(p *restPeople, i int) (int, any) {
		r, err := http.NewRequest("POST", p.url+"/v1/keys", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", fmt.Sprint("request ", i))
		status, out := bestEffort(p.client, r)
		return status, out["keyId"]
	}
	for kill := range kills {
		p := restAs(t, s, "dev")
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				if status, id := send(p, i); status == 201 {
					if seen[i] != nil && seen[i] != id {
						t.Errorf("request %d made %v and %v", i, seen[i], id)
					}
					seen[i] = id
				}
			})
		}
		time.Sleep(time.Duration(20+15*kill) * time.Millisecond)
		s.Kill()
		all.Wait()
		s.Run()
	}
	p := restAs(t, s, "dev")
	for i := range requests {
		status, id := send(p, i)
		if status != 201 || seen[i] != nil && seen[i] != id {
			t.Errorf("request %d: %d, %v; before it was %v", i, status, id, seen[i])
		}
	}
	if got := p.must(200, "GET", "/v1/keys?limit=200&filter=tag.batch:of-kills", ""); len(got.body["keys"].([]any)) != requests {
		t.Errorf("%d requests made %d keys", requests, len(got.body["keys"].([]any)))
	}
}

// bestEffort sends a request to a server that may be killed. The status is 0 if no answer came.
func bestEffort(c *http.Client, r *http.Request) (int, map[string]any) {
	res, err := c.Do(r)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	var out map[string]any
	if json.NewDecoder(res.Body).Decode(&out) != nil {
		return 0, nil
	}
	return res.StatusCode, out
}
