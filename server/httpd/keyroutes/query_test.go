package keyroutes

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// A filter that cannot be read is never one that is left out.
func TestQueries(t *testing.T) {
	for _, bad := range []string{"name=a;state=Active", "name=%zz", "name=a&state=%", "%zz=a", "state=active;", "state=Nonsense", "name=a&name=b", "name=", "Name=a", "nome=a", "=", "limit=0", "limit=201", "limit=-1",
		"limit=1e2", "limit=", "offset=-1", "offset=99999999999", "offset=1.5", "algorithm=", "object_type=0x00000002", "state=1", strings.Repeat("&", door.MaxParameters)} {
		if in, err := locateInput(bad); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%q: %+v, %v; want InvalidField", bad, in, err)
		}
	}
	in, err := locateInput("name=a%3Bb%25&state=Active&algorithm=AES&object_type=SymmetricKey&offset=5&limit=7")
	if err != nil || in.OffsetItems != 5 || in.MaximumItems != 7 || len(in.Attributes) != 4 {
		t.Fatalf("%+v, %v", in, err)
	}
	if name, _ := in.Attributes.Get(core.TagName); name.Field(core.TagNameValue).Text != "a;b%" {
		t.Errorf("the name is %q", name.Field(core.TagNameValue).Text)
	}
	if in, err = locateInput(""); err != nil || in.MaximumItems != door.DefaultPage || len(in.Attributes) != 0 {
		t.Errorf("no query: %+v, %v", in, err)
	}
}

// Every part of a query that is taken is in what comes of it.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"name=a&state=Active", "limit=5&offset=0", "name=%41;b", "&&", "algorithm=AES&&object_type=Certificate"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		in, err := locateInput(raw)
		if err != nil {
			return
		}
		parts := 0
		for _, p := range strings.Split(raw, "&") {
			switch {
			case p == "":
			case strings.Contains(p, ";"):
				t.Errorf("%q is taken", raw)
			default:
				parts++
			}
		}
		if in.MaximumItems < 1 || in.MaximumItems > door.MaxPage || in.OffsetItems < 0 || len(in.Attributes) > parts || parts > len(in.Attributes)+2 {
			t.Errorf("%q of %d parts is %+v", raw, parts, in)
		}
	})
}
