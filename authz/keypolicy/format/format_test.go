package format_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// seed is the example with which the product was asked for, to the letter.
var seed = func() string {
	text, err := os.ReadFile("../../../testdata/key-policy-example.json")
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(text))
}()

// full uses every member of the schema.
const full = `{"name": "all.of-it_1", "description": "Everything, \u2603", "exclusive": true, "keyGroup": ["g1", "g2"],
"statements": [
 {"sid": "one", "principals": ["user:a", "role:b", "group:c", "client:d", "token:e", "*"], "actions": ["*", "Get"], "effect": "deny",
  "conditions": {"ipAddress": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"], "region": ["eu"], "door": ["kmip", "rest"], "strength": "certificate",
   "time": {"notBefore": "2026-01-01T00:00:00+01:00", "notAfter": "2027-01-01T00:00:00Z", "daily": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin", "weekdays": ["friday", "saturday"]}},
   "tags": {"env": ["prod", "stage"], "x-Site": "Berlin"}, "object": {"type": "Symmetric Key", "algorithm": ["AES", "3DES"], "state": "Active", "class": "N", "objectGroup": "og", "owner": "alice", "group": "g", "ownedByCaller": true},
   "principal": {"department": ["hr", "it"]}, "parameters": {"algorithm": "AES", "mode": ["GCM", "CBC"], "padding": "PKCS5", "hash": "SHA-256", "signature": "ECDSA with SHA256", "wrapped": true}}},
 {"principal": "user:x", "actions": ["Get Attributes", "read", "verify"], "effect": "allow", "conditions": {"time": {"daily": {"from": "00:00", "to": "24:00", "zone": "UTC"}}, "parameters": {"wrapped": false}}}],
"tests": [{"name": "t", "principals": ["user:a", "role:b"], "action": "encrypt", "expect": "deny", "given": {"ipAddress": "10.1.2.3", "at": "2026-05-05T05:05:05Z", "door": "rest", "strength": "token", "tags": {"env": "prod"}, "object": {"type": "Symmetric Key"}, "principal": {"department": "hr"}, "parameters": {"mode": "GCM"}}},
 {"principal": "*", "action": "Sign", "expect": "nothing"}]}`

