package httpd

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// goodBodies has, for each body of the routes of policies and people, one with every
// member, or one for each member that must be the only one.
var goodBodies = []struct {
	in   any
	text string
}{
	{&newPolicy{}, `{"name":"p","document":{"statements":[{"a":{"b":[null,{"b":1,"b":2}]}}]},"reason":"r","activateAt":"2026-01-31T12:00:00Z"}`},
	{&replacedPolicy{}, `{"document":{},"reason":"r","activateAt":"2026-01-31T12:00:00Z"}`},
	{&withdrawal{}, `{"reason":"r"}`},
	{&Canary{}, `{"description":"d","principal":"p","groups":["g"],"roles":["r"],"attributes":{"site":"x"},"action":"rotate","keyId":"k","door":"kmip","address":"10.0.0.1","at":"2026-01-31T12:00:00Z","expect":"deny","reason":"r"}`},
	{&ReplayQuestion{}, `{"document":{},"since":"2026-01-31T12:00:00Z","until":"2026-02-28T12:00:00Z","limit":100,"pageToken":"Nw"}`},
	{&rollback{}, `{"version":1,"reason":"r"}`},
	{&target{}, `{"keyId":"k"}`}, {&target{}, `{"keyGroup":"g"}`}, {&target{}, `{"user":"u"}`}, {&target{}, `{"role":"r"}`}, {&target{}, `{"group":"g"}`},
	{&policyOfKey{}, `{"policyId":"p"}`},
	{&simulation{}, `{"principal":"p","groups":["g"],"roles":["r"],"attributes":{"site":"x"},"action":"rotate","keyId":"k","door":"kmip","address":"10.0.0.1","at":"2026-01-31T12:00:00Z","algorithm":"AES","length":128,"usage":["Encrypt"]}`},
	{&newUser{}, `{"name":"u","password":"p","groups":["g"],"roles":["r"],"attributes":{"site":"x"},"disabled":true,"expiresAt":"2026-01-31T12:00:00Z","codes":true,"hashed":false,"reason":"r"}`},
	{&userChange{}, `{"password":"p","groups":["g"],"roles":["r"],"attributes":{"site":"x"},"disabled":true,"expiresAt":"2026-01-31T12:00:00Z","codes":true,"hashed":false,"reason":"r"}`},
	{&newRole{}, `{"name":"r","description":"d","actions":["rotate"],"reason":"r"}`},
	{&roleChange{}, `{"description":"d","actions":["rotate"],"reason":"r"}`},
}

// decodeAnew decodes a text into a new value of the type of in.
func decodeAnew(in any, text string) error {
	fresh := reflect.New(reflect.TypeOf(in).Elem()).Interface().(door.Specified)
	err := door.Decode(strings.NewReader(text), fresh)
	if c, ok := fresh.(door.Validated); ok && err == nil {
		err = c.Validate()
	}
	return err
}

// Every fault that can be made at any member of any body is refused with the member's
// path, and every member that is known is in the good body.
func TestBodiesAreClosed(t *testing.T) {
	tried := 0
	known := map[reflect.Type]map[string]bool{}
	for _, good := range goodBodies {
		if err := decodeAnew(good.in, good.text); err != nil {
			t.Errorf("%T: the good body %s: %v", good.in, good.text, err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good.text), &members); err != nil {
			t.Fatal(err)
		}
		if known[reflect.TypeOf(good.in)] == nil {
			known[reflect.TypeOf(good.in)] = map[string]bool{}
		}
		for name, value := range members {
			known[reflect.TypeOf(good.in)][name] = true
			for fault, bad := range faultsOf(good.text, members, name, value) {
				tried++
				err := decodeAnew(good.in, bad.text)
				if code := core.CodeOf(err); code != core.InvalidField && code != core.InvalidMessage {
					t.Errorf("%T with %s: %s is %v; want a refusal", good.in, fault, bad.text, err)
				} else if !strings.Contains(err.Error(), bad.path) {
					t.Errorf("%T with %s: %v does not name %q", good.in, fault, err, bad.path)
				}
			}
		}
	}
	for typ, members := range known {
		if n := typ.Elem().NumField(); n != len(members) {
			t.Errorf("%v has %d members, and its good bodies %d", typ, n, len(members))
		}
	}
	if tried < 200 {
		t.Errorf("only %d bad bodies were tried", tried)
	}
}

