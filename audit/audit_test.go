package audit_test

import (
	"bytes"
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

// Anything that a client sends stays inside its own field.
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

// fullRecord has a value in each field.
func fullRecord() *core.Record {
	return &core.Record{Time: 1_700_000_000_123_456, Tenant: "t", Principal: "p", Fingerprint: "f0", NamedBy: "tls.principals[3]", Method: core.MethodToken, Strength: core.StrengthToken, Token: "k1", Address: "127.0.0.1", Door: core.DoorKMIP, RequestID: "r", ClientRef: "c",
		Action: core.ActionGet, Object: "o", Involved: []core.InvolvedObject{{ID: "kek", Role: core.RoleWrappingKey}, {ID: "s", Role: core.RoleSource}}, Outcome: core.Denied, Code: core.PermissionDenied,
		Reasons: []string{"a", "b\""}, PolicyHash: "h", ExecutedIn: "token", DurationUS: 7, Detail: "d", Changes: []core.RowChange{{Object: "o", Version: 2, Hash: []byte{0xab}}, {Object: "q", Version: 3}}}
}

// Entries will be hashed, so their bytes never change.
func TestEntryBytes(t *testing.T) {
	const full = `{"v":1,"time":"2023-11-14T22:13:20.123456Z","tenant":"t","principal":"p","fingerprint":"f0","named_by":"tls.principals[3]","method":"token","strength":"token","token":"k1","address":"127.0.0.1","door":"kmip","request":"r","client_ref":"c","operation":"Get","object":"o",` +
		`"involved":[{"object":"kek","role":"wrapping key"},{"object":"s","role":"source"}],"outcome":"denied","code":"PermissionDenied","reasons":["a","b\""],"policy":"h","where":"token","us":7,"detail":"d",` +
		`"changes":[{"object":"o","version":2,"sha256":"ab"},{"object":"q","version":3}]}`
	const head = `{"v":1,"time":"1970-01-01T00:00:00.000000Z","client_ref":"`
	const tail = `","operation":"Get","outcome":"allowed","us":0}`
	for want, r := range map[string]*core.Record{
		full: fullRecord(),
		head + `\"\\/\u0000\u000a\u001f\u007f` + "<&>\u00e9\u2028\U0001f511\ufffd\ufffdz" + tail: {ClientRef: "\"\\/\x00\n\x1f\x7f<&>\u00e9\u2028\U0001f511\xff\xc3z", Action: core.ActionGet, Outcome: core.Allowed},
		head + strings.Repeat("x", 510) + "\ufffd\ufffd" + tail:                                  {ClientRef: strings.Repeat("x", 510) + "\u4e16", Action: core.ActionGet, Outcome: core.Allowed},
	} {
		if got := audit.New("n").Seal(r).Body; string(got) != want {
			t.Errorf("sealed\n%q, want\n%q", got, want)
		}
	}
}

// Each field of a record reaches the entry, and each member of an entry is read
// back, in the order of Entry's fields.
func TestEveryFieldIsKept(t *testing.T) {
	r := reflect.ValueOf(fullRecord()).Elem()
	whole := audit.New("n").Seal(fullRecord()).Body
	for i := range r.NumField() {
		if r.Field(i).IsZero() {
			t.Errorf("fullRecord lacks %s", r.Type().Field(i).Name)
		}
		less := fullRecord()
		reflect.ValueOf(less).Elem().Field(i).SetZero()
		if string(audit.New("n").Seal(less).Body) == string(whole) {
			t.Errorf("an entry does not show %s", r.Type().Field(i).Name)
		}
	}
	got, err := decode(whole)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for e, i := reflect.ValueOf(got), 0; i < e.NumField(); i++ {
		name, _, _ := strings.Cut(e.Type().Field(i).Tag.Get("json"), ",")
		if name == "node" || name == "writer" || name == "count" { // the row's
			continue
		}
		next := strings.Index(string(whole[at:]), `"`+name+`":`)
		if next < 0 || e.Field(i).IsZero() {
			t.Errorf("member %q is missing, not in the order of Entry, or not read back", name)
			continue
		}
		at += next
	}
	strict := json.NewDecoder(bytes.NewReader(whole))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&audit.Entry{}); err != nil {
		t.Errorf("an entry has a member that is not read back: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	j, r := audit.New("n"), fullRecord()
	b.ReportAllocs()
	for b.Loop() {
		j.Seal(r)
	}
}

// A record is read back as the request that it was, with any code. An entry with a time or a
// code that nobody writes is an error.
func TestRecordIsReadBack(t *testing.T) {
	for code := core.Internal; code <= core.TooManyRequests; code++ {
		want := core.Record{Time: 1_700_000_000_123_456, Tenant: "t", Principal: "p", Fingerprint: "f", Method: core.MethodToken, Strength: core.StrengthToken, Token: "k", Address: "10.0.0.1", Door: core.DoorREST, RequestID: "r", ClientRef: "c",
			Action: core.ActionGet, Object: "id", Outcome: core.Failed, Code: code, Reasons: []string{"owner", "role x"}, PolicyHash: "abc"}
		e := audit.New("n").Seal(&want)
		if got, err := audit.ReadRecord(core.StoredEntry{Entry: e}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read back as %+v, %v", e.Body, got, err)
		}
	}
	for _, body := range []string{`{"v":1}`, `{"v":1,"time":"yesterday"}`, `{"v":1,"time":"2026-01-01T00:00:00Z","code":"NoCode"}`, `{"v":2,"time":"2026-01-01T00:00:00Z"}`, `{`} {
		if got, err := audit.ReadRecord(core.StoredEntry{Entry: core.Entry{Body: []byte(body)}}); err == nil {
			t.Errorf("%s is read as %+v", body, got)
		}
	}
}

func TestID(t *testing.T) {
	const at, request = 1_700_000_000_123_456, "9f86d081884c7d65"
	id := audit.ID(at, request)
	if gotAt, got, ok := audit.ParseID(id); gotAt != at || got != request || !ok || len(id) != 32 {
		t.Errorf("%q is %d and %q, %v; want %d and %q", id, gotAt, got, ok, at, request)
	}
	for _, bad := range []string{"", "0", id[:16], "x" + id, "-" + id[1:], strings.ToUpper(id), "0000000000000000" + request, "ffffffffffffffff" + request} {
		if gotAt, got, ok := audit.ParseID(bad); ok {
			t.Errorf("%q is taken as %d and %q", bad, gotAt, got)
		}
	}
}
