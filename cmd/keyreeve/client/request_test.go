package client

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/profile"
)

// answering returns the client of a server that answers as told. Pauses are counted, not made.
func answering(t *testing.T, answer http.HandlerFunc) (s *server, pauses *[]time.Duration) {
	t.Helper()
	ts := httptest.NewTLSServer(answer)
	t.Cleanup(ts.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := connectTo(profile.Connection{Profile: profile.Profile{URL: ts.URL, CA: ca}, Token: "kr1_s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	pauses = new([]time.Duration)
	s.pause = func(_ context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return nil
	}
	return s, pauses
}

// A request is sent again only if it changes nothing, and only as often and as late as is bounded.
func TestRepetition(t *testing.T) {
	for _, c := range []struct {
		q      request
		status int
		after  string // Retry-After
		tries  int
		exit   int
	}{
		{get("/x"), 503, "1", maxTries, exitUnavailable},
		{get("/x"), 429, "2", maxTries, exitUnavailable},
		{compute("/x", struct{}{}), 503, "10", maxTries, exitUnavailable},
		{post("/x", struct{}{}), 503, "1", 1, exitUnavailable},
		{post("/x", struct{}{}), 429, "1", 1, exitUnavailable},
		{get("/x"), 503, "", 1, exitUnavailable},
		{get("/x"), 503, "0", 1, exitUnavailable},
		{get("/x"), 503, "11", 1, exitUnavailable},
		{get("/x"), 503, "99999999999999999999", 1, exitUnavailable},
		{get("/x"), 503, "Sun, 06 Nov 1994 08:49:37 GMT", 1, exitUnavailable},
		{post("/x", struct{}{}), 503, "", 1, exitUnknown},
		{post("/x", struct{}{}), 500, "", 1, exitUnknown},
		{post("/x", struct{}{}), 504, "", 1, exitUnknown},
		{post("/x", struct{}{}), 501, "", 1, exitFailed},
		{post("/x", struct{}{}), 409, "", 1, exitConflict},
		{get("/x"), 500, "1", 1, exitFailed},
		{get("/x"), 403, "1", 1, exitDenied},
	} {
		tries := 0
		s, pauses := answering(t, func(w http.ResponseWriter, r *http.Request) {
			tries++
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
			fmt.Fprint(w, `{"code":"Busy","detail":"busy","requestId":"1"}`)
		})
		_, err := s.ask(t.Context(), c.q, &struct{}{})
		var f *failure
		if tries != c.tries || len(*pauses) != c.tries-1 || !errors.As(err, &f) || f.ExitCode() != c.exit {
			t.Errorf("%s with %d, Retry-After %q: %d tries, pauses %v, %v; want %d tries and exit status %d", c.q.method, c.status, c.after, tries, *pauses, err, c.tries, c.exit)
		}
	}
}

// The answer to a repetition counts, and its body is whole.
func TestRepetitionSucceeds(t *testing.T) {
	tries := 0
	s, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		var b [64]byte
		n, _ := r.Body.Read(b[:])
		if tries++; tries == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return
		}
		fmt.Fprintf(w, `{"body":%q}`, b[:n])
	})
	var out struct{ Body string }
	if _, err := s.ask(t.Context(), compute("/x", map[string]int{"a": 1}), &out); err != nil || out.Body != `{"a":1}` {
		t.Errorf("%q, %v", out.Body, err)
	}
}

// A pause that would outlast the command is not made.
func TestPauseEndsWithTheCommand(t *testing.T) {
	ctx, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	if err := pauseFor(ctx, time.Hour); !errors.Is(err, errNoTime) {
		t.Errorf("%v", err)
	}
	if err := pauseFor(ctx, time.Millisecond); err != nil {
		t.Errorf("%v", err)
	}
}

