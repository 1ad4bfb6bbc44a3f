package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
)

func operation(t *testing.T, pattern string) *api.Operation {
	t.Helper()
	o := api.OperationOf(pattern)
	if o == nil {
		t.Fatalf("there is no operation %s", pattern)
	}
	return o
}

// The codes of the specification are those of core, and each operation that has an action has
// one that core knows.
func TestSpecificationAgreesWithCore(t *testing.T) {
	var codes []string
	for _, m := range api.ProblemSchema().Members {
		if m.Name == "code" {
			codes = m.Schema.Enum
		}
	}
	for _, name := range codes {
		if code, ok := core.CodeByName(name); !ok || code.String() != name {
			t.Errorf("the specification has the code %s, which core does not have", name)
		}
	}
	for _, code := range core.Codes() {
		if !slices.Contains(codes, code.String()) {
			t.Errorf("the specification lacks the code %v", code)
		}
	}
	for _, o := range api.Operations {
		if o.Action != "" && o.Action != core.ActionMessage.String() && core.ActionsNamed(o.Action) == nil {
			t.Errorf("%s has the action %q, which core does not have", o.Pattern(), o.Action)
		}
	}
}

// Each fault of a body is refused, and the error names the member.
func TestCheck(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct{ pattern, body, path string }{
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"extra":1}`, "extra"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"Name":"n"}`, "Name"},
		{"POST /v1/keys", `{"algorithm":"AES","usage":["encrypt"]}`, "type"},
		{"POST /v1/keys", `{"type":"symmetric","attributes":{"cost":"1"}}`, "attributes.cost"},
		{"POST /v1/keys", `{"type":"triple","algorithm":"AES","usage":["encrypt"]}`, "type"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt","fly"]}`, "usage[1]"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":[]}`, "usage"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":[` + strings.Repeat(`"sign",`, 16) + `"sign"]}`, "usage"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":"encrypt"}`, "usage"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"","usage":["encrypt"]}`, "algorithm"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"` + text(65) + `","usage":["encrypt"]}`, "algorithm"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"length":0}`, "length"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"length":65537}`, "length"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"length":1.5}`, "length"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"length":"256"}`, "length"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"sensitive":null}`, "sensitive"},
		{"POST /v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"sensitive":"true"}`, "sensitive"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw","aad":"%"}`, "aad"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw","aad":"YR=="}`, "aad"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw","aad":"YQ"}`, "aad"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw","aad":"YQ=="} {}`, ""},
		{"POST /v1/encrypt", `{"keyId":"k","keyId":"k","plaintext":"YQ==","format":"raw"}`, "keyId"},
		{"POST /v1/encrypt", `{"keyId":"k","key\u0049d":"k","plaintext":"YQ==","format":"raw"}`, "keyId"},
		{"POST /v1/encrypt", `{"keyId":"\ud800","plaintext":"YQ==","format":"raw"}`, "Unicode"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw","aad":"Y\u0052=="}`, "aad"},
		{"POST /v1/encrypt", `{"keyId":"k","plaintext":"YQ==","format":"raw"`, ""},
		{"POST /v1/encrypt", `[]`, ""},
		{"POST /v1/encrypt", ``, ""},
		{"POST /v1/encrypt", `null`, ""},
		{"POST /v1/encrypt", "{\"keyId\":\"\xff\",\"plaintext\":\"YQ==\",\"format\":\"raw\"}", "Unicode"},
		{"POST /v1/keys/{keyId}/rotate", `{"activateAt":"tomorrow"}`, "activateAt"},
		{"POST /v1/sign", `{"keyId":"k"}`, "message"},
		{"POST /v1/sign", `{"keyId":"k","message":"YQ==","digest":"YWFh"}`, "message"},
		{"POST /v1/clients", `{"csr":"x"}`, "name"},
		{"POST /v1/policies/{policyId}/attach", `{"user":"a","role":"b"}`, ""},
		{"POST /v1/policies/{policyId}/attach", `{}`, ""},
		{"POST /v1/users", `{"name":"-a"}`, "name"},
		{"POST /v1/users", `{"name":"a","attributes":{"-":"x"}}`, "attributes.-"},
		{"POST /v1/users", `{"name":"a","attributes":{"x":""}}`, "attributes.x"},
		{"POST /v1/users", `{"name":"a","attributes":{"x":{}}}`, "attributes.x"},
	} {
		err := api.Check([]byte(c.body), operation(t, c.pattern).Body)
		if fault, ok := errors.AsType[*api.Fault](err); !ok || !strings.Contains(fault.Text, c.path) {
			t.Errorf("%s %.80s: %v; want a fault that names %q", c.pattern, c.body, err, c.path)
		}
	}
	for pattern, body := range map[string]string{
		"POST /v1/keys":                ` {"type":"pair","algorithm":"EC","usage":["sign"],"length":256,"activate":false} `,
		"POST /v1/encrypt":             `{"key\u0049d":"k","plaintext":"ä\n\"\\","encoding":"utf8","format":"raw","aad":""}`,
		"POST /v1/keys/{keyId}/rotate": `{"activateAt":"2026-01-31T12:00:00+01:00"}`,
		"POST /v1/users":               `{"name":"a","expiresAt":null,"attributes":{"x":"y"}}`,
		"POST /v1/policies":            `{"document":{"a":[{"b":null,"b":1},"]}\"",[],{},-1e5 , true]},"name":"p\u0061"}`,
	} {
		if err := api.Check([]byte(body), operation(t, pattern).Body); err != nil {
			t.Errorf("%s %s: %v", pattern, body, err)
		}
	}
}

