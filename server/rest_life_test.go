package server_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// madeKey makes a key over REST that encrypts.
func madeKey(p *restPeople) string {
	p.t.Helper()
	return p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt","decrypt"],"name":"of a life"}`).member(p, "keyId")
}

// sealBody is a request to encrypt with a key.
func sealBody(id string) string {
	return fmt.Sprintf(`{"keyId":%q,"plaintext":"YQ==","format":"raw"}`, id)
}

// A key is disabled, archived and deleted over REST, and each can be taken back: then what it
// has encrypted before is decrypted.
func TestLifeOverREST(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	id := madeKey(p)
	sealed := p.must(200, "POST", "/v1/encrypt", sealBody(id))
	opening := fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw"}`, id, sealed.member(p, "ciphertext"), sealed.member(p, "iv"), sealed.member(p, "tag"))
	for _, c := range []struct {
		take, says, refused string
		status              int
		shown, back         string
	}{
		{"POST disable", `"disabled":true`, "WrongState", 409, `"state":"Active"`, "enable"},
		{"POST archive", `"archivedAt":"`, "ObjectArchived", 409, `"archivedAt":"`, "recover"},
		{"DELETE ", `"state":"Destroyed"`, "ObjectDestroyed", 410, `"purgeAt":"`, "restore"},
	} {
		method, verb, _ := strings.Cut(c.take, " ")
		path, body, status := "/v1/keys/"+id, "", 202
		if verb != "" {
			path, body, status = path+"/"+verb, `{}`, 200
		}
		p.must(status, method, path, body, c.says, `"keyId":"`+id+`"`)
		p.must(c.status, "POST", "/v1/encrypt", sealBody(id), c.refused)
		p.must(c.status, "POST", "/v1/decrypt", opening, c.refused)
		p.must(c.status, "POST", "/v1/keys/"+id+"/rotate", `{}`, c.refused)
		p.must(c.status, method, path, body)
		p.must(200, "GET", "/v1/keys/"+id, "", c.shown)
		p.must(400, "POST", "/v1/keys/"+id+"/"+c.back, `{"why":"not"}`)
		if got := p.must(200, "POST", "/v1/keys/"+id+"/"+c.back, `{}`, `"state":"Active"`, `"disabled":false`); strings.Contains(got.text, "At") {
			t.Errorf("%s answers %s", c.back, got.text)
		}
		p.must(200, "POST", "/v1/decrypt", opening, `"plaintext":"YQ=="`)
	}
	p.must(409, "POST", "/v1/keys/"+id+"/restore", `{}`, "not deleted")
	p.must(409, "POST", "/v1/keys/"+id+"/purge", `{}`, "not deleted")
	p.must(202, "DELETE", "/v1/keys/"+id, "")
	p.must(200, "POST", "/v1/keys/"+id+"/purge", `{}`, `"state":"Destroyed"`, `"deletedAt":"`)
	p.must(410, "POST", "/v1/keys/"+id+"/restore", `{}`, "nothing brings it back")
	if got := p.must(200, "GET", "/v1/keys/"+id, "", `"state":"Destroyed"`); strings.Contains(got.text, "purgeAt") {
		t.Errorf("a purged key can be purged: %s", got.text)
	}
}

// retentionOfDeleted returns how long a key can be restored that is deleted without saying so.
func retentionOfDeleted(t *testing.T, s *servertest.Server) string {
	p := restAs(t, s, "dev")
	out := p.must(202, "DELETE", "/v1/keys/"+madeKey(p), "")
	return retentionIn(p, out).String()
}

func retentionIn(p *restPeople, out restAnswer) time.Duration {
	p.t.Helper()
	deleted, err := time.Parse(time.RFC3339, out.member(p, "deletedAt"))
	until, err2 := time.Parse(time.RFC3339, out.member(p, "purgeAt"))
	if err != nil || err2 != nil {
		p.t.Fatalf("the answer is %s", out.text)
	}
	return until.Sub(deleted)
}

// How long a deleted key can be restored is said by the request, within bounds.
func TestRetentionOverREST(t *testing.T) {
	p := restAs(t, servertest.Start(t), "dev")
	for query, days := range map[string]int{"": 30, "?retention=1d": 1, "?retention=48h": 2, "?retention=3650d": 3650} {
		out := p.must(202, "DELETE", "/v1/keys/"+madeKey(p)+query, "")
		if retentionIn(p, out) != time.Duration(days)*24*time.Hour {
			t.Errorf("DELETE%s: %s; want %d days", query, out.text, days)
		}
	}
	id := madeKey(p)
	for _, bad := range []string{"retention=23h", "retention=3651d", "retention=0d", "retention=-1d", "retention=7", "retention=7w", "retention=+7d", "retention=07d", "retention=1.5d", "retention=99999999999999999999d", "retention=", "force=true", "retention=7d&retention=8d"} {
		p.must(400, "DELETE", "/v1/keys/"+id+"?"+bad, "")
	}
	p.must(200, "POST", "/v1/encrypt", sealBody(id))
}

// A list has archived keys, and deleted ones only if it asks for a state.
func TestLifeInLists(t *testing.T) {
	p := restAs(t, servertest.Start(t), "dev")
	archived, deleted := madeKey(p), madeKey(p)
	p.must(200, "POST", "/v1/keys/"+archived+"/archive", `{}`)
	p.must(202, "DELETE", "/v1/keys/"+deleted, "")
	for filter, want := range map[string][2]bool{`name:"of a life"`: {true, false}, `state:Active`: {true, false}, `state:Destroyed`: {false, true}} {
		got := p.must(200, "GET", "/v1/keys?filter="+url.QueryEscape(filter), "").text
		if strings.Contains(got, archived) != want[0] || strings.Contains(got, deleted) != want[1] {
			t.Errorf("filter %s: %s; want the archived key %v, the deleted one %v", filter, got, want[0], want[1])
		}
	}
}