// Whatever a server answers, the error is one that a person can read, without the token.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		answer string
		want   string
	}{
		"problem":     {403, `{"code":"ApprovalNeeded","detail":"wait","requestId":"r1","approvalId":"a1"}`, "wait (code ApprovalNeeded, request r1, approval a1)"},
		"long":        {400, `{"code":"InvalidField","detail":"` + strings.Repeat("x", 5000) + `","requestId":"r1"}`, "... (code InvalidField, request r1)"},
		"no problem":  {502, `<html>`, "502 Bad Gateway"},
		"no JSON":     {200, `<html>`, "cannot be read"},
		"elsewhere":   {302, ``, "302 Found"},
		"much":        {200, strings.Repeat(" ", maxAnswer+1), "more than"},
		"other types": {403, `{"code":1}`, "without saying why"},
	} {
		s, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/x" {
				t.Errorf("%s: the client followed to %s", name, r.URL)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.answer)
		})
		_, err := s.ask(t.Context(), get("/x"), &struct{}{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") || len(err.Error()) > 600 {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// A list follows its pages and stops at its limit.
func TestListFollowsPages(t *testing.T) {
	var asked []string
	s, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		fmt.Fprint(w, `{"keys":[{"keyId":"a"},{"keyId":"b"}],"nextPageToken":"next"}`)
	})
	keys, more, err := s.listKeys(t.Context(), "name:x", 5)
	if err != nil || len(keys) != 6 || !more || strings.Join(asked, " ") != "filter=name%3Ax&limit=5 filter=name%3Ax&limit=3&pageToken=next filter=name%3Ax&limit=1&pageToken=next" {
		t.Errorf("%d keys, more %v, %v; asked %q", len(keys), more, err, asked)
	}
}

