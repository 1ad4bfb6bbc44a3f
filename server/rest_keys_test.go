package server_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// text returns a member of an answer that is a text.
func (a restAnswer) member(p *restPeople, name string) string {
	p.t.Helper()
	v, ok := a.body[name].(string)
	if !ok {
		p.t.Fatalf("%s has no text %s", a.text, name)
	}
	return v
}

// The document that the product was asked for with encrypts and decrypts a text. It works as it
// stands, with the encoding added, and with the format raw.
func TestSeedWorkflowOverREST(t *testing.T) {
	p := restAs(t, servertest.Start(t), "dev")
	first := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt","decrypt"]}`).member(p, "keyId")
	envelope := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"Hello, World!","encoding":"utf8"}`, first)).member(p, "ciphertext")
	p.must(200, "POST", "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"encoding":"utf8"}`, first, envelope), `"plaintext":"Hello, World!"`)

	made := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"]}`, `"state":"Active"`, `"length":256`)
	id := made.member(p, "keyId")
	if made.header.Get("Location") != "/v1/keys/"+id {
		t.Errorf("Location is %q", made.header.Get("Location"))
	}
	sealed := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"Hello, World!","encoding":"utf8","format":"raw"}`, id))
	opening := fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw"`, id, sealed.member(p, "ciphertext"), sealed.member(p, "iv"), sealed.member(p, "tag"))
	p.must(200, "POST", "/v1/decrypt", opening+`,"encoding":"utf8"}`, `"plaintext":"Hello, World!"`)
	p.must(200, "POST", "/v1/decrypt", opening+`}`, `"plaintext":"`+base64.StdEncoding.EncodeToString([]byte("Hello, World!"))+`"`)

	binary := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"/w==","format":"raw"}`, id))
	p.must(422, "POST", "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw","encoding":"utf8"}`, id, binary.member(p, "ciphertext"), binary.member(p, "iv"), binary.member(p, "tag")), "UTF-8")
	p.must(400, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"Hello, World!","format":"raw"}`, id), "base64")
}

// What REST says about a new key is what KMIP finds, and the reverse.
func TestKeysOverRESTAreObjectsOfKMIP(t *testing.T) {
	s := servertest.Start(t)
	p, c := restAs(t, s, "dev"), dial(t, s, "dev", core.V2_1)
	made := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"name":"both doors","tags":{"env":"prod","backup_key":""},"description":"of a test","attributes":{"x-cost-center":"4711"},
		"objectGroups":["payroll"],"activate":false,"expiresAt":"2040-01-31T12:00:00Z"}`, `"state":"Pre-Active"`)
	id := made.member(p, "keyId")
	for _, parts := range []string{`"name":"both doors"`, `"tags":{"backup_key":"","env":"prod"}`, `"description":"of a test"`, `"attributes":{"x-cost-center":"4711"}`, `"objectGroups":["payroll"]`, `"expiresAt":"2040-01-31T12:00:00Z"`, `"type":"symmetric"`,
		`"usage":["encrypt"]`, `"owner":"dev"`, `"class":"C"`, `"state":"Pre-Active"`} {
		p.must(200, "GET", "/v1/keys/"+id, "", parts)
		if !strings.Contains(made.text, parts) {
			t.Errorf("the answer to POST lacks %s: %s", parts, made.text)
		}
	}
	tag := core.Attribute{Vendor: "x", Name: "keyreeve-tag-env", Value: core.Text("prod")}
	found, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{tag}})
	if err != nil || !slices.Equal(found.IDs, []string{id}) {
		t.Errorf("KMIP finds %v by a tag, %v; want %s", found, err, id)
	}
	for filter, want := range map[string]bool{`name:"both doors"`: true, "label:backup_key": true, "tag.env:prod state:Pre-Active": true, "tag.env:test": false, "label:env": false, "algorithm:AES type:symmetric objectGroup:payroll": true,
		"createdAfter:2020-01-01T00:00:00Z": true, "createdAfter:2039-01-01T00:00:00Z": false, "expiresBefore:2041-01-01T00:00:00Z": true, "expiresBefore:2039-01-01T00:00:00Z": false, "state:Active tag.env:prod": false, "name:both": false} {
		got := p.must(200, "GET", "/v1/keys?filter="+url.QueryEscape(filter), "")
		if strings.Contains(got.text, id) != want {
			t.Errorf("filter %s: %s; found %v", filter, got.text, want)
		}
	}
	p.must(200, "POST", "/v1/keys/"+id+"/activate", `{}`, `"state":"Active"`)
	p.must(409, "POST", "/v1/keys/"+id+"/activate", `{}`, "WrongState")
	p.must(400, "POST", "/v1/keys/"+id+"/revoke", `{"reason":"boredom"}`, "reason")
	p.must(200, "POST", "/v1/keys/"+id+"/revoke", `{"reason":"keyCompromise","message":"left in a taxi","compromisedAt":"2026-01-31T12:00:00Z"}`, `"state":"Compromised"`)
	attributes, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{{Tag: core.TagState}}})
	if err != nil || core.State(attributes.Attributes.Num(core.TagState)) != core.Compromised {
		t.Errorf("the state over KMIP is %v, %v", attributes, err)
	}
}