type badBody struct{ text, path string }

// faultsOf returns the bodies with one fault at a member.
func faultsOf(text string, members map[string]json.RawMessage, name string, value json.RawMessage) map[string]badBody {
	with := func(name string, value string) string {
		changed := maps.Clone(members)
		changed[name] = json.RawMessage(value)
		b, _ := json.Marshal(changed)
		return string(b)
	}
	without := func(name string) map[string]json.RawMessage {
		changed := maps.Clone(members)
		delete(changed, name)
		return changed
	}
	upper := without(name)
	upper[strings.ToUpper(name)] = value
	renamed, _ := json.Marshal(upper)
	faults := map[string]badBody{
		"another case of " + name: {string(renamed), strings.ToUpper(name)},
		name + " twice":           {`{"` + name + `":` + string(value) + `,` + text[1:], name},
		"an unknown member":       {with(name+"x", string(value)), name + "x"},
		"something behind it":     {text + "{}", "goes on"},
	}
	if name == "document" { // the verb reads it
		return faults
	}
	other := map[bool]string{true: "7", false: `"seven"`}[value[0] != '1']
	faults["another type of "+name] = badBody{with(name, other), ""}
	faults["an object for "+name] = badBody{with(name, `{"deep":[{}]}`), name}
	if name != "expiresAt" {
		faults["null for "+name] = badBody{with(name, "null"), name}
	}
	switch value[0] {
	case '[':
		faults["null in "+name] = badBody{with(name, `["a",null]`), name + "[1]"}
		faults["a number in "+name] = badBody{with(name, `[7]`), name}
		faults["a member inside "+name] = badBody{with(name, `["a",{"b":1}]`), name + "[1]"}
	case '{':
		faults["a number inside "+name] = badBody{with(name, `{"a":7}`), name}
		faults["null inside "+name] = badBody{with(name, `{"a":null}`), name + ".a"}
		faults["a member twice inside "+name] = badBody{with(name, `{"a":"b","a":"b"}`), name + ".a"}
	}
	return faults
}

// What makes no sense though its shape is right is refused too.
func TestBodiesMakeSense(t *testing.T) {
	for text, in := range map[string]any{
		`{}`: &newPolicy{}, `{"name":"p"}`: &newPolicy{}, `{"document":{}}`: &newPolicy{}, `{"reason":"r"}`: &replacedPolicy{}, `{"reason":""}`: &rollback{},
		`{"version":0}`: &rollback{}, `{"version":-1}`: &rollback{}, `{"version":9223372036854775807}`: &rollback{}, `{"version":1.5}`: &rollback{},
		`{"keyId":"k","role":"r"}`: &target{}, `{"keyId":""}`: &target{}, `{"policyId":""}`: &policyOfKey{}, `{"actions":["sign"]}`: &newRole{}, `{"name":"r"}`: &newRole{},
		`{"action":"sign"}`: &simulation{}, `{"principal":"p"}`: &simulation{}, `{"principal":"p","action":"*"}`: &simulation{}, `{"principal":"p","action":"Start"}`: &simulation{},
		`{"principal":"p","action":"nothing"}`: &simulation{}, `{"principal":"a/b","action":"sign"}`: &simulation{}, `{"principal":"user:p","action":"sign"}`: &simulation{},
		`{"principal":"p","action":"sign","door":"admin"}`: &simulation{}, `{"principal":"p","action":"sign","address":"10.0.0.0/8"}`: &simulation{},
		`{"principal":"p","action":"sign","at":"today"}`: &simulation{}, `{"principal":"p","action":"sign","at":"1900-01-01T00:00:00Z"}`: &simulation{},
		`{"principal":"p","action":"sign","roles":["r","r"]}`: &simulation{}, `{"principal":"p","action":"sign","groups":[""]}`: &simulation{},
		`{"principal":"p","action":"sign","attributes":{"a":"\u0007"}}`: &simulation{},
	} {
		if err := decodeAnew(in, text); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%T %s: %v; want InvalidField", in, text, err)
		}
	}
}

