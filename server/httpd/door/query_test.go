package door

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// If-Match is one version, as ETag answers it, and only where it is honored.
func TestIfMatch(t *testing.T) {
	plain := Row(t, "PATCH", "/x", core.ActionSaveUser, TakesBody, 200, func(*testing.T, *core.Caller, *http.Request) (any, error) { return nil, nil })
	for _, to := range []Route{plain, plain.HonorIfMatch()} {
		for _, value := range []string{`3`, `W/"3"`, `*`, `"03"`, `"0"`, `"-1"`, `"+3"`, `"3`, `""`, `"3","4"`, `"99999999999999999999"`, ` `} {
			r := httptest.NewRequest(to.Method, "https://x/", nil)
			r.Header.Set("If-Match", value)
			if err := to.checkIfMatch(r); core.CodeOf(err) != core.InvalidField {
				t.Errorf("If-Match %s: %v; want InvalidField", value, err)
			}
		}
		r := httptest.NewRequest(to.Method, "https://x/", nil)
		if err := to.checkIfMatch(r); err != nil || ExpectedVersion(r) != nil {
			t.Errorf("without If-Match: %v", err)
		}
		Version(3).SetHeaders(r.Header)
		r.Header.Set("If-Match", r.Header.Get("ETag"))
		if err := to.checkIfMatch(r); (err == nil) != to.changes {
			t.Errorf("with an ETag: %v; honored %v", err, to.changes)
		}
		if n := ExpectedVersion(r); n == nil || *n != 3 {
			t.Errorf("expects %v, want 3", n)
		}
		r.Header.Add("If-Match", `"4"`)
		if err := to.checkIfMatch(r); err == nil {
			t.Error("two If-Match are taken")
		}
	}
}

// Pages end without a token, go on after their last name, and refuse what no list answered.
func TestPages(t *testing.T) {
	names := []string{"a", "b", "c"}
	for limit, want := range map[int]struct {
		items int
		after string
	}{1: {1, "a"}, 2: {2, "b"}, 3: {3, ""}, 4: {3, ""}} {
		got, token := CutPage(names, Page{Limit: limit}, func(s *string) string { return *s })
		if len(got) != want.items || (token == "") != (want.after == "") {
			t.Fatalf("limit %d: %q and token %q", limit, got, token)
		}
		if token == "" {
			continue
		}
		p, err := ReadPage(httptest.NewRequest("GET", "https://x/?limit=2&pageToken="+token, nil), 200)
		if err != nil || p.After != want.after || p.Limit != 2 {
			t.Errorf("token %q: %+v, %v; want after %q", token, p, err, want.after)
		}
	}
	for _, bad := range []string{"limit=0", "limit=201", "limit=-1", "limit=+1", "limit=", "limit=1&limit=2", "pageToken=", "pageToken=%25", "pageToken=YQ==", "pageToken=YR", "pageToken=" + strings.Repeat("YWFh", 100), "Limit=1", "offset=1", "=", ";"} {
		if p, err := ReadPage(httptest.NewRequest("GET", "https://x/?"+bad, nil), 200); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %+v, %v; want InvalidField", bad, p, err)
		}
	}
}