var regions = format.Regions{"eu": {netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.9.0.0/16")}}

func parse(t testing.TB, text string) (*format.Document, *format.Normal) {
	t.Helper()
	d, err := format.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	n, err := format.Normalize(d, regions, false)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d, n
}

func TestSeedExample(t *testing.T) {
	d, n := parse(t, seed)
	if d.Targets.Kind != format.KeyTarget || !slices.Equal(d.Targets.Names, []string{"key123"}) || d.Exclusive {
		t.Errorf("the example is attached to %+v, exclusive %v; want keyId key123, false", d.Targets, d.Exclusive)
	}
	const want = `{"allow":{"Decrypt":[0],"Destroy":[1],"Encrypt":[0],"Re-key":[1],"Re-key Key Pair":[1],"Soft Delete":[1]},"deny":{},"exclusive":false,"statements":[` +
		`{"conditions":[{"kind":"address","path":"conditions.ipAddress","ranges":["192.168.1.0/24"]}],"effect":"allow","principals":{"user:alice":true},"sid":"1"},` +
		`{"conditions":[],"effect":"allow","principals":{"role:admin":true},"sid":"2"}]}`
	if got := string(n.Bytes()); got != want {
		t.Errorf("the normal form is\n%s\nwant\n%s", got, want)
	}
}

func TestEveryMember(t *testing.T) {
	_, n := parse(t, full)
	for _, part := range []string{
		`"allow":{"Check":[1],"Get Attribute List":[1],"Get Attributes":[1],"Get Constraints":[1],"MAC Verify":[1],"Signature Verify":[1],"Validate":[1]},"deny":{"*":[0]}`,
		`{"kind":"address","path":"conditions.region","ranges":["10.9.0.0/16","192.0.2.0/24"]}`,
		`{"at":1767222000,"kind":"notBefore","path":"conditions.time.notBefore"}`,
		`"windows":[{"days":["Friday","Saturday"],"from":79200,"to":86400},{"days":["Saturday","Sunday"],"from":0,"to":21600}]`,
		`{"field":"tags.x-keyreeve-tag-env","kind":"values","path":"conditions.tags.env","values":["prod","stage"]}`,
		`{"field":"tags.x-Site","kind":"values","path":"conditions.tags.x-Site","values":["Berlin"]}`,
		`{"field":"parameters.wrapped","kind":"values","path":"conditions.parameters.wrapped","values":["false"]}`,
		`{"field":"object.ownedByCaller","kind":"values","path":"conditions.object.ownedByCaller","values":["true"]}`,
		`{"kind":"strength","least":4,"path":"conditions.strength"}`,
	} {
		if !bytes.Contains(n.Bytes(), []byte(part)) {
			t.Errorf("the normal form lacks %s:\n%s", part, n.Bytes())
		}
	}
}

// statement returns a policy whose only statement has a member changed: "+" adds.
func statement(members string) string {
	s := `"principal": "user:a", "actions": ["encrypt"], "effect": "allow"`
	if more, ok := strings.CutPrefix(members, "+"); ok {
		return `{"statements": [{` + s + `, ` + more + `}]}`
	}
	return `{"statements": [{` + members + `}]}`
}

func condition(members string) string { return statement(`+"conditions": {` + members + `}`) }

// Each document has one fault. The message names its place.
func TestRefusedWithPath(t *testing.T) {
	const rest = `"actions": ["encrypt"], "effect": "allow"`
	one := strings.TrimSuffix(strings.TrimPrefix(statement(`"principal": "*", `+rest), `{"statements": [`), `]}`)
	for _, c := range []struct{ text, says string }{
		{``, "line 1: "}, {`null`, "policy: it is null; it must be an object"}, {`[]`, "policy: it is a list"}, {`"x"`, "policy: it is a string"},
		{"{\n\n\"a\" 1}", "line 3: "}, {seed + `x`, "line 18: "}, {seed + seed, "line 18: "}, {`{"statements": [` + one + `,]}`, "line 1: "}, {"{\"name\": \"\xff\"}", "not UTF-8"},
		{`{"statements": []}`, "statements: the list is empty"}, {`{}`, "statements: it is missing"}, {`{"statements": {}}`, "statements: it is an object"},
		{`{"statements": [` + one + `], "statements": [` + one + `]}`, "statements: the member is there twice"},
		{`{"statements": [` + one + `], "Exclusive": true}`, "Exclusive: there is no such member here; write exclusive"},
		{`{"statements": [` + one + `], "exclusive": "true"}`, "exclusive: it is a string; it must be true or false"},
		{`{"statements": [` + one + `], "exclusive": null}`, "exclusive: it is null"},
		{`{"statements": [` + one + `], "version": 1}`, "version: there is no such member"},
		{`{"statements": [` + one + `], "name": "a/b"}`, "name: "}, {`{"statements": [` + one + `], "name": ""}`, "name: "}, {`{"statements": [` + one + `], "name": "a@1"}`, "name: "},
		{`{"statements": [` + one + `], "keyId": []}`, "keyId: the list is empty"}, {`{"statements": [` + one + `], "keyId": ""}`, "keyId: "}, {`{"statements": [` + one + `], "keyId": ["a", 1]}`, "keyId[1]: it is a number"},
		{`{"statements": [` + one + `], "keyId": "a", "role": "b"}`, "role: the policy has keyId already"},
		{`{"statements": [` + one + `, ` + one + `, {"sid": "1", "principal": "*", ` + rest + `}]}`, `statements[2]: another statement has the sid "1"`},
		{statement(`"principal": "*", "sid": "a b", ` + rest), "statements[0].sid: "}, {statement(`"principal": "*", "sid": 1, ` + rest), "statements[0].sid: it is a number"},
		{statement(rest), "statements[0]: it must have one of the members principal and principals"},
		{statement(`"principal": "*", "principals": ["*"], ` + rest), "statements[0]: it must have one of"},
		{statement(`"Principal": "*", ` + rest), "statements[0].Principal: there is no such member here; write principal"},
		{statement(`"principal": [], ` + rest), "statements[0].principal: the list is empty"}, {statement(`"principal": [["*"]], ` + rest), "statements[0].principal[0]: it is a list"},
		{statement(`"principal": "alice", ` + rest), "statements[0].principal: \"alice\" is no principal"}, {statement(`"principal": "User:alice", ` + rest), "statements[0].principal: "},
		{statement(`"principal": "role:*", ` + rest), "names have no wildcards"}, {statement(`"principal": "user: a", ` + rest), "is no principal"}, {statement(`"principal": "user:a ", ` + rest), "no space at its ends"}, {condition(`"tags": {"env": " prod"}`), "conditions.tags.env: "},
		{statement(`"principal": "user:", ` + rest), "statements[0].principal: "}, {statement(`"principal": "**", ` + rest), "statements[0].principal: "}, {statement(`"principal": "user:\ud800", ` + rest), "statements[0].principal: "},
		{statement(`"principal": "user:a\u0000", ` + rest), "statements[0].principal: "}, {statement(`"principal": "user:a\u202e", ` + rest), "statements[0].principal: "},
		{statement(`"principal": "*", "effect": "allow", "actions": "encrypt"`), "statements[0].actions: it is a string; it must be a list"},
		{statement(`"principal": "*", "effect": "allow", "actions": []`), "statements[0].actions: the list is empty"}, {statement(`"principal": "*", "effect": "allow"`), "statements[0].actions: it is missing"},
		{statement(`"principal": "*", "effect": "allow", "actions": ["encrypt", "ENCRYPT"]`), "statements[0].actions[1]: \"ENCRYPT\" is no action; write encrypt"},
		{statement(`"principal": "*", "effect": "allow", "actions": ["GetAttributes"]`), "write Get Attributes"}, {statement(`"principal": "*", "effect": "allow", "actions": ["wrap"]`), "a wrapping key needs encrypt"},
		{statement(`"principal": "*", "effect": "allow", "actions": ["Message"]`), "is no action"}, {statement(`"principal": "*", "effect": "allow", "actions": ["destroy"]`), "is no action"},
		{statement(`"principal": "*", "effect": "Allow", "actions": ["encrypt"]`), "statements[0].effect: \"Allow\" is unknown; write allow"}, {statement(`"principal": "*", "actions": ["encrypt"]`), "statements[0].effect: it is missing"},
		{condition(``), "statements[0].conditions: it has no condition"}, {statement(`+"conditions": []`), "statements[0].conditions: it is a list"}, {statement(`+"conditions": null`), "statements[0].conditions: it is null"},
		{condition(`"sourceIp": "10.0.0.1"`), "statements[0].conditions.sourceIp: there is no such member"}, {condition(`"ipaddress": "10.0.0.1"`), "write ipAddress"},
		{condition(`"ipAddress": "10.0.0.300/8"`), "statements[0].conditions.ipAddress: \"10.0.0.300/8\" is neither"}, {condition(`"ipAddress": "10.0.0.1/8"`), "write 10.0.0.0/8"},
		{condition(`"ipAddress": []`), "statements[0].conditions.ipAddress: the list is empty"}, {condition(`"ipAddress": ["10.0.0.0/8", "10.0.0.0/33"]`), "statements[0].conditions.ipAddress[1]: "},
		{condition(`"ipAddress": "::ffff:10.0.0.0/104"`), "statements[0].conditions.ipAddress: "}, {condition(`"ipAddress": "::ffff:10.0.0.1"`), "conditions.ipAddress: "}, {condition(`"ipAddress": "fe80::1%eth0"`), "conditions.ipAddress: "}, {condition(`"ipAddress": " 10.0.0.1"`), "conditions.ipAddress: "}, {condition(`"ipAddress": "010.0.0.1"`), "conditions.ipAddress: "},
		{condition(`"time": {}`), "statements[0].conditions.time: it is empty"}, {condition(`"time": {"notBefore": "2026-01-01"}`), "statements[0].conditions.time.notBefore: "}, {condition(`"time": {"notBefore": 1}`), "conditions.time.notBefore: it is a number"},
		{condition(`"time": {"notAfter": "2026-13-01T00:00:00Z"}`), "conditions.time.notAfter: "}, {condition(`"time": {"notAfter": "2026-01-01T00:00:00.5Z"}`), "conditions.time.notAfter: "},
		{condition(`"time": {"notAfter": "2026-01-01T00:00:00Z", "notBefore": "2026-01-01T00:00:01Z"}`), "conditions.time: notBefore is later"},
		{condition(`"time": {"daily": {"from": "8:00", "to": "10:00", "zone": "UTC"}}`), "conditions.time.daily.from: "}, {condition(`"time": {"daily": {"from": "08:00", "to": "24:01", "zone": "UTC"}}`), "conditions.time.daily.to: "}, {condition(`"time": {"daily": {"from": "08:60", "to": "24:00", "zone": "UTC"}}`), "conditions.time.daily.from: "},
		{condition(`"time": {"daily": {"from": "08:00", "to": "08:00", "zone": "UTC"}}`), "conditions.time.daily: the window has no length"}, {condition(`"time": {"daily": {"from": "24:00", "to": "08:00", "zone": "UTC"}}`), "conditions.time.daily: "},
		{condition(`"time": {"daily": {"from": "08:00", "to": "10:00"}}`), "conditions.time.daily.zone: it is missing"}, {condition(`"time": {"daily": {"from": "08:00", "to": "10:00", "zone": "Local"}}`), "conditions.time.daily.zone: "}, {condition(`"time": {"daily": {"from": "08:00", "to": "10:00", "zone": "Mars/Base"}}`), "conditions.time.daily.zone: "}, {condition(`"time": {"daily": {"from": "08:00", "to": "10:00", "zone": "../etc/passwd"}}`), "conditions.time.daily.zone: "},
		{condition(`"time": {"daily": {"from": "08:00", "to": "10:00", "zone": "UTC", "weekdays": ["Monday"]}}`), "weekdays[0]: \"Monday\" is unknown; write monday"}, {condition(`"time": {"daily": {"from": "08:00", "to": "10:00", "zone": "UTC", "weekdays": []}}`), "weekdays: the list is empty"},
		{condition(`"tags": {}`), "conditions.tags: it is empty"}, {condition(`"tags": {"a": []}`), "conditions.tags.a: the list is empty"}, {condition(`"tags": {"a": true}`), "conditions.tags.a: it is true or false"}, {condition(`"tags": {"": "x"}`), "conditions.tags.: "}, {condition(`"tags": {"a": "x", "a": "y"}`), "conditions.tags.a: the member is there twice"},
		{condition(`"object": {"typ": "x"}`), "conditions.object.typ: "}, {condition(`"object": {"type": "SymmetricKey"}`), "conditions.object.type: "}, {condition(`"object": {"state": "active"}`), "write Active"}, {condition(`"object": {"algorithm": "aes"}`), "write AES"},
		{condition(`"principal": "user:a"`), "conditions.principal: it is a string"}, {condition(`"door": "http"`), "conditions.door: "}, {condition(`"door": []`), "conditions.door: the list is empty"}, {condition(`"strength": ["token"]`), "conditions.strength: it is a list"}, {condition(`"strength": "system"`), "conditions.strength: "},
		{condition(`"parameters": {"wrapped": "true"}`), "conditions.parameters.wrapped: it is a string"}, {condition(`"parameters": {"mode": "gcm"}`), "write GCM"}, {condition(`"parameters": {"wrapped": [true]}`), "conditions.parameters.wrapped: it is a list"},
		{condition(`"rate": {"perMinute": 5}`), "statements[0].conditions.rate.perMinute: there is no such member"}, {condition(`"rate": {"uses": 0, "per": "1h"}`), "conditions.rate.uses: it must be a whole number"}, {condition(`"rate": {"uses": 1, "per": "1500ms"}`), "conditions.rate.per: it must be a span of whole seconds"}, {condition(`"rate": {"uses": 1, "per": "-1h"}`), "conditions.rate.per: "}, {condition(`"rate": {"uses": 1}`), "conditions.rate.per: it is missing"},
		{`{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny", "unless": {"rate": {"uses": 1, "per": "1h"}}}]}`, "Locate has neither approvals nor a rate"}, {condition(`"totalUse": 0`), "conditions.totalUse: it must be a whole number from 1 to"}, {condition(`"totalUse": 1000000001`), "conditions.totalUse: it must be a whole number from 1 to"},
		{`{"statements": [{"principal": "*", "actions": ["create"], "effect": "allow", "conditions": {"totalUse": 1}}]}`, "Create works on no object, so its uses have no total"},
		{`{"statements": [{"principal": "*", "actions": ["encrypt"], "effect": "deny", "conditions": {"totalUse": 1}}]}`, "conditions.totalUse: a denial has no total"},
		{`{"statements": [{"principal": "*", "actions": ["encrypt"], "effect": "deny", "unless": {"totalUse": 1}}]}`, "statements[0].unless.totalUse: "}, {condition(`"approvals": 2`), "conditions.approvals: it is a number"},
		{condition(`"approvals": {"needed": 0, "from": "*"}`), "conditions.approvals.needed: it must be a whole number from 1 to 16"}, {condition(`"approvals": {"needed": 1.5, "from": "*"}`), "needed: it must be a whole number"}, {condition(`"approvals": {"needed": 1}`), "conditions.approvals.from: it is missing"},
		{condition(`"approvals": {"needed": 1, "from": []}`), "conditions.approvals.from: the list is empty"}, {condition(`"approvals": {"needed": 1, "from": "token:x"}`), "a token cannot approve"}, {condition(`"approvals": {"needed": 1, "from": "bob"}`), "is no principal"}, {condition(`"approvals": {"count": 1, "from": "*"}`), "conditions.approvals.count: there is no such member"},
		{condition(`"approvals": {"needed": 1, "from": "*"}`), "statements[0].actions: Encrypt cannot wait for approvals"}, {`{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny", "unless": {"approvals": {"needed": 1, "from": "*"}}}]}`, "cannot wait for approvals"},
		{`{"statements": [{"principal": "*", "actions": ["delete"], "effect": "deny", "conditions": {"approvals": {"needed": 1, "from": "*"}}}]}`, "statements[0].conditions.approvals: a denial does not have it as a condition"},
		{`{"statements": [{"principal": "*", "actions": ["delete"], "effect": "allow", "unless": {"approvals": {"needed": 1, "from": "*"}}}]}`, "statements[0].unless: only a denial has it"},
		{`{"statements": [{"principal": "*", "actions": ["delete"], "effect": "deny", "unless": {}}]}`, "statements[0].unless: it is empty"}, {`{"statements": [{"principal": "*", "actions": ["delete"], "effect": "deny", "unless": {"door": "rest"}}]}`, "statements[0].unless.door: there is no such member"},
		{condition(`"object": {"ownedByCaller": "true"}`), "conditions.object.ownedByCaller: it is a string"},
		{condition(`"regex": "a*"`), "conditions.regex: there is no such member"}, {condition(`"region": 1`), "conditions.region: it is a number"},
		{`{"statements": [` + one + `], "tests": []}`, "tests: the list is empty"}, {`{"statements": [` + one + `], "tests": [{"principal": "*", "action": "*", "expect": "allow"}]}`, "tests[0].action: a test has a word"},
		{`{"statements": [` + one + `], "tests": [{"principal": "*", "action": "sign", "expect": "yes"}]}`, "tests[0].expect: "}, {`{"statements": [` + one + `], "tests": [{"principal": "*", "action": "sign", "expect": "allow", "given": {"ipAddress": "10.0.0.0/8"}}]}`, "tests[0].given.ipAddress: it is a range"},
		{`{"statements": [` + strings.Repeat(one+",", 1000) + one + `]}`, "statements: it has more than 1000 items"}, {`{"statements": [` + strings.Repeat(one+",", 9999) + one + `]}`, "statements: it has more than 1000 items"},
		{`{"description": "` + strings.Repeat("a", format.MaxBytes) + `"}`, "at most 1048576"}, {strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), "not one JSON object"},
		{`{"a": ` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "nested too deeply"}, {`{"a": [` + strings.TrimSuffix(strings.Repeat(`[`+strings.TrimSuffix(strings.Repeat("0,", 999), ",")+`],`, 200), ",") + `]}`, "too many values"},
	} {
		_, err := format.Parse([]byte(c.text))
		if core.CodeOf(err) != core.InvalidField || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%.200s:\n%v\nwant InvalidField with %q", c.text, err, c.says)
		}
	}
}