// A password is taken out of the body, which holds nothing of it afterwards.
func TestPasswordIsTakenOut(t *testing.T) {
	for text, want := range map[string]string{
		`{"password":"correct horse"}`: "correct horse", `{ "password" : "correct horse" }`: "correct horse", "{\"reason\":\"x\",\n\t\"password\"\n:\r\"correct horse\"}": "correct horse",
		`{"password":"a\"b\\c\u00e9\n"}`: "a\"b\\c\u00e9\n", `{"attributes":{"password":"x"},"password":"p"}`: "p", `{"reason":"\"password\":\"y\"","password":"p"}`: "p",
		`{"reason":"password","password":"p"}`: "p", `{"password":""}`: "",
	} {
		var in userChange
		got, err := door.DecodeWithPassword(strings.NewReader(text), &in)
		if err != nil || got == nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
			continue
		}
		if in.Password == nil || strings.Trim(*in.Password, "A") != "" {
			t.Errorf("%s: the decoded member is not hidden", text)
		}
		if _, err := in.saveInput("u", got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, in := range map[string]door.Specified{`{"reason":"x"}`: &userChange{}, `{"attributes":{"password":"x"}}`: &userChange{}, `{"name":"password"}`: &newUser{}} {
		if got, err := door.DecodeWithPassword(strings.NewReader(text), in); got != nil || err != nil {
			t.Errorf("%s has the password %q, %v; want none", text, got, err)
		}
	}
}

// A password that the reader could not find, or that two readers could see in two ways, is
// refused, and its text is in no error.
func TestPasswordsThatAreRefused(t *testing.T) {
	for _, text := range []string{
		`{"pass\u0077ord":"correct horse"}`, `{"password":"correct horse","password":"correct horse"}`, `{"password":"correct horse","pass\u0077ord":"correct horse"}`,
		`{"password":["correct horse"]}`, `{"password":null}`, `{"password":7}`, `{"password":"correct horse\ud800"}`, "{\"password\":\"correct horse\xff\"}", `{"password":"correct horse`,
		`{"password":"correct horse","x":1}`, `{"password":"correct horse"} {}`, `["password":"correct horse"]`, `{"password" "correct horse"}`, `{"Password":"correct horse"}`,
	} {
		var in userChange
		password, err := door.DecodeWithPassword(strings.NewReader(text), &in)
		if err == nil {
			_, err = in.saveInput("u", password)
		}
		if err == nil {
			t.Errorf("%s was taken", text)
		} else if strings.Contains(err.Error(), "horse") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// What stands for a password in a body is never read as another member, and no body that
// the strict decoder refuses is taken.
func FuzzPassword(f *testing.F) {
	for _, good := range goodBodies {
		f.Add(good.text)
	}
	f.Add(`{"password":"\u0000"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var with, plain userChange
		password, err := door.DecodeWithPassword(strings.NewReader(text), &with)
		plainErr := door.Decode(strings.NewReader(text), &plain)
		if err == nil && plainErr != nil {
			t.Errorf("%q: taken, and the strict decoder says %v", text, plainErr)
		}
		if err == nil && password != nil && (plain.Password == nil || *plain.Password != string(password)) {
			t.Errorf("%q: the password is %q", text, password)
		}
		plain.Password, with.Password = nil, nil
		if err == nil && !reflect.DeepEqual(with, plain) {
			t.Errorf("%q: %+v, want %+v", text, with, plain)
		}
	})
}

// A page token of versions is a version number.
func TestVersionTokens(t *testing.T) {
	for _, bad := range []string{"x", "0", "-1", "1.5", "99999999999"} {
		if n, err := versionOfToken(bad); core.CodeOf(err) != core.InvalidField {
			t.Errorf("version %s: %d, %v; want InvalidField", bad, n, err)
		}
	}
}