// The answers need no right to read the key, and another tenant's key is not there.
func TestLifeNeedsItsOwnRight(t *testing.T) {
	s := servertest.Start(t)
	owner := restAs(t, s, "dev")
	id := madeKey(owner)
	s.Issue("stranger", "else")
	s.Issue("colleague", "default")
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	stranger, colleague, admin := restAs(t, s, "stranger"), restAs(t, s, "colleague"), restAs(t, s, "anna")
	admin.must(201, "POST", "/v1/policies", `{"name":"keeper","document":{"statements":[{"principal":"user:colleague","actions":["disable","enable","archive","recover","delete","restore","purge"],"effect":"allow"}]},"reason":"test"}`)
	steps := []string{"POST disable", "POST enable", "POST archive", "POST recover", "DELETE ", "POST restore", "DELETE ", "POST purge"}
	do := func(p *restPeople, step string) restAnswer {
		method, verb, _ := strings.Cut(step, " ")
		if verb == "" {
			return p.ask(method, "/v1/keys/"+id, "")
		}
		return p.ask(method, "/v1/keys/"+id+"/"+verb, `{}`)
	}
	for _, step := range steps {
		if got := do(stranger, step); got.status != 404 {
			t.Errorf("%s of another tenant's key: %d %s", step, got.status, got.text)
		}
		if got := do(colleague, step); got.status != 403 {
			t.Errorf("%s without a right: %d %s", step, got.status, got.text)
		}
	}
	admin.must(200, "POST", "/v1/keys/"+id+"/policy", `{"policyId":"keeper"}`)
	for _, step := range steps {
		if got := do(colleague, step); got.status/100 != 2 || got.body["keyId"] != id || got.body["state"] == nil {
			t.Errorf("%s with the right: %d %s", step, got.status, got.text)
		}
	}
	colleague.must(403, "GET", "/v1/keys/"+id, "")
}

// A KMIP client sees what REST did to a key, with the reasons of its version, and does Archive
// and Recover itself.
func TestLifeOverKMIP(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	for _, v := range []core.Version{core.V1_2, core.V1_4, core.V2_0, core.V2_1} {
		c := dial(t, s, "dev", v)
		encrypt := func(id string) core.ResultReason {
			_, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Data: make([]byte, 16), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}, IV: make([]byte, 16)})
			return kmiptest.Reason(err)
		}
		get := func(id string) core.ResultReason {
			_, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
			return kmiptest.Reason(err)
		}
		state, destroyed, getDestroyed := core.ReasonPermissionDenied, core.ReasonPermissionDenied, core.ReasonItemNotFound
		if v >= core.V2_0 {
			state, destroyed, getDestroyed = core.ReasonWrongKeyLifecycleState, core.ReasonWrongKeyLifecycleState, core.ReasonObjectDestroyed
		}
		attributes := func(id string) core.Attributes {
			t.Helper()
			out, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
			if err != nil {
				t.Errorf("KMIP %v: attributes: %v", v, err)
			}
			return out.Attributes
		}
		id := madeKey(p)
		p.must(200, "POST", "/v1/keys/"+id+"/disable", `{}`)
		if as := attributes(id); encrypt(id) != state || as.Find(core.DisabledAttribute) < 0 || core.State(as.Num(core.TagState)) != core.Active {
			t.Errorf("KMIP %v: a disabled key answers %v and has %+v", v, encrypt(id), as)
		}
		p.must(200, "POST", "/v1/keys/"+id+"/enable", `{}`)

		if _, err := kmiptest.Do(c, &kmip.Archive, &operation.LifeInput{ID: core.ID(id)}); err != nil {
			t.Fatalf("KMIP %v: Archive: %v", v, err)
		}
		if as := attributes(id); encrypt(id) != core.ReasonObjectArchived || get(id) != core.ReasonObjectArchived || !as.Has(core.TagArchiveDate) {
			t.Errorf("KMIP %v: an archived key answers %v and %v and has %+v", v, encrypt(id), get(id), as)
		}
		if _, err := kmiptest.Do(c, &kmip.Archive, &operation.LifeInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonObjectArchived {
			t.Errorf("KMIP %v: a second Archive: %v", v, err)
		}
		if out, err := kmiptest.Do(c, &kmip.Recover, &operation.LifeInput{ID: core.ID(id)}); err != nil || out.ID != id || attributes(id).Has(core.TagArchiveDate) {
			t.Errorf("KMIP %v: Recover answers %+v, %v", v, out, err)
		}

		p.must(202, "DELETE", "/v1/keys/"+id, "")
		if as := attributes(id); encrypt(id) != destroyed || get(id) != getDestroyed || core.State(as.Num(core.TagState)) != core.Destroyed {
			t.Errorf("KMIP %v: a deleted key answers %v and %v and has %+v", v, encrypt(id), get(id), as)
		}
		p.must(200, "POST", "/v1/keys/"+id+"/restore", `{}`)
		if got := get(id); got != 0 {
			t.Errorf("KMIP %v: a restored key answers %v", v, got)
		}
	}
}
