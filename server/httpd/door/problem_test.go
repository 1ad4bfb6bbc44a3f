package door

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range core.Codes() {
		if s := statuses[c]; s < 400 || s > 599 {
			t.Errorf("code %v has status %d", c, s)
		}
	}
}

// What a proxy could read in another way than we do is refused, and what is read is not
// acceptable: each with its code.
func TestStrictJSON(t *testing.T) {
	const good = `"keyId":"a","plaintext":"YQ==","format":"raw"`
	for what, c := range map[string]struct {
		body string
		want core.Code
	}{
		"an unknown member": {`{` + good + `,"extra":1}`, core.InvalidField}, "a doubled member": {`{` + good + `,"keyId":"b"}`, core.InvalidMessage},
		"another case": {`{` + good + `,"Mode":"GCM"}`, core.InvalidField}, "something behind": {`{` + good + `} {}`, core.InvalidMessage}, "an array": {`[]`, core.InvalidMessage},
		"text": {`"x"`, core.InvalidMessage}, "nothing": {``, core.InvalidMessage}, "half": {`{"keyId":`, core.InvalidMessage}, "a member that is missing": {`{"keyId":"a","format":"raw"}`, core.InvalidField},
		"a number for text": {`{"keyId":1}`, core.InvalidField}, "no base64": {`{` + good + `,"aad":"%"}`, core.InvalidField}, "too large": {`{"keyId":"` + strings.Repeat("x", maxBody) + `"}`, core.InvalidMessage},
		"a nested surprise": {`{"keyId":{"a":1}}`, core.InvalidField}, "null": {`null`, core.InvalidMessage},
	} {
		var in api.EncryptRequest
		if err := Decode(strings.NewReader(c.body), &in); err == nil || core.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want %v", what, err, c.want)
		}
	}
	var in api.EncryptRequest
	if err := Decode(strings.NewReader(` {`+good+`,"mode":"GCM"} `), &in); err != nil || in.KeyID != "a" || string(in.Plaintext) != "YQ==" || in.AAD != nil || *in.Mode != "GCM" {
		t.Errorf("a good body: %+v, %v", in, err)
	}
}

// What the specification allows can be read into the type, so the check is the only one.
func FuzzDecode(f *testing.F) {
	f.Add(`{"keyId":"a","plaintext":"YQ==","format":"raw"}`)
	f.Add(`{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt"],"sensitive":true,"tags":{"a":"b"}}`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, in := range []Specified{&api.EncryptRequest{}, &api.NewKey{}, &api.NewUser{}} {
			allowed := api.Check([]byte(s), in.Schema()) == nil
			if err := Decode(strings.NewReader(s), in); (err == nil) != allowed || err != nil && core.CodeOf(err) == core.Internal {
				t.Errorf("%q: %v; the specification allows it: %v", s, err, allowed)
			}
		}
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
	slow := &core.Error{Code: core.TooManyRequests, RetryAfter: 46}
	for want, err := range map[string]error{"46": slow, "46 ": core.Wrap(core.TooManyRequests, slow, "x"), "": core.Wrap(core.TooManyRequests, errors.Join(slow, core.ErrOutcomeUnknown), "x")} {
		w := httptest.NewRecorder()
		writeProblem(w, "r", err)
		if got := w.Header().Get("Retry-After"); got != strings.TrimSpace(want) {
			t.Errorf("%v has Retry-After %q, want %q", err, got, want)
		}
	}
	for _, code := range []core.Code{core.TokenUnavailable, core.StoreUnavailable, core.AuditUnavailable} {
		w := httptest.NewRecorder()
		writeProblem(w, "r", engine.Unrecorded(core.Wrap(code, core.ErrOutcomeUnknown, "x"), nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "" {
			t.Errorf("%v with an outcome that is not known is %d with Retry-After %q; want 503 without", code, w.Code, w.Header().Get("Retry-After"))
		}
	}
	if statuses[core.TooManyRequests] != http.StatusTooManyRequests || statuses[core.Busy] != http.StatusServiceUnavailable {
		t.Error("busy is not 503, or too many requests not 429")
	}
}
