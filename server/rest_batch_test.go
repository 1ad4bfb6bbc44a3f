package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// batchOf sends items, and returns the answers, or nil and the code of the problem.
func (p *restPeople) batchOf(items ...string) (answers []map[string]any, codes []string) {
	p.t.Helper()
	got := p.must(200, "POST", "/v1/batch", `{"items":[`+strings.Join(items, ",")+`]}`)
	all := got.body["items"].([]any)
	if len(all) != len(items) {
		p.t.Fatalf("%d items are answered by %d", len(items), len(all))
	}
	for _, one := range all {
		item := one.(map[string]any)
		answer, _ := item["answer"].(map[string]any)
		code := ""
		if problem, ok := item["problem"].(map[string]any); ok {
			code = problem["code"].(string)
		}
		if (answer == nil) == (code == "") {
			p.t.Errorf("an item is answered with %v", item)
		}
		answers, codes = append(answers, answer), append(codes, code)
	}
	return answers, codes
}

// Every operation of a batch answers as its route does, and fails by itself. What is wrong with the
// body is refused as a whole.
func TestBatchOverREST(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	make := func(body string) string { return p.must(201, "POST", "/v1/keys", body).member(p, "keyId") }
	aes := make(`{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"]}`)
	wrapping := make(`{"type":"symmetric","algorithm":"AES","length":256,"usage":["wrapKey","unwrapKey","deriveKey"],"sensitive":false,"extractable":true}`)
	hmac := make(`{"type":"symmetric","algorithm":"HMAC-SHA256","length":256,"usage":["macGenerate","macVerify"]}`)
	pair := p.must(201, "POST", "/v1/keys", `{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"]}`)

	made, codes := p.batchOf(
		fmt.Sprintf(`{"operation":"encrypt","keyId":%q,"plaintext":"one","encoding":"utf8"}`, aes),
		fmt.Sprintf(`{"operation":"data-keys","keyId":%q,"plaintext":true}`, aes),
		fmt.Sprintf(`{"operation":"sign","keyId":%q,"message":"one","encoding":"utf8","algorithm":"ECDSA-SHA-256"}`, pair.member(p, "keyId")),
		fmt.Sprintf(`{"operation":"mac","keyId":%q,"data":"one","encoding":"utf8"}`, hmac),
		`{"operation":"hash","algorithm":"SHA-256","data":"one","encoding":"utf8"}`,
		`{"operation":"random","bytes":16}`,
		fmt.Sprintf(`{"operation":"wrap","keyId":%q,"keyMaterial":"AAECAwQFBgcICQoLDA0ODw=="}`, wrapping),
		fmt.Sprintf(`{"operation":"derive","keyId":%q,"method":"hkdf","length":16}`, wrapping),
	)
	for i, code := range codes {
		if code != "" {
			t.Fatalf("item %d: %s", i, code)
		}
	}
	if b, _ := base64.StdEncoding.DecodeString(made[5]["random"].(string)); len(b) != 16 {
		t.Errorf("16 random bytes are %v", made[5])
	}
	used, codes := p.batchOf(
		fmt.Sprintf(`{"operation":"decrypt","keyId":%q,"ciphertext":%q,"encoding":"utf8"}`, aes, made[0]["ciphertext"]),
		fmt.Sprintf(`{"operation":"reencrypt","keyId":%q,"ciphertext":%q}`, aes, made[0]["ciphertext"]),
		fmt.Sprintf(`{"operation":"verify","keyId":%q,"message":"one","encoding":"utf8","algorithm":"ECDSA-SHA-256","signature":%q}`, pair.member(p, "publicKeyId"), made[2]["signature"]),
		fmt.Sprintf(`{"operation":"mac/verify","keyId":%q,"data":"two","encoding":"utf8","mac":%q}`, hmac, made[3]["mac"]),
		fmt.Sprintf(`{"operation":"unwrap","keyId":%q,"wrappedKey":%q}`, wrapping, made[6]["wrappedKey"]),
		// What is wrong with one item is its own problem.
		fmt.Sprintf(`{"operation":"decrypt","keyId":%q,"ciphertext":%q}`, wrapping, made[0]["ciphertext"]),
		`{"operation":"mac","keyId":"none","data":"AAAA"}`, `{"operation":"create","type":"symmetric"}`, `{"keyId":"x"}`, `{}`, `{"Operation":"hash","algorithm":"SHA-256","data":""}`,
		`{"operation":"random","bytes":16,"more":1}`, `{"operation":"random","operation":"hash","bytes":16}`, `{"operation":"random","bytes":70000}`,
		fmt.Sprintf(`{"operation":"derive","keyId":%q,"method":"hkdf","into":{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt"]}}`, wrapping),
		`{"operation":"random","bytes":1}`,
	)
	if used[0]["plaintext"] != "one" || used[2]["valid"] != true || used[3]["valid"] != false || used[4]["keyMaterial"] != "AAECAwQFBgcICQoLDA0ODw==" {
		t.Errorf("the second batch answers %v", used)
	}
	for i, want := range []string{"", "", "", "", "", "CryptographicFailure", "ItemNotFound", "InvalidField", "InvalidField", "InvalidField", "InvalidField", "InvalidField", "InvalidField", "InvalidField", "InvalidField", ""} {
		if codes[i] != want {
			t.Errorf("item %d of the second batch: %q; want %q", i, codes[i], want)
		}
	}
	for body, part := range map[string]string{`{}`: "items", `{"items":[]}`: "items", `{"items":{}}`: "items", `{"items":[{},[null]]}`: "items[1]", `{"items":[` + strings.Repeat(`{},`, 1000) + `{}]}`: "1000", `{"items":[{}],"more":1}`: "more", `{"items":[{}}`: ""} {
		p.must(400, "POST", "/v1/batch", body, part)
	}

	// Each item leaves a record.
	if got := records(t, s, "RNG Retrieve"); len(got) != 4 {
		t.Errorf("%d records of RNG Retrieve; want 4, two of them of refused items: %s", len(got), strings.Join(got, "\n"))
	}
}

