package door

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
)

// An answer with something in clear is zeroed when it has been sent.
func TestSentAnswersAreZeroed(t *testing.T) {
	d := New(Options{Auth: coretest.Always(&core.Principal{Tenant: "t", ID: "p"}), Operation: time.Minute})
	for what, c := range map[string]struct {
		answer func(secret []byte) any
		want   string
	}{
		"a plaintext":  {func(b []byte) any { return api.DecryptAnswer{Plaintext: b} }, `"c2VjcmV0"`},
		"a data key":   {func(b []byte) any { return api.DataKeyAnswer{Plaintext: b} }, `"YzJWamNtVjA="`},
		"random bytes": {func(b []byte) any { return api.RandomAnswer{Random: b} }, `"YzJWamNtVjA="`},
	} {
		secret := []byte("c2VjcmV0")
		out := c.answer(secret)
		row := Route{Method: "GET", Path: "/", Status: 200, answer: func(*core.Caller, *http.Request) (any, error) { return out, nil }}
		w := httptest.NewRecorder()
		d.routeHandler(row).ServeHTTP(w, requestOf("GET", "https://x/"))
		if !bytes.Contains(w.Body.Bytes(), []byte(c.want)) || !bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("%s: answered %s, and %q is left", what, w.Body, secret)
		}
	}
}

// So is an answer that comes when nobody waits for it any more.
func TestLateAnswersAreZeroed(t *testing.T) {
	stored := &records{}
	d := New(Options{Auth: coretest.Always(&core.Principal{Tenant: "t", ID: "p"}), Operation: 10 * time.Millisecond, Engine: engineOf(stored)})
	release, wiped := make(chan bool), make(chan bool)
	row := Route{Method: "GET", Path: "/", Status: 200, answer: func(*core.Caller, *http.Request) (any, error) {
		<-release
		return wipeTold{wiped}, nil
	}}
	w := httptest.NewRecorder()
	d.routeHandler(row).ServeHTTP(w, requestOf("GET", "https://x/"))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "" {
		t.Errorf("an operation that does not end: %d %s with Retry-After %q; want 503 without", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	close(release)
	select {
	case <-wiped:
	case <-time.After(20 * time.Second):
		t.Error("the late answer is not zeroed")
	}
}

type wipeTold struct{ told chan bool }

func (w wipeTold) Wipe() { close(w.told) }

// A buffer in which a body was read is zeroed before another request can get it, also one that
// became too small.
func TestBodiesAreZeroed(t *testing.T) {
	for _, n := range []int{0, 100, firstBody, firstBody + 1, 3 * firstBody} {
		b, err := readBody(strings.NewReader(strings.Repeat("x", n)))
		if err != nil || len(b) != n {
			t.Fatalf("%d of %d bytes are read, %v", len(b), n, err)
		}
		retireBody(b)
		for range 4 {
			next := bodyBuffers.Get().(*[firstBody]byte)
			if bytes.ContainsRune(b[:cap(b)], 'x') || bytes.ContainsRune(next[:], 'x') {
				t.Errorf("a body of %d bytes is in a buffer after its end", n)
			}
		}
	}
}
