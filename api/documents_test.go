package api_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/api"
)

// The specification and its page are answered in exactly one spelling. The page needs nothing
// that its policy forbids: no script, no other file, no style but the one in its head.
func TestDocuments(t *testing.T) {
	passed := 0
	h := api.Documents(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		passed++
		w.WriteHeader(http.StatusUnauthorized)
	}))
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if w := ask("GET", "/openapi.yaml"); w.Code != 200 || w.Body.String() != string(source) || w.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("/openapi.yaml: %d %v", w.Code, w.Header())
	}
	w := ask("GET", "/docs")
	page := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("/docs: %d %v", w.Code, w.Header())
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("/docs has the policy %q", policy)
	}
	if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|\son\w+=|\sstyle=|\ssrc=|https?://`).FindAllString(page, -1); found != nil {
		t.Errorf("/docs has %q", found)
	}
	for _, target := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+target[1]+`"`) {
			t.Errorf("/docs links to #%s, which is not there", target[1])
		}
	}
	for _, o := range api.Operations {
		if !strings.Contains(page, "<b>"+o.Method+"</b> "+o.Path+"</h3>") {
			t.Errorf("/docs lacks %s", o.Pattern())
		}
	}
	if w := ask("HEAD", "/docs"); w.Code != 200 {
		t.Errorf("HEAD /docs: %d", w.Code)
	}
	if passed != 0 {
		t.Errorf("%d requests were passed on", passed)
	}
	for _, other := range []string{"POST /docs", "GET /docs/", "GET /Docs", "GET /openapi.yaml/", "GET /openapi.json", "GET //docs", "DELETE /openapi.yaml"} {
		method, path, _ := strings.Cut(other, " ")
		if w := ask(method, path); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", other, w.Code)
		}
	}
}
