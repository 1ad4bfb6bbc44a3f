package door

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range core.Codes() {
		if s := statuses[c]; s < 400 || s > 599 {
			t.Errorf("code %v has status %d", c, s)
		}
	}
}

// encryptBody and newKey are bodies such as the routes have.
type encryptBody struct {
	KeyID     string `json:"key_id"`
	Plaintext []byte `json:"plaintext"`
	Mode      string `json:"mode"`
}

type newKey struct {
	Type      string   `json:"type"`
	Usage     []string `json:"usage"`
	Sensitive *bool    `json:"sensitive"`
}

// What a proxy could read in another way than we do is refused.
func TestStrictJSON(t *testing.T) {
	for what, body := range map[string]string{
		"an unknown member": `{"key_id":"a","plaintext":"YQ==","extra":1}`, "a doubled member": `{"key_id":"a","key_id":"b"}`,
		"another case": `{"Key_ID":"a"}`, "something behind": `{"key_id":"a"} {}`, "an array": `[]`, "text": `"x"`, "nothing": ``, "half": `{"key_id":`,
		"a number for text": `{"key_id":1}`, "no base64": `{"key_id":"a","plaintext":"%"}`, "too deep": strings.Repeat(`{"a":`, 50), "too large": `{"key_id":"` + strings.Repeat("x", maxBody) + `"}`,
		"a nested surprise": `{"key_id":{"a":1}}`, "null": `null`,
	} {
		var in encryptBody
		if err := Decode(strings.NewReader(body), &in); err == nil {
			t.Errorf("%s was taken: %+v", what, in)
		}
	}
	var in encryptBody
	if err := Decode(strings.NewReader(` {"key_id":"a","plaintext":"YQ==","mode":"GCM"} `), &in); err != nil || in.KeyID != "a" || string(in.Plaintext) != "a" {
		t.Errorf("a good body: %+v, %v", in, err)
	}
}

// Bounds of a body are met exactly, and the error quotes them.
func TestBoundsOfBodies(t *testing.T) {
	key := func(n int) string {
		return `{"type":"symmetric","usage":[` + strings.TrimSuffix(strings.Repeat(`"sign",`, n), ",") + `]}`
	}
	var in newKey
	if err := Decode(strings.NewReader(key(maxMembers)), &in); err != nil || len(in.Usage) != maxMembers {
		t.Errorf("%d elements: %v", maxMembers, err)
	}
	for what, body := range map[string]string{"an element too many": key(maxMembers + 1), "elements to no end": key(100_000),
		"members to no end": "{" + strings.TrimSuffix(strings.Repeat(`"type":"a",`, 60_000), ",") + "}"} {
		allocations := testing.AllocsPerRun(1, func() {
			if err := Decode(strings.NewReader(body), new(newKey)); core.CodeOf(err) != core.InvalidMessage {
				t.Errorf("%s: %v", what, err)
			}
		})
		if allocations > 1000 {
			t.Errorf("%s: %.0f allocations", what, allocations)
		}
	}
	if err := Decode(strings.NewReader(key(maxMembers+1)), &in); !strings.Contains(err.Error(), "64") {
		t.Errorf("%v does not quote the bound", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"key_id":"a"}`)
	f.Add(`{"type":"symmetric","usage":["encrypt"],"sensitive":true}`)
	f.Fuzz(func(t *testing.T, s string) {
		var a encryptBody
		var b newKey
		_ = Decode(strings.NewReader(s), &a)
		_ = Decode(strings.NewReader(s), &b)
	})
}

// What may be tried again says after how long.
func TestRetryAfter(t *testing.T) {
	for _, code := range core.Codes() {
		w := httptest.NewRecorder()
		writeProblem(w, "r", core.Errorf(code, "x"))
		again := w.Code == http.StatusServiceUnavailable || w.Code == http.StatusTooManyRequests
		if got := w.Header().Get("Retry-After"); (got != "") != again {
			t.Errorf("%v is %d with Retry-After %q", code, w.Code, got)
		}
	}
	if statuses[core.TooManyRequests] != http.StatusTooManyRequests || statuses[core.Busy] != http.StatusServiceUnavailable {
		t.Error("busy is not 503, or too many requests not 429")
	}
}
