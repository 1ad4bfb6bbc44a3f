package authz_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
)

// A rule that is true for no input, or for each input, is a mistake that the policy's own tests
// cannot find. Such a policy is refused, and the message names the line and the mistake.
func TestRulesThatCanNeverFire(t *testing.T) {
	const object = `"tenant": "t", "id": "o", "owner": "a", "group": "", "type": "", "state": "", "algorithm": ""`
	for what, c := range map[string]struct{ condition, says string }{
		"a mistyped field":                     {`input.opration == "Get"`, "opration"},
		"a mistyped part":                      {`input.object.sensitve`, "sensitve"},
		"a mistyped part in a negation":        {`not input.object.sensitve`, "sensitve"},
		"a field by text":                      {`input["object"]["colour"] == "red"`, "colour"},
		"beneath a value":                      {`input.operation.name == "Get"`, "input.operation"},
		"beneath a name":                       {`input.principal.id.name == "x"`, "input.principal.id"},
		"another case":                         {`input.operation == "decrypt"`, `write "Decrypt"`},
		"unequal to another case":              {`input.operation != "decrypt"`, `write "Decrypt"`},
		"the XML spelling":                     {`input.operation == "GetAttributes"`, `write "Get Attributes"`},
		"the literal first":                    {`"decrypt" == input.operation`, "decrypt"},
		"unification":                          {`input.operation = "decrypt"`, "decrypt"},
		"in a set":                             {`input.operation in {"Get", "decrypt"}`, "decrypt"},
		"in an array":                          {`input.operation in ["Get", "decrypt"]`, "decrypt"},
		"not in a set":                         {`not input.operation in {"Get", "decrypt"}`, "decrypt"},
		"a key of an object":                   {`{"Get": 1, "decrypt": 2}[input.operation] == 1`, "decrypt"},
		"a set's member":                       {`{"Get", "decrypt"}[input.operation]`, "decrypt"},
		"iteration":                            {"some op in {\"Get\", \"decrypt\"}\n\tinput.operation == op", "decrypt"},
		"every":                                {`every op in ["Get", "decrypt"] { op != input.operation }`, "decrypt"},
		"through a variable":                   {"op := input.operation\n\top == \"decrypt\"", "decrypt"},
		"through two":                          {"o := input.object\n\tp := o\n\tp.sensitve", "sensitve"},
		"the literal in a variable":            {"want := \"decrypt\"\n\tinput.operation == want", "decrypt"},
		"a union":                              {`input.operation in {"Get"} | {"decrypt"}`, "decrypt"},
		"a comprehension":                      {`input.operation in {op | some op in ["Get", "decrypt"]}`, "decrypt"},
		"in a comprehension":                   {`count([1 | input.operation == "decrypt"]) == 1`, "decrypt"},
		"an array of two":                      {`[input.operation, input.door] == ["decrypt", "kmip"]`, "decrypt"},
		"destructured":                         {"[op, _] := [input.operation, 1]\n\top == \"decrypt\"", "decrypt"},
		"an object of one":                     {`{"op": input.operation} == {"op": "decrypt"}`, "decrypt"},
		"lower case":                           {`lower(input.operation) == "decript"`, "decript"},
		"a prefix that none has":               {`startswith(input.operation, "get")`, "is never true"},
		"object.get of no field":               {`object.get(input.object, "sensitve", "") == ""`, "sensitve"},
		"object.get by a path":                 {`object.get(input, ["object", "sensitve"], "") == ""`, "sensitve"},
		"a state that is none":                 {`input.object.state == "active"`, `write "Active"`},
		"a type":                               {`input.object.type == "SymmetricKey"`, `write "Symmetric Key"`},
		"an algorithm":                         {`input.object.algorithm == "aes"`, `write "AES"`},
		"a door":                               {`input.door == "http"`, `"rest"`},
		"another name of a door":               {`input.door == "socket"`, `"admin"`},
		"a method":                             {`input.principal.method == "mTLS"`, `write "mtls"`},
		"a strength":                           {`input.principal.strength == "mtls"`, `"certificate"`},
		"a strength by order":                  {`input.principal.strength == 3`, "input.principal.strength"},
		"an attribute that is a number":        {`input.principal.attributes.floor == 5`, "attributes"},
		"an attribute, unequal":                {`input.principal.attributes.department != "sales"`, "may lack"},
		"an attribute, unequal by a variable":  {"d := input.principal.attributes.department\n\td != \"sales\"", "may lack"},
		"an attribute by order":                {`input.principal.attributes.level < "5"`, "may lack"},
		"each attribute, unequal":              {`every a in input.principal.attributes { a != "x" }`, "may lack"},
		"attributes as a whole":                {`contains(json.marshal(input.principal.attributes), "x")`, "as a whole"},
		"the empty attribute":                  {`input.principal.attributes[""] == "x"`, "attributes"},
		"an object with an attribute too many": {`input.principal.attributes == {"a": true}`, "attributes"},
		"a part of a certificate":              {`input.principal.certificate.serial == "1"`, "serial"},
		"a certificate as a boolean":           {`input.principal.certificate == true`, "certificate"},
		"a boolean as text":                    {`input.object.present == "true"`, "input.object.present"},
		"a tenant that is a number":            {`input.object.tenant == 5`, "input.object.tenant"},
		"a time that is a text":                {`input.now > "2026-01-31"`, "different types"},
		"an address that is a network":         {`input.address == "10.0.0.0/8"`, "10.0.0.0/8"},
		"a network that is none":               {`net.cidr_contains("10.0.0.300/8", input.address)`, "fails"},
		"a number of an address":               {`to_number(input.address) > 0`, "fails"},
		"the values of names":                  {`"storage" in input.principal.groups`, "storage"},
		"a role that is a text":                {`input.principal.roles.admin == "true"`, "roles"},
		"the empty group":                      {`input.principal.groups[""]`, "groups"},
		"the empty group, not":                 {`not input.principal.groups[""]`, "groups"},
		"two that are never equal":             {`input.operation == input.door`, "never equal"},
		"an object without all parts":          {`input.object == {"present": true, "tenant": "t"}`, "without"},
		"an object with another part":          {`input.object == {"present": true, "colour": "red", ` + object + `}`, "colour"},
		"an object with a value too many":      {`input.object == {"present": "yes", ` + object + `}`, "present"},
		"a computed field":                     {`input[input.principal.id] == "x"`, "computed"},
		"walking":                              {"walk(input, [[\"now\"], n])\n\tn < 100", "as a whole"},
		"the whole as text":                    {`contains(json.marshal(input.object), "sensitve")`, "as a whole"},
		"other data":                           {`data.settings.open`, "no other data"},
		"a rule that is not there":             {`data.keyreeve.authz.missing`, "missing"},
		"with":                                 {`input.operation == "Get" with input.operation as "Get"`, "only tests may use it"},
		"compared with what cannot be checked": {`input.operation == trim_suffix(input.principal.id, "x")`, "cannot be checked"},
		"a text with a value":                  {`$"{input.opration}" == "Get"`, "opration"},
		"and": {`input.object.present
	some x in [1]
	x == 1
	count({y | y := input.object.typ}) == 1`, "typ"},
	} {
		refusedAtLoad(t, what, allowIf(c.condition), c.says)
	}
	for what, c := range map[string]struct{ rules, says string }{
		"in another rule":             {"op := input.operation\ndeny if op == \"decrypt\"", "decrypt"},
		"a list in another rule":      {"ops := {\"Get\", \"decrypt\"}\ndeny if input.operation in ops", "decrypt"},
		"a list rule by rule":         {"ops contains \"Get\"\nops contains \"decrypt\"\ndeny if input.operation in ops", "decrypt"},
		"two lists":                   {"a := {\"Get\"}\nb := {\"decrypt\"}\ndeny if input.operation in a | b", "decrypt"},
		"a table":                     {"table := {\"Get\": {\"x\"}, \"decrypt\": {\"y\"}}\ndeny if input.principal.id in table[input.operation]", "decrypt"},
		"a table by principal":        {"table := {\"alice\": {\"Get\", \"decrypt\"}}\ndeny if input.operation in table[input.principal.id]", "decrypt"},
		"a table rule by rule":        {"table[\"decrypt\"] := 1\ndeny if table[input.operation] == 1", "decrypt"},
		"a function of the object":    {"closed(o) if o.sensitve\ndeny if closed(input.object)", "sensitve"},
		"a function of the input":     {"closed(i) if i.object.sensitve\ndeny if closed(input)", "sensitve"},
		"a function of the operation": {"closed(op) if op == \"decrypt\"\ndeny if closed(input.operation)", "decrypt"},
		"a function's pattern":        {"closed(\"decrypt\")\ndeny if closed(input.operation)", "decrypt"},
		"a function's answer":         {"what(i) := i.operation\ndeny if what(input) == \"decrypt\"", "decrypt"},
		"a function of a function":    {"a(o) := o.object\nb(o) if a(o).sensitve\ndeny if b(input)", "sensitve"},
		"else":                        {"deny if input.principal.id == \"x\"\nelse if input.operation == \"decrypt\"", "decrypt"},
		"a scope that is none":        {"deny if false\n", "tenent"},
	} {
		policy := allowIf("not deny") + c.rules + "\n"
		if c.says == "tenent" {
			policy = strings.Replace(policy, `{"open"}, "scope": "own"`, `{"open"}, "scope": "tenent"`, 1)
		}
		refusedAtLoad(t, what, policy, c.says)
	}
	refusedAtLoad(t, "an import", strings.Replace(allowIf(`i.object.sensitve`), "import rego.v2\n", "import rego.v2\nimport input as i\n", 1), "sensitve")
	refusedAtLoad(t, "the default policy with a slip", strings.Replace(keyreeve.Policy, `"Encrypt", "Decrypt"`, `"Encrypt", "decrypt"`, 1), "decrypt")
}