// The bounds themselves are still accepted.
func TestLargestPolicy(t *testing.T) {
	one := `{"principal": "user:a", "actions": ["encrypt"], "effect": "allow"}`
	if _, n := parse(t, `{"statements": [`+strings.Repeat(one+",", 999)+one+`]}`); len(n.Statements) != format.MaxStatements || n.Statements[999].SID != "1000" {
		t.Errorf("%d statements, want %d with the sids 1 to 1000", len(n.Statements), format.MaxStatements)
	}
}

func TestUnknownRegion(t *testing.T) {
	d, err := format.Parse([]byte(condition(`"region": ["eu", "mars"]`)))
	if err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]format.Regions{"another region is unknown": regions, "none is configured": nil, "one has no ranges": {"eu": regions["eu"], "mars": nil}} {
		if _, err := format.Normalize(d, r, false); core.CodeOf(err) != core.InvalidField || !strings.Contains(fmt.Sprint(err), "statements[0].conditions.region: the region \"") {
			t.Errorf("%s: %v; want InvalidField with the path", what, err)
		}
	}
}

// A policy is bounded by what an evaluation looks at, also by the ranges of its regions.
func TestTooLarge(t *testing.T) {
	var wide []netip.Prefix
	for i := range 1000 {
		wide = append(wide, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	one := `{"principal": "user:a", "actions": ["encrypt"], "effect": "allow", "conditions": {"region": "wide"}}`
	for statements, fits := range map[int]bool{1: true, 19: true, 20: false, 1000: false} {
		d, err := format.Parse([]byte(`{"statements": [` + strings.TrimSuffix(strings.Repeat(one+",", statements), ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := format.Normalize(d, format.Regions{"wide": wide}, false); (err == nil) != fits || err != nil && !strings.Contains(err.Error(), "statements[19]: the policy names more than 20000") {
			t.Errorf("%d statements with 1,000 ranges each: %v; want it to fit: %v", statements, err, fits)
		}
	}
}

func TestWarnings(t *testing.T) {
	d, _ := parse(t, `{"keyId": ["k", "nokey"], "statements": [{"principals": ["*", "user:a", "user:nobody", "client:a"], "actions": ["encrypt", "create"], "effect": "deny", "conditions": {"tags": {"env": "prod"}, "parameters": {"algorithm": "AES", "mode": "GCM"}}}]}`)
	got := format.Warnings(d, func(name string) bool { return !strings.Contains(name, "no") })
	want := []format.Warning{{"keyId", "keyId:nokey does not exist (yet)"}, {"statements[0].principal", "user:nobody does not exist (yet)"},
		{"statements[0].principal", "client:a is not matched by an access token of a, which escapes the denial; write user:a"},
		{"statements[0].conditions", "Create has no object, so the conditions object and tags never hold for it"},
		{"statements[0].conditions.parameters.mode", "Create has no such parameter, so the condition never holds for it"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the warnings are %q, want %q", got, want)
	}
}

// A denial of Decrypt that leaves another way to the data is pointed out.
func TestDenialsOfDecryptAreWhole(t *testing.T) {
	for actions, says := range map[string]string{
		`"decrypt"`:                                      "name reencrypt too",
		`"Decrypt", "Reencrypt To"`:                      "name reencrypt too",
		`"decrypt", "reencrypt"`:                         "name decrypt-unnamed too",
		`"decrypt", "reencrypt", "decrypt-unnamed"`:      "",
		`"Decrypt", "Reencrypt From", "Decrypt Unnamed"`: "",
		`"*"`:         "",
		`"reencrypt"`: "",
	} {
		for _, effect := range []string{"deny", "allow"} {
			d, _ := parse(t, `{"statements": [{"principal": "*", "actions": [`+actions+`], "effect": "`+effect+`"}]}`)
			got := format.Warnings(d, nil)
			if want := says != "" && effect == "deny"; (len(got) == 1) != want || want && (got[0].Path != "statements[0].actions" || !strings.Contains(got[0].Text, says)) {
				t.Errorf("%s %s: the warnings are %q; want one with %q", effect, actions, got, says)
			}
		}
	}
}

// What was written is read as the same document, and its normal form has the same bytes.
func checkRoundTrip(t *testing.T, text []byte) {
	d, err := format.Parse(text)
	if err != nil {
		return
	}
	written, err := d.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := format.Parse(written)
	if err != nil || !reflect.DeepEqual(d, again) {
		t.Fatalf("%s\nwas written as\n%s\nand read as %+v, %v", text, written, again, err)
	}
	n, err := format.Normalize(d, regions, false)
	if err != nil {
		return
	}
	if m, err := format.Normalize(again, regions, false); err != nil || !bytes.Equal(n.Bytes(), m.Bytes()) || n.Hash() != m.Hash() {
		t.Fatalf("%s has the normal forms\n%s\n%s, %v", text, n.Bytes(), m.Bytes(), err)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, text := range []string{seed, full} {
		parse(t, text)
		checkRoundTrip(t, []byte(text))
	}
}

// Order and repetition inside lists do not change the normal form; anything that changes
// who may do what does.
func TestHash(t *testing.T) {
	hash := func(text string) string { _, n := parse(t, text); return n.Hash() }
	base := `{"statements": [{"principals": ["user:a", "user:b"], "actions": ["encrypt", "decrypt"], "effect": "allow"}]}`
	for _, same := range []string{`["user:b", "user:a"]`, `["user:a", "user:b", "user:a"]`} {
		if hash(strings.Replace(base, `["user:a", "user:b"]`, same, 1)) != hash(base) {
			t.Errorf("the principals %s have another hash", same)
		}
	}
	for _, other := range [][2]string{{"user:b", "user:c"}, {"allow", "deny"}, {`"decrypt"`, `"sign"`}, {`"statements"`, `"exclusive": true, "statements"`}} {
		if hash(strings.Replace(base, other[0], other[1], 1)) == hash(base) {
			t.Errorf("%s in place of %s has the same hash", other[1], other[0])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{seed, full, `{}`, `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`, condition(`"time": {"daily": {"from": "23:00", "to": "00:00", "zone": "UTC"}}`)} {
		f.Add([]byte(text))
	}
	f.Fuzz(checkRoundTrip)
}

// A country is named by its code of ISO 3166-1 and a continent by its code, if the server knows
// those of addresses. Anything else is refused: a denial for it would never apply.
func TestCountriesAndContinents(t *testing.T) {
	for _, c := range []struct {
		region string
		known  bool
		says   string
	}{
		{"country:DE", true, ""}, {"country:XK", true, ""}, {"continent:EU", true, ""}, {"continent:AN", true, ""},
		{"country:DE", false, "set policy.maxmind"}, {"continent:EU", false, "set policy.maxmind"},
		{"country:UK", true, "ISO 3166-1"}, {"country:de", true, "ISO 3166-1"}, {"country:DEU", true, "ISO 3166-1"}, {"country:", true, "ISO 3166-1"}, {"country:EU", true, "ISO 3166-1"}, {"country: DE", true, "ISO 3166-1"},
		{"continent:DE", true, "no continent"}, {"continent:eu", true, "no continent"}, {"continent:", true, "no continent"},
		{"Country:DE", true, "is not configured"}, {"DE", true, "is not configured"}, {"city:Berlin", true, "is not configured"},
	} {
		d, err := format.Parse([]byte(condition(fmt.Sprintf(`"region": ["eu", %q]`, c.region))))
		if err != nil {
			t.Fatal(err)
		}
		n, err := format.Normalize(d, regions, c.known)
		switch {
		case c.says != "" && (core.CodeOf(err) != core.InvalidField || !strings.Contains(fmt.Sprint(err), "statements[0].conditions.region: ") || !strings.Contains(fmt.Sprint(err), c.says)):
			t.Errorf("%q, countries known %v: %v; want InvalidField with the path and %q", c.region, c.known, err, c.says)
		case c.says == "" && (err != nil || !bytes.Contains(n.Bytes(), fmt.Appendf(nil, `"ranges":["10.9.0.0/16","192.0.2.0/24",%q]`, c.region))):
			t.Errorf("%q: %v; want it beside the ranges of eu", c.region, err)
		}
	}
}

func TestRegionsAreBounded(t *testing.T) {
	many, long := map[string][]string{}, make([]string, 10_001)
	for i := range 1001 {
		many[fmt.Sprint("r", i)] = []string{"10.0.0.0/8"}
	}
	for i := range long {
		long[i] = "10.0.0.0/8"
	}
	for what, c := range map[string]struct {
		regions map[string][]string
		says    string
	}{
		"no range":               {map[string][]string{"eu": {}}, "eu: a region has at least one range"},
		"no address":             {map[string][]string{"eu": {"Berlin"}}, `eu: "Berlin" is neither`},
		"bits behind the length": {map[string][]string{"eu": {"10.0.0.1/8"}}, "write 10.0.0.0/8"},
		"IPv4 in IPv6 form":      {map[string][]string{"eu": {"::ffff:10.0.0.0/104"}}, "write the IPv4 range"},
		"no name":                {map[string][]string{"": {"::/0"}}, "the name of a region"},
		"a name with a space":    {map[string][]string{"e u": {"::/0"}}, "the name of a region"},
		"a country":              {map[string][]string{"country:DE": {"::/0"}}, "the name of a region"},
		"many regions":           {many, "at most 1000"},
		"many ranges":            {map[string][]string{"eu": long}, "more than 10000 ranges"},
	} {
		r, err := format.ParseRegions(c.regions)
		if core.CodeOf(err) != core.InvalidField || !strings.Contains(fmt.Sprint(err), c.says) || r != nil {
			t.Errorf("%s: %v, %v; want InvalidField with %q", what, r, err, c.says)
		}
	}
	delete(many, "r0")
	if r, err := format.ParseRegions(many); err != nil || len(r) != 1000 {
		t.Errorf("as many regions as possible: %d, %v", len(r), err)
	}
}

// The name of a policy is one that a holder or an object can have attached. Saving a policy
// with targets changes each of them in one transaction, so there are few.
func TestNamesAndTargetsAreBounded(t *testing.T) {
	const rest = `"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`
	for _, name := range []string{"-x", "_x", ".x", "a b", strings.Repeat("x", 65)} {
		if _, err := format.Parse([]byte(fmt.Sprintf(`{"name": %q, `, name) + rest)); core.CodeOf(err) != core.InvalidField || !strings.HasPrefix(err.Error(), "name: ") {
			t.Errorf("the name %q: %v; want a refusal with its path", name, err)
		}
	}
	for n, fails := range map[int]bool{256: false, 257: true} {
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprintf(`"key%d"`, i))
		}
		_, err := format.Parse([]byte(`{"keyId": [` + strings.Join(keys, ",") + `], ` + rest))
		if (err != nil) != fails || fails && !strings.HasPrefix(err.Error(), "keyId: ") {
			t.Errorf("%d targets: %v; want a refusal: %v", n, err, fails)
		}
	}
}

// Labels are what a change of attributes can change: each value, with the effect of its
// statement, in the names by which the matcher finds it.
func TestLabelsOfADocument(t *testing.T) {
	d, err := format.Parse([]byte(`{"statements": [
		{"principal": "*", "actions": ["decrypt"], "effect": "deny", "conditions": {"tags": {"env": ["prod", "lab"], "x-Site": "a"}, "object": {"state": "Active", "owner": "bob"}}},
		{"principal": "*", "actions": ["decrypt"], "effect": "allow", "conditions": {"object": {"objectGroup": "g", "class": "X"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []core.PolicyLabel{{Field: "object.class", Value: "X"}, {Field: "object.objectGroup", Value: "g"},
		{Field: "tags.x-Site", Value: "a", Denies: true}, {Field: "tags.x-keyreeve-tag-env", Value: "lab", Denies: true}, {Field: "tags.x-keyreeve-tag-env", Value: "prod", Denies: true}}
	got := d.Labels()
	slices.SortFunc(got, func(a, b core.PolicyLabel) int { return strings.Compare(a.Field+a.Value, b.Field+b.Value) })
	if !slices.Equal(got, want) {
		t.Errorf("the labels are %v; want %v", got, want)
	}
}
