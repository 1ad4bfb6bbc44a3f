package keyroutes

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// A filter that cannot be read is never one that is left out.
func TestQueries(t *testing.T) {
	for _, bad := range []string{"filter=a;filter=b", "filter=%zz", "filter=name:a&filter=name:b", "filter=", "Filter=name:a", "nome=a", "=", "limit=0", "limit=201", "limit=-1", "limit=1e2", "limit=", "offset=1", "pageToken=", "pageToken=%25",
		"filter=state:Nonsense", "filter=type:0x2", "filter=name", "filter=:a", "filter=a%20b:c", "filter=name:%22a%22b", "filter=createdAfter:yesterday", strings.Repeat("&", door.MaxParameters)} {
		if in, err := locateInput(httptest.NewRequest("GET", "https://x/?"+bad, nil)); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%q: %+v, %v; want InvalidField", bad, in, err)
		}
	}
	in, err := locateInput(httptest.NewRequest("GET", "https://x/?limit=7&filter="+url.QueryEscape(`name:"a;b% c" state:Active  algorithm:AES type:symmetric`), nil))
	if err != nil || in.MaximumItems != 8 || len(in.Attributes) != 4 {
		t.Fatalf("%+v, %v", in, err)
	}
	if name, _ := in.Attributes.Get(core.TagName); name.Field(core.TagNameValue).Text != "a;b% c" {
		t.Errorf("the name is %q", name.Field(core.TagNameValue).Text)
	}
}

// Every term of a filter that is taken is in what comes of it.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"name:a state:Active", `name:"a b" label:x`, "tag.env:", "createdAfter:2026-01-31T12:00:00Z", " algorithm:AES  type:opaque"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		as, err := readFilter(text)
		if err != nil {
			if core.CodeOf(err) != core.InvalidField {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if terms := strings.TrimLeft(text, " "); (terms == "") != (len(as) == 0) || len(as) > 2*maxTerms {
			t.Errorf("%q is %+v", text, as)
		}
	})
}

// A page token is good for the filter of its list alone.
func TestPageTokens(t *testing.T) {
	token := pageToken("an-id", "name:a")
	if id, err := readPageToken(token, "name:a"); id != "an-id" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	for what, bad := range map[string][2]string{"another filter": {token, "name:b"}, "no filter": {token, ""}, "cut": {token[:8], "name:a"}, "longer": {token + strings.Repeat("YWFh", 200), "name:a"}} {
		if id, err := readPageToken(bad[0], bad[1]); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %q, %v", what, id, err)
		}
	}
}
