package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// A rotation can be set, read and ended, by those who may, within bounds.
func TestRotationOverREST(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	id := madeKey(p)
	path := "/v1/keys/" + id + "/rotation"
	if out := p.must(200, "GET", path, ""); len(out.body) != 1 || out.body["keyId"] != id {
		t.Errorf("a key without rotation: %s", out.text)
	}
	set := p.must(200, "POST", path, `{"every":"90d"}`)
	next, err := time.Parse(time.RFC3339, fmt.Sprint(set.body["nextAt"]))
	if days := time.Until(next).Hours() / 24; err != nil || days < 89.9 || days > 90.1 || set.body["every"] != "90d" {
		t.Errorf("the rotation is %s", set.text)
	}
	if out := p.must(200, "GET", path, ""); out.text != set.text || out.header.Get("ETag") != set.header.Get("ETag") {
		t.Errorf("the rotation is read as %s; it was set to %s", out.text, set.text)
	}
	p.must(400, "POST", path, `{"every":"10m"}`)
	p.must(400, "POST", path, `{"every":"monthly"}`)
	p.must(400, "POST", path, `{"before":"7d"}`) // the key does not end
	p.must(400, "POST", path, `{"notify":"7d"}`)
	rotated := p.must(200, "POST", "/v1/keys/"+id+"/rotate", `{}`)
	if out := p.must(200, "GET", path, ""); out.body["keyId"] != rotated.body["keyId"] || out.body["nextAt"] != set.body["nextAt"] {
		t.Errorf("after a rotate the rotation is %s", out.text)
	}
	if out := p.must(200, "POST", path, `{}`); len(out.body) != 1 {
		t.Errorf("a rotation that was ended is %s", out.text)
	}
	s.Issue("colleague", "default")
	restAs(t, s, "colleague").must(403, "POST", path, `{"every":"90d"}`)
	if got := records(t, s, "Set Rotation"); len(got) < 6 {
		t.Errorf("the changes have left the records %v", got)
	}
}

// Of two nodes one rotates keys and pairs by itself before they end; the old version still decrypts.
func TestServersRotateByThemselves(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	two := secondNode(t, one, url)
	p, q := restAs(t, one, "dev"), restAs(t, two, "dev")
	ends := time.Now().Add(30 * time.Second).UTC().Format(time.RFC3339)
	ids := []string{}
	for _, body := range []string{`{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"],"expiresAt":"%s"}`, `{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"],"expiresAt":"%s"}`} {
		id := p.must(201, "POST", "/v1/keys", fmt.Sprintf(body, ends)).body["keyId"].(string)
		p.must(200, "POST", "/v1/keys/"+id+"/rotation", `{"before":"28s"}`)
		ids = append(ids, id)
	}
	sealed := p.must(200, "POST", "/v1/encrypt", `{"keyId":"`+ids[0]+`","plaintext":"aGVsbG8="}`)
	for _, id := range ids {
		var out restAnswer
		for range 200 {
			if out = q.must(200, "GET", "/v1/keys/"+id, ""); out.body["version"] != float64(1) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if out.body["version"] != float64(2) || out.body["owner"] != "dev" {
			t.Fatalf("after 20 seconds the newest version is %s", out.text)
		}
		p.must(200, "POST", "/v1/keys/"+id+"/rotation", `{}`)
	}
	if out := q.must(200, "POST", "/v1/decrypt", `{"keyId":"`+ids[0]+`","ciphertext":"`+sealed.body["ciphertext"].(string)+`"}`); out.body["plaintext"] != "aGVsbG8=" {
		t.Errorf("what version 1 encrypted is decrypted as %s", out.text)
	}
	for _, action := range []string{"Re-key", "Re-key Key Pair"} {
		byClock := 0
		for _, r := range records(t, one, action) {
			if strings.Contains(r, " clock default/keyreeve ") {
				byClock++
			}
		}
		if byClock != 1 {
			t.Errorf("%s: %d records of the clock: %v", action, byClock, records(t, one, action))
		}
	}
}