func refusedAtLoad(t *testing.T, what, policy, says string) {
	t.Helper()
	a, err := authz.Load(ctx, authz.Options{}, with(policy, goodTest))
	if a != nil || core.CodeOf(err) != core.PolicyUnavailable || !strings.Contains(fmt.Sprint(err), says) || !strings.Contains(fmt.Sprint(err), "policies.rego") {
		t.Errorf("%s: %v; want a refusal that says %q and where", what, err, says)
	}
}

// A rule that can be true is not refused.
func TestRulesThatCanFire(t *testing.T) {
	for what, rules := range map[string]string{
		"a literal that is one":      `deny if input.operation == "Destroy"`,
		"a list":                     "ops := {\"Destroy\", \"Revoke\"}\ndeny if input.operation in ops",
		"an empty list":              "ops := set()\ndeny if input.operation in ops",
		"a prefix":                   `deny if startswith(input.operation, "Re-key")`,
		"lower case":                 `deny if lower(input.operation) == "destroy"`,
		"a network":                  `deny if not net.cidr_contains_matches(["127.0.0.0/8", "2001:db8::/32"], input.address)`,
		"a group by name":            `deny if input.principal.groups.banned`,
		"a group in a variable":      "g := input.object.group\ndeny if input.principal.groups[g]",
		"any role of some":           "deny if {\n\tsome r in [\"guest\", \"temp\"]\n\tinput.principal.roles[r]\n}",
		"names of a pattern":         "deny if {\n\tsome g, _ in input.principal.groups\n\tstartswith(g, \"x-\")\n}",
		"rights by role":             "rights := {\"guest\": {\"Get\"}, \"temp\": {\"Destroy\"}}\ndeny if {\n\tsome r, _ in input.principal.roles\n\tinput.operation in rights[r]\n}",
		"a text for the record":      "why contains sprintf(\"%s may not %s\", [input.principal.id, input.operation]) if input.operation == \"Destroy\"\ndeny if count(why) > 0",
		"a function of fields":       "old(o, what) if {\n\to.state == what\n\to.present\n}\ndeny if old(input.object, \"Compromised\")",
		"hours":                      "deny if {\n\t[h, _, _] := time.clock(input.now * 1000000000)\n\th > 24\n}",
		"a time":                     `deny if input.now > 4000000000`,
		"an object":                  `deny if input.object == {"present": true, "tenant": "t", "id": "o", "owner": "a", "group": "", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"}`,
		"owner of another":           `deny if input.object.owner == "bob"`,
		"an algorithm by table":      "weak := {\"DES\", \"3DES\", \"RC4\"}\ndeny if {\n\tinput.object.algorithm in weak\n\tinput.operation in {\"Encrypt\", \"Sign\"}\n}",
		"every of a list":            `deny if every op in ["Get", "Encrypt"] { op != input.operation }`,
		"a regular expression":       `deny if regex.match("^tmp-", input.principal.id)`,
		"a tenant's list":            "closed := {\"t\": {\"Destroy\"}}\ndeny if input.operation in object.get(closed, input.principal.tenant, set())",
		"a difference":               "a := {\"Get\", \"Destroy\"}\ndeny if input.operation in a - {\"Get\"}",
		"an intersection with roles": "deny if count(object.keys(input.principal.roles) & {\"guest\"}) > 0",
	} {
		if _, err := authz.Load(ctx, authz.Options{}, with(allowIf("not deny")+rules+"\n", goodTest)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A policy that permits nothing to the canaries is tried with the names in it, or with the
// questions of its tests.
func TestPolicyForOneIsActivated(t *testing.T) {
	for what, condition := range map[string]string{
		"a principal":           `input.principal.id == "array7"`,
		"a role and a tenant":   "input.principal.roles.storage\n\tinput.principal.tenant == \"acme\"",
		"a group and a network": "input.principal.groups.storage\n\tnet.cidr_contains(\"10.1.0.0/16\", input.address)",
		"a prefix":              `startswith(input.principal.id, "array")`,
		"one algorithm, a use":  "input.object.algorithm == \"RSA\"\n\tinput.operation == \"Sign\"",
		"after a time":          `input.now > 2000000000`,
		"a strength":            `input.principal.strength == "password"`,
		"a department":          `input.principal.attributes.department == "storage"`,
		"no department":         `not input.principal.attributes.department == "sales"`,
		"a department, or none": `object.get(input.principal.attributes, "department", "") != "sales"`,
		"one by each value":     "some name\n\tinput.principal.attributes[name] == \"storage\"",
		"a certificate's user":  "input.principal.certificate.id == \"array7\"\n\tinput.principal.method == \"password\"",
	} {
		if _, err := authz.Load(ctx, authz.Options{}, with(allowIf(condition), goodTest)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	odd := allowIf(`count(input.principal.id) == 23`)
	refused := "permits nothing"
	if _, err := authz.Load(ctx, authz.Options{}, with(odd, goodTest)); !strings.Contains(fmt.Sprint(err), refused) {
		t.Errorf("a policy for nobody that is known: %v", err)
	}
	shown := test(`test_it if data.keyreeve.authz.decision.allow with input as {"operation": "Get", "now": 1, "address": "127.0.0.1", "door": "kmip",
	"principal": {"tenant": "t", "id": "aaaaaaaaaaaaaaaaaaaaaaa", "groups": {}, "roles": {}, "method": "mtls", "strength": "none", "attributes": {}, "certificate": {"present": true, "tenant": "t", "id": "a"}},
	"object": {"present": true, "tenant": "t", "id": "o", "owner": "a", "group": "", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"}}`)
	if _, err := authz.Load(ctx, authz.Options{}, with(odd, shown)); err != nil {
		t.Errorf("a policy whose test shows what it permits: %v", err)
	}
}

// The steps of a decision are bounded, not its time: a question gets the same answer on a busy
// machine.
func TestSearchIsBoundedByWork(t *testing.T) {
	search := func(n int) string {
		return allowIf(fmt.Sprintf("count([1 | some x in numbers.range(1, %d); some y in numbers.range(1, 100); x * y == -1]) == 0", n))
	}
	a := open(t, search(50), goodTest)
	alice := ask(someone("t", "alice", ""), core.ActionGet, object("alice", ""))
	if d, err := a.Decide(ctx, alice); err != nil || !d.Allow {
		t.Errorf("5,000 pairs: %+v, %v", d, err)
	}
	if _, err := authz.Load(ctx, authz.Options{}, with(search(3000), goodTest)); !strings.Contains(fmt.Sprint(err), "steps") {
		t.Errorf("300,000 pairs: %v; want a refusal that says how many steps there may be", err)
	}
}