// A body that repeats something without end is refused when a bound is reached.
func TestCheckStopsAtBounds(t *testing.T) {
	s := operation(t, "POST /v1/users").Body
	for what, body := range map[string]string{
		"members": `{"name":"a","attributes":{` + manyMembers(100_000) + `}}`, "elements": `{"name":"a","groups":[` + strings.Repeat(`"g",`, 100_000) + `"g"]}`,
	} {
		allocations := testing.AllocsPerRun(1, func() {
			if fault, ok := errors.AsType[*api.Fault](api.Check([]byte(body), s)); !ok || !strings.Contains(fault.Text, "more than 64") {
				t.Errorf("%s without end: %v", what, fault)
			}
		})
		if allocations > 1000 {
			t.Errorf("%s without end: %.0f allocations", what, allocations)
		}
	}
}

// A body of a usual request is checked without a copy of it: it may hold plaintext.
func TestCheckMakesNoCopy(t *testing.T) {
	s := operation(t, "POST /v1/encrypt").Body
	body := []byte(`{"keyId":"k","plaintext":"` + strings.Repeat("QUFB", 10_000) + `"}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := api.Check(body, s)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 10_000 {
		t.Errorf("%d bytes were allocated to check %d", bytes, len(body))
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":"x",`, i)
	}
	return b.String() + `"m":"x"`
}

func TestCheckQuery(t *testing.T) {
	for _, c := range []struct {
		pattern     string
		name, value string
		good        bool
	}{{"GET /v1/keys", "limit", "1", true}, {"GET /v1/keys", "limit", "200", true}, {"GET /v1/keys", "limit", "0", false}, {"GET /v1/keys", "limit", "201", false}, {"GET /v1/keys", "limit", "-1", false},
		{"GET /v1/keys", "limit", "", false}, {"GET /v1/keys", "limit", "x", false}, {"GET /v1/keys", "limit", "1.0", false}, {"GET /v1/keys", "Limit", "1", false}, {"GET /v1/keys", "none", "1", false},
		{"GET /v1/keys/{keyId}/public-key", "format", "pem", true}, {"GET /v1/keys/{keyId}/public-key", "format", "PEM", false}, {"GET /v1/random", "bytes", "65536", true}, {"GET /v1/random", "byte", "1", false}} {
		if err := api.CheckQuery(map[string]string{c.name: c.value}, operation(t, c.pattern).Query); (err == nil) != c.good {
			t.Errorf("%s?%s=%s: %v", c.pattern, c.name, c.value, err)
		}
	}
	if api.CheckQuery(nil, operation(t, "GET /v1/random").Query) == nil {
		t.Error("a required parameter is not missed")
	}
}

// A text is decoded once, and is zeroed by it.
func TestEncoded(t *testing.T) {
	plain, base64 := api.EncodingUTF8, "base64"
	for _, c := range []struct {
		text     string
		encoding *string
		want     string
		ok       bool
	}{{"SGVsbG8=", nil, "Hello", true}, {"SGVsbG8=", &base64, "Hello", true}, {"Hellö", &plain, "Hellö", true}, {"Hello", nil, "", false}, {"SGVsbG8", nil, "", false}, {"SGVs\nbG8=", nil, "", false}, {"", nil, "", true}} {
		e := api.Encoded(c.text)
		got, ok := e.Decode(c.encoding)
		if ok != c.ok || string(got) != c.want || strings.Trim(string(e), "\x00") != "" {
			t.Errorf("%q: %q, %v; the text is %q then", c.text, got, ok, e)
		}
		if again, valid := api.Encode([]byte(c.want), c.encoding); c.ok && (!valid || string(again) != c.text) {
			t.Errorf("%q becomes %q, %v", c.want, again, valid)
		}
	}
	for sent, want := range map[string]string{`"SGVsbG8="`: "SGVsbG8=", `"a\n\u00e4\""`: "a\nä\"", `""`: "", `null`: "", "\"\xff\"": "\ufffd"} {
		var read api.Encoded
		if err := json.Unmarshal([]byte(sent), &read); err != nil || string(read) != want || (read == nil) != (sent == "null") {
			t.Errorf("%s is read as %q, %v", sent, read, err)
		}
	}
	if _, valid := api.Encode([]byte{0xff}, &plain); valid {
		t.Error("bytes that are no UTF-8 were taken for a text")
	}
}
