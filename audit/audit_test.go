package audit_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
)

func TestRoundTrip(t *testing.T) {
	j := audit.New("node-1")
	e := j.Seal(&core.Record{Time: 1_700_000_000_123_456, Tenant: "t", Principal: "p", Action: core.ActionGet, Object: "id", Outcome: core.Denied,
		Code: core.PermissionDenied, Reasons: []string{"stranger"}, DurationUS: 7, Door: core.DoorKMIP, Involved: []core.InvolvedObject{{ID: "kek", Role: core.RoleWrappingKey}, {ID: "t", Role: core.RoleSource}}})
	got, err := audit.Decode(core.StoredEntry{Entry: e, Writer: 2, Count: 9})
	if err != nil {
		t.Fatal(err)
	}
	if got.Time != "2023-11-14T22:13:20.123456Z" || got.Node != "node-1" || got.Writer != 2 || got.Count != 9 || got.Code != "PermissionDenied" || got.Reasons[0] != "stranger" || got.DurationUS != 7 {
		t.Errorf("read back %+v from %s", got, e.Body)
	}
	if want := []audit.Involved{{Object: "kek", Role: "wrapping key"}, {Object: "t", Role: "source"}}; !slices.Equal(got.Involved, want) || !got.Names("id") || !got.Names("kek") || got.Names("k") || got.Names("") {
		t.Errorf("the objects are read back as %q and %+v", got.Object, got.Involved)
	}
	forged := core.StoredEntry{Count: 3, Entry: core.Entry{Node: "node-1", Body: []byte(`{"v":1,"node":"node-2","count":7}`)}}
	if got, err := audit.Decode(forged); err != nil || got.Node != "node-1" || got.Count != 3 {
		t.Errorf("a body that names another node is read as %+v, %v", got, err)
	}
}

func decode(body []byte) (audit.Entry, error) {
	return audit.Decode(core.StoredEntry{Entry: core.Entry{Body: body}})
}

// Whatever a client sends stays inside its own field.
func FuzzSeal(f *testing.F) {
	for _, s := range []string{"", `"},{"outcome":"allowed"`, "\x00\x1f\x7f", "\xff\xfe", "\u2028", strings.Repeat("x", 600), `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := audit.New("n").Seal(&core.Record{ClientRef: s, Object: s, Action: core.ActionGet, Outcome: core.Failed})
		got, err := decode(e.Body)
		if err != nil {
			t.Fatalf("%q makes an entry that cannot be read: %v", s, err)
		}
		if got.Operation != "Get" || got.Outcome != "failed" || !utf8.Valid(e.Body) || strings.ContainsAny(string(e.Body), "\n\r") {
			t.Errorf("%q changed the entry: %s", s, e.Body)
		}
		if len(s) < 100 && utf8.ValidString(s) && got.ClientRef != s {
			t.Errorf("%q came back as %q", s, got.ClientRef)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	for _, b := range []string{"", "{}", `{"v":2}`, "[]", `{"v":1`} {
		if _, err := decode([]byte(b)); err == nil {
			t.Errorf("%q was read as an entry", b)
		}
	}
}

func TestAllocations(t *testing.T) {
	j, r := audit.New("n"), &core.Record{Tenant: "t", Principal: "p", Action: core.ActionGet, Object: "id", Outcome: core.Allowed}
	if n := testing.AllocsPerRun(100, func() { j.Seal(r) }); n > 8 {
		t.Errorf("an entry costs %v allocations, want 8 at most", n)
	}
}

// An entry comes from the database, which others can write to.
func FuzzDecode(f *testing.F) {
	f.Add(audit.New("n").Seal(&core.Record{Action: core.ActionGet, Outcome: core.Failed, Reasons: []string{"a"}}).Body)
	f.Add([]byte(`{"v":1,"count":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(again); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s comes back as %+v, %v", b, got, err)
		}
	})
}