// If a request that changes something was sent and no answer says what came of it, the error
// and the exit status say so. A request that was not sent, or changes nothing, can be repeated.
func TestUnknownOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, end func())
		unread bool // the answer is there, and is no answer of this server
	}{
		"the connection ends":   {func(_ http.ResponseWriter, _ func()) { panic(http.ErrAbortHandler) }, false},
		"the time is over":      {func(_ http.ResponseWriter, end func()) { end() }, false},
		"the answer is cut off": {func(w http.ResponseWriter, _ func()) { w.Header().Set("Content-Length", "9"); fmt.Fprint(w, "{") }, false},
		"the answer is no JSON": {func(w http.ResponseWriter, _ func()) { fmt.Fprint(w, "{") }, true},
		"the answer is long":    {func(w http.ResponseWriter, _ func()) { fmt.Fprint(w, strings.Repeat(" ", maxAnswer+1)) }, true},
	} {
		for _, q := range []request{post("/x", struct{}{}), compute("/x", struct{}{})} {
			ctx, end := context.WithCancel(t.Context())
			s, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				c.answer(w, end)
				if ctx.Err() != nil {
					<-r.Context().Done()
				}
			})
			_, err := s.ask(ctx, q, &struct{}{})
			end()
			want := exitUnknown
			if q.repeatable {
				want = map[bool]int{false: exitUnavailable, true: exitFailed}[c.unread]
			}
			if got := statusOf(err); got != want || (want == exitUnknown) != strings.Contains(fmt.Sprint(err), "is not known, look before you send it again") {
				t.Errorf("%s, repeatable %v: exit status %d, %v; want %d", name, q.repeatable, got, err, want)
			}
		}
	}
	s, err := connectTo(profile.Connection{Profile: profile.Profile{URL: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask(t.Context(), post("/x", struct{}{}), &struct{}{}); statusOf(err) != exitUnavailable {
		t.Errorf("a request that was not sent: %v", err)
	}
}

// A token is bought with a password by somebody who has no certificate, as a server can allow.
// Every other command needs one of the two.
func TestLoginWithoutCertificate(t *testing.T) {
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/auth/token" && r.Header.Get("Authorization") == "":
			fmt.Fprint(w, `{"accessToken":"kr1_bought","tokenId":"t","tokenType":"Bearer","expiresAt":"2030-01-01T00:00:00Z"}`)
		case r.URL.Path == "/v1/health/live" || r.Header.Get("Authorization") == "Bearer kr1_bought":
			fmt.Fprint(w, `{}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer ts.Close()
	dir := t.TempDir()
	t.Setenv("KEYREEVE_PROFILES", filepath.Join(dir, "profiles.yaml"))
	for _, v := range []string{"KEYREEVE_URL", "KEYREEVE_CA", "KEYREEVE_CERT", "KEYREEVE_KEY", "KEYREEVE_TOKEN"} {
		t.Setenv(v, "")
	}
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	for path, content := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw}), password: []byte("secret\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login := loginCmd{Profile: "default", URL: ts.URL, CA: ca, Timeout: 10 * time.Second}
	if err := login.Run(); statusOf(err) != exitNotAccepted || !strings.Contains(err.Error(), "neither a certificate nor a token") {
		t.Errorf("a login with nothing to show: %v", err)
	}
	in, err := os.Open(password)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer func(old *os.File) { os.Stdin = old }(os.Stdin)
	os.Stdin = in
	login.User = "alice"
	if err := login.Run(); err != nil {
		t.Fatal(err)
	}
	s, _, end, err := (&door{Timeout: time.Second}).connect()
	if err != nil || s.token != "kr1_bought" {
		t.Errorf("the profile gives %v, %v", s, err)
	}
	end()
}

// A value with spaces gets quotation marks.
func TestFilter(t *testing.T) {
	if got, want := filter([]string{"name:my key", "tag.a:b", `name:"your key"`, "label:x"}), `name:"my key" tag.a:b name:"your key" label:x`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is printed keeps the order and the types of the members, and does nothing to a terminal.
func TestForms(t *testing.T) {
	const answer = `{"keyId":"k","version":3,"on":true,"name":"a\u202eb\u001b[2J","usage":["encrypt","yes"],"tags":{"z":"1","a":""},"text":"two\nlines"}`
	for form, want := range map[string]string{
		"json": `{"keyId":"k","version":3,"on":true,"name":"a\u202eb\u001b[2J","usage":["encrypt","yes"],"tags":{"z":"1","a":""},"text":"two\nlines"}` + "\n",
		"yaml": "keyId: k\nversion: 3\n\"on\": true\nname: \"a\\u202eb\\e[2J\"\nusage:\n- encrypt\n- \"yes\"\ntags:\n  z: \"1\"\n  a: \"\"\ntext: \"two\\nlines\"\n",
	} {
		if got, err := (&server{form: form}).document([]byte(answer)); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", form, got, err, want)
		}
	}
	want := "keyId    k\nversion  3\non       true\nname     a b [2J\nusage    encrypt, yes\ntags     z=1, a=\ntext     two lines\n"
	if got, err := members([]byte(answer)); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// A device is written into, and not replaced by a file.
func TestWriteIntoDevice(t *testing.T) {
	if err := write("/dev/null", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is now %v, %v", info.Mode(), err)
	}
}

// A server that cannot be trusted, or does not trust the client, is told apart from one that
// does not answer.
func TestUnreachable(t *testing.T) {
	ts := httptest.NewUnstartedServer(http.NotFoundHandler())
	ts.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	defer ts.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	late, end := context.WithDeadline(t.Context(), time.Now())
	defer end()
	for name, c := range map[string]struct {
		p    profile.Profile
		ctx  context.Context
		exit int
	}{
		"the client shows no certificate":  {profile.Profile{URL: ts.URL, CA: ca}, t.Context(), exitNotAccepted},
		"the authority is unknown":         {profile.Profile{URL: ts.URL}, t.Context(), exitNotAccepted},
		"nothing answers":                  {profile.Profile{URL: "https://127.0.0.1:1"}, t.Context(), exitUnavailable},
		"the time for the command is over": {profile.Profile{URL: ts.URL, CA: ca}, late, exitUnavailable},
	} {
		s, err := connectTo(profile.Connection{Profile: c.p, Token: "kr1_s3cret"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.ask(c.ctx, get("/x"), &struct{}{})
		var f *failure
		if !errors.As(err, &f) || f.ExitCode() != c.exit || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want exit status %d", name, err, c.exit)
		}
	}
}