// An answer has a bound: the items behind it are not begun.
func TestBatchAnswerIsBounded(t *testing.T) {
	p := restAs(t, servertest.Start(t), "dev")
	items := make([]string, 40)
	for i := range items {
		items[i] = `{"operation":"random","bytes":65536}`
	}
	_, codes := p.batchOf(items...)
	answered := 0
	for i, code := range codes {
		if code == "" {
			answered++
		} else if code != "ResponseTooLarge" || i != answered+(i-answered) {
			t.Errorf("item %d: %s", i, code)
		}
	}
	if answered < 20 || answered > 30 {
		t.Errorf("%d answers of 64 KiB come back; want about 24", answered)
	}
}

// TestBatchRate measures how many more MACs a second clients get by batches of 100 than by single
// requests. Run it with KEYREEVE_MEASURE=1.
func TestBatchRate(t *testing.T) {
	if os.Getenv("KEYREEVE_MEASURE") == "" {
		t.Skip("KEYREEVE_MEASURE is not set")
	}
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	for name, key := range map[string]string{"mac": `{"type":"symmetric","algorithm":"HMAC-SHA256","length":256,"usage":["macGenerate"]}`, "encrypt": `{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt"]}`} {
		id := p.must(201, "POST", "/v1/keys", key).member(p, "keyId")
		member := map[string]string{"mac": "data", "encrypt": "plaintext"}[name]
		single := fmt.Sprintf(`{"keyId":%q,%q:"SGVsbG8="}`, id, member)
		item := fmt.Sprintf(`{"operation":%q,`, name) + single[1:]
		hundred := `{"items":[` + strings.Repeat(item+",", 99) + item + `]}`
		for _, clients := range []int{1, 8} {
			rate := func(path, body string, each int) float64 {
				var done atomic.Int64
				var wait sync.WaitGroup
				end := time.Now().Add(4 * time.Second)
				for range clients {
					c := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, s, "dev")}}
					wait.Go(func() {
						for time.Now().Before(end) {
							res, text := sendREST(t, c, "POST", "https://"+s.HTTPS+path, body, http.Header{})
							if res.StatusCode != 200 || strings.Contains(string(text), "problem") {
								t.Errorf("%d %s", res.StatusCode, text)
								return
							}
							done.Add(int64(each))
						}
					})
				}
				wait.Wait()
				return float64(done.Load()) / 4
			}
			one, many := rate("/v1/"+name, single, 1), rate("/v1/batch", hundred, 100)
			t.Logf("%s, %d clients: %.0f items a second by single requests, %.0f by batches of 100: %.1f times", name, clients, one, many, many/one)
		}
	}
}
