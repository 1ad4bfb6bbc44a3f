package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

const aesForEncrypt = `{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"]}`

// The Audit-Id of an answer names the record of its request, whether that was permitted or not.
func TestAuditIDs(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	p := restAs(t, s, "dev")
	id := p.must(201, "POST", "/v1/keys", aesForEncrypt).member(p, "keyId")
	nobody := &restPeople{t, withToken(t, s, "").http, p.url, "nobody"}
	type expected struct {
		answer             restAnswer
		operation, outcome string
	}
	answers := []expected{
		{p.must(201, "POST", "/v1/keys", aesForEncrypt), "Create", "allowed"},
		{p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"YQ=="}`, id)), "Encrypt", "allowed"},
		{p.must(404, "GET", "/v1/keys/no-such-key", ""), "Get Attributes", "failed"},
		{p.must(400, "POST", "/v1/encrypt", `{"keyId":7}`), "Encrypt", "failed"},
		{p.must(400, "GET", "/v1/keys?offset=1", ""), "Locate", "failed"},
		{p.must(403, "GET", "/v1/users", ""), "Read Users", "denied"},
		{p.must(200, "POST", "/v1/keys/"+id+"/disable", `{}`), "Disable", "allowed"},
		{restAs(t, s, "anna").must(200, "GET", "/v1/groups", ""), "Read Clients", "allowed"},
		{nobody.must(401, "GET", "/v1/keys", ""), "Login", "denied"},
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--json", "--limit", "0")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range answers {
		at, request, ok := audit.ParseID(want.answer.header.Get("Audit-Id"))
		if !ok || request != want.answer.header.Get("Request-Id") {
			t.Errorf("%s: the Audit-Id is %q", want.operation, want.answer.header.Get("Audit-Id"))
			continue
		}
		found := 0
		for line := range strings.Lines(out) {
			var e audit.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			recorded, err := time.Parse(time.RFC3339Nano, e.Time)
			if err != nil || recorded.UnixMicro() != at || e.Request != request {
				continue
			}
			if found++; e.Operation != want.operation || e.Outcome != want.outcome {
				t.Errorf("the Audit-Id names the record of %s, %s; want %s, %s", e.Operation, e.Outcome, want.operation, want.outcome)
			}
		}
		if found != 1 {
			t.Errorf("%s: %d records have the Audit-Id, want 1", want.operation, found)
		}
	}
	if got := p.ask("GET", "/v1/nothing", ""); got.status != 404 || got.header.Get("Audit-Id") != "" {
		t.Errorf("a path that does not exist: %d with the Audit-Id %q, want none", got.status, got.header.Get("Audit-Id"))
	}
}

// A change of a key with an If-Match is made on that version alone. Each change has another ETag.
func TestIfMatchOfKeys(t *testing.T) {
	t.Parallel()
	p := restAs(t, servertest.Start(t), "dev")
	made := p.must(201, "POST", "/v1/keys", aesForEncrypt)
	path := "/v1/keys/" + made.member(p, "keyId")
	tag := made.header.Get("ETag")
	if read := p.must(200, "GET", path, ""); tag == "" || read.header.Get("ETag") != tag {
		t.Errorf("the ETag is %s when it is made, and %s when it is read", tag, read.header.Get("ETag"))
	}
	for _, c := range []struct {
		status             int
		method, verb, body string
	}{{200, "POST", "/disable", `{}`}, {200, "POST", "/enable", `{}`}, {200, "POST", "/archive", `{}`}, {200, "POST", "/recover", `{}`}, {202, "DELETE", "", ``}, {200, "POST", "/restore", `{}`}, {200, "POST", "/revoke", `{"reason":"superseded"}`}} {
		for _, other := range []string{`"999"`, `"1"`} {
			if other != tag {
				p.ask(c.method, path+c.verb, c.body, "If-Match: "+other).demand(p, 412, c.method+" "+c.verb+" with "+other, "Conflict")
			}
		}
		got := p.ask(c.method, path+c.verb, c.body, "If-Match: "+tag)
		got.demand(p, c.status, c.method+" "+c.verb+" with "+tag)
		next := got.header.Get("ETag")
		if next == tag || next == "" {
			t.Errorf("%s%s: the ETag was %s and is %s", c.method, c.verb, tag, next)
		}
		tag = next
	}
	second := p.must(201, "POST", "/v1/keys", aesForEncrypt)
	path, tag = "/v1/keys/"+second.member(p, "keyId"), second.header.Get("ETag")
	var wins, losses atomic.Int64
	coretest.AtOnce(8, func(int) {
		switch got := p.ask("POST", path+"/rotate", `{}`, "If-Match: "+tag); got.status {
		case 200:
			wins.Add(1)
		case 412:
			losses.Add(1)
		default:
			t.Errorf("rotate: %d %s", got.status, got.text)
		}
	})
	if wins.Load() != 1 || losses.Load() != 7 {
		t.Errorf("%d of 8 rotations with one ETag were made and %d refused, want 1 and 7", wins.Load(), losses.Load())
	}
	p.ask("POST", "/v1/encrypt", `{}`, "If-Match: "+tag).demand(p, 400, "encrypt with an If-Match", "takes no If-Match")
}