// Pages go on while keys are made and destroyed, and a token is good for its own list alone.
func TestPagesOfKeys(t *testing.T) {
	s := servertest.Start(t)
	p, c := restAs(t, s, "dev"), dial(t, s, "dev", core.V1_4)
	create := func() string {
		return p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"tags":{"list":"yes"},"activate":false}`).member(p, "keyId")
	}
	var want []string
	for range 5 {
		want = append(want, create())
	}
	slices.Reverse(want)
	var got []string
	query := "?limit=2&filter=tag.list:yes"
	for at := query; at != ""; {
		page := p.must(200, "GET", "/v1/keys"+at, "")
		for _, k := range page.body["keys"].([]any) {
			got = append(got, k.(map[string]any)["keyId"].(string))
		}
		at = ""
		if token, ok := page.body["nextPageToken"].(string); ok {
			at = query + "&pageToken=" + token
			p.must(400, "GET", "/v1/keys?limit=2&pageToken="+token, "", "another")
			create()
			if _, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(got[len(got)-1])}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %v; want %v", got, want)
	}
	stranger := base64.RawURLEncoding.EncodeToString(append(sha256First("tag.list:yes"), "no such key"...))
	p.must(400, "GET", "/v1/keys"+query+"&pageToken="+stranger, "", "begin again")
	for _, bad := range []string{"filter=nonsense", "filter=colour:red", "filter=state:Asleep", "filter=name:", "filter=name:%22open", "limit=0", "limit=201", "offset=1", "pageToken=x", "name=a", "filter=" + url.QueryEscape(strings.Repeat("name:a ", 17))} {
		p.must(400, "GET", "/v1/keys?"+bad, "")
	}
}

func sha256First(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:8]
}

// A key is used over REST in every way that KMIP knows, and its old version after it was rotated.
func TestUsesOverREST(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	b64 := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

	pair := p.must(201, "POST", "/v1/keys", `{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"],"extractable":false}`, `"type":"pair"`, `"class":"N"`)
	private, public := pair.member(p, "keyId"), pair.member(p, "publicKeyId")
	digest := sha256.Sum256([]byte("a message"))
	signed := p.must(200, "POST", "/v1/sign", fmt.Sprintf(`{"keyId":%q,"message":"a message","encoding":"utf8","algorithm":"ECDSA-SHA-256"}`, private)).member(p, "signature")
	check := func(body string, valid bool) {
		t.Helper()
		p.must(200, "POST", "/v1/verify", body, fmt.Sprintf(`"valid":%v`, valid))
	}
	check(fmt.Sprintf(`{"keyId":%q,"message":"a message","encoding":"utf8","algorithm":"ECDSA-SHA-256","signature":%q}`, public, signed), true)
	check(fmt.Sprintf(`{"keyId":%q,"digest":%q,"algorithm":"ECDSA-SHA-256","signature":%q}`, public, b64(digest[:]), signed), true)
	check(fmt.Sprintf(`{"keyId":%q,"message":"another","encoding":"utf8","algorithm":"ECDSA-SHA-256","signature":%q}`, public, signed), false)
	p.must(400, "POST", "/v1/sign", fmt.Sprintf(`{"keyId":%q,"algorithm":"ECDSA-SHA-256"}`, private), "message")
	p.must(400, "POST", "/v1/sign", fmt.Sprintf(`{"keyId":%q,"message":"YQ==","digest":%q}`, private, b64(digest[:])), "message")

	for _, half := range []string{private, public} {
		block, _ := pem.Decode([]byte(p.must(200, "GET", "/v1/keys/"+half+"/public-key", "").member(p, "publicKey")))
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := base64.StdEncoding.DecodeString(signed)
		if !ecdsa.VerifyASN1(parsed.(*ecdsa.PublicKey), digest[:], raw) {
			t.Error("the public key does not verify what the private key has signed")
		}
		var jwk struct {
			JWK struct{ Kty, Crv, X, Y string }
		}
		if err := json.Unmarshal([]byte(p.must(200, "GET", "/v1/keys/"+half+"/public-key?format=jwk", "").text), &jwk); err != nil || jwk.JWK.Kty != "EC" || jwk.JWK.Crv != "P-256" || len(jwk.JWK.X) != 43 || len(jwk.JWK.Y) != 43 {
			t.Errorf("the JWK is %+v, %v", jwk, err)
		}
	}

	mac := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"HMAC-SHA256","usage":["macGenerate","macVerify"]}`).member(p, "keyId")
	code := p.must(200, "POST", "/v1/mac", fmt.Sprintf(`{"keyId":%q,"data":"a row","encoding":"utf8"}`, mac)).member(p, "mac")
	p.must(200, "POST", "/v1/mac/verify", fmt.Sprintf(`{"keyId":%q,"data":"a row","encoding":"utf8","mac":%q}`, mac, code), `"valid":true`)
	p.must(200, "POST", "/v1/mac/verify", fmt.Sprintf(`{"keyId":%q,"data":"another","encoding":"utf8","mac":%q}`, mac, code), `"valid":false`)
	p.must(400, "GET", "/v1/keys/"+mac+"/public-key", "", "pair")

	p.must(200, "POST", "/v1/hash", `{"algorithm":"SHA-256","data":"a message","encoding":"utf8"}`, b64(digest[:]))
	random := p.must(200, "GET", "/v1/random?bytes=32", "").member(p, "random")
	if b, _ := base64.StdEncoding.DecodeString(random); len(b) != 32 || random == p.must(200, "GET", "/v1/random?bytes=32", "").member(p, "random") {
		t.Errorf("random bytes are %q", random)
	}
	for _, bad := range []string{"", "?bytes=0", "?bytes=65537", "?bytes=x", "?bytes=-1"} {
		p.must(400, "GET", "/v1/random"+bad, "")
	}

	old := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt","decrypt"],"name":"turned"}`).member(p, "keyId")
	sealed := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"YQ==","format":"raw"}`, old))
	turned := p.must(200, "POST", "/v1/keys/"+old+"/rotate", `{}`, `"name":"turned"`, `"state":"Active"`).member(p, "keyId")
	if turned == old {
		t.Error("the new version is the old one")
	}
	p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"YQ==","format":"raw"}`, turned))
	p.must(200, "POST", "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw"}`, old, sealed.member(p, "ciphertext"), sealed.member(p, "iv"), sealed.member(p, "tag")), `"plaintext":"YQ=="`)
	p.must(200, "POST", "/v1/keys/"+turned+"/rotate", `{"activateAt":"2040-01-31T12:00:00Z"}`, `"state":"Pre-Active"`)
	p.must(400, "POST", "/v1/keys/"+old+"/rotate", `{"activateAt":"2020-01-31T12:00:00Z"}`, "passed")

	newPair := p.must(200, "POST", "/v1/keys/"+private+"/rotate", `{}`, `"type":"pair"`, `"version":2`, `"class":"N"`)
	if newPair.member(p, "publicKeyId") == public {
		t.Error("the new pair has the old public key")
	}
	signed = p.must(200, "POST", "/v1/sign", fmt.Sprintf(`{"keyId":%q,"message":"YQ==","algorithm":"ECDSA-SHA-256"}`, newPair.member(p, "keyId"))).member(p, "signature")
	check(fmt.Sprintf(`{"keyId":%q,"message":"YQ==","algorithm":"ECDSA-SHA-256","signature":%q}`, newPair.member(p, "publicKeyId"), signed), true)
	check(fmt.Sprintf(`{"keyId":%q,"message":"YQ==","algorithm":"ECDSA-SHA-256","signature":%q}`, public, signed), false)
	p.must(400, "POST", "/v1/keys/"+public+"/rotate", `{}`)
	p.must(404, "POST", "/v1/keys/nobody/rotate", `{}`)
}
